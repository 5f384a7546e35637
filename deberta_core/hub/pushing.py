"""Putting models and tokenizers onto a hub."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deberta_core.file_names import CARD
from deberta_core.files import write_text
from deberta_core.hub.card import model_card
from deberta_core.hub.errors import cause_of, kinds_of, status_of, without_secrets
from deberta_core.wording import near

OPTIONS = ("repo_id", "token", "private", "revision", "commit_message", "create_pr")


class PushToHub:
    """What models and tokenizers add to ``save_pretrained``."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | bool | None = None,
        private: bool | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        create_pr: bool = False,
        **saving: Any,
    ) -> str:
        """Save, and upload to a repository, which is made if it does not exist.

        Args:
            repo_id: owner and name; a name alone is one of yours.
            token: of a user who may write there; default the one that is logged in or in ``HF_TOKEN``.
            private: make a new repository one that only you see; default as your account has it.
            revision: branch, made if needed; default the main one.
            commit_message: default "Upload" and the name of the class.
            create_pr: propose the change instead of making it.
            **saving: options of ``save_pretrained``.

        Returns:
            Address of the commit.

        Raises:
            OSError: the hub cannot be reached or refuses; the text says why.
        """
        with tempfile.TemporaryDirectory() as folder:
            if hasattr(self, "saved_config"):  # a model
                write_text(Path(folder) / CARD, model_card(self.saved_config(), repo_id))
            self.save_pretrained(folder, **saving)  # type: ignore[attr-defined]
            names = sorted(path.name for path in Path(folder).iterdir())
            return push_files(
                folder, names, repo_id, token=token, private=private, revision=revision, create_pr=create_pr,
                commit_message=commit_message or f"Upload {type(self).__name__}",
            )  # fmt: skip


def check_push(push: bool, options: Mapping[str, Any], method: Callable[..., Any]) -> None:
    """Refuse what ``push_saved`` could not do, before anything is written.

    Args:
        push: whether files are to be uploaded.
        options: keywords of ``push_files``, and ``repo_id``.
        method: the ``save_pretrained`` that has keywords of its own beside them.

    Raises:
        TypeError: an unknown keyword, or one that needs ``push_to_hub=True``.
    """
    unknown = [name for name in options if name not in OPTIONS]
    if unknown:
        own = [name for name, one in inspect.signature(method).parameters.items() if one.kind != one.VAR_KEYWORD]
        hint = near(unknown[0], (*own, *OPTIONS))
        raise TypeError(f"save_pretrained has no keyword {unknown[0]!r}{hint}; for the hub it has {', '.join(OPTIONS)}")
    early = [name for name in options if name != "token"]  # scripts pass that one always
    if early and not push:
        raise TypeError(f"{early[0]!r} is for uploads; pass push_to_hub=True with it")


def push_saved(paths: Sequence[Path], options: Mapping[str, Any]) -> str:
    """Upload the files that ``save_pretrained`` has written.

    Args:
        paths: the files, all in one folder.
        options: keywords of ``push_files``; ``repo_id`` is by default the name of the folder.

    Returns:
        Address of the commit.

    Raises:
        OSError: as ``push_files``.
    """
    folder = paths[0].parent
    rest = {name: value for name, value in options.items() if name != "repo_id"}
    return push_files(folder, [path.name for path in paths], options.get("repo_id") or folder.resolve().name, **rest)


def push_files(
    folder: str | os.PathLike[str],
    names: Sequence[str],
    repo_id: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload files of a folder in one commit. A model card that the repository has already stays as it is.

    Args:
        folder: where they are.
        names: of the files.
        repo_id: as ``PushToHub.push_to_hub``; so are the rest.
        token: see there.
        private: see there.
        revision: see there.
        commit_message: see there.
        create_pr: see there.

    Returns:
        Address of the commit.

    Raises:
        OSError: the hub cannot be reached or refuses, or ``huggingface_hub`` is missing; the text says why.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise OSError("uploading needs a package: pip install huggingface_hub") from None
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), token=token, library_name="deberta")
    try:
        name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        there = {file.rfilename for file in api.model_info(name, revision=revision).siblings or ()}
        done = api.upload_folder(
            repo_id=name, folder_path=os.fspath(folder), allow_patterns=sorted(set(names) - ({CARD} & there)),
            revision=revision, commit_message=commit_message or "Upload", create_pr=create_pr,
        )  # fmt: skip
    except Exception as error:  # of several packages, which differ between releases of the hub's
        raise OSError(_sentence(error, repo_id, token)) from cause_of(error, token)
    return str(done.pr_url if create_pr else done.commit_url)


def _sentence(error: Exception, repo_id: str, token: str | bool | None) -> str:
    status = status_of(error)
    if status in (401, 403) or "LocalTokenNotFoundError" in kinds_of(error):
        why = "the hub does not let you write there; log in with `hf auth login`, or pass token=... of a user who may"
    elif status is not None:
        why = f"the hub answers with status {status}: {error}"
    else:
        why = f"{type(error).__name__}: {error}"
    return f"nothing was uploaded to {repo_id!r}: {' '.join(without_secrets(why, token).split())[:400]}"
