"""A camera that goes away."""

from __future__ import annotations

import numpy as np


class Camera:
    """Stands for cv2.VideoCapture: 7 pictures, then the cable is pulled."""

    opened = True

    def __init__(self, number: int) -> None:
        self.left = 7

    def isOpened(self) -> bool:
        return self.opened

    def set(self, *_: object) -> None:
        pass

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, np.full((120, 160, 3), (200, 0, 0), np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        pass
