"""What the package's metadata takes from the README and from the project's address ([tool.ferkit] in pyproject.toml).

The README's links are relative, so that they work in a checkout. Outside of it, on a package index or on the documentation's
site, they lead to the project's public address, or, while it has none, are left out: only their text stays.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^)\s]+)\)")


def addresses(root: Path) -> dict[str, str]:
    """Return ``repository`` and ``site``: addresses without a final slash, or empty."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ferkit"]
    return {name: table[name].rstrip("/") for name in ("repository", "site")}


def publish_links(text: str, page: PurePosixPath, lead: Callable[[PurePosixPath, bool], str | None]) -> str:
    """Return a Markdown text whose relative links lead somewhere else.

    Args:
        text: Markdown. Fenced code is left as it is.
        page: The text's path in the repository, from which its links are relative.
        lead: Takes the path in the repository that a link leads to, and whether it is an image; returns where the link is
            to lead instead, or None: then a link's text stays alone, and an image goes.
    """

    def replaced(match: re.Match[str]) -> str:
        target, hash_, anchor = match["target"].partition("#")
        if "://" in target or not target:
            return match[0]
        there = lead(_normalized(page.parent / target), bool(match["image"]))
        if there is None:
            return "" if match["image"] else match["text"]
        return f"{match['image']}[{match['text']}]({there}{hash_}{anchor})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    return "".join(part if part.startswith("```") else LINK.sub(replaced, part) for part in parts)


def to_repository(repository: str) -> Callable[[PurePosixPath, bool], str | None]:
    """Return what leads every link to the repository's public address, or nowhere while that is empty."""
    return lambda path, image: f"{repository}/{'raw' if image else 'blob'}/main/{path}" if repository else None


def _normalized(path: PurePosixPath) -> PurePosixPath:
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return PurePosixPath(*parts)


class AddressHook(MetadataHookInterface):
    """Fills in ``readme`` and ``urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        known = addresses(root)
        text = publish_links(
            (root / "README.md").read_text(encoding="utf-8"), PurePosixPath("README.md"), to_repository(known["repository"])
        )
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        metadata["urls"] = {}
        if known["repository"]:
            metadata["urls"] |= {
                "Source": known["repository"],
                "Issues": f"{known['repository']}/issues",
                "Changelog": f"{known['repository']}/blob/main/CHANGELOG.md",
            }
        if known["site"]:
            metadata["urls"]["Documentation"] = known["site"]
