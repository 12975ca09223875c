"""``python -m ferkit`` is the ``ferkit`` command."""

from .cli.main import main

main()
