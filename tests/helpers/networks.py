"""Networks of one's own, as a recipe names them."""

from __future__ import annotations

from typing import Any

__all__ = ["layer_normalised"]


def layer_normalised(input_shape: Any, outputs: Any) -> Any:
    """A network with a layer that the ONNX export does not know."""
    import keras
    from keras import layers

    face = keras.Input((None, None, input_shape[-1]))
    x = layers.LayerNormalization()(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(face)))
    return keras.Model(face, {name: layers.Dense(count, name=name)(x) for name, count in outputs.items()})
