"""Prometheus metrics, in one process or summed over several workers."""

from __future__ import annotations

import os
import re
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from ..processes import is_running

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The service's counters. No label holds anything that a client sent, so their number is bounded."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("ferkit_requests", "Requests answered", ["route", "method", "status"], registry=self._registry)
        self.seconds = Histogram("ferkit_request_seconds", "Time to answer a request", ["route"], buckets=_SECONDS, registry=self._registry)
        self.work = Histogram("ferkit_work_seconds", "Time a lane spends on a batch", buckets=_SECONDS, registry=self._registry)
        self.batch = Histogram("ferkit_batch_images", "Images in a batch", buckets=(1, 2, 4, 8, 16, 32), registry=self._registry)
        self.faces = Counter("ferkit_faces", "Faces classified", registry=self._registry)
        self.frames = Counter("ferkit_stream_frames", "Webcam frames by what became of them", ["outcome"], registry=self._registry)
        self.queue = Gauge("ferkit_queue_images", "Images waiting", registry=self._registry, multiprocess_mode="livesum")
        self.streams = Gauge("ferkit_streams", "Open webcam streams", registry=self._registry, multiprocess_mode="livesum")
        self._shared = os.environ.get("PROMETHEUS_MULTIPROC_DIR") if "Multi" in values.ValueClass.__qualname__ else None
        if self._shared:
            _bury_the_dead(Path(self._shared))

    def render(self) -> bytes:
        """Return the text exposition; with several workers, of all of them together."""
        if not self._shared:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together, self._shared)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _bury_the_dead(folder: Path) -> None:
    """Drop the gauges of workers that were killed; their counters stay, for they did happen."""
    for path in folder.glob("gauge_live*.db"):
        match = re.search(r"_(\d+)\.db$", path.name)
        if match and not is_running(int(match[1])):
            mark_process_dead(int(match[1]), str(folder))  # type: ignore[no-untyped-call]
