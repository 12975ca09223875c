"""Regenerate what the README shows, the weights table, the annotated picture and the printed examples; and the list of modules.

    python docs/build.py            # writes README.md, docs/images/ and docs/architecture.md
    python docs/build.py --check    # writes nothing; exit code 1 if a table is stale

The tables are made from the releases' specs and from what benchmarks/peers.py measured, so no figure is typed by hand. The photo is scikit-image's astronaut
(NASA, public domain); scikit-image is needed only where docs/images/photo.jpg is missing.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import re
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ferkit.results import Result
from ferkit.weights.releases import DEFAULT_WEIGHTS, list_weights
from ferkit.weights.specs import EnsembleSpec, WeightsSpec, load_classifier_spec

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PEERS = ROOT / "benchmarks" / "results" / "peers.json"
IMAGES = ROOT / "docs" / "images"
ARCHITECTURE = ROOT / "docs" / "architecture.md"


def between(text: str, marker: str, new: str | None = None) -> str:
    """Return what stands between ``<!-- marker -->`` and ``<!-- /marker -->``, or the text with that replaced."""
    start, end = f"<!-- {marker} -->\n", f"<!-- /{marker} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise SystemExit(f"The page needs {start.strip()} and {end} once each.")
    before, rest = text.split(start)
    inside, after = rest.split(end)
    return inside if new is None else before + start + new + end + after


def wrapped(text: str) -> str:
    """Return prose in lines of at most 100 columns, of which none begins with a percent sign."""
    lines = textwrap.wrap(text.replace(" %", "\0%"), 100, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0%", " %")


def weights_table(specs: list[WeightsSpec | EnsembleSpec]) -> str:
    """Return the table: one row per release; on photos what its default answers, on FER2013 and FER+ what those label sets answer.

    A release that has not one of these label sets, or was not measured by it, has a dash there.
    """
    lines = [
        '| weights | parameters, multiply-adds | photos: accuracy (95 % interval) | `labels="fer2013"` on FER2013: 1 view (95 % interval) | flip | 10 views | ECE '
        '| `labels="ferplus"` on FER+: 1 view (95 % interval) | flip |',
        "|---|---|---|---|---|---|---|---|---|",
    ]
    counted = set()
    for spec in specs:
        rows = {(m["labels"], str(m["tta"])): m for m in spec.metrics if m["split"] != "photos"}
        fer, plus = rows.get(("fer2013", "none")), rows.get(("ferplus", "none"))
        photos = {m["truth"]: m for m in spec.metrics if m["split"] == "photos"}.get("all three agree")
        if fer and plus and photos:
            counted.add((spec.selection, fer["n"], plus["n"], photos["n"]))
        name = f"[{spec.name}](weights/{spec.name}/card.md)" + (" (default)" if spec.name == DEFAULT_WEIGHTS else "")
        size = f"{spec.architecture['parameters'] / 1e6:.2f} M, {spec.architecture['macs'] / 1e6:.0f} M"
        cells = [_accuracy(photos), _accuracy(fer), *(_short(rows.get(("fer2013", tta))) for tta in ("flip", "10"))]
        cells += [f"{fer['ece']:.3f}" if fer else "-", _accuracy(plus), _short(rows.get(("ferplus", "flip")))]
        lines.append(f"| {name} | {size} | {' | '.join(cells)} |")
    [(split, n, n_plus, n_photos)] = counted  # one line says it for all
    lines += [
        "",
        wrapped(
            f'Photos: {n_photos} portraits whose label two readers, blind to it, agree with; what `Pipeline()` answers (`labels="photos"`), the photos on '
            f"which its two exponents and its heads were chosen. The others are measured on {split}: {n:,} faces; {n_plus:,} of them have a FER+ majority. It also served to choose and to calibrate. Each card has "
            "every label set, the recall of each label, and the command behind every figure."
        ),
    ]
    return "\n".join(lines) + "\n"


def peers_table(measured: Mapping[str, Any]) -> str:
    """Return the table beside other libraries, from what benchmarks/peers.py measured."""
    lines = [
        "| library | photos, end to end | the same faces, cut alike | FER2013's faces | cold start | a photo | installed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in measured["peers"].items():
        photos, seconds, crops = row["photos"], row["processor_seconds"], row.get("publictest_crops")
        size = row["installed_mb"]
        cut, faces = (
            (f"{row['photo_crops']['all_three']['accuracy']:.1%}", f"{crops['accuracy']:.1%}") if crops else ("as above", "as above")
        )
        installed = f"{size / 1000:.1f} GB" if size >= 1000 else f"{size:.0f} MB"
        clear = f"{photos['all_three']['accuracy']:.1%}"
        lines.append(f"| {name} | {clear} | {cut} | {faces} | {seconds['cold']:.1f} s | {1000 * seconds['each']:.0f} ms | {installed} |")
    first = next(iter(measured["peers"].values()))
    lines += [
        "",
        wrapped(
            f"Photos: {first['photos']['all_three']['n']} portraits on whose label three readings agree, most of them filling their frame; a face that is not "
            "found is wrong, and face-api's detector finds hardly any that fill their frame. ferkit was measured with `fer2013-s-v6`, whose heads and exponents were chosen on these photos. "
            f"FER2013: the first {first['publictest_crops']['n']:,} faces of PublicTest. Cold start and a further photo are processor time on one machine. "
            "face-api and human run on WASM; most of fer's size are CUDA libraries that come with it. `benchmarks/peers.py` has the versions, the pins that `fer` needs, and the command; deepface, EmotiEffLib, py-feat, rmn and "
            "uniface fetch their weights, and could not be measured offline."
        ),
    ]
    return "\n".join(lines) + "\n"


def _short(metrics: Mapping[str, Any] | None) -> str:
    return f"{metrics['accuracy']:.1%}" if metrics else "-"


def _accuracy(metrics: Mapping[str, Any] | None) -> str:
    if not metrics:
        return "-"
    low, high = metrics["ci95"]
    return f"{metrics['accuracy']:.1%} ({low:.1%} to {high:.1%})"


def load_specs() -> list[WeightsSpec | EnsembleSpec]:
    """Return the spec of every release that comes with the package and classifies expressions, in the order of the list."""
    names = [release.name for release in list_weights() if release.kind != "detector"]
    return [load_classifier_spec(ROOT / "weights" / name) for name in names]


def module_list() -> str:
    """Return the list of modules: a table for each folder, a row for each module, with the first paragraph of its docstring."""
    package, lines = ROOT / "src" / "ferkit", []

    def first(file: Path) -> str:
        docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
        if docstring is None:
            raise SystemExit(f"{file.relative_to(ROOT)} has no docstring.")
        return " ".join(docstring.partition("\n\n")[0].replace("``", "`").replace("|", "\\|").split())

    def add(folder: Path) -> None:
        files = sorted(path for path in folder.glob("*.py") if path.name not in ("__init__.py", "__main__.py"))
        name = folder.relative_to(package).as_posix() if folder != package else "ferkit"
        about = [] if folder == package else [wrapped(first(folder / "__init__.py")), ""]
        lines.extend([f"### {name}/", "", *about, "| file | what it holds |", "|---|---|"])
        lines.extend([*(f"| `{path.name}` | {first(path)} |" for path in files), ""])
        for below in sorted(path for path in folder.iterdir() if (path / "__init__.py").is_file()):
            add(below)

    add(package)
    return "\n".join(lines)


def write_photo() -> Path:
    """Write the plain photo if it is not there, and return its path."""
    photo = IMAGES / "photo.jpg"
    if not photo.exists():
        from PIL import Image
        from skimage import data

        IMAGES.mkdir(parents=True, exist_ok=True)
        Image.fromarray(data.astronaut()).save(photo, quality=92)
    return photo


def shown(result: Result) -> str:
    """Return a result as the README shows it: the JSON of ``ferkit predict`` with short numbers, wrapped."""
    table = json.loads(result.to_json(), parse_float=lambda text: round(float(text), 3))
    faces = table.pop("faces")
    lines = ["[" + json.dumps(table)[:-1] + ","]
    for number, face in enumerate(faces):
        probabilities = json.dumps(face.pop("probabilities"))
        lines += ['  "faces": ['] if number == 0 else []
        comma = "," if number + 1 < len(faces) else ""
        lines += [f"    {json.dumps(face)[:-1]},", f'     "probabilities": {probabilities}}}{comma}']
    if not faces:
        lines.append('  "faces": [')
    lines[-1] += "]}]"
    return "\n".join(lines)


def examples(text: str) -> str:
    """Run the README's first Python block on the photo and put what it prints, and the command's answer, into the text."""
    from PIL import Image

    from ferkit import Pipeline

    code = re.search(r"```python\n(.*?)```", text, re.S)
    command = re.search(r"^\$ ferkit predict .*$", between(text, "answered"), re.M)
    if code is None or command is None:
        raise SystemExit("README.md has lost its Python or its command line example.")
    photo = write_photo()
    with tempfile.TemporaryDirectory() as folder:
        here = Path.cwd()
        os.chdir(folder)
        try:
            Path("photo.jpg").write_bytes(photo.read_bytes())
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(code[1], "README.md", "exec"), {})
            result = Pipeline()("photo.jpg")
        finally:
            os.chdir(here)
    picture = result.draw()
    assert isinstance(picture, Image.Image)
    picture.save(IMAGES / "astronaut.png", optimize=True)
    text = between(text, "printed", f"```text\n{printed.getvalue()}```\n")
    return between(text, "answered", f"```console\n{command[0]}\n{shown(result)}\n```\n")


def put(page: Path, text: str, command: str, check: bool) -> None:
    """Write a page anew; with ``check`` only say, by exit code 1, that it is stale, and which command writes it."""
    if page.read_text(encoding="utf-8") == text:
        return
    if check:
        raise SystemExit(f"{page.relative_to(ROOT).as_posix()} is stale. Run: python {command}")
    page.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare the tables; exit code 1 if one is stale")
    parser.add_argument("--modules", action="store_true", help="write the list of modules alone")
    args = parser.parse_args()

    page = between(ARCHITECTURE.read_text(encoding="utf-8"), "modules", module_list())
    put(ARCHITECTURE, page, "docs/build.py --modules", check=args.check)
    if args.modules:
        return
    text = README.read_text(encoding="utf-8")
    tables = {"weights": weights_table(load_specs())}
    if PEERS.exists():
        tables["peers"] = peers_table(json.loads(PEERS.read_text(encoding="utf-8")))
    if args.check:
        if stale := [name for name, table in tables.items() if between(text, name) != table]:
            raise SystemExit(f"README.md: stale tables: {', '.join(stale)}. Run: python docs/build.py")
        return
    text = examples(text)
    for name, table in tables.items():
        text = between(text, name, table)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
