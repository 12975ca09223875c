"""Regenerate the tables and curves of docs/zoo.md from docs/zoo/*.json, so that no figure is typed by hand.

python docs/zoo.py                        # writes docs/zoo.md, and docs/images/zoo_curves.png if the histories changed
python docs/zoo.py --check                # writes nothing; exit code 1 if a table or the curves are stale
python docs/zoo.py --nets                 # counts parameters and multiply-adds anew (needs the train extra)
python docs/zoo.py --add runs/shallow     # keeps a run's history and metrics in docs/zoo/<recipe>.json
python docs/zoo.py --add runs/conv3-p15 --variant conv3-p15-1e-3   # the same of a run with other settings
python docs/zoo.py --release runs/shallow # copies what prediction needs of a small net into weights/zoo, and its confusion matrix into docs/images;
                                          # then: python -m tests.golden.make shallow
python docs/zoo.py --add runs/shallow --ensemble runs/shallow-ensemble --data fer2013.csv   # and measures its snapshots' ensemble
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from build import between, put, wrapped

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "zoo.md"
KEPT = ROOT / "docs" / "zoo"
TERMS = ROOT / "benchmarks" / "results" / "zoo_terms.json"
CUT = ROOT / "benchmarks" / "results" / "zoo_vgg16.json"
CURVES = ROOT / "docs" / "images" / "zoo_curves.png"

# What the systems said of themselves. "-" where they gave no figure; none of these was measured here.
SYSTEMS: dict[str, tuple[str, str]] = {
    "conv3": ("A", "-"),
    "shallow": ("B", "-"),
    "shallow-6": ("B", "about 62 %; snapshot ensemble 63.7 %"),
    "wide": ("B", "-"),
    "wide-6": ("B", "63.6 %; snapshot ensemble 65.9 %"),
    "resnet34": ("B", "-"),
    "resnet34-6": ("B", "-"),
    "conv4": ("C", "-"),
    "vgg8": ("D", "65 % on train and validation"),
    "vgg16": ("E", "66.83 % on the test split, ten random views"),
    "mini-xception": ("Arriaga et al.", "66 %"),
}
# What repeats a run whose data or settings are not the plain ones.
COMMANDS = {
    "vgg8": "ferkit train --recipe vgg8 --data fer2013.csv --set early_stopping.patience=10",
    "vgg16": "ferkit prepare --data fer2013.csv --out runs/cut --detector ferkit; ferkit train --recipe vgg16 --data runs/cut",
}
# Runs of a recipe with other settings, kept beside its own.
VARIANTS = {
    "conv3": ("as it is: patience 5, rate 1e-3", "ferkit train --recipe conv3"),
    "conv3-p15-1e-3": ("patience 15", "ferkit train --recipe conv3 --set early_stopping.patience=15"),
    "conv3-p15-3e-4": ("patience 15, rate 3e-4", "ferkit train --recipe conv3 --set early_stopping.patience=15 --set lr=3e-4"),
}
# What a factor of system B's terms is worth: the row without it and the row with it.
FACTORS = {
    "disgust left out, FER2013's split": ("own terms, seven labels", "without disgust"),
    "disgust left out, the system's terms": ("system B's terms with disgust", "and copies across the split: system B's terms"),
    "faces without landmarks dropped, by ferkit's detector": ("without disgust", "and faces without landmarks dropped"),
    "aligned": ("and faces without landmarks dropped", "and aligned"),
    "a random split in place of FER2013's, copies on one side": ("and aligned", "and split at random, copies on one side"),
    "copies across the split": ("and split at random, copies on one side", "and copies across the split: system B's terms"),
    "only faces that dlib's detector finds": ("and copies across the split: system B's terms", "system B's terms, faces that dlib finds"),
    "9,000 iterations in place of 3,000": ("and copies across the split: system B's terms", "system B's terms, 9,000 iterations"),
    "the same on faces that dlib's detector finds": ("system B's terms, faces that dlib finds", "the same, 9,000 iterations"),
}
HISTORY = ("epoch", "loss", "val_loss", "learning_rate", "seconds")


def load(name: str) -> Any:
    path = KEPT / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def kept_runs() -> dict[str, Any]:
    return {name: run for name in SYSTEMS if (run := load(name)) is not None}


def percent(row: dict[str, Any]) -> str:
    low, high = row["ci95"]
    return f"{row['accuracy']:.2%} ({low:.1%} to {high:.1%})"


def stopped(run: dict[str, Any]) -> str:
    """Say how far an unfinished run came: PublicTest after its last epoch."""
    _, own = accuracies(run["history"][-1])
    return f"{own:.2%} after {run['epochs']} of {run['planned']} epochs"


def systems_table() -> str:
    """Return the table of nets: size, claim, and our figures or that there are none yet."""
    nets = load("nets")
    lines = [
        "| recipe | system | labels | parameters | multiply-adds | claimed | measured, 1 view (95 % interval) | 10 views |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (system, claimed) in SYSTEMS.items():
        net, run = nets[name], load(name)
        size = f"{net['labels']} | {net['parameters']:,} | {net['macs'] / 1e6:.1f} M"
        if run is None:
            measured = "not trained yet | -"
        elif not run["metrics"]:
            measured = f"{stopped(run)} | -"
        else:
            rows = {str(row["tta"]): row for row in run["metrics"]}
            measured = f"{percent(rows['none'])} | {rows['10']['accuracy']:.2%}"
        lines.append(f"| [{name}](../src/ferkit/train/classifier/recipes/{name}.toml) | {system} | {size} | {claimed} | {measured} |")
    return "\n".join(lines) + "\n"


def ensembles_table() -> str:
    """Return one line per run whose snapshots were measured as an ensemble, face by face against the last of them."""
    lines = ["| recipe | snapshots | last snapshot | all of them | gain in points (paired 95 % interval) |", "|---|---|---|---|---|"]
    for name, run in kept_runs().items():
        if row := run.get("ensemble"):
            low, high = (100 * value for value in row["ci95"])
            gained = f"{100 * row['difference']:+.1f} ({low:+.1f} to {high:+.1f})"
            lines.append(f"| {name} | {row['members']} | {row['before']:.2%} | {row['after']:.2%} | {gained} |")
    return "\n".join(lines) + "\n"


def best_loss(run: dict[str, Any]) -> str:
    losses = [row["val_loss"] for row in run["history"] if "val_loss" in row]
    return f"{min(losses):.4f}, epoch {1 + losses.index(min(losses))}" if losses else "-"


def runs_table() -> str:
    """Return one line per kept run: epochs, hours, the command that repeats it; then all hours together and the machines."""
    runs = kept_runs()
    if not runs:
        return "No run is kept yet.\n"
    lines = ["| recipe | epochs | best val_loss | hours | command |", "|---|---|---|---|---|"]
    for name, run in runs.items():
        command = COMMANDS.get(name, f"ferkit train --recipe {name} --data fer2013.csv")
        lines.append(f"| {name} | {run['epochs']} | {best_loss(run)} | {run['hours']} | `{command}` |")
    every = [*runs.values(), *(run for name in VARIANTS if name not in runs and (run := load(name)) is not None)]
    hours, machines = sum(run["hours"] for run in every), "; ".join(sorted({run["machine"] for run in every}))
    together = wrapped(f"All runs together, system A's others too: {hours:.1f} hours, on {machines}.")
    return "\n".join([*lines, "", together]) + "\n"


def variants_table() -> str:
    """Return one line per kept run of system A's net: what was changed, and what came of it."""
    lines = [
        "| what is changed | epochs | best val_loss | PublicTest, 1 view (95 % interval) | 10 views | hours | command |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, (told, command) in VARIANTS.items():
        run = load(name)
        if run is None or not run["metrics"]:
            lines.append(f"| {told} | not trained to its end yet | - | - | - | - | `{command}` |")
            continue
        rows = {str(row["tta"]): row for row in run["metrics"]}
        measured = f"{percent(rows['none'])} | {rows['10']['accuracy']:.2%}"
        lines.append(f"| {told} | {run['epochs']} | {best_loss(run)} | {measured} | {run['hours']} | `{command}` |")
    return "\n".join(lines) + "\n"


def measured_terms() -> dict[str, Any]:
    """Return the rows of ``benchmarks/zoo_terms.py``: by net, then by name."""
    nets: dict[str, Any] = json.loads(TERMS.read_text(encoding="utf-8"))["nets"]
    return nets


def terms_table() -> str:
    """Return one line per training of system B's small nets on its terms, one factor after the other."""
    nets = measured_terms()
    lines = [
        "| terms | trained on | tested on | of these with a copy in training | "
        + " | ".join(f"{net}: best snapshot, its iterations | {net}: nine together (95 % interval)" for net in nets)
        + " |",
        "|---|---|---|---|" + "---|---|" * len(nets),
    ]
    for name in dict.fromkeys(name for rows in nets.values() for name in rows):
        rows = [net.get(name) for net in nets.values()]
        known = next(row for row in rows if row is not None)
        cells = [
            "- | -"
            if row is None
            else f"{row['best']['accuracy']:.1%}, {row['iterations'][max(range(len(row['alone'])), key=row['alone'].__getitem__)]:,} | {percent(row['together'])}"
            for row in rows
        ]
        lines.append(f"| {name} | {known['trained_on']:,} | {known['n']:,} | {known['copies_of_test']:.1%} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def factors_table() -> str:
    """Return one line per factor: how much more is right with it, nine snapshots together, from rows of the table of terms."""
    nets = measured_terms()
    lines = ["| factor | " + " | ".join(f"{net}, points" for net in nets) + " |", "|---|" + "---|" * len(nets)]
    for factor, (without, with_it) in FACTORS.items():
        cells = [
            f"{100 * (rows[with_it]['together']['accuracy'] - rows[without]['together']['accuracy']):+.1f}"
            if {without, with_it} <= set(rows)
            else "-"
            for rows in nets.values()
        ]
        lines.append(f"| {factor} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def cut_table() -> str:
    """Return one line per set of PublicTest's faces on which ``benchmarks/zoo_vgg16.py`` measured system E's net."""
    lines = [
        "| faces of PublicTest | n | 1 view (95 % interval) | F1 | ten random views (95 % interval) | F1 |",
        "|---|---|---|---|---|---|",
    ]
    for faces, (one, ten) in json.loads(CUT.read_text(encoding="utf-8"))["faces"].items():
        figures = [f"{percent(row)} | {row['weighted_f1']:.4f}" for row in (one, ten)]
        lines.append(f"| {faces} | {one['n']:,} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Return the page with its tables replaced."""
    tables = {
        "systems": systems_table(),
        "ensembles": ensembles_table(),
        "terms": terms_table(),
        "factors": factors_table(),
        "variants": variants_table(),
        "cut": cut_table(),
        "runs": runs_table(),
    }
    for marker, table in tables.items():
        text = between(text, marker, table)
    return text


def accuracies(row: dict[str, Any]) -> tuple[float, float | None]:
    """Return an epoch's accuracy on Training, as the net saw its faces, and on PublicTest, if it was measured."""
    own = next(value for key, value in row.items() if key.endswith("accuracy") and not key.startswith("val_"))
    return own, next((value for key, value in row.items() if key.startswith("val_") and key.endswith("accuracy")), None)


def drawn_from() -> str:
    """Return a digest of what the curves show; it lies in the picture, so that a stale one is noticed."""
    shown = {name: [accuracies(row) for row in run["history"]] for name, run in kept_runs().items()}
    return hashlib.sha256(json.dumps(shown).encode()).hexdigest()


def kept_digest() -> str:
    from PIL import Image

    with Image.open(CURVES) as picture:
        return str(picture.info.get("histories"))


def draw_curves() -> None:
    """Write the picture: for every kept run its accuracy on Training and PublicTest over its epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs = kept_runs()
    figure = Figure(figsize=(11, 2.5 * -(-len(runs) // 4)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (name, run) in enumerate(runs.items()):
        axis = figure.add_subplot(-(-len(runs) // 4), 4, place + 1)
        shown = [accuracies(row) for row in run["history"]]
        epochs = range(1, len(shown) + 1)
        axis.plot(
            epochs, [100 * own for own, _ in shown], color="#0072b2", linewidth=1.4, marker="." if len(shown) < 8 else "", label="Training"
        )
        measured = [(epoch, 100 * value) for epoch, (_, value) in zip(epochs, shown, strict=True) if value is not None]
        axis.plot(*zip(*measured, strict=True), color="#d55e00", linewidth=1.4, marker="." if len(shown) < 8 else "", label="PublicTest")
        axis.set_title(f"{name} (system {SYSTEMS[name][0]})" if len(SYSTEMS[name][0]) == 1 else f"{name} ({SYSTEMS[name][0]})", fontsize=9)
        axis.set_ylim(10, 102)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        if place == 0:
            axis.legend(fontsize=8, frameon=False, loc="upper left")
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("accuracy, %", fontsize=9)
    figure.savefig(CURVES, format="png", metadata={"Software": None, "histories": drawn_from()})


def count_nets() -> None:
    """Write docs/zoo/nets.json: parameters and multiply-adds of every net, from the code."""
    from ferkit.train.classifier.loop import build_from_recipe
    from ferkit.train.classifier.recipe import load_recipe
    from ferkit.train.release.network_facts import architecture

    nets = {}
    for name in SYSTEMS:
        recipe = load_recipe(name)
        net = architecture(build_from_recipe(recipe), recipe.window)
        nets[name] = {"labels": sum(len(h.label_set) for h in recipe.heads), "parameters": net["parameters"], "macs": net["macs"]}
    write("nets", nets)


def add(run: Path, ensemble: Path | None, data: Path | None, variant: str | None) -> None:
    """Keep what a run measured, under its recipe's name or a variant's; one that was stopped before its end has a history alone."""
    stored = json.loads((run / "history.json").read_text(encoding="utf-8"))
    recipe, history = stored["recipe"], stored["epochs"]
    name = recipe["name"]
    if name not in SYSTEMS:
        raise SystemExit(f"{run} is a run of {name!r}; expected one of {', '.join(SYSTEMS)}.")
    if ensemble is not None and data is None:
        raise SystemExit("--ensemble needs --data fer2013.csv: it is measured on its PublicTest.")
    spec = run / "spec.json"
    if spec.exists():
        told = json.loads(spec.read_text(encoding="utf-8"))
        metrics, training = told["metrics"], told["training"]
    else:
        from ferkit.train.release.network_facts import machine

        hours = round(sum(row["seconds"] for row in history) / 3600, 2)
        metrics, training = [], {"hours": hours, "machine": machine(), "data": "fer2013.csv, Training", "seed": recipe["seed"]}
    kept = {
        "epochs": len(history),
        **{key: training[key] for key in ("hours", "machine", "data", "seed")},
        "planned": sum(stage["epochs"] for stage in recipe["stages"]),
        "metrics": [{key: row[key] for key in ("labels", "split", "tta", "n", "accuracy", "ci95", "macro_f1", "ece")} for row in metrics],
        "history": [{key: value for key, value in row.items() if key in HISTORY or key.endswith("accuracy")} for row in history],
    }
    if ensemble is not None and data is not None:
        kept["ensemble"] = against_last(ensemble, data)
    write(variant or name, kept)


def release(run: Path) -> None:
    """Keep a small net for teaching: its network, its spec without the Keras file, its card, and the picture of its mistakes."""
    from ferkit.weights.releases import ZOO

    spec = json.loads((run / "spec.json").read_text(encoding="utf-8"))
    if spec["name"] not in ZOO:
        raise SystemExit(
            f"{run} holds {spec['name']!r}; expected one of {', '.join(ZOO)}, or a name that you add to ZOO in weights/releases.py."
        )
    folder = ROOT / "weights" / "zoo" / spec["name"]
    folder.mkdir(parents=True, exist_ok=True)
    spec["files"] = {"model.onnx": spec["files"]["model.onnx"]}
    (folder / "spec.json").write_text(json.dumps(spec, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    for file in ("model.onnx", "card.md"):
        shutil.copyfile(run / file, folder / file)
    shutil.copyfile(run / "confusion.png", ROOT / "docs" / "images" / f"zoo_confusion_{spec['name']}.png")


def against_last(folder: Path, data: Path) -> dict[str, Any]:
    """Compare an ensemble of snapshots with the last of them, face by face."""
    from ferkit import Ensemble
    from ferkit.evaluation.comparing import compare
    from ferkit.evaluation.measuring import measure

    ensemble = Ensemble.from_pretrained(str(folder))
    last, every = (measure(one, data) for one in (ensemble.members[-1], ensemble))
    right = [m.probabilities.argmax(axis=1) == m.truth for m in (last, every)]
    return {"weights": folder.name, "members": len(ensemble.members), "split": "PublicTest", "ece": every.report["ece"], **compare(*right)}


def write(name: str, value: Any) -> None:
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare the tables")
    parser.add_argument("--nets", action="store_true", help="count the nets anew")
    parser.add_argument("--add", type=Path, metavar="RUN", help="keep a run")
    parser.add_argument("--variant", choices=sorted(VARIANTS), help="with --add: the run had other settings")
    parser.add_argument("--release", type=Path, metavar="RUN", help="copy a small net into weights/zoo")
    parser.add_argument("--ensemble", type=Path, metavar="FOLDER", help="with --add and --data: measure its snapshots' ensemble")
    parser.add_argument("--data", type=Path, help="fer2013.csv")
    args = parser.parse_args()
    if args.add is None and (args.variant or args.ensemble):
        parser.error("--variant and --ensemble say how a run is kept: give it with --add RUN.")
    if args.nets:
        count_nets()
    if args.add:
        add(args.add, args.ensemble, args.data, args.variant)
    if args.release:
        release(args.release)
    put(PAGE, page(PAGE.read_text(encoding="utf-8")), "docs/zoo.py", check=args.check)
    if args.check:
        if kept_digest() != drawn_from():
            raise SystemExit(f"{CURVES.relative_to(ROOT)} shows other histories. Run: python docs/zoo.py")
        return
    if not CURVES.exists() or kept_digest() != drawn_from():
        draw_curves()


if __name__ == "__main__":
    main()
