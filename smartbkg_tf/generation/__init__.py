"""The built-in source: Pythia 8, a parametrised detector, skims, and production in chunks."""
