"""Weak lensing: shears from images of galaxies, and mass models from shears."""
