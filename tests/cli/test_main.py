"""The command itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ferkit import cli as package
from ferkit.cli.main import SECTIONS, main
from ferkit.detectors.face_detector import BACKENDS
from ferkit.engines.table import ENGINES
from tests.helpers.commands import ferkit


def test_version() -> None:
    import ferkit as package

    assert package.__version__ in ferkit("--version").stdout


def test_help_groups_the_commands_and_cuts_no_phrase() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    assert [line[:-1] for line in text.splitlines() if line and not line.startswith(" ") and line.endswith(":")][1:] == list(SECTIONS)
    assert "..." not in text.partition("\n")[2]
    modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")} - {"__init__", "main", "options", "recording"}
    assert {module.partition(":")[0] for commands in SECTIONS.values() for module, _ in commands.values()} == modules


def test_help_loads_no_command() -> None:
    code = "import sys; from ferkit.cli.main import main; main(['--help'], standalone_mode=False); print([m for m in sys.modules if 'ferkit.cli.' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['ferkit.cli.main']"


context = click.Context(main)


def child_of(group: click.Group, name: str) -> click.Command:
    child = group.get_command(context, name)
    assert child is not None
    return child


def every_command(command: click.Command = main, path: tuple[str, ...] = ()) -> list[Any]:
    if isinstance(command, click.Group):
        return [found for name in command.list_commands(context) for found in every_command(child_of(command, name), (*path, name))]
    return [pytest.param(command, id=" ".join(path))]


@pytest.mark.parametrize("command", every_command())
def test_every_option_is_told_in_a_whole_phrase(command: click.Command) -> None:
    for option in command.params:
        if not isinstance(option, click.Option):
            continue
        assert option.help, f"{option.name} has no help"
        told = option.help.partition("[default")[0].strip()
        assert len(told.split()) >= 3, f"{option.name}: {told}"
        assert told[0].isupper() or told[0] == "Y", f"{option.name}: {told}"
        assert told.endswith("."), f"{option.name}: {told}"
        assert not re.match(r"(Of|For|With|If|As)\b", told), f"{option.name}: {told}"


def test_choices_are_those_of_the_tables() -> None:
    text = CliRunner().invoke(main, ["predict", "--help"]).output
    assert f"[{'|'.join(BACKENDS)}]" in text
    assert f"[{'|'.join(ENGINES)}]" in text
    for flag, names in (("--detector", BACKENDS), ("--runtime", ENGINES)):
        refused = CliRunner().invoke(main, ["predict", "a.jpg", flag, "nothing"])
        assert refused.exit_code == 2
        assert f"expected one of {', '.join(names)}" in refused.stderr


def test_errors_of_the_library_get_the_flags_of_the_command(tmp_path: Path) -> None:
    """The library names Python's arguments, and says which; the command line adds how it takes them."""
    (tmp_path / "fer2013.csv").write_text("emotion,pixels,Usage\n")
    out = tmp_path / "file"
    out.write_text("")
    refused = CliRunner().invoke(main, ["finetune", "--data", str(tmp_path), "--out", str(out)])
    assert refused.exit_code == 2
    assert "or an empty one. (On the command line: --out.)" in " ".join(refused.stderr.split())
