"""Mutation run: small faults are put into the modules whose contracts matter most, one at a time; do the tests see them?

Cosmic Ray makes the mutants: it changes numbers and conditions outside of functions too, where thresholds live (mutmut 3 changes
functions alone), and a mutant costs one process, which is what a sample needs. Every module has its tests. Everything happens in
a copy. Not part of CI: 140 mutants take about a quarter of an hour.

    pip install cosmic-ray
    python benchmarks/mutation.py --sample 20 --out benchmarks/results/mutation.json

Annotations are not mutated: `from __future__ import annotations` makes them texts, so that nothing could show.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _record import record

ROOT = Path(__file__).resolve().parents[1]
# Modules under src/ferkit, and the tests that hold their contracts.
CONTRACTS = {
    "crops": (
        ["crops.py"],
        "tests/core/test_crops.py tests/core/test_network_input.py tests/classifiers/test_expression_classifier.py tests/core/test_pipeline.py",
    ),
    "geometry": (["geometry.py"], "tests/core/test_geometry.py tests/core/test_crops.py tests/core/test_turned.py"),
    "results": (
        ["results.py"],
        "tests/core/test_results.py tests/core/test_schemas.py tests/core/test_values.py tests/core/test_drawing.py",
    ),
    "weights": (
        ["weights/specs.py", "weights/store.py", "weights/hashes.py"],
        "tests/weights/test_specs.py tests/house/test_records.py tests/weights tests/classifiers/test_ensemble.py",
    ),
    "calibration": (["evaluation/calibration.py"], "tests/evaluation/test_calibration.py"),
    "events": (
        ["video/events.py", "video/shares.py"],
        "tests/video/test_events.py tests/video/test_shares.py",
    ),
    "tracks": (
        ["video/tracks.py"],
        'tests/video/test_tracks.py tests/video/test_video.py -k "test_tracks or number or somebody or flicker or flow or size"',
    ),
}
SECONDS = 300  # after which a mutant counts as seen: it hangs
OPTIONS = '-x -q -p no:cacheprovider -m "not train and not browser and not slow and not shared"'


def copy(folder: Path) -> Path:
    """Copy what the tests need; documents are linked. A path below a link is another one once it is resolved, so weights are copied too."""
    for name in ("src", "tests", "weights"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("docs", "examples", "benchmarks", "pyproject.toml", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def annotations(path: Path) -> set[int]:
    """Return the lines that hold nothing that runs: annotations, docstrings, ``__all__`` and messages."""
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            skipped |= set(range(node.lineno, node.body[0].lineno))
        elif isinstance(node, ast.Raise | ast.AnnAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            assert node.end_lineno is not None
            if not (isinstance(node, ast.AnnAssign) and node.value is not None):
                skipped |= set(range(node.lineno, node.end_lineno + 1))
    return skipped


def compiles(mutation: Any) -> bool:
    """Return False for what is not Python any more (`{>>table}`), which would die without a test."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    operator = get_operator(mutation.operator_name)(**mutation.operator_args)
    path = Path(mutation.module_path)
    changed = mutate_code(path.read_text(encoding="utf-8"), operator, mutation.occurrence)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", SyntaxWarning)  # `name is "text"`, which the tests' own filter would turn into an error
            compile(changed or "", str(path), "exec")
    except (SyntaxError, SyntaxWarning):
        return False
    return True


def mutants(folder: Path, modules: list[str]) -> Iterator[Any]:
    from cosmic_ray.commands.init import _all_work_items

    for module in modules:
        path = folder / "src" / "ferkit" / module
        lines = annotations(path)
        for item in _all_work_items([path], {}):
            [mutation] = item.mutations
            # `A | B` is a type nearly everywhere; a number more or less in a slice of a message says nothing.
            if mutation.start_pos[0] not in lines and "BitOr" not in mutation.operator_name:
                yield mutation


def run(folder: Path, name: str, sample: int, seed: int) -> dict[str, Any]:
    from cosmic_ray.mutating import mutate_and_test
    from cosmic_ray.work_item import TestOutcome

    modules, tests = CONTRACTS[name]
    everything = list(mutants(folder, modules))
    random.Random(f"{seed} {name}").shuffle(everything)
    chosen = list(itertools.islice(filter(compiles, everything), sample))
    command = f"{sys.executable} -m pytest {OPTIONS} {tests}"
    if mutate_and_test([], command, SECONDS).test_outcome != TestOutcome.SURVIVED:
        raise SystemExit(f"{name}: the tests fail without a mutant; run: {command}")
    survivors = []
    for number, mutation in enumerate(chosen, 1):
        result = mutate_and_test([mutation], command, SECONDS)
        if result.test_outcome == TestOutcome.SURVIVED:
            changed = [line for line in (result.diff or "").splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
            survivors.append(f"{Path(mutation.module_path).name}:{mutation.start_pos[0]} {' '.join(changed)}")
            print(f"  {survivors[-1]}", file=sys.stderr, flush=True)
        print(f"{name}: {number} of {len(chosen)}", file=sys.stderr, flush=True)
    return {"mutants": len(everything), "tried": len(chosen), "killed": len(chosen) - len(survivors), "survived": survivors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=20, help="mutants of each contract, drawn at random; all of them if there are fewer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=CONTRACTS, default=list(CONTRACTS))
    parser.add_argument("--out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = copy(Path(name))
        os.environ |= {"PYTHONPATH": str(folder / "src"), "FERKIT_OFFLINE": "1"}
        os.chdir(folder)
        rows = {contract: run(folder, contract, args.sample, args.seed) for contract in args.only}
    tried, killed = (sum(row[key] for row in rows.values()) for key in ("tried", "killed"))
    out = None if args.out is None else str(ROOT / args.out)
    record(out, {"sample": args.sample, "seed": args.seed, "score": round(killed / tried, 3), "tried": tried, "contracts": rows})


if __name__ == "__main__":
    main()
