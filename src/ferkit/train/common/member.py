"""One process of a group: reads what it is to do from its standard input, joins the others, does it, and says how it went."""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import threading
import traceback
from typing import IO, Any

from ...errors import FerkitError
from ...orphans import die_with

__all__ = ["main"]

# Seconds: a step that is compiled on a busy machine says nothing for half a minute.
_HEARTBEAT_S = 60
_JOIN_S = 300


def main() -> None:
    """Do what the standard input says."""
    answers: IO[bytes] = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    sys.path[:] = pickle.load(sys.stdin.buffer)  # with the current folder, where the program that started it has it too
    start = pickle.load(sys.stdin.buffer)
    die_with(start["parent"])
    threading.Thread(target=_leave_with_the_input, daemon=True).start()
    try:
        _join(start)
        from .ranks import Ranks

        ranks = Ranks(start["count"], start["number"])
        name, arguments = start["call"]
        module, _, function = name.partition(":")
        tell = (lambda told: answers.write(pickle.dumps(told))) if ranks.first else (lambda _: None)
        getattr(importlib.import_module(module), function)(**arguments, ranks=ranks, tell=tell)
    except FerkitError as error:
        answers.write(pickle.dumps(error))
        _leave(1)
    except Exception:
        traceback.print_exc()
        _leave(1)
    _leave(0)


def _leave_with_the_input() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _leave(code: int) -> None:
    """End without the others: JAX's own farewell waits for every one of them."""
    sys.stderr.flush()
    os._exit(code)


def _join(start: dict[str, Any]) -> None:
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        start["coordinator"],
        start["count"],
        start["number"],
        initialization_timeout=_JOIN_S,
        heartbeat_timeout_seconds=_HEARTBEAT_S,
    )


if __name__ == "__main__":
    main()
