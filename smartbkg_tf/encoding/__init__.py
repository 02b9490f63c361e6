"""From the particle table to the arrays that a model reads: one way, offline and online."""
