"""Weights: the releases, their specs, and how they are found, fetched, checked and published."""
