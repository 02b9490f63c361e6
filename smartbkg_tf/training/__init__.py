"""Training: the sample, the fit, the run directory and sweeps."""
