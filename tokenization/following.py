"""Tokenizers that follow a tokenizer.json where no engine of a family can stand for its rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .arguments import TextOptions
from .engine import Engine, Span
from .file_rules import FileRules
from .pretrained import PretrainedTokenizer
from .rows import Template
from .texts import Part


class FollowsFile(PretrainedTokenizer):
    """What a class adds to a family to follow such a file: ids, spans, frames and text are then the library's own."""

    is_fast = True
    _beside: Mapping[str, bytes] = {}  # another whole vocabulary, written back with the file

    def _follow(self, rules: FileRules | None, beside: Mapping[str, bytes]) -> None:
        if rules is not None:
            self._rules, self._beside = rules, dict(beside)

    def _check_rules(self) -> None:
        """Refuses rules that the library does not know before there is a text to tokenize."""
        if self._rules is not None:
            self._engine_for(self._reading(None, None))

    @property
    def backend_tokenizer(self) -> Any:
        """A ``tokenizers.Tokenizer`` made of this tokenizer's present state; changing it changes nothing here."""
        assert self._rules is not None
        return self._rules.pipeline(self._added, prefix=self._rules_prefix(self._prefix))

    @property
    def _unknown_id(self) -> int:
        if self._rules is None:
            return super()._unknown_id  # type: ignore[safe-super]
        known = self._rules.unk_id if self.unk_token is None else self.unk_token_id
        return 0 if known is None else int(known)

    def _rules_prefix(self, prefix: bool) -> bool:
        """Whether the file's rules are to put a space before a text; v1 does so itself where the file does not."""
        return prefix and (self.family != "v1" or (self._rules is not None and self._rules.add_prefix_space))

    def _engine_for(self, options: TextOptions) -> Engine:
        if self._rules is None:
            return super()._engine_for(options)  # type: ignore[safe-super]
        prefix = self._rules_prefix(options.prefix)
        if not options.separator and not self._rules.spaces_words:
            if self._rules.spaces_words is None:
                raise ValueError(
                    f"word_separator='' cannot be had: {self._rules.name} has a Prepend, which puts a space before "
                    "every word; leave word_separator out"
                )
            prefix = self._rules.add_prefix_space  # spaces are no part of its words
        return self._rules.engine(self._added, specials=options.specials, prefix=prefix)

    def _to_cut(self, texts: Sequence[str], options: TextOptions) -> set[int]:
        if self._rules is None:
            return super()._to_cut(texts, options)
        return set() if options.prefix == self._rules_prefix(options.prefix) else set(range(len(texts)))

    def _cut(self, text: str, options: TextOptions) -> tuple[list[Part], list[Span] | None]:
        if self._rules is None:
            return super()._cut(text, options)
        origin = None
        if options.prefix != self._rules_prefix(options.prefix):
            text, origin = self._prepare(text, options)
        return [Part(0, len(text), text)] if text else [], origin

    def _template(self, special: bool) -> Template:
        own = None if self._rules is None else self._rules.template
        if own is None:
            return super()._template(special)
        return own if special else Template(text_types=own.text_types)

    def _skipped_ids(self) -> set[int]:
        if self._rules is None:
            return super()._skipped_ids()
        return {token_id for token_id, token in self._added.by_id.items() if token.special}

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text that tokens stand for."""
        if self._rules is None:
            return super().convert_tokens_to_string(tokens)  # type: ignore[safe-super]
        return self._rules.decode(tokens, self._added)

    def _join_tokens(self, tokens: list[str], spaces: bool) -> str:
        return super()._join_tokens(tokens, spaces) if self._rules is None else self.convert_tokens_to_string(tokens)

    def _vocabulary_files(self) -> dict[str, bytes]:
        if self._rules is None:
            return super()._vocabulary_files()  # type: ignore[safe-super]
        return {**self._beside, "tokenizer.json": self.backend_tokenizer.to_str(pretty=True).encode()}
