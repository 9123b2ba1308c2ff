"""The export targets, one module each."""
