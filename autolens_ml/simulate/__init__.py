"""Simulated lenses: populations, instruments, sources."""
