"""What a batch job is asked for: the options that change rows, which are its identity, and those that do not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, get_args

from ..errors import InputError, MissingExtraError

__all__ = ["FREE", "Kind", "Options", "need"]

Kind = Literal["auto", "images", "parquet", "tar", "video"]

# Options that may differ between two runs of one job: they change how it runs, never what is written.
FREE = ("workers", "part", "max_error_rate", "memory", "timeout", "address", "install")
# What a pipeline of one's own replaces.
_READING = ("weights", "labels", "tta", "runtime", "detector", "detector_model", "min_confidence")
# Options that do something for some kinds of input only: what those are called, and the kinds.
_ONLY = {
    **dict.fromkeys(("column", "key_column"), ("Parquet input", {"parquet"})),
    **dict.fromkeys(("fps", "every"), ("videos", {"video"})),
    "max_side": ("pictures", {"images", "parquet", "tar"}),
}
_FLOATS = ("min_confidence", "fps", "every", "shard_mb")
_WHOLE = ("shard_images", "workers", "max_side")


def need(package: str, purpose: str) -> None:
    """Raise MissingExtraError unless a package of the batch extra is installed."""
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingExtraError(package, "batch", purpose)


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


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
        for name in (*_WHOLE, "shard_mb", "memory", "timeout", "fps", "every"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value, Integral if name in _WHOLE else Real) and value > 0):
                raise InputError(f"{name}={value!r}; expected a {'whole ' if name in _WHOLE else ''}number above 0.")
        share, part = self.max_error_rate, self.part
        if share is not None and not (_is_number(share, Real) and 0 <= share <= 1):
            raise InputError(f"max_error_rate={share!r}; expected a share of the pictures, 0 to 1.")
        pair = part is None or (isinstance(part, (tuple, list)) and len(part) == 2 and all(_is_number(one, Integral) for one in part))
        if not pair or (part is not None and not 1 <= part[0] <= part[1]):
            raise InputError(f"part={self.part!r}; expected (I, N), the I-th of N with 1 <= I <= N.")
        if self.pipeline is not None and ":" not in self.pipeline:
            raise InputError(f"pipeline={self.pipeline!r}; expected module:function, of a function that returns a Pipeline.")
        if self.address is not None and self.part is not None:
            raise InputError(f"address={self.address!r} and part={self.part!r}; expected one of them: the cluster does all parts.")
        if self.install and self.address is None:
            raise InputError("install=True has the nodes of a cluster install ferkit; expected its address too.")

    def check_new(self, kinds: Collection[str]) -> None:
        """Refuse options that would do nothing. Only for a new job: earlier versions planned with them, and such a job goes on.

        Args:
            kinds: Of what there is to do.

        Raises:
            InputError: Such an option was given.
        """
        plain = type(self)()
        given = [name for name in _READING if getattr(self, name) != getattr(plain, name)]
        if self.pipeline is not None and given:
            raise InputError(
                f"pipeline={self.pipeline!r} reads with what it opens itself, and not with {', '.join(given)}; leave these out, or pipeline.",
                arguments=[*given, "pipeline"],
            )
        for name, (what, those) in _ONLY.items():
            if getattr(self, name) is not None and kinds and those.isdisjoint(kinds):
                raise InputError(
                    f"{name}={getattr(self, name)!r} is for {what}; these inputs are of kind {', '.join(kinds)}. Leave it out.",
                    arguments=[name],
                )

    def identity(self) -> dict[str, Any]:
        """Return the options that change rows, equal ones written alike: 512 and 512.0 are one number."""
        out = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in FREE}
        if not self.features:
            del out["features"]  # jobs that were planned before there were any go on
        plain = {**dict.fromkeys(_FLOATS, float), **dict.fromkeys(_WHOLE, int)}
        return {name: plain[name](value) if name in plain and value is not None else value for name, value in out.items()}
