"""What is installed here and how well it fits together: what ``ferkit doctor`` prints."""

from __future__ import annotations

import os
import platform
import re
from importlib import import_module, metadata
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from . import __version__
from .engines.threads import VARIABLE, available_cpus, cpu_quota, requested_threads
from .errors import InputError, WeightsError
from .weights.hub import is_offline
from .weights.releases import TABLE, HubFile
from .weights.store import verify

__all__ = ["examine", "report"]

SCHEMA = 1
# Four packages that all write the folder cv2; https://pypi.org/project/opencv-python/ says to have one of them.
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_OURS = ("dev",)  # extras for working on ferkit itself


class Problem(TypedDict):
    """What does not fit, and what to type."""

    problem: str
    cure: str


class Package(TypedDict):
    """ferkit itself: its version and folder."""

    version: str
    path: str


class Interpreter(TypedDict):
    """Python's version and the system's name."""

    version: str
    system: str


class OpenCV(TypedDict):
    """Packages of pip's with their versions, and what the module ``cv2`` says of itself; None where it does not work."""

    packages: dict[str, str]
    version: str | None
    gui: str | None
    threads: int | None
    haar: bool
    yunet: bool


class EngineState(TypedDict):
    """An engine that is there."""

    version: str
    providers: NotRequired[list[str]]


class Engines(TypedDict):
    """Each engine, None where it is not there."""

    opencv: EngineState | None
    onnxruntime: EngineState | None


class ExtraState(TypedDict):
    """The packages of an extra: installed with their versions, missing, or too old."""

    installed: dict[str, str]
    missing: list[str]
    outdated: list[str]


class ReleaseState(TypedDict):
    """One release of weights."""

    kind: str
    state: Literal["verified", "damaged", "not fetched"]


class WeightsState(TypedDict):
    """Whether the hub is out of bounds, and every release."""

    offline: bool
    releases: dict[str, ReleaseState]


class Threads(TypedDict):
    """CPUs of the machine, of this process and of its control group; threads that were asked for, and that are used."""

    cpus: int | None
    affinity: int | None
    quota: float | None
    FERKIT_THREADS: int | None
    used: int


class Installation(TypedDict):
    """What ``ferkit doctor --format json`` prints."""

    schema: int
    ferkit: Package
    python: Interpreter
    opencv: OpenCV
    engines: Engines
    extras: dict[str, ExtraState]
    weights: WeightsState
    threads: Threads
    problems: list[Problem]


def examine() -> Installation:
    """Look at this installation. Nothing is fetched or changed.

    Returns:
        Plain JSON values: ``schema``, ``ferkit``, ``python``, ``opencv``, ``engines``, ``extras``, ``weights``, ``threads`` and
        ``problems``, a list of ``{"problem", "cure"}`` that is empty where all is well.
    """
    problems: list[Problem] = []
    opencv = _opencv(problems)
    return {
        "schema": SCHEMA,
        "ferkit": {"version": __version__, "path": str(Path(__file__).parent)},
        "python": {"version": platform.python_version(), "system": platform.platform()},
        "opencv": opencv,
        "engines": _engines(opencv),
        "extras": _extras(problems),
        "weights": _weights(problems),
        "threads": _threads(problems),
        "problems": problems,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _opencv(problems: list[Problem]) -> OpenCV:
    installed = {name: version for name in _OPENCV if (version := _version(name)) is not None}
    try:
        cv2 = import_module("cv2")
        version, gui = str(cv2.__version__), _gui(cv2.getBuildInformation())
        threads, haar, yunet = int(cv2.getNumThreads()), hasattr(cv2, "CascadeClassifier"), hasattr(cv2, "FaceDetectorYN")
    except (ImportError, AttributeError) as error:  # an emptied folder imports as a package without contents
        name = next(iter(installed), "opencv-python-headless")
        cure = (
            f"pip uninstall -y {' '.join(installed)} && pip install {name}"
            if len(installed) > 1
            else f"pip install --force-reinstall --no-deps {name}"
        )
        problems.append(
            {"problem": f"OpenCV does not work here ({error}); another package's removal may have emptied its folder.", "cure": cure}
        )
        return {"packages": installed, "version": None, "gui": None, "threads": None, "haar": False, "yunet": False}
    if len(installed) > 1:
        windows = "cv2.imshow does not work" if gui == "NONE" else f"cv2.imshow uses {gui}"
        away = f"pip uninstall -y {' '.join(installed)} && pip install"
        problems.append(
            {
                "problem": f"{' and '.join(installed)} are both installed. They share the folder cv2: what was installed last decides ({windows}), "
                "and removing one breaks the other.",
                "cure": f"With windows: {away} opencv-python. Without: {away} opencv-python-headless. ferkit works with either; pip's remark "
                "that ferkit requires opencv-python-headless is then harmless.",
            }
        )
    return {"packages": installed, "version": version, "gui": gui, "threads": threads, "haar": haar, "yunet": yunet}


def _gui(build: str) -> str:
    """Return what OpenCV's build information says of its windows: ``NONE``, ``QT5``, ``GTK3``, ``WIN32UI``, ``COCOA`` ..."""
    match = re.search(r"^\s*GUI:\s*(\S+)", build, re.MULTILINE)
    return match[1] if match else "NONE"


def _engines(opencv: OpenCV) -> Engines:
    engines: Engines = {"opencv": None if opencv["version"] is None else {"version": opencv["version"]}, "onnxruntime": None}
    try:
        onnxruntime = import_module("onnxruntime")
        engines["onnxruntime"] = {"version": onnxruntime.__version__, "providers": onnxruntime.get_available_providers()}
    except (ImportError, AttributeError):
        pass  # an extra: the report says that it is not there
    return engines


def _extras(problems: list[Problem]) -> dict[str, ExtraState]:
    """Return, for each extra, the packages that it needs: installed, missing, or too old."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("ferkit") or []
    except metadata.PackageNotFoundError:
        problems.append(
            {"problem": "ferkit runs from a folder and is not installed; its extras are not known.", "cure": "pip install -e ."}
        )
        return {}
    requirements = [Requirement(line) for line in lines]
    names = sorted({match[1] for line in lines if (match := re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line))} - set(_OURS))
    extras: dict[str, ExtraState] = {}
    for extra in ("", *names):
        state: ExtraState = {"installed": {}, "missing": [], "outdated": []}
        for requirement in requirements:
            always = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if always != (extra == "") or (extra and not (requirement.marker and requirement.marker.evaluate({"extra": extra}))):
                continue
            version = _version(requirement.name)
            if version is None and not (requirement.name in _OPENCV and any(_version(name) for name in _OPENCV)):
                state["missing"].append(requirement.name)
            elif version is not None:
                state["installed"][requirement.name] = version
                if not requirement.specifier.contains(version, prereleases=True):
                    state["outdated"].append(f"{requirement.name} {version}, expected {requirement.specifier}")
        extras[extra or "core"] = state
        target = f'"ferkit[{extra}]"' if extra else "ferkit"
        wrong = state["outdated"] + ([] if extra else [f"{name} is missing" for name in state["missing"]])
        if wrong:
            problems.append({"problem": f"{extra or 'ferkit'}: {'; '.join(wrong)}.", "cure": f"pip install -U {target}"})
    return extras


def _weights(problems: list[Problem]) -> WeightsState:
    states: dict[str, ReleaseState] = {}
    for name, release in TABLE.items():
        state: ReleaseState = {"kind": release.kind, "state": "verified"}
        if release.hub is not None and not _cached(release.hub):
            state["state"] = "not fetched"
        else:
            try:
                verify(name)
            except WeightsError as error:
                state["state"] = "damaged"
                problems.append({"problem": str(error), "cure": "The message says what to run."})
        states[name] = state
    return {"offline": is_offline(), "releases": states}


def _cached(hub: HubFile) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(hub.repo, hub.filename, revision=hub.revision), str)


def _threads(problems: list[Problem]) -> Threads:
    try:
        requested = requested_threads()
    except InputError as error:
        requested = None
        problems.append({"problem": str(error), "cure": f"unset {VARIABLE}"})
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "cpus": os.cpu_count(),
        "affinity": allowed,
        "quota": cpu_quota(),
        VARIABLE: requested,
        "used": requested or available_cpus(),
    }


def report(found: Installation) -> str:
    """Return what ``examine`` found as lines for people."""
    opencv, threads, engines = found["opencv"], found["threads"], found["engines"]
    packages = ", ".join(f"{name} {version}" for name, version in opencv["packages"].items()) or "no package of pip's"
    runtime = engines["onnxruntime"]
    lines = [
        f"ferkit   {found['ferkit']['version']} in {found['ferkit']['path']}",
        f"Python   {found['python']['version']}, {found['python']['system']}",
        f"OpenCV   {opencv['version'] or 'does not work'} ({packages}), windows: {opencv['gui'] or 'unknown'}",
        f"engines  opencv {opencv['version'] or 'not there'}; onnxruntime "
        + (f"{runtime['version']} ({', '.join(runtime['providers'])})" if runtime else "not installed"),
        f"threads  {threads['used']} (CPUs {threads['cpus']}, affinity {threads['affinity'] or 'unknown'}, "
        f"quota {threads['quota'] or 'none'}, {VARIABLE} {threads[VARIABLE] or 'not set'})",
    ]
    for name, extra in found["extras"].items():
        missing = f"lacks {', '.join(extra['missing'])}" if extra["missing"] else "complete"
        lines.append(f"{'extra' if name != 'core' else 'core':8} {name if name != 'core' else 'ferkit'}: {missing}")
    lines += [f"weights  {name}: {state['state']}" for name, state in found["weights"]["releases"].items()]
    for problem in found["problems"]:
        lines += ["", f"problem: {problem['problem']}", f"   cure: {problem['cure']}"]
    return "\n".join([*lines, "", f"{len(found['problems'])} problem(s)." if found["problems"] else "No problems found."])
