"""Measuring what users run: figures, calibration, comparisons, reports. Needs no Keras."""
