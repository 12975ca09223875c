"""Engines that run a network: a float32 batch in, float32 rows out."""
