"""The tokenizers of DeBERTa v1 and of v2, v3 and mDeBERTa."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from .added_tokens import AddedToken, union
from .arguments import TextOptions
from .byte_bpe import BYTE_TO_CHAR, CHAR_TO_BYTE, ByteBpe
from .engine import Engine, Span
from .pretrained import PretrainedTokenizer
from .sources import BpeSource, UnigramSource
from .unigram import Unigram, lower_case, split_punctuation

PathLike = str | Path


class DebertaTokenizer(PretrainedTokenizer):
    """The tokenizer of DeBERTa v1: byte-level BPE of GPT-2 with DeBERTa's ids.

    Args:
        vocab_file: vocab.json, bpe_encoder.bin of the original, or a dictionary of tokens to ids.
        merges_file: merges.txt, or a list of pairs; not needed with bpe_encoder.bin.
        errors: what ``decode`` does with bytes that are no UTF-8: ``replace``, ``ignore`` or ``strict``.
        bos_token: the same as ``cls_token`` in published models.
        eos_token: the same as ``sep_token`` in published models.
        sep_token: ends a text.
        cls_token: begins a row.
        unk_token: stands for what the vocabulary lacks.
        pad_token: fills rows up.
        mask_token: stands for a hidden token; in a text it swallows the white space to its left.
        add_prefix_space: a text that does not begin with white space gets a space before it; default: what
            tokenizer.json says, where it is alone, else no.
        add_bos_token: without effect; published settings carry it.
        tokenizer_file: tokenizer.json, where there are no other files.
        common: settings of ``Tokenizer``.

    Raises:
        ValueError: a file is damaged, or the files do not belong together.
        FileNotFoundError: a file is missing.
        TypeError: an unknown keyword.
    """

    family = "v1"
    model_input_names: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids")
    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": "vocab.json", "merges_file": "merges.txt"}
    slow_class_name = "DebertaTokenizer"

    def __init__(
        self,
        vocab_file: PathLike | Mapping[str, int] | None = None,
        merges_file: PathLike | Sequence[tuple[str, str]] | None = None,
        errors: str = "replace",
        bos_token: Any = "[CLS]",
        eos_token: Any = "[SEP]",
        sep_token: Any = "[SEP]",
        cls_token: Any = "[CLS]",
        unk_token: Any = "[UNK]",
        pad_token: Any = "[PAD]",
        mask_token: Any = "[MASK]",
        add_prefix_space: bool | None = None,
        add_bos_token: bool = False,
        *,
        tokenizer_file: PathLike | None = None,
        **common: Any,
    ) -> None:
        source = BpeSource.read(vocab_file, merges_file, tokenizer_file)
        self._follow(source.rules, {} if source.rules is None or vocab_file is None else source.files())
        self._engine: Any = self._rules or ByteBpe(source.vocab, source.merges, 0)
        self._tokens = source.tokens() if self._rules is None else self._rules.tokens
        prefix = self._rules is not None and self._rules.add_prefix_space
        self.add_prefix_space = prefix if add_prefix_space is None else bool(add_prefix_space)
        self.errors, self.add_bos_token = errors, bool(add_bos_token)
        common["added_tokens_decoder"] = union(source.added_tokens, common.get("added_tokens_decoder"))
        specials = {
            "bos_token": bos_token,
            "eos_token": eos_token,
            "unk_token": unk_token,
            "sep_token": sep_token,
            "pad_token": pad_token,
            "cls_token": cls_token,
            "mask_token": mask_token,
        }
        super().__init__(specials, **common)
        if self.unk_token is not None and isinstance(self._engine, ByteBpe):
            self._engine.set_unknown(self.unk_token_id)

    @property
    def _base_vocab(self) -> Mapping[str, int]:
        vocab: Mapping[str, int] = self._engine.vocab
        return vocab

    @property
    def _base_tokens(self) -> Sequence[str]:
        return self._tokens

    @property
    def _unknown_id(self) -> int:
        return int(self._engine.unk_id)

    @property
    def _prefix(self) -> bool:
        return self.add_prefix_space

    @property
    def byte_encoder(self) -> dict[int, str]:
        """The printable character that stands for each byte."""
        return dict(enumerate(BYTE_TO_CHAR))

    def _special_default(self, name: str, content: str) -> AddedToken:
        is_mask = name == "mask_token"
        return AddedToken(content, lstrip=is_mask, normalized=is_mask, special=True)

    def _engine_for(self, options: TextOptions) -> Engine:
        engine: Engine = self._engine
        return engine

    def _needs_preparation(self, options: TextOptions) -> bool:
        return options.prefix

    def _reading_words(self, reading: TextOptions) -> TextOptions:
        return replace(reading, prefix=True)

    def _prepare(self, text: str, options: TextOptions) -> tuple[str, list[Span] | None]:
        if not options.prefix or not text or text[0].isspace():
            return text, None
        return " " + text, [(0, 0), *((i, i + 1) for i in range(len(text)))]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text that tokens stand for, byte for byte; special tokens get no spaces around them."""
        data = bytearray()
        for token in tokens:
            if token in self._added.ids:
                data += token.encode()
                continue
            for char in token:
                byte = CHAR_TO_BYTE.get(char)
                data += char.encode() if byte is None else bytes((byte,))
        return data.decode("utf-8", self.errors)

    def _vocabulary_files(self) -> dict[str, bytes]:
        return BpeSource(self._engine.vocab, self._engine.merges, None).files()

    def _family_settings(self) -> dict[str, Any]:
        return {
            "add_bos_token": self.add_bos_token,
            "add_prefix_space": self.add_prefix_space,
            "errors": self.errors,
        }


class DebertaV2Tokenizer(PretrainedTokenizer):
    """The tokenizer of DeBERTa v2, v3 and mDeBERTa: SentencePiece.

    Args:
        vocab_file: spm.model, or the bytes of one.
        do_lower_case: lower-case the text, but for special tokens.
        split_by_punct: cut the text at punctuation; each mark is encoded alone.
        bos_token: the same as ``cls_token`` in published models.
        eos_token: the same as ``sep_token`` in published models.
        unk_token: stands for what the vocabulary lacks.
        sep_token: ends a text.
        pad_token: fills rows up.
        cls_token: begins a row.
        mask_token: stands for a hidden token.
        sp_model_kwargs: ``enable_sampling``, ``nbest_size`` and ``alpha`` for sampled segmentations.
        add_prefix_space: the model puts a space before a text; default: as it was trained, or as tokenizer.json says.
        tokenizer_file: tokenizer.json, where there is no spm.model.
        common: settings of ``Tokenizer``.

    Raises:
        ValueError: the file is damaged or hostile, or a setting is unknown.
        FileNotFoundError: the file is missing.
        TypeError: an unknown keyword.
    """

    family = "v2"
    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": "spm.model"}
    slow_class_name = "DebertaV2Tokenizer"

    def __init__(
        self,
        vocab_file: PathLike | bytes | None = None,
        do_lower_case: bool = False,
        split_by_punct: bool = False,
        bos_token: Any = "[CLS]",
        eos_token: Any = "[SEP]",
        unk_token: Any = "[UNK]",
        sep_token: Any = "[SEP]",
        pad_token: Any = "[PAD]",
        cls_token: Any = "[CLS]",
        mask_token: Any = "[MASK]",
        sp_model_kwargs: dict[str, Any] | None = None,
        add_prefix_space: bool | None = None,
        *,
        tokenizer_file: PathLike | None = None,
        **common: Any,
    ) -> None:
        source = UnigramSource.read(vocab_file, tokenizer_file)
        self._follow(source.rules, {"spm.model": source.proto} if source.proto else {})
        prefix = source.prefix is not False if add_prefix_space is None else bool(add_prefix_space)
        self.do_lower_case = bool(do_lower_case or source.lower_case)
        self.split_by_punct = bool(split_by_punct or source.split_by_punct)
        self._engine: Any
        if self._rules is None:
            self._engine = Unigram(source.proto, sp_model_kwargs, add_prefix_space=prefix, name=source.name)
        else:
            self._engine = self._rules = self._rules.with_prefix(prefix)
            self._check_followed(source, sp_model_kwargs)
        common["added_tokens_decoder"] = union(source.added_tokens, common.get("added_tokens_decoder"))
        specials = {
            "bos_token": bos_token,
            "eos_token": eos_token,
            "unk_token": unk_token,
            "sep_token": sep_token,
            "pad_token": pad_token,
            "cls_token": cls_token,
            "mask_token": mask_token,
        }
        super().__init__(specials, **common)

    def _check_followed(self, source: UnigramSource, sp_model_kwargs: dict[str, Any] | None) -> None:
        """Says which settings a file that is followed to the letter overrules."""
        if sp_model_kwargs and sp_model_kwargs.get("enable_sampling"):
            raise ValueError(
                f"sp_model_kwargs={sp_model_kwargs} asks SentencePiece for sampled segmentations, but the tokenizers "
                f"library runs the rules in {source.name}, and has none; leave sp_model_kwargs out"
            )
        for name, said in (("do_lower_case", source.lower_case), ("split_by_punct", source.split_by_punct)):
            if getattr(self, name) and not said:
                warnings.warn(
                    f"{name}=True is left out: {source.name} has rules of its own and none for it; the file is "
                    "followed",
                    stacklevel=4,
                )
        self.do_lower_case, self.split_by_punct = source.lower_case, source.split_by_punct

    @property
    def _base_vocab(self) -> Mapping[str, int]:
        vocab: Mapping[str, int] = self._engine.vocab
        return vocab

    @property
    def _base_tokens(self) -> Sequence[str]:
        tokens: Sequence[str] = self._engine.tokens
        return tokens

    @property
    def _unknown_id(self) -> int:
        return int(self._engine.unk_id)

    @property
    def _prefix(self) -> bool:
        return bool(self._engine.add_prefix_space)

    @property
    def add_prefix_space(self) -> bool:
        """Whether the model puts a space before a text."""
        return bool(self._engine.add_prefix_space)

    @property
    def sp_model_kwargs(self) -> dict[str, Any]:
        """The settings of SentencePiece."""
        return dict(self._engine.settings)

    def _normalized(self, token: AddedToken) -> AddedToken:
        if self._rules is None and self.do_lower_case and token.normalized and not token.special:
            return AddedToken(**{**token.to_dict(), "content": lower_case(token.content)})
        return token

    def _engine_for(self, options: TextOptions) -> Engine:
        engine: Unigram = self._engine
        return engine if options.prefix == engine.add_prefix_space else engine.with_other_prefix

    def _needs_preparation(self, options: TextOptions) -> bool:
        return self.do_lower_case or self.split_by_punct

    def _prepare(self, text: str, options: TextOptions) -> tuple[str, list[Span] | None]:
        if not self.do_lower_case:
            return text, None
        found = self._added.find(text, which="special") if options.specials else ()
        keep = [(match.end - len(self._added.by_id[match.token_id].content), match.end) for match in found]
        lowered = lower_case(text, keep)
        if len(lowered) == len(text):
            return lowered, None
        kept = {i for begin, end in keep for i in range(begin, end)}
        return lowered, [(i, i + 1) for i, char in enumerate(text) for _ in (char if i in kept else lower_case(char))]

    def _segments(self, text: str, begin: int) -> Iterable[tuple[int, str]]:
        if not self.split_by_punct:
            return super()._segments(text, begin)
        return [(begin + place, part) for place, part in split_punctuation(text)]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text that tokens stand for.

        Source: the published tokenizer, which puts a space before the text that ends at a special token and none
        around the special token itself: ``[CLS] Hello[MASK] there.[SEP]``.
        """
        special = set(self.all_special_tokens)
        parts: list[str] = []
        run: list[str] = []
        after_special = False
        for token in tokens:
            if token in special:
                parts += ["" if after_special else " ", self._decode_run(run), token]
                run = []
            else:
                run.append(token)
            after_special = token in special
        return "".join([*parts, self._decode_run(run)]).strip()

    def _decode_run(self, pieces: list[str]) -> str:
        return str(self._engine.processor.decode(pieces)) if pieces else ""

    def _join_tokens(self, tokens: list[str], spaces: bool) -> str:
        special = set(self.all_special_tokens) - {t for t in self._additional if self._added.ids[t] >= self.vocab_size}
        alone = set(self._added.ids) - special
        groups: list[list[str]] = [[]]
        for token in tokens:
            if token in alone:
                groups += [[token], []]
            else:
                groups[-1].append(token)
        texts = [
            group[0] if group[:1] and group[0] in alone else self.convert_tokens_to_string(group) for group in groups
        ]
        return (" " if spaces else "").join(text for text in texts if text)

    def _vocabulary_files(self) -> dict[str, bytes]:
        return {"spm.model": self._engine.proto}

    def _family_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "do_lower_case": self.do_lower_case,
            "split_by_punct": self.split_by_punct,
            "sp_model_kwargs": self.sp_model_kwargs,
        }
        return settings if self.add_prefix_space else {**settings, "add_prefix_space": False}
