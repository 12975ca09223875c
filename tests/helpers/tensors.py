"""What ferkit sees of other libraries' arrays."""

from __future__ import annotations

import numpy as np


class Tensor:
    """What ferkit sees of a tensor."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape = array, array.shape

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self.array

    def __iter__(self) -> object:
        return (type(self)(part) for part in self.array)

    def __len__(self) -> int:
        return len(self.array)


class Arrayish:
    """Another library's picture, of which NumPy makes an array and which knows nothing else: no shape, no iteration."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self.array


class Interface:
    """The same by NumPy's older protocol."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.__array_interface__ = array, array.__array_interface__


class TorchTensor(Tensor):
    __module__ = "torch"
