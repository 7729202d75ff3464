"""Synthetic stellar spectra: a formula, a network trained on it, fits of labels, velocity and rotation with it."""
