"""Engines that run a pipeline of the ``tokenizers`` library on whole texts, added tokens included."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from .arguments import TextOptions
from .backend import pipeline_of
from .engine import AddedTokens, Encoding, Engine, Span, original_span, surrogate_error, with_space
from .template import Template
from .unigram import SPACE


class Pipeline:
    """A segmenter that runs a pipeline of the library.

    Args:
        backend: the pipeline. Its settings are never changed, so threads may share it.
        random: two calls with one text may differ, as with dropout of merges.
    """

    def __init__(self, backend: Any, *, random: bool = False) -> None:
        self.backend, self.random = backend, random
        self._space_id = backend.token_to_id(SPACE)
        self._spacing: dict[str, str | None] = {}

    def encode(self, texts: Sequence[str], *, num_threads: int = 1) -> list[list[int]]:
        """Ids of each text."""
        return [one.ids for one in self._run(texts)]

    def encode_spans(self, texts: Sequence[str], *, trim: bool, words: bool, num_threads: int = 1) -> list[Encoding]:
        """Ids, spans and words of each text; without ``trim`` the spans are the library's own.

        Where the pipeline drops characters, the spans are those of the text without them: what a character map drops
        at the start of a text moves all of the library's spans. Where that would give other ids they stay.
        """
        encoded = self._run(texts)
        if not trim:
            return [Encoding(one.ids, one.offsets, [number or 0 for number in one.word_ids]) for one in encoded]
        kept = [[i for i, char in enumerate(text) if self.spacing(char) != ""] for text in texts]
        fewer = [number for number, text in enumerate(texts) if len(kept[number]) < len(text)]
        again = self._run(["".join([texts[number][i] for i in kept[number]]) for number in fewer]) if fewer else []
        offsets = [one.offsets for one in encoded]
        for number, one in zip(fewer, again, strict=True):
            if one.ids == encoded[number].ids:
                origin = [(i, i + 1) for i in kept[number]]
                offsets[number] = [original_span(span, origin) for span in one.offsets]
        return [
            Encoding(one.ids, self._own(text, spans, one.ids), [number or 0 for number in one.word_ids])
            for text, one, spans in zip(texts, encoded, offsets, strict=True)
        ]

    def _own(self, text: str, spans: Sequence[Span], ids: Sequence[int]) -> list[Span]:
        """The library's spans, from the first to the last character that the piece came from."""
        own: list[Span] = []
        limit = after = len(text)
        for (start, end), token_id in zip(reversed(spans), reversed(ids), strict=True):
            while start < end and self._is_blank(text[start]):
                start += 1
            while end > start and self._is_blank(text[end - 1]):
                end -= 1
            if token_id == self._space_id and text[start:end] != SPACE:  # the library gives it the next character
                own.append((start, start))
                continue
            limit = after if after >= end else limit  # pieces of one character end at the same place
            while start < end < limit and unicodedata.combining(text[end]):  # what a character was composed with
                end += 1
            after = start
            own.append((start, end))
        return own[::-1]

    def spacing(self, char: str) -> str | None:
        """What the pipeline leaves of a character between letters: "" or a space, or ``None`` for anything else."""
        if char.isascii() and char.isprintable() and char != " ":
            return None
        if char not in self._spacing:
            between = self._stretches(f"a{char}a")
            self._spacing[char] = next((left for left in ("", " ") if between == self._stretches(f"a{left}a")), None)
        return self._spacing[char]

    def _is_blank(self, char: str) -> bool:
        return char.isspace() or self.spacing(char) is not None

    def _stretches(self, text: str) -> list[str]:
        """What the model gets of a text."""
        if self.backend.normalizer is not None:
            text = self.backend.normalizer.normalize_str(text)
        if self.backend.pre_tokenizer is None:
            return [text]
        return [stretch for stretch, _ in self.backend.pre_tokenizer.pre_tokenize_str(text)]

    def tokenize(self, text: str) -> list[str]:
        """The tokens as strings."""
        tokens: list[str] = self._run([text])[0].tokens
        return tokens

    def _run(self, texts: Sequence[str]) -> Any:
        try:
            return self.backend.encode_batch(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise surrogate_error(texts) or error from None


class PipelineEngine:
    """What engines have in common whose segmenters are pipelines: a pipeline is made when it is first needed."""

    finds_added = True
    follows_file = False
    random = False
    template: Template | None = None

    def __init__(self) -> None:
        self._made: dict[tuple[int, str, bool], Pipeline] = {}

    def pipeline(self, added: AddedTokens, *, prefix: bool) -> Any:
        """A ``tokenizers.Tokenizer`` of its own."""
        raise NotImplementedError

    def segmenter(self, options: TextOptions, added: AddedTokens) -> Pipeline:
        """The pipeline for a call."""
        key = (added.version, options.which, options.prefix and not self.prepares(options))
        found = self._made.get(key)
        if found is None:
            if any(version != added.version for version, *_ in list(self._made)):
                self._made = {}
            backend = self.pipeline(added, prefix=key[2])
            backend.encode_special_tokens = options.which != "all"
            found = self._made[key] = Pipeline(backend, random=self.random)
        return found

    def prepares(self, options: TextOptions) -> bool:
        """Whether a text gets a space before it that the pipeline does not put there."""
        return False

    def prepare(self, text: str, options: TextOptions, special: Sequence[Span]) -> tuple[str, list[Span] | None]:
        """The text with a space before it."""
        return with_space(text)

    def stretches(self, text: str, options: TextOptions) -> Iterable[tuple[int, str]]:
        """The whole."""
        return [(0, text)] if text else []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": {}}


class LegacyEngine(PipelineEngine):
    """The ids of transformers 4's fast classes, on purpose. All but the segmenting is the exact engine's.

    Args:
        exact: the engine of the family.
        tokenizer: the tokenizer that has it, for its added tokens and settings.
    """

    def __init__(self, exact: Engine, tokenizer: Any) -> None:
        super().__init__()
        self._exact, self._tokenizer = exact, tokenizer
        self.vocab, self.tokens, self.unk_id = exact.vocab, exact.tokens, exact.unk_id
        self.spaces_added = exact.spaces_added
        self.settings = getattr(exact, "settings", {})

    @property
    def add_prefix_space(self) -> bool:
        """As the exact engine has it."""
        return bool(getattr(self._exact, "add_prefix_space", False))

    def pipeline(self, added: AddedTokens, *, prefix: bool) -> Any:
        """The pipeline of transformers 4, or of the file that is reproduced; ``prefix`` is the tokenizer's own."""
        return pipeline_of(self._tokenizer)

    def segmenter(self, options: TextOptions, added: AddedTokens) -> Pipeline:
        """The pipeline for a call.

        Raises:
            ValueError: words are to stand without a space before them.
        """
        if not options.separator:
            raise ValueError("word_separator='' cannot be had with legacy_ids=True, whose words all begin with a space")
        return super().segmenter(replace(options, prefix=False), added)  # the pipeline's own rules say

    def text_of(self, tokens: Sequence[str], added: Collection[str], special: Collection[str], errors: str) -> str:
        """The text that tokens stand for."""
        return self._exact.text_of(tokens, added, special, errors)

    def files(self) -> dict[str, bytes]:
        """The files of the exact engine."""
        return self._exact.files()
