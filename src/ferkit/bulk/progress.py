"""How a job goes, while it goes: a bar, lines of JSON, a file for the node exporter. Never a picture's name: those are people's."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

from ..errors import InputError
from .records import Receipt
from .stops import uninterrupted

__all__ = ["Progress"]

_EVERY_S = 5.0


class Progress:
    """Watches a run.

    Args:
        lines: Where to print a JSON object a receipt; None prints none.
        metrics: A file in Prometheus' text format, written at once and then anew every few seconds; None writes none.

    Raises:
        InputError: The file cannot be written. That it cannot be later is noted, and no reason to stop.
    """

    def __init__(self, lines: TextIO | None = None, metrics: Path | None = None) -> None:
        self._lines, self._metrics, self._bar = lines, metrics, None
        self._counts: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._written = 0.0
        self._failed = False
        if metrics is not None:
            try:
                self._write(metrics)
            except OSError as error:
                raise InputError(
                    f"{metrics} cannot be written ({error.strerror or error}); expected a file in a folder that you may write to.",
                    arguments=["metrics_file"],
                ) from error

    _bar: Any

    def start(self, shards: int, done: int, pictures: int | None) -> None:
        """A run begins: so many shards, of which so many are done."""
        from tqdm import tqdm

        self._counts.update(shards_planned=shards, shards_done=done)
        with uninterrupted():  # a bar that is half made complains when it is let go
            self._bar = tqdm(total=shards, initial=done, unit="shard", file=sys.stderr, mininterval=0.5)
        if pictures is not None and shards > done:
            self.note(f"{shards - done} of {shards} shards to do, {pictures} pictures in all")

    def receipt(self, receipt: Receipt) -> None:
        """A shard is done."""
        self._counts.update(shards_done=1, images=receipt["images"], faces=receipt["faces"])
        self._errors.update(receipt["errors"])
        if self._lines is not None:
            print(json.dumps(receipt), file=self._lines, flush=True)
        if self._bar is not None:
            self._bar.set_postfix(images=self._counts["images"], errors=sum(self._errors.values()), refresh=False)
            self._bar.update()
        if time.monotonic() - self._written > _EVERY_S:
            self._tell()

    def note(self, text: str) -> None:
        """Something that a person should know."""
        from tqdm import tqdm

        tqdm.write(f"ferkit: {text}", file=sys.stderr)

    def close(self) -> None:
        """The run is over."""
        if self._bar is not None:
            self._bar.close()
        self._tell()

    def _tell(self) -> None:
        if self._metrics is None:
            return
        try:
            self._write(self._metrics)
            self._failed = False
        except OSError as error:
            if not self._failed:
                self.note(f"{self._metrics} cannot be written ({error.strerror or error}); the job goes on without")
            self._failed = True

    def _write(self, metrics: Path) -> None:
        self._written = time.monotonic()
        kinds = {"shards_planned": "gauge", "shards_done": "gauge", "images": "counter", "faces": "counter"}
        text = "".join(
            f"# TYPE ferkit_batch_{name}{'_total' if kind == 'counter' else ''} {kind}\n"
            f"ferkit_batch_{name}{'_total' if kind == 'counter' else ''} {self._counts[name]}\n"
            for name, kind in kinds.items()
        )
        text += "# TYPE ferkit_batch_errors_total counter\n"
        text += "".join(f'ferkit_batch_errors_total{{kind="{kind}"}} {count}\n' for kind, count in sorted(self._errors.items()))
        temporary = metrics.with_name(f".{metrics.name}.{os.getpid()}")  # which the exporter does not read
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(metrics)
