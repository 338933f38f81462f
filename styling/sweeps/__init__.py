"""Sweeps: many runs with different settings, and a sheet of their pictures."""
