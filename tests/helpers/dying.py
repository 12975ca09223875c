"""A training group's member that dies at a place of the program, and not whenever a test happens to look."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any


def member(out: str, *, ranks: Any, **rest: Any) -> None:
    """Be one as ``fit_share`` is; in the second epoch the second one dies in validation, and the next time the first one after a step."""
    from ferkit.train.classifier import loop
    from ferkit.train.classifier.together import fit_share

    notes = [Path(f"{out}.validation"), Path(f"{out}.step")]
    validate, finite = loop._validate, loop.finite

    def in_second_epoch() -> bool:
        history = Path(out, "history.json")
        return history.exists() and len(json.loads(history.read_text())["epochs"]) == 1

    def die(note: Path) -> None:
        note.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def validated(*arguments: Any) -> dict[str, float]:
        scores = validate(*arguments)
        if ranks.number == 1 and in_second_epoch() and not notes[0].exists():
            die(notes[0])
        return scores

    def stepped(*arguments: Any) -> None:
        finite(*arguments)
        if ranks.number == 0 and in_second_epoch() and notes[0].exists() and not notes[1].exists():
            die(notes[1])

    loop._validate, loop.finite = validated, stepped
    fit_share(out=out, ranks=ranks, **rest)
