"""Running the command in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from ferkit.cli.main import main


def ferkit(*arguments: object, stdin: bytes | None = None) -> Result:
    done = CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done
