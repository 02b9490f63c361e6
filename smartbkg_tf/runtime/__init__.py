"""What every command stands on: composition, progress, whole files, provenance."""
