"""Encoded events on disk: memory maps, the split by event, and streams of batches."""
