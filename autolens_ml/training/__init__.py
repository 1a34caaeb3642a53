"""From a population of lenses to a trained network, and what is said of it."""
