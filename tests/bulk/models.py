"""Pipelines for the tests' jobs, named as ``--pipeline tests.bulk.models:NAME``: quick ones, slow ones, and those that die."""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from ferkit import Expression, Face, ImageError, Result

LABELS = ("happy", "sad")


class Quick:
    """Answers by the picture's bytes, without looking at it: as many faces as its hash says."""

    classifier = SimpleNamespace(labels=LABELS, name="quick")

    def __call__(self, data: bytes, keep_pixels: bool = False, max_side: int | None = None) -> Result:
        try:
            width, height = Image.open(io.BytesIO(data)).size
        except OSError as error:
            raise ImageError(f"the given bytes: not an image ({len(data)} bytes).") from error
        digest = hashlib.sha256(data).digest()
        faces = []
        for number in range(digest[0] % 3):
            share = round(digest[number + 1] / 255, 6)
            expression = Expression("happy" if share >= 0.5 else "sad", max(share, 1 - share), {"happy": share, "sad": 1 - share})
            faces.append(Face((number, 0, number + 10, 10), share, tuple((k, k + 1) for k in range(5)), expression))
        return Result(tuple(faces), width, height)


class Slow(Quick):
    """Takes its time, without using the processor."""

    def __call__(self, data: bytes, keep_pixels: bool = False, max_side: int | None = None) -> Result:
        time.sleep(0.02)
        return super().__call__(data)


class Poisoned(Quick):
    """Dies of one picture, in a way that FERKIT_TEST_POISON says: ``sha256 segfault``, ``sha256 eat`` or ``sha256 sleep``; or asks for more memory than there is."""

    def __call__(self, data: bytes, keep_pixels: bool = False, max_side: int | None = None) -> Result:
        poison, how = os.environ["FERKIT_TEST_POISON"].split()
        if hashlib.sha256(data).hexdigest() == poison:
            if how == "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            if how == "abort":
                os.abort()
            if how == "eat":
                ctypes.memset(_allocated(40_000_000_000), 1, 40_000_000_000)
            if how == "ask":
                bytearray(40_000_000_000)
            while how == "sleep":
                time.sleep(1)
        return super().__call__(data)


class Poisonous(Quick):
    """Dies of pictures 7 pixels wide, and hangs at those of 9: for nodes whose environment is not the test's."""

    def __call__(self, data: bytes, keep_pixels: bool = False, max_side: int | None = None) -> Result:
        width = Image.open(io.BytesIO(data)).size[0]
        if width == 7:
            os.kill(os.getpid(), signal.SIGSEGV)
        while width == 9:
            time.sleep(1)
        return super().__call__(data)


class Stuck(Quick):
    """Hangs at pictures 11 pixels wide, in the first process only that comes to one: it leaves a file where FERKIT_TEST_STUCK says."""

    def __call__(self, data: bytes, keep_pixels: bool = False, max_side: int | None = None) -> Result:
        if Image.open(io.BytesIO(data)).size[0] == 11:
            try:
                Path(os.environ["FERKIT_TEST_STUCK"]).touch(exist_ok=False)
            except FileExistsError:
                return super().__call__(data)
            time.sleep(600)
        return super().__call__(data)


def _allocated(size: int) -> int:
    """Allocate as C does, without a MemoryError: what cannot be had is an address of 0, which kills when it is written to."""
    allocate = ctypes.CDLL(None).malloc
    allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    return allocate(size) or 0


class Counted(Quick):
    """Writes a byte for each picture that it is shown into the file that FERKIT_TEST_COUNT names."""

    def __call__(self, data: bytes, keep_pixels: bool = False, max_side: int | None = None) -> Result:
        with Path(os.environ["FERKIT_TEST_COUNT"]).open("ab") as file:
            file.write(b".")
        return super().__call__(data)


class Broken(Quick):
    """Has a fault of its own at one picture in ten."""

    def __call__(self, data: bytes, keep_pixels: bool = False, max_side: int | None = None) -> Any:
        if hashlib.sha256(data).digest()[3] < 25:
            raise ZeroDivisionError("a fault of the pipeline")
        return super().__call__(data)


def real() -> Any:
    from ferkit import Pipeline

    return Pipeline("none", "fer2013-n-v6")
