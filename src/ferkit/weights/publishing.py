"""Publishing weights on the Hugging Face Hub, a version at a time."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ..errors import InputError, WeightsError
from .hub import is_offline
from .specs import load_spec
from .store import verify

__all__ = ["push"]


def push(bundle: str | Path, address: str, *, private: bool = False) -> str:
    """Verify a folder of weights, upload it, and tag the commit with the weights' name.

    Weights are immutable: a name that is a tag already is refused before anything is sent. The repository is made if it
    is not there; the token is huggingface_hub's own (``hf auth login``, or ``HF_TOKEN``).

    Args:
        bundle: Folder with ``spec.json``; the weights' name must end in a version, such as ``mine-v1``.
        address: ``hf://org/repo``, without a revision.
        private: Of a repository that is made.

    Returns:
        The pinned address of what was pushed, ``hf://org/repo@COMMIT``.

    Raises:
        InputError: The address or the name is not of this form, or ``bundle`` is no folder.
        WeightsError: A file is missing or damaged, the version exists, the network is forbidden, or the hub refuses.
    """
    repo = address.removeprefix("hf://")
    if not re.fullmatch(r"hf://[\w.-]+/[\w.-]+", address):
        raise InputError(f"{address!r} is no repository to push to; expected hf://org/repo, without a revision.")
    folder = Path(bundle)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; expected a folder of weights, such as one that ferkit.train.finetune wrote.")
    verify(folder)
    spec = load_spec(folder)
    if not re.search(r"-v[1-9]\d*$", spec.name):
        raise InputError(f"Weights {spec.name!r} have no version in their name; expected a name such as {spec.name}-v1.")
    if is_offline():
        raise WeightsError(f"{address} cannot be pushed to: FERKIT_OFFLINE or HF_HUB_OFFLINE forbids the network; unset them.")
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    # Only what the spec lists and what describes it: a run's checkpoints and reports stay at home.
    names = [name for name in (*spec.files, "spec.json", "card.md") if (folder / name).is_file()]
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(folder / name)) for name in names]
    if "card.md" in names:
        operations.append(CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=str(folder / "card.md")))
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        refs = api.list_repo_refs(repo)
        if spec.name in {tag.name for tag in refs.tags}:
            raise WeightsError(f"hf://{repo} already has {spec.name}; versions are never overwritten. Give new weights the next number.")
        head: Any = next((branch.target_commit for branch in refs.branches if branch.name == "main"), None)
        # The parent makes two pushes at once fail instead of mixing; the tag is what a version is, and it comes last.
        commit = api.create_commit(repo, operations, commit_message=f"Add {spec.name}", parent_commit=head)
        api.create_tag(repo, tag=spec.name, revision=commit.oid, tag_message=spec.name)
    except WeightsError:
        raise
    except Exception as error:  # the client lets its transport's own errors through
        raise WeightsError(f"{address} cannot be pushed to: {error} Check the repository's name and your token (hf auth login).") from error
    return f"hf://{repo}@{commit.oid}"
