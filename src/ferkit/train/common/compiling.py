"""How a step of training is compiled."""

from __future__ import annotations

import keras

__all__ = ["JIT"]

# Of ``compile(jit_compile=...)``. JAX without its compiler runs one operation after another, many times slower; TensorFlow has its
# graphs, and its XLA takes minutes to compile what a CPU then gains nothing from.
JIT = keras.backend.backend() == "jax"
