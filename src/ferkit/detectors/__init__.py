"""Face detectors: a facade, and one file for each that it opens by name."""
