"""Labelled faces: readers, label names, copies, and preparing. Needs no Keras."""
