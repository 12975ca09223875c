"""Training of expression classifiers: a recipe in, weights out."""
