"""What a hub answers, in one sentence that says what to do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

PUT = (
    "or get its files (config.json, the weights, and the tokenizer's spm.model or vocab.json and merges.txt) another "
    "way, put them into a folder and give its path"
)

# What is a secret by its looks: a hub's token, what a header is authorised by, and who an address is for.
SECRET = re.compile(r"hf_[A-Za-z0-9]{20,}|(?<=[Bb]earer )[^\s'\"]+|(?<=/)[^/@\s]+:[^/@\s]+(?=@)")


def without_secrets(text: str, token: Any = None) -> str:
    """A text without the token that was given, that of the environment, and what else looks like one."""
    for value in (token, os.environ.get("HF_TOKEN"), os.environ.get("HUGGING_FACE_HUB_TOKEN")):
        known = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if isinstance(known, str) and known.strip():
            for spelling in (known, repr(known)[1:-1], known.strip()):
                text = text.replace(spelling, "(token)")
    return SECRET.sub("(token)", text)


def cause_of(error: BaseException, token: Any = None) -> BaseException | None:
    """The error to name as the cause of ours: itself, unless a traceback would show a token with it.

    Its frames go, and those of what it came from: their variables hold headers, and some programs show variables.
    """
    waiting: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while waiting:
        one = waiting.pop()
        if one is not None and one not in seen:
            seen.append(one.with_traceback(None))
            waiting += [one.__cause__, one.__context__]
    return error if all(str(one) == without_secrets(str(one), token) for one in seen) else None


def status_of(error: BaseException) -> int | None:
    """The status that a server answered with, if an error comes from one."""
    for one in chain(error):
        status = getattr(getattr(one, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
    return None


def is_final(error: BaseException) -> bool:
    """Whether asking again, or looking into the cache instead, would be wrong: the hub has said no."""
    kinds = kinds_of(error)
    if "LocalEntryNotFoundError" in kinds:  # no answer at all
        return False
    refused = {"RepositoryNotFoundError", "RevisionNotFoundError", "EntryNotFoundError", "HFValidationError"}
    return bool(refused & kinds) or status_of(error) in (400, 401, 403, 404)


def sentence(error: BaseException, name: str, revision: str | None, token: Any = None) -> str:
    """Why a repository cannot be had, and what to do.

    Args:
        error: what ``huggingface_hub``, below or above 1.0, raised.
        name: of the repository.
        revision: that was asked for.
        token: that is not to be read in the sentence.
    """
    kinds, status = kinds_of(error), status_of(error)
    if "GatedRepoError" in kinds:
        said = "its owner must let you in: accept the conditions on its page, then pass token=... or set HF_TOKEN"
        return f"the hub does not give out {name!r}; {said}, {PUT}"
    if "RevisionNotFoundError" in kinds:
        return f"{name!r} has no revision {revision!r} on the hub; give a branch, a tag or a commit of it"
    if status == 401 and "RepositoryNotFoundError" not in kinds:
        return f"the hub does not accept the token for {name!r}; pass another token=..., or unset HF_TOKEN"
    if "RepositoryNotFoundError" in kinds or "HFValidationError" in kinds or status == 404:
        return (
            f"there is no folder {name!r}, and no model of this name on the hub; check the spelling, pass token=... "
            f"(or set HF_TOKEN) if it is private, {PUT}"
        )
    if status == 403:
        return f"the hub forbids this for {name!r}; pass a token=... that may, {PUT}"
    if status == 429:
        said = "wants fewer requests (429)"
        return f"the hub {said} and does not give {name!r} now; wait some minutes, pass token=..., {PUT}"
    if status is not None:
        return f"the hub answers with status {status} for {name!r}; try again later, {PUT}"
    cause = error
    while (inner := cause.__cause__ or cause.__context__) is not None:
        cause = inner
    text = " ".join(without_secrets(str(cause), token).split())[:200]
    return (
        f"there is no folder {name!r}, and it cannot be fetched from the hub ({type(cause).__name__}: {text}); "
        f"check the network and try again, {PUT}"
    )


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    one: BaseException | None = error
    seen = set()
    while one is not None and id(one) not in seen:
        yield one
        seen.add(id(one))
        one = one.__cause__


def kinds_of(error: BaseException) -> set[str]:
    """Names of an error's classes: where they live differs between releases of the hub's package."""
    return {kind.__name__ for one in chain(error) for kind in type(one).__mro__}
