"""Boxes and points that hypothesis draws."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

coordinate = st.floats(-500, 700, allow_nan=False)
box = st.tuples(coordinate, coordinate, coordinate, coordinate)
ordered = box.map(lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])))
points = arrays(np.float64, (5, 2), elements=st.floats(-200, 400, allow_nan=False))
