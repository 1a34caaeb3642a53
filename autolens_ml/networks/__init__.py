"""Neural networks as torch modules, free of lensing, and how they are stored."""
