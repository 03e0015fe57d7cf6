"""Measures speed: both sides in one run, in turn, and their ratio. Machines are noisy, so only the ratio holds."""
