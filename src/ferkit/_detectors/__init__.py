"""Detector backends: one module each, importing its own dependencies when it is opened."""
