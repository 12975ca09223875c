"""What a batch job is asked for: the options that change rows, which are its identity, and those that do not."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from ..errors import InputError, MissingExtraError

__all__ = ["FREE", "Kind", "Options", "need"]

Kind = Literal["auto", "images", "parquet", "tar", "video"]

# Options that may differ between two runs of one job: they change how it runs, never what is written.
FREE = ("workers", "part", "max_error_rate", "memory", "timeout", "address", "install")
_FLOATS = ("min_confidence", "fps", "every", "shard_mb")


def need(package: str, purpose: str) -> None:
    """Raise MissingExtraError unless a package of the batch extra is installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtraError(package, "batch", purpose)


@dataclass(frozen=True)
class Options:
    """The options of ``ferkit.batch``, checked; its docstring describes them."""

    kind: Kind = "auto"
    column: str | None = None
    key_column: str | None = None
    weights: str | None = None
    labels: str | None = None
    tta: str | None = None
    runtime: str = "opencv"
    detector: str | None = None
    detector_model: str | None = None
    min_confidence: float | None = None
    pipeline: str | None = None
    max_side: int | None = None
    landmarks: bool = True
    features: bool = False
    hash_keys: bool = False
    fps: float | None = None
    every: float | None = None
    shard_images: int = 2000
    shard_mb: float = 512
    workers: int | None = None
    part: tuple[int, int] | None = None
    max_error_rate: float | None = None
    memory: float | None = None
    timeout: float = 300
    address: str | None = None
    install: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InputError(f"kind={self.kind!r}; expected one of {', '.join(get_args(Kind))}.")
        for name in ("shard_images", "shard_mb", "workers", "memory", "timeout", "max_side"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name}={value!r}; expected a number above 0.")
        if self.max_error_rate is not None and not 0 <= self.max_error_rate <= 1:
            raise InputError(f"max_error_rate={self.max_error_rate!r}; expected a share of the pictures, 0 to 1.")
        if self.part is not None and not 1 <= self.part[0] <= self.part[1]:
            raise InputError(f"part={self.part!r}; expected (I, N), the I-th of N with 1 <= I <= N.")
        if self.pipeline is not None and ":" not in self.pipeline:
            raise InputError(f"pipeline={self.pipeline!r}; expected module:function, of a function that returns a Pipeline.")
        if self.address is not None and self.part is not None:
            raise InputError(f"address={self.address!r} and part={self.part!r}; expected one of them: the cluster does all parts.")
        if self.install and self.address is None:
            raise InputError("install=True has the nodes of a cluster install ferkit; expected its address too.")
        if self.key_column is not None and self.kind not in ("auto", "parquet"):
            raise InputError(f"key_column={self.key_column!r} is for Parquet input, not for kind={self.kind!r}.")

    def identity(self) -> dict[str, Any]:
        """Return the options that change rows, equal ones written alike: 512 and 512.0 are one number."""
        out = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in FREE}
        if not self.features:
            del out["features"]  # jobs that were planned before there were any go on
        return {name: float(value) if name in _FLOATS and value is not None else value for name, value in out.items()}
