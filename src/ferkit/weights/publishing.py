"""Publishing weights on the Hugging Face Hub, a version at a time."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, WeightsError
from ..image_files import expanded
from .hub import is_offline
from .specs import DetectorSpec, load_spec
from .store import verify

__all__ = ["push"]


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,90}-v[1-9]\d{0,5}")  # what Git takes as a tag, in every file system
_PART = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9])?", re.ASCII)  # of a repository's address, as the hub takes it
_WITHIN = re.compile(r"\[([^\]]+)\]\((?!\w+:)[^)]*\)")  # a link to another file of a checkout
_LICENCES = {
    "mit",
    "apache-2.0",
    "bsd-3-clause",
    "bsd-2-clause",
    "cc0-1.0",
    "cc-by-4.0",
    "cc-by-sa-4.0",
    "cc-by-nc-4.0",
    "gpl-3.0",
    "unlicense",
}


def push(bundle: str | Path, address: str, *, private: bool = False, name: str | None = None) -> str:
    """Verify a folder of weights, upload it, and tag the commit with the weights' name.

    Weights are immutable: a name that is a tag already is refused before anything is sent, and so is a repository that holds other
    weights, or files of another kind. The repository is made if it is not there; the token is huggingface_hub's own (``hf auth login``,
    or ``HF_TOKEN``).

    Args:
        bundle: Folder with ``spec.json``; the weights' name must end in a version, such as ``mine-v1``.
        address: ``hf://org/repo``, without a revision.
        private: Of a repository that is made.
        name: Publish under this name instead of the folder's own; the folder stays as it is.

    Returns:
        The pinned address of what was pushed, ``hf://org/repo@COMMIT``.

    Raises:
        InputError: The address or the name is not of this form, or ``bundle`` is not a folder.
        WeightsError: A file is missing or damaged, the version exists, the repository holds something else, the network is forbidden, or
            the hub refuses.

    Examples:
        >>> from ferkit.train import push
        >>> push("runs/mine", "hf://org/repo", name="mine-v1")  # doctest: +ELLIPSIS
        'hf://org/repo@...'
    """
    repo = _repository(address)
    folder = expanded(bundle)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; expected a folder of weights, such as one that ferkit.train.finetune wrote.")
    verify(folder)
    spec = load_spec(folder)
    title = spec.name if name is None else name
    if not re.search(r"-v[1-9]\d*$", title):
        raise InputError(f"Weights {title!r} have no version in their name; expected a name such as {title}-v1.", arguments=["name"])
    if not _NAME.fullmatch(title) or ".." in title:
        raise InputError(
            f"Weights {title!r} cannot be a tag of the hub; expected letters, digits, '.', '_' and '-', and a version at the end, such as mine-v1.",
            arguments=["name"],
        )
    if is_offline():
        raise WeightsError(f"{address} cannot be pushed to: FERKIT_OFFLINE or HF_HUB_OFFLINE forbids the network; unset them.")
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    operations = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=data) for path, data in _files(folder, spec, title).items()]
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        refs = api.list_repo_refs(repo)
        _refuse_other(repo, title, [tag.name for tag in refs.tags], api.list_repo_files(repo))
        head: Any = next((branch.target_commit for branch in refs.branches if branch.name == "main"), None)
        # The parent makes two pushes at once fail instead of mixing; the tag is what a version is, and it comes last.
        commit = api.create_commit(repo, operations, commit_message=f"Add {title}", parent_commit=head)
        api.create_tag(repo, tag=title, revision=commit.oid, tag_message=title)
    except WeightsError:
        raise
    except Exception as error:  # the client lets its transport's own errors through
        raise WeightsError(f"{address} cannot be pushed to: {error} Check the repository's name and your token (hf auth login).") from error
    return f"hf://{repo}@{commit.oid}"


def _repository(address: str) -> str:
    scheme, repo = address[:5], address[5:]
    parts = repo.split("/")
    good = len(parts) == 2 and all(_PART.fullmatch(part) and "--" not in part and ".." not in part for part in parts)
    if scheme != "hf://" or not good or repo.endswith(".git"):
        raise InputError(f"{address!r} is not a repository to push to; expected hf://org/repo, without a revision.")
    return repo


def _files(folder: Path, spec: Any, title: str) -> dict[str, bytes | str]:
    """Return what is sent: what the spec lists and what describes it. A run's checkpoints and reports stay at home."""
    found: dict[str, bytes | str] = {
        name: str(folder / name) for name in (*spec.files, "spec.json", "card.md") if (folder / name).is_file()
    }
    card = (folder / "card.md").read_text(encoding="utf-8") if "card.md" in found else f"# {title}\n"
    if title != spec.name:
        table = json.loads((folder / "spec.json").read_text(encoding="utf-8-sig")) | {"name": title}
        found["spec.json"] = (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode()
        card = re.sub(rf"(?<![\w-]){re.escape(spec.name)}(?![\w-])", title, card)  # as a word: "mine" is a part of "determined"
        found |= {"card.md": card.encode()} if "card.md" in found else {}
    # The hub has no file beside these: of links into a checkout the text stays.
    return found | {"README.md": (_front_matter(spec, title) + _WITHIN.sub(r"\1", card)).encode()}


def _front_matter(spec: Any, title: str) -> str:
    """Return a model card's head in YAML, by which the hub finds and lists it."""
    licence = str(spec.licence).strip().lower()
    lines = [f"license: {licence}"] if licence in _LICENCES else ["license: other", f"license_name: {json.dumps(spec.licence)}"]
    kind = "object-detection" if isinstance(spec, DetectorSpec) else "image-classification"
    tags = ["ferkit", "face-detection" if isinstance(spec, DetectorSpec) else "facial-expression-recognition", "onnx"]
    lines += ["library_name: ferkit", f"pipeline_tag: {kind}", f"model_name: {json.dumps(title)}", "tags:", *(f"- {tag}" for tag in tags)]
    return "\n".join(["---", *lines, "---", "", ""])


def _refuse_other(repo: str, title: str, tags: Sequence[str], files: Sequence[str]) -> None:
    """Refuse a version that is there, and a repository of something else: its main branch would be overwritten."""
    if title in tags:
        raise WeightsError(f"hf://{repo} already has {title}; versions are never overwritten. Give new weights the next number.")
    base = title.rpartition("-v")[0]
    others = sorted({tag.rpartition("-v")[0] or tag for tag in tags} - {base})
    if others:
        raise WeightsError(
            f"hf://{repo} holds other weights ({', '.join(others)}); {title} would overwrite them. Choose another repository."
        )
    if not tags and (kept := sorted(set(files) - {".gitattributes", "README.md"})):
        raise WeightsError(
            f"hf://{repo} holds {', '.join(kept[:5])}, and no version of {base}; choose another repository, or an empty one."
        )
