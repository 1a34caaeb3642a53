"""Profiles that compose with PyAutoLens exactly as its own do."""
