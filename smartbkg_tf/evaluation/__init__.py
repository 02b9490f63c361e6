"""Metrics, speedup, curves as data, plots and the report."""
