"""Regenerate the tables of docs/serve.md from benchmarks/results/serve.json, so that no figure is typed by hand.

python docs/service.py            # writes docs/serve.md
python docs/service.py --check    # writes nothing; exit code 1 if a table is stale
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from build import between, put, wrapped

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "serve.md"
RESULTS = ROOT / "benchmarks" / "results" / "serve.json"

PROGRAMS = {"ferkit": "default", "none": "`--detector none` (crops)"}
VARIANTS = {
    "peak_mb": "opencv",
    "opencv, 1 lane": "opencv, one lane",
    "onnxruntime": "onnxruntime",
    "onnxruntime, 1 lane": "onnxruntime, one lane",
}


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines).replace("| --- ", "|---").replace("--- |\n", "---|\n")


def ms(value: float) -> str:
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


def refused(statuses: Mapping[str, int]) -> str:
    bad = {status: count for status, count in statuses.items() if status != "200"}
    return f"{sum(bad.values()):,} of {sum(statuses.values()):,}: {', '.join(bad)}" if bad else "none"


def load_table(results: Mapping[str, Any]) -> str:
    """Return what 1, 8 and 64 clients get, and what half of the best rate waits."""
    rows = []
    for name, shown in PROGRAMS.items():
        one = results["load"][name]
        for clients in (1, 8, 64):
            row = one[f"clients_{clients}"]
            rows.append(
                (
                    shown if clients == 1 else "",
                    str(clients),
                    f"{row['per_second']:.0f}",
                    ms(row["p50_ms"]),
                    ms(row["p99_ms"]),
                    refused(row["statuses"]),
                )
            )
    default = results["load"]["ferkit"]
    even, random = default["half_load_even"], default["half_load_random"]
    text = (
        f"At half of the best rate ({default['half_load_per_second']:.0f} pictures/s) the default's p99 is {ms(even['p99_ms'])} with even arrivals "
        f"(n = {even['statuses']['200']}) and {ms(random['p99_ms'])} with random ones (n = {random['statuses']['200']}). Its memory was "
        f"{default['rss_mb_before']:.0f} MB before and {default['rss_mb_after']:.0f} MB after."
    )
    if results.get("wrk"):
        seen = results["wrk"]["ferkit"]
        text += (
            f" wrk, which does not wait after a 503, sees {seen['1']['answered_per_second']:.0f} and {seen['8']['answered_per_second']:.0f} pictures/s "
            f"with 1 and 8 clients; 64 clients get {seen['64']['answers'] - seen['64']['refused']:,} answers and {seen['64']['refused']:,} refusals in "
            f"{seen['64']['seconds']:.0f} s: {seen['64']['answered_per_second']:.0f} pictures/s, since refusals cost time too."
        )
    return table(("page or program", "clients", "pictures/s", "p50", "p99", "refused"), rows) + f"\n{wrapped(text)}\n"


def capacity_table(results: Mapping[str, Any]) -> str:
    """Return each engine's capacity by the size of the pictures, the wait at half of it, and what a queue would make of it."""
    rows = []
    for size, engines in results["capacities"]["sizes"].items():
        width, height = map(int, size.split("x"))
        shown = size if width * height < 900_000 else f"{size} ({width * height // 1_000_000 or 1} MP)"
        for engine, row in engines.items():
            even, random = row["half_load_even"], row["half_load_random"]
            queue = f"{random['p99_ms_by_the_queue']:.0f} ms" if "p99_ms_by_the_queue" in random else "-"
            rows.append(
                (
                    shown,
                    engine,
                    f"{row['clients_8']['per_second']:.1f}",
                    f"{even['p50_ms']:.0f} / {even['p99_ms']:.0f} ms",
                    f"{random['p50_ms']:.0f} / {random['p99_ms']:.0f} ms ({sum(random['statuses'].values())})",
                    queue,
                )
            )
    head = ("picture", "`--runtime`", "pictures/s", "even arrivals: p50 / p99", "random arrivals: p50 / p99 (n)", "p99 of an ideal queue")
    return table(head, rows)


def memory_table(results: Mapping[str, Any]) -> str:
    """Return a worker's peak with each kind of picture."""
    memory = results["memory"]
    rows = [
        (name, *(f"{row[variant]}" if variant in row else "" for variant in VARIANTS))
        for name, row in sorted(memory["kinds"].items(), key=lambda kind: kind[1]["peak_mb"])
    ]
    return table(("picture", *VARIANTS.values()), rows)


def beside_table(results: Mapping[str, Any]) -> str:
    if "beside" not in results:
        return ""  # the page speaks of it once it is measured
    alone, with_huge = results["beside"]["alone"], results["beside"]["beside"]
    return (
        wrapped(
            f"Small pictures (640x480, four random ones a second) have p50 / p99 {alone['p50_ms']:.0f} / {alone['p99_ms']:.0f} ms alone, and "
            f"{with_huge['p50_ms']:.0f} / {with_huge['p99_ms']:.0f} ms (n = {with_huge['statuses']['200']}) while another client sends such HEICs, one after the other."
        )
        + "\n"
    )


BLOCKS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "load": load_table,
    "capacities": capacity_table,
    "memory": memory_table,
    "beside": beside_table,
}


def page(text: str, results: Mapping[str, Any]) -> str:
    """Return the page with every table replaced."""
    for marker, made in BLOCKS.items():
        text = between(text, marker, made(results))
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    text, results = PAGE.read_text(encoding="utf-8"), json.loads(RESULTS.read_text(encoding="utf-8"))
    put(PAGE, page(text, results), "docs/service.py", check=args.check)


if __name__ == "__main__":
    main()
