"""A long video of two people whose ids are known: the memory curve, times, identity switches, IDF1 and frames per second.

python benchmarks/video_memory.py --photos PHOTOS --out benchmarks/results/video_memory.json
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

from _record import record
from _synthetic import RATE, Score, people, truth, write_video


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def make(photos: Path, seconds: float, out: Path) -> None:
    write_video(out, seconds, people(photos, 2))


def measure(video: Path, photos: Path, seconds: float, every_s: float = 60.0) -> dict[str, Any]:
    """Follow the video once, with a table, events and a timeline as a user would, and compare every frame with the truth."""
    from ferkit import Pipeline
    from ferkit.video.events import Events
    from ferkit.video.tables import open_table
    from ferkit.video.timeline import Timeline

    persons, pipeline, score = people(photos, 2), Pipeline(), Score()
    labels = pipeline.classifier.labels
    events, timeline, table = Events(), Timeline(labels), open_table(video.with_suffix(".csv"), list(labels))
    curve: list[tuple[float, float]] = []
    worst_ms, frames, without = 0.0, 0, 0
    begun = time.perf_counter()
    for frame, result in pipeline.video(video):
        if frame.index != frames:
            raise SystemExit(f"Frame {frame.index} came where {frames} was expected.")
        for sink in (table, events, timeline):
            sink.add(frame, result)
        worst_ms = max(worst_ms, abs(frame.time_s - frames / RATE) * 1e3)
        boxes, touch = truth(frame.time_s, persons)
        score.add(frame.time_s, boxes, [(face.track_id or 0, face.box) for face in result.faces], touch)
        without += not result.faces
        frames += 1
        if frame.time_s >= every_s * (len(curve) + 1) - 1e-6:
            curve.append((round(frame.time_s, 3), round(resident_mb(), 1)))
            print(f"{curve[-1][0] / 60:6.1f} min {curve[-1][1]:8.1f} MB", flush=True)
    passed = time.perf_counter() - begun
    table.close()
    curve.append((round(frames / RATE, 3), round(resident_mb(), 1)))
    with video.with_suffix(".csv").open() as file:
        rows = {int(line.split(",", 1)[0]) for line in file if line[0].isdigit()}
    first = curve[0][1]
    return {
        "frames": frames,
        "frames_expected": round(seconds * RATE),
        "frames_with_rows": len(rows),
        "frames_without_faces": without,
        "worst_time_error_ms": round(worst_ms, 4),
        "memory_mb": curve,
        "memory_after_first_mb": first,
        "memory_growth_mb": round(max(mb for _, mb in curve) - first, 1),
        "crossings": score.crossings,
        "switches_apart": score.apart,
        "switches_at_crossings": score.crossed,
        "idf1": round(score.idf1(), 4),
        "tracks": len(score.answers),
        "recall": {person: round(score.found(person), 4) for person in score.truths},
        "fps": round(frames / passed, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", required=True, type=Path)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--curve", type=float, default=60, help="seconds of video between two readings of the memory")
    parser.add_argument("--video", type=Path, help="where the video lies, or is to be kept; made if it is not there")
    parser.add_argument("--out")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        video = args.video or Path(folder) / "synthetic.mp4"
        if not video.exists():
            # In a process of its own: what the encoder leaves in memory is not the pipeline's.
            maker = multiprocessing.get_context("spawn").Process(target=make, args=(args.photos, args.minutes * 60, video))
            maker.start()
            maker.join()
            if maker.exitcode:
                raise SystemExit("The video could not be made.")
        figures = measure(video, args.photos, args.minutes * 60, args.curve)
    record(args.out, {"minutes": args.minutes, "figures": figures})


if __name__ == "__main__":
    main()
