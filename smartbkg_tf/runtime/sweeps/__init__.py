"""Sweeps: lists of jobs, the runner, batch systems, hyper-parameter search and the report."""
