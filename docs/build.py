"""Regenerate what the README shows: the weights table, the annotated picture and the printed examples.

    python docs/build.py            # writes README.md and docs/images/
    python docs/build.py --check    # writes nothing; exit code 1 if the weights table is stale

The table is made from weights/*/spec.json alone, so no figure is typed by hand. The photo is scikit-image's astronaut
(NASA, public domain); scikit-image is needed only where docs/images/photo.jpg is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from ferkit.results import Result
from ferkit.weights import WeightsSpec, load_spec

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
IMAGES = ROOT / "docs" / "images"


def between(text: str, marker: str, new: str | None = None) -> str:
    """Return what stands between ``<!-- marker -->`` and ``<!-- /marker -->``, or the text with that replaced."""
    start, end = f"<!-- {marker} -->\n", f"<!-- /{marker} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise SystemExit(f"README.md needs {start.strip()} and {end} once each.")
    before, rest = text.split(start)
    inside, after = rest.split(end)
    return inside if new is None else before + start + new + end + after


def weights_table(specs: list[WeightsSpec]) -> str:
    """Return the table: one row per label set of each release, single view, flip and ten-crop accuracy."""
    lines = [
        "| weights | labels | measured on | n | accuracy, 1 view (95 % interval) | flip | 10 views | ECE, 1 view |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for spec in specs:
        for output in spec.outputs:
            rows = {str(m["tta"]): m for m in spec.metrics if m["labels"] == output.name}
            name = f"`{output.name}`" + (" (default)" if output.name == spec.default_output else "")
            lines.append(f"| [{spec.name}](weights/{spec.name}/card.md) | {name}, {len(output.labels)} classes | {_measured(rows)} |")
    lines.append("")
    for spec in specs:
        size = spec.files["model.onnx"]["size"] / 1e6
        lines.append(
            f"`{spec.name}`: {spec.architecture['parameters'] / 1e6:.2f} M parameters, {spec.architecture['macs'] / 1e6:.0f} M multiply-adds, "
            f"{size:.1f} MB, {spec.licence}. Selected and calibrated on {spec.selection}; its [card](weights/{spec.name}/card.md) has the rest, "
            "and the command behind every figure."
        )
    return "\n".join(lines) + "\n"


def _measured(rows: dict[str, Any]) -> str:
    plain = rows.get("none")
    if plain is None:
        return "not measured | - | - | - | - | -"
    low, high = plain["ci95"]
    truth = "FER2013" if plain["truth"] == "fer2013" else "FER+ majority" if "FER+" in plain["truth"] else plain["truth"]
    more = [f"{rows[tta]['accuracy']:.1%}" if tta in rows else "-" for tta in ("flip", "10")]
    return f"{truth}, {plain['split']} | {plain['n']:,} | {plain['accuracy']:.1%} ({low:.1%} to {high:.1%}) | {more[0]} | {more[1]} | {plain['ece']:.3f}"


def load_specs() -> list[WeightsSpec]:
    """Return the spec of every classifier's release in weights/, in the order of their names."""
    specs = (load_spec(path.parent) for path in sorted((ROOT / "weights").glob("*/spec.json")))
    return [spec for spec in specs if isinstance(spec, WeightsSpec)]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare the weights table; exit code 1 if it is stale")
    args = parser.parse_args()

    text = README.read_text(encoding="utf-8")
    table = weights_table(load_specs())
    if args.check:
        if between(text, "weights") != table:
            raise SystemExit("README.md: the weights table is stale; type: python docs/build.py")
        return
    README.write_text(between(examples(text), "weights", table), encoding="utf-8")


if __name__ == "__main__":
    main()
