"""A tokenizer.json that is followed to the letter: the ``tokenizers`` library runs its rules."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from .arguments import TextOptions
from .backend import load_backend
from .engine import AddedTokens
from .pipeline import Pipeline, PipelineEngine
from .rule_names import steps_of, template_of
from .spm_proto import check_charsmap

PARTS = ("version", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model")


class FileRules(PipelineEngine):
    """The rules and the vocabulary of a tokenizer.json that no other engine can stand for.

    Its engines run whole texts, added tokens included, as the library does. Calls change nothing that others see, so
    threads may share one.

    Args:
        content: the file.
        name: what errors call it.
        own: the rules that make it so, by name.

    Raises:
        ValueError: the vocabulary is damaged, or the model has no token for unknown text and needs one.
    """

    def __init__(self, content: Mapping[str, Any], name: str, own: Sequence[str]) -> None:
        super().__init__()
        self.content = {part: content.get(part) for part in PARTS}
        self.name, self.own = name, tuple(own)
        model = content["model"]
        if isinstance(model["vocab"], Mapping):
            self.vocab: dict[str, int] = dict(model["vocab"])
            self.tokens = _by_id(self.vocab, name)
            self.unk_id = self.vocab.get(str(model.get("unk_token")))
            if self.unk_id is None and model.get("type") in ("WordPiece", "WordLevel"):
                raise ValueError(
                    f"{name}: the token for unknown text, {model.get('unk_token')!r}, is not in the vocabulary; "
                    "correct unk_token in the file"
                )
        else:
            self.tokens = [piece for piece, _ in model["vocab"]]
            self.vocab = {piece: number for number, piece in enumerate(self.tokens)}
            self.unk_id = model.get("unk_id")
            if not isinstance(self.unk_id, int) or not 0 <= self.unk_id < len(self.tokens):
                raise ValueError(f"{name}: unk_id is {self.unk_id!r}, expected the id of a piece for unknown text")
            if len(self.vocab) < len(self.tokens):
                raise ValueError(f"{name} holds a piece twice, so its ids are not unique; the file is damaged")
        for step in steps_of(content.get("normalizer")):
            if step.get("type") == "Precompiled" and step.get("precompiled_charsmap"):
                check_charsmap(base64.b64decode(step["precompiled_charsmap"]), name)
        self.template = template_of(self.content["post_processor"], name)
        self.random = bool(model.get("dropout"))
        self.beside: Mapping[str, bytes] = {}  # another whole vocabulary, written back with the file
        # v1 puts a space before the whole text, where its file does not; the library does so after special tokens, too
        self._spaces_text = any(step.get("type") == "ByteLevel" for step in steps_of(self.content["pre_tokenizer"]))

    follows_file = True
    spaces_added = False

    @property
    def add_prefix_space(self) -> bool:
        """Whether the file puts a space before a text."""
        return any(_has_prefix(step) for step in steps_of(self.content["pre_tokenizer"]))

    @property
    def spaces_words(self) -> bool | None:
        """Whether a call can switch the space before a text; None where the file puts one there in any case."""
        if any(step.get("type") == "Prepend" for step in steps_of(self.content["normalizer"])):
            return None
        return any(step.get("type") in ("Metaspace", "ByteLevel") for step in steps_of(self.content["pre_tokenizer"]))

    def with_files(self, beside: Mapping[str, bytes]) -> FileRules:
        """The same rules with the files of another whole vocabulary."""
        self.beside = dict(beside)
        return self

    def files(self) -> dict[str, bytes]:
        """The files of another vocabulary that the rules came with; their own file is the pipeline's."""
        return dict(self.beside)

    def prepares(self, options: TextOptions) -> bool:
        """Whether a text gets a space before it that the file's rules do not put there."""
        return options.prefix and self._spaces_text and not self.add_prefix_space and self.spaces_words is not None

    def segmenter(self, options: TextOptions, added: AddedTokens) -> Pipeline:
        """The pipeline for a call.

        Raises:
            ValueError: words are to stand without a space before them, but the file puts one there; or as ``pipeline``.
        """
        if not options.separator and not self.spaces_words:
            if self.spaces_words is None:
                raise ValueError(
                    f"word_separator='' cannot be had: {self.name} has a Prepend, which puts a space before "
                    "every word; leave word_separator out"
                )
            options = replace(options, prefix=self.add_prefix_space)  # spaces are no part of its words
        if options.prefix and self._spaces_text and self.spaces_words is None:  # Prepend puts the space there
            options = replace(options, prefix=self.add_prefix_space)
        return super().segmenter(options, added)

    def with_prefix(self, prefix: bool) -> FileRules:
        """The same rules with a space before a text or without it, where the file has a rule for it to switch."""
        if prefix == self.add_prefix_space:
            return self
        changed = {**self.content, "pre_tokenizer": _with_prefix(self.content["pre_tokenizer"], prefix)}
        found = FileRules(changed, self.name, self.own)
        if found.add_prefix_space != prefix:
            warnings.warn(
                f"add_prefix_space={prefix} is left out: {self.name} has no Metaspace among its pre_tokenizer rules; "
                "the file is followed",
                stacklevel=4,
            )
        return found

    def pipeline(self, added: AddedTokens, *, prefix: bool) -> Any:
        """A ``tokenizers.Tokenizer`` of its own.

        Args:
            added: the added tokens.
            prefix: put a space before a text.

        Raises:
            ValueError: the library knows no rule of the file, the file has no rule for the space, or the ids of the
                added tokens leave gaps, which the library cannot hold.
        """
        content = dict(self.content)
        if prefix != self.add_prefix_space:
            content["pre_tokenizer"] = _with_prefix(content["pre_tokenizer"], prefix)
            if any(_has_prefix(step) for step in steps_of(content["pre_tokenizer"])) != prefix:
                raise ValueError(
                    f"add_prefix_space={prefix} cannot be honoured: {self.name} has no Metaspace among its "
                    "pre_tokenizer rules; leave add_prefix_space out, or change the file"
                )
        content["added_tokens"] = [{"id": i, **token.to_dict()} for i, token in sorted(added.by_id.items())]
        backend = load_backend(content, self.name)
        for token_id, token in sorted(added.by_id.items()):
            if backend.token_to_id(token.content) != token_id:
                raise ValueError(
                    f"the added token {token.content!r} has id {token_id}, where the tokenizers library gives it "
                    f"{backend.token_to_id(token.content)}: it holds no ids with gaps; add the tokens one after the "
                    "other, or correct the ids in the files"
                )
        return backend

    def text_of(self, tokens: Sequence[str], added: Collection[str], special: Collection[str], errors: str) -> str:
        """The text that tokens stand for, as the file's decoder has it."""
        return " ".join(tokens) if self._decoder is None else str(self._decoder.decode(list(tokens)))

    @cached_property
    def _decoder(self) -> Any:
        return load_backend({**self.content, "added_tokens": []}, self.name).decoder

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_decoder"}


def _by_id(vocab: Mapping[str, Any], name: str) -> list[str]:
    """The tokens in the order of their ids, empty where an id has none, as of a token that a vocab.txt has twice."""
    ids = list(vocab.values())
    bad = next((token for token, token_id in vocab.items() if type(token_id) is not int or token_id < 0), None)
    if not vocab or bad is not None or len(set(ids)) < len(ids) or max(ids) > 2 * len(ids):
        found = f"the token {bad!r} has id {vocab[bad]!r}" if bad is not None else f"{len(ids)} tokens"
        raise ValueError(
            f"{name}: the ids of the vocabulary are not 0, 1, 2 and so on, each once ({found}); the file is damaged, "
            "fetch or copy it again"
        )
    tokens = [""] * (max(ids) + 1)
    for token, token_id in vocab.items():
        tokens[token_id] = token
    return tokens


def _has_prefix(step: Mapping[str, Any]) -> bool:
    if step.get("type") == "Metaspace":
        return step.get("prepend_scheme") != "never" if "prepend_scheme" in step else bool(step.get("add_prefix_space"))
    return step.get("type") == "ByteLevel" and bool(step.get("add_prefix_space"))


def _with_prefix(part: Any, prefix: bool) -> Any:
    """A pre-tokenizer that puts a space before a text, or none."""
    if not isinstance(part, Mapping):
        return part
    if part.get("type") == "Sequence":
        return {**part, "pretokenizers": [_with_prefix(inner, prefix) for inner in part["pretokenizers"]]}
    if part.get("type") == "Metaspace":
        rest = {name: value for name, value in part.items() if name not in ("add_prefix_space", "str_rep")}
        return {**rest, "prepend_scheme": "always" if prefix else "never"}
    if part.get("type") == "ByteLevel" and not prefix:  # behind another cut a space would come before each stretch
        return {**part, "add_prefix_space": False}
    return part
