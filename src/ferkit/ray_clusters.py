"""Connecting to a Ray cluster that runs. Ray is imported nowhere else, and only where an address is given: without one it would attach
to any cluster that it finds."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import Any

from .errors import InputError, MissingExtraError

__all__ = ["connected", "in_short"]


def connected(address: str, *, install: bool = False) -> tuple[Any, bool]:
    """Connect to the cluster that runs at an address.

    Args:
        address: ``auto`` (the one that this machine belongs to), ``HOST:PORT``, or ``ray://HOST:PORT``.
        install: Have every node install this ferkit with pip.

    Returns:
        The module ``ray``, and whether the connection is ours to close: False where the program is connected already.

    Raises:
        MissingExtraError: Ray is not installed.
        InputError: There is no such cluster, or its Ray or Python differs from this one's.
    """
    if not re.fullmatch(r"auto|(ray://)?[^\s/:]+:\d+|ray://\[[0-9a-f:]+\]:\d+|\[[0-9a-f:]+\]:\d+", address):
        raise InputError(f"address={address!r}; expected auto, HOST:PORT or ray://HOST:PORT of a Ray cluster that runs.")
    if find_spec("ray") is None:
        raise MissingExtraError("ray", "ray", f"address={address!r}")
    import ray

    if ray.is_initialized():
        return ray, False
    from . import __version__

    environment: dict[str, Any] = {"runtime_env": {"pip": [f"ferkit[batch]=={__version__}"]}} if install else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", **environment)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        raise InputError(
            f"No use of a Ray cluster at {address}: {in_short(error)} Expected one that runs (ray start), with the same Ray and Python."
        ) from error
    return ray, True


def in_short(error: BaseException) -> str:
    """Return an error's last line that says something: Ray prints pages."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[0] if len(lines) == 1 else " ".join([type(cause).__name__ + ":", *(lines[-1:] or [""])])
