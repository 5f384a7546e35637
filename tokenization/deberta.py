"""The tokenizers of DeBERTa v1 and of v2, v3 and mDeBERTa."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from .added_tokens import union
from .byte_bpe import BYTE_TO_CHAR, ByteBpe
from .engine import Engine
from .file_rules import FileRules
from .sources import BpeSource, UnigramSource
from .tokenizer import Tokenizer
from .trainers import train_bpe, train_unigram
from .unigram import Unigram
from .vocabulary import SPECIAL_NAMES

PathLike = str | Path


class DebertaTokenizer(Tokenizer):
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
        do_lower_case: lower-case the text, but for special tokens; default: as tokenizer.json says, where it is alone.
        tokenizer_file: tokenizer.json, where there are no other files.
        common: settings of ``Tokenizer``.

    Raises:
        ValueError: a file is damaged, or the files do not belong together.
        FileNotFoundError: a file is missing.
        TypeError: an unknown keyword.
    """

    family = "v1"
    model_input_names: Sequence[str] = ["input_ids", "attention_mask", "token_type_ids"]
    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": "vocab.json", "merges_file": "merges.txt"}
    slow_class_name = "DebertaTokenizer"
    _mask_swallows = True
    _spaces_words = True

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
        do_lower_case: bool = False,
        tokenizer_file: PathLike | None = None,
        **common: Any,
    ) -> None:
        source = BpeSource.read(vocab_file, merges_file, tokenizer_file)
        rules = followed(type(self), source.rules, {} if source.rules is None or vocab_file is None else source.files())
        engine: Engine = ByteBpe(source.vocab, source.merges) if rules is None else rules
        own_prefix = rules is not None and rules.add_prefix_space
        self.add_prefix_space = own_prefix if add_prefix_space is None else bool(add_prefix_space)
        self.errors, self.add_bos_token = errors, bool(add_bos_token)
        self.do_lower_case = source.lower_case or (bool(do_lower_case) and rules is None)
        if do_lower_case and not self.do_lower_case and rules is not None:
            warnings.warn(
                f"do_lower_case=True is left out: {rules.name} has rules of its own and none for it; the file is "
                "followed",
                stacklevel=3,
            )
        common["added_tokens_decoder"] = union(source.added_tokens, common.get("added_tokens_decoder"))
        tokens = (bos_token, eos_token, unk_token, sep_token, pad_token, cls_token, mask_token)
        super().__init__(engine, dict(zip(SPECIAL_NAMES, tokens, strict=True)), **common)

    @property
    def byte_encoder(self) -> dict[int, str]:
        """The printable character that stands for each byte."""
        return dict(enumerate(BYTE_TO_CHAR))

    def _has_bytes(self) -> bool:
        return True

    def _train(
        self, texts: Iterator[str], size: int, has_bytes: bool, settings: dict[str, Any], specials: Sequence[str]
    ) -> dict[str, Any]:
        vocab, merges = train_bpe(texts, size, settings, specials)
        return {"vocab_file": vocab, "merges_file": merges, "tokenizer_file": None}

    def _family_settings(self) -> dict[str, Any]:
        settings = {
            "add_bos_token": self.add_bos_token,
            "add_prefix_space": self.add_prefix_space,
            "errors": self.errors,
        }
        return {**settings, "do_lower_case": True} if self.do_lower_case else settings


class DebertaV2Tokenizer(Tokenizer):
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
    _trained_prefix = True  # whether the model puts a space before a text by itself
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
        rules = followed(type(self), source.rules, {"spm.model": source.proto} if source.proto else {})
        prefix = source.prefix if add_prefix_space is None else bool(add_prefix_space)
        self.do_lower_case = bool(do_lower_case or source.lower_case)
        self.split_by_punct = bool(split_by_punct or source.split_by_punct)
        engine: Engine
        if rules is None:
            engine = Unigram(source.proto, sp_model_kwargs, add_prefix_space=prefix, name=source.name)
            self._trained_prefix = engine.model.add_dummy_prefix
        else:
            engine = rules.with_prefix(prefix is not False)
            self._check_followed(source, sp_model_kwargs)
        common["added_tokens_decoder"] = union(source.added_tokens, common.get("added_tokens_decoder"))
        self.add_prefix_space = engine.add_prefix_space
        tokens = (bos_token, eos_token, unk_token, sep_token, pad_token, cls_token, mask_token)
        super().__init__(engine, dict(zip(SPECIAL_NAMES, tokens, strict=True)), **common)

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
    def sp_model_kwargs(self) -> dict[str, Any]:
        """The settings of SentencePiece."""
        return dict(getattr(self._engine, "settings", {}))

    def _has_bytes(self) -> bool:
        return "<0x00>" in self._vocabulary.engine.vocab

    def _train(
        self, texts: Iterator[str], size: int, has_bytes: bool, settings: dict[str, Any], specials: Sequence[str]
    ) -> dict[str, Any]:
        model = train_unigram(texts, size - 1, {"byte_fallback": has_bytes, **settings}, specials)
        return {"vocab_file": model, "tokenizer_file": None}

    def _family_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "do_lower_case": self.do_lower_case,
            "split_by_punct": self.split_by_punct,
            "sp_model_kwargs": self.sp_model_kwargs,
        }
        prefix = self.add_prefix_space
        return settings if prefix == self._trained_prefix else {**settings, "add_prefix_space": prefix}


def followed(owner: type[Tokenizer], rules: FileRules | None, beside: Mapping[str, bytes]) -> FileRules | None:
    """A tokenizer.json whose rules the family's engine has not, if the class can follow it.

    Args:
        owner: the class.
        rules: the file, if it is one.
        beside: the files of a whole vocabulary that lie beside it.

    Raises:
        ValueError: the class does without the ``tokenizers`` library and has no other vocabulary.
    """
    if rules is None or owner.is_fast:
        return None if rules is None else rules.with_files(beside)
    name = owner.__name__
    said = f"{rules.name} has rules that {name} does not know: {'; '.join(rules.own)}"
    if not beside:
        raise ValueError(f"{said}; use {name}Fast, which runs them through the tokenizers library")
    warnings.warn(
        f"{said}; {' and '.join(beside)} beside it are read instead. {name}Fast follows the rules", stacklevel=4
    )
    return None
