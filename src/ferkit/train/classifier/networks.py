"""Architectures, one function each. All take NHWC faces, grey or in color, and answer logits.

A function with a ``size`` builds a network for faces of that side alone, because it flattens its last map; the others
take faces of any size.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import keras
from keras import layers

from ...engines.keras_file import load_network
from ...errors import InputError
from ...image_files import expanded

__all__ = ["MODELS", "build_model"]

Heads = int | Mapping[str, int]


def _conv_bn(x: keras.KerasTensor, channels: int, kernel: int = 3, strides: int = 1, relu: bool = True) -> keras.KerasTensor:
    x = layers.Conv2D(channels, kernel, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal")(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation("relu")(x) if relu else x


def _squeeze_excite(x: keras.KerasTensor, ratio: int = 4) -> keras.KerasTensor:
    """Channel attention (Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018)."""
    channels = x.shape[-1]
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(channels // ratio, 1, activation="relu")(gate)
    gate = layers.Conv2D(channels, 1, activation="sigmoid")(gate)
    return layers.Multiply()([x, gate])


def _residual(x: keras.KerasTensor, channels: int, strides: int) -> keras.KerasTensor:
    y = _conv_bn(x, channels, strides=strides)
    y = _squeeze_excite(_conv_bn(y, channels, relu=False))
    # Average pooling keeps the shortcut's information that a strided 1x1 convolution would throw away
    # (He et al., "Bag of Tricks", CVPR 2019, ResNet-D).
    if strides > 1:
        x = layers.AveragePooling2D(strides, padding="same")(x)
    if x.shape[-1] != channels:
        x = _conv_bn(x, channels, kernel=1, relu=False)
    return layers.Activation("relu")(layers.Add()([x, y]))


def _shortcut(x: keras.KerasTensor, channels: int, strides: int) -> keras.KerasTensor:
    """Project a shortcut by a 1x1 convolution with a stride, written as the picking of pixels and a convolution without one.

    They are the same numbers; TensorFlow 2.21 with oneDNN crashes in the gradient of the strided form on some CPUs.
    """
    return _conv_bn(layers.MaxPooling2D(1, strides=strides)(x), channels, kernel=1, relu=False)


def _heads(features: keras.KerasTensor, classes: Heads) -> keras.KerasTensor | dict[str, keras.KerasTensor]:
    """Add one linear layer of logits, or a dictionary of them. Logits stay float32 under mixed precision."""
    if isinstance(classes, Mapping):
        return {name: layers.Dense(k, dtype="float32", name=name)(features) for name, k in classes.items()}
    return layers.Dense(classes, dtype="float32", name="logits")(features)


def _residual_net(
    name: str, classes: Heads, stem: int, blocks: Sequence[tuple[int, int]], dropout: float, channels: int, strides: int = 1
) -> keras.Model:
    """Stack residual blocks, each given as ``(channels, strides)``, on a stem of one convolution."""
    inputs = keras.Input((None, None, channels), name="face")
    x = _conv_bn(inputs, stem, strides=strides)
    for width, block_strides in blocks:
        x = _residual(x, width, block_strides)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, _heads(x, classes), name=name)


def ferkit_n(classes: Heads = 7, dropout: float = 0.1, channels: int = 1) -> keras.Model:
    """Residual net with squeeze-excite, half as wide as ``ferkit-s``: 0.28 M parameters, 19 M MACs at 44x44."""
    return _residual_net("ferkit-n", classes, 8, ((16, 2), (20, 1), (40, 2), (40, 1), (80, 2), (80, 1)), dropout, channels)


def ferkit_s(classes: Heads = 7, dropout: float = 0.3, channels: int = 1) -> keras.Model:
    """Residual net with squeeze-excite: 1.1 M parameters, 73 M MACs at 44x44."""
    return _residual_net("ferkit-s", classes, 16, ((32, 2), (40, 1), (80, 2), (80, 1), (160, 2), (160, 1)), dropout, channels)


def ferkit_b(classes: Heads = 7, dropout: float = 0.4, channels: int = 1) -> keras.Model:
    """Residual net with squeeze-excite, wider and one block deeper than ``ferkit-s``: 2.9 M parameters, 144 M MACs at 44x44."""
    blocks = ((32, 2), (40, 1), (96, 2), (96, 1), (224, 2), (224, 1), (224, 1))
    return _residual_net("ferkit-b", classes, 16, blocks, dropout, channels)


def ferkit_vgg(classes: Heads = 7, dropout: float = 0.4, channels: int = 1) -> keras.Model:
    """Plain pairs of 3x3 convolutions with batch normalisation, as a teacher that errs otherwise than residual ones.

    2.6 M parameters, 233 M MACs at 44x44. After Pramerdorfer and Kampel's VGG ("Facial Expression Recognition using
    Convolutional Neural Networks: State of the Art", 2016), which has the best of their single figures.
    """
    inputs = x = keras.Input((None, None, channels), name="face")
    for width in (48, 96, 192, 384):
        x = _conv_bn(_conv_bn(x, width), width)
        if width < 384:
            x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, _heads(x, classes), name="ferkit-vgg")


def tiny(classes: Heads = 7, dropout: float = 0.3, channels: int = 1) -> keras.Model:
    """A few thousand parameters: for tests and for trying a data set out."""
    return _residual_net("tiny", classes, 8, ((16, 2),), dropout, channels, strides=2)


def conv3(classes: Heads = 7, size: int = 48, dropout: float = 0.5, channels: int = 1) -> keras.Model:
    """System A of docs/zoo.md, the web app's net: three convolutions without padding, one hidden layer; 94,119 parameters, 5.9 M MACs at 48x48."""
    inputs = x = keras.Input((size, size, channels), name="face")
    for width in (32, 32, 64):
        x = layers.Conv2D(width, 3, activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dense(64, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, _heads(x, classes), name="conv3")


def shallow(classes: Heads = 7, size: int = 48, channels: int = 1) -> keras.Model:
    """The first net of the snapshot study (system B in docs/zoo.md): two strided convolutions, one hidden layer, nothing against overfitting."""
    inputs = x = keras.Input((size, size, channels), name="face")
    for width in (16, 36):
        x = layers.Conv2D(width, 5, strides=2, padding="same", activation="relu")(x)
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, _heads(x, classes), name="shallow")


def wide(classes: Heads = 7, size: int = 48, dropout: float = 0.3, channels: int = 1) -> keras.Model:
    """The wider net of the snapshot study (system B in docs/zoo.md): three 5x5 convolutions with pooling, one hidden layer."""
    inputs = x = keras.Input((size, size, channels), name="face")
    for width in (32, 64, 64):
        x = layers.Conv2D(width, 5, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, _heads(x, classes), name="wide")


def resnet34(classes: Heads = 7, channels: int = 1) -> keras.Model:
    """The large net of the snapshot study (system B in docs/zoo.md), ResNet-34 (He et al., "Deep Residual Learning", CVPR 2016) on grey faces.

    The stem and the projection shortcuts are the paper's (option B).
    """
    inputs = keras.Input((None, None, channels), name="face")
    x = _conv_bn(inputs, 64, kernel=7, strides=2)
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            strides = 2 if block == 0 and width > 64 else 1
            y = _conv_bn(_conv_bn(x, width, strides=strides), width, relu=False)
            if strides > 1:
                x = _shortcut(x, width, strides)
            x = layers.Activation("relu")(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, _heads(x, classes), name="resnet34")


def conv4(classes: Heads = 7, size: int = 48, dropout: float = 0.25, channels: int = 1) -> keras.Model:
    """The batch-normalised net (system C in docs/zoo.md): four convolutions and two hidden layers, all with batch normalisation; 4,478,727 parameters at 48x48."""

    def settled(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.Activation("relu")(layers.BatchNormalization()(x))

    inputs = x = keras.Input((size, size, channels), name="face")
    for width, kernel in ((64, 3), (128, 5), (512, 3), (512, 3)):
        x = settled(layers.Conv2D(width, kernel, padding="same")(x))
        x = layers.Dropout(dropout)(layers.MaxPooling2D(2)(x))
    x = layers.Flatten()(x)
    for units in (256, 512):
        x = layers.Dropout(dropout)(settled(layers.Dense(units)(x)))
    return keras.Model(inputs, _heads(x, classes), name="conv4")


def _vgg_block(x: keras.KerasTensor, channels: int, convolutions: int, batch_norm: bool = False) -> keras.KerasTensor:
    """Stack 3x3 convolutions before one pooling (Simonyan and Zisserman, "Very Deep Convolutional Networks", ICLR 2015)."""
    for _ in range(convolutions):
        # He's initialisation: with Glorot's, deep plain stacks of rectifiers fade out at the start.
        x = layers.Conv2D(channels, 3, padding="same", kernel_initializer="he_normal")(x)
        x = layers.Activation("relu")(layers.BatchNormalization()(x) if batch_norm else x)
    return layers.MaxPooling2D(2)(x)


def vgg8(classes: Heads = 7, size: int = 48, dropout: float = 0.5, batch_norm: bool = False, channels: int = 1) -> keras.Model:
    """The eight-layer VGG (system D in docs/zoo.md): four pairs of 3x3 convolutions, three hidden layers, dropout everywhere.

    ``batch_norm`` puts batch normalisation before every rectifier. Without it Adam's first steps, which move all 4,608 positive
    inputs of the first hidden layer the same way, leave 95 of 100 of its units dead.
    """
    inputs = x = keras.Input((size, size, channels), name="face")
    for width in (64, 128, 256, 512):
        x = layers.Dropout(dropout)(_vgg_block(x, width, 2, batch_norm))
    x = layers.Flatten()(x)
    for units in (512, 256, 128):
        x = layers.Dense(units, kernel_initializer="he_normal")(x)
        x = layers.Activation("relu")(layers.BatchNormalization()(x) if batch_norm else x)
        x = layers.Dropout(dropout)(x)
    return keras.Model(inputs, _heads(x, classes), name="vgg8")


def vgg16(
    classes: Heads = 7, size: int = 48, dropout: float = 0.5, l2: float = 1e-3, noise: float = 0.01, channels: int = 1
) -> keras.Model:
    """VGG16 from scratch (system E in docs/zoo.md): normalised and noisy input, VGG16's convolutions, two regularised hidden layers.

    ``l2`` is on kernels and biases of the hidden layers; ``noise`` is the standard deviation at the input, in training only.
    """
    inputs = keras.Input((size, size, channels), name="face")
    x = layers.GaussianNoise(noise)(layers.BatchNormalization()(inputs))
    for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        x = _vgg_block(x, width, convolutions)
    x = layers.Flatten()(x)
    for _ in range(2):
        decay = {"kernel_regularizer": keras.regularizers.L2(l2), "bias_regularizer": keras.regularizers.L2(l2)}
        x = layers.Dropout(dropout)(layers.Dense(2048, activation="relu", kernel_initializer="he_normal", **decay)(x))
    return keras.Model(inputs, _heads(x, classes), name="vgg16")


def mini_xception(classes: Heads = 7, size: int = 64, channels: int = 1) -> keras.Model:
    """Mini-Xception: 58,423 parameters for 7 classes.

    Source: Arriaga et al., "Real-time Convolutional Neural Networks for Emotion and Gender Classification", 2017. There
    the last layer is a 3x3 convolution to the classes, averaged over the map. Averaging commutes with it: the same
    numbers come from a dense layer on the averages under the kernel's nine positions, which is how it is written here,
    so that the head is a dense layer as everywhere. The 3x3 kernel, flattened, is the dense layer's.
    """

    def separable(x: keras.KerasTensor, width: int) -> keras.KerasTensor:
        return layers.BatchNormalization()(layers.SeparableConv2D(width, 3, padding="same", use_bias=False)(x))

    inputs = x = keras.Input((size, size, channels), name="face")
    for _ in range(2):
        x = layers.Conv2D(8, 3, use_bias=False)(x)
        x = layers.Activation("relu")(layers.BatchNormalization()(x))
    for width in (16, 32, 64, 128):
        shortcut = _shortcut(x, width, 2)
        x = separable(layers.Activation("relu")(separable(x, width)), width)
        x = layers.Add()([layers.MaxPooling2D(3, strides=2, padding="same")(x), shortcut])
    side = x.shape[1]
    x = layers.AveragePooling2D(side, strides=1)(layers.ZeroPadding2D(1)(x))
    return keras.Model(inputs, _heads(layers.Flatten()(x), classes), name="mini-xception")


MODELS: dict[str, Callable[..., keras.Model]] = {
    "ferkit-n": ferkit_n,
    "ferkit-s": ferkit_s,
    "ferkit-b": ferkit_b,
    "ferkit-vgg": ferkit_vgg,
    "tiny": tiny,
    "conv3": conv3,
    "shallow": shallow,
    "wide": wide,
    "resnet34": resnet34,
    "conv4": conv4,
    "vgg8": vgg8,
    "vgg16": vgg16,
    "mini-xception": mini_xception,
}


def build_model(name: str, classes: Heads = 7, *, size: int | None = None, channels: int = 1, **options: Any) -> keras.Model:
    """Build an untrained network.

    Args:
        name: A key of ``MODELS``, for example ``"ferkit-s"``; or ``"module:function"``, a function of one's own that is called as
            ``function(input_shape, outputs, **options)`` with ``(size, size, channels)`` and ``classes``; or the path of a saved
            network, ``.keras``, which keeps its weights and gets heads of its own.
        classes: Number of classes, or ``{head name: number of classes}`` for several heads.
        size: Side of the input in pixels, for the architectures that need to know it; each has its own default. The
            others take faces of any size, and this is ignored.
        channels: 1 for grey faces, 3 for color.
        options: Passed to the architecture (for example ``dropout``).

    Returns:
        A ``keras.Model`` from float32 faces ``(n, H, W, channels)``, normalised, to logits ``(n, classes)``, or to a
        dictionary of logits, one entry per head.

    Raises:
        InputError: The name or an option is unknown, a function of one's own cannot be imported or returns no network with these
            outputs, or a saved network does not fit.
        WeightsError: A saved network cannot be read, or names code.

    Examples:
        >>> from ferkit.train import build_model
        >>> build_model("ferkit-n", {"fer2013": 7, "ferplus": 8}).count_params()
        279208
    """
    if name.endswith(".keras"):
        return _saved_network(expanded(name), classes, channels, options)
    if ":" in name:
        return _own_network(name, classes, (size, size, channels), options)
    if name not in MODELS:
        raise InputError(f"Unknown architecture {name!r}; expected one of {', '.join(MODELS)}.")
    accepted = [option for option in inspect.signature(MODELS[name]).parameters if option not in ("classes", "channels")]
    if size is not None and "size" in accepted:
        options["size"] = size
    unknown = [option for option in options if option not in accepted]
    if unknown:
        known = [option for option in accepted if option != "size"]
        raise InputError(f"Architecture {name!r} has no option {', '.join(unknown)}; expected one of {', '.join(known) or 'none'}.")
    try:
        return MODELS[name](classes=classes, channels=channels, **options)
    except (TypeError, ValueError) as error:  # of Keras, about an option's value
        told = ", ".join(f"{key} = {value!r}" for key, value in options.items())
        raise InputError(f"Architecture {name!r} cannot be built with {told or 'nothing'}: {error}") from error


def _own_network(name: str, outputs: Heads, shape: tuple[int | None, int | None, int], options: dict[str, Any]) -> keras.Model:
    """Build the network of a function that lies outside of ferkit, named as ``module:function``."""
    module, _, function = name.partition(":")
    try:
        make = getattr(import_module(module), function)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the last two of a name that is empty or begins with a dot
        raise InputError(f"Architecture {name!r} cannot be imported ({error}); expected module:function, where Python finds it.") from error
    try:
        inspect.signature(make).bind(shape, outputs, **options)
    except TypeError as error:
        raise InputError(
            f"Architecture {name!r} does not take its arguments: {error}; expected (input_shape, outputs, **options)."
        ) from error
    made = make(shape, outputs, **options)
    if not isinstance(made, keras.Model):
        raise InputError(f"Architecture {name!r} returned {type(made).__name__}; expected a keras.Model.")
    answers = getattr(made, "output", None)  # a network written as a class has none before it is called
    nameless = None if isinstance(answers, Mapping) else getattr(made, "outputs", None)  # a Sequential has these alone
    if nameless and isinstance(outputs, Mapping):
        if len(nameless) > 1 or len(outputs) > 1:
            raise InputError(f"Architecture {name!r} answers without names; expected a dictionary with {', '.join(outputs)}.")
        answers = dict.fromkeys(outputs, nameless[0])
        made = keras.Model(made.inputs[0], answers, name=made.name)
    if isinstance(answers, Mapping) and isinstance(outputs, Mapping):
        found = {head: answer.shape[-1] for head, answer in answers.items()}
        if found != dict(outputs):
            raise InputError(f"Architecture {name!r} answers {found}; expected {dict(outputs)}, as it was asked for.")
    return made


def _saved_network(path: Path, outputs: Heads, channels: int, options: dict[str, Any]) -> keras.Model:
    """Take a network with its weights, up to what its last layer reads, and put new heads on it."""
    if options:
        raise InputError(f"The saved network {path} has no option {', '.join(options)}; expected its path alone.")
    if not path.is_file():
        raise InputError(f"The saved network {path} does not exist; expected a .keras file, relative to where the command runs.")
    network = load_network(path.read_bytes(), str(path))
    if len(network.inputs) != 1 or network.input_shape[-1] != channels:
        raise InputError(f"The saved network {path} takes {network.input_shape}; expected pictures with {channels} channel(s).")
    features = network.layers[-1].input if isinstance(network.layers[-1], layers.Dense) else network.output
    if isinstance(features, (list, dict)) or len(features.shape) not in (2, 4):
        raise InputError(
            f"The saved network {path} has several outputs, or none to put heads on; expected feature maps, features or logits."
        )
    if len(features.shape) == 4:
        features = layers.GlobalAveragePooling2D(name="features")(features)
    return keras.Model(network.input, _heads(features, outputs), name=path.stem)
