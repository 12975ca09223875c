"""Networks of one's own, as a recipe names them."""

from __future__ import annotations

from typing import Any

__all__ = ["layer_normalised", "nothing", "one_class_short"]


def nothing(input_shape: Any, outputs: Any) -> Any:
    """A function that forgets to return its network."""


def one_class_short(input_shape: Any, outputs: Any) -> Any:
    """A network whose heads answer a class too few."""
    return layer_normalised(input_shape, {name: count - 1 for name, count in outputs.items()})


def layer_normalised(input_shape: Any, outputs: Any) -> Any:
    """A network with a layer that the ONNX export does not know."""
    import keras
    from keras import layers

    face = keras.Input((None, None, input_shape[-1]))
    x = layers.LayerNormalization()(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(face)))
    return keras.Model(face, {name: layers.Dense(count, name=name)(x) for name, count in outputs.items()})
