"""Skims: selections of reconstructed events, one class in one file each."""
