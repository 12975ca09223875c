"""Expression classifiers: ferkit's own weights, ensembles of them, and bare model files."""
