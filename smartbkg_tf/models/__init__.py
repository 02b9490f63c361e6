"""Networks: what a user inherits, layers, branches, and how models are built and loaded."""
