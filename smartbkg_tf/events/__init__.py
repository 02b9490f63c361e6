"""Events in memory, their vocabulary, and the readers and writers of event files."""
