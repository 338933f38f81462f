"""Sweeps: many runs, over the values of some settings, and one sheet of what they made."""
