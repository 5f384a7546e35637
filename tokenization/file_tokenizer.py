"""The tokenizer of vocabularies that are neither GPT-2's nor SentencePiece's: its files are followed to the letter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from .added_tokens import AddedToken, union
from .backend import add_frame, pipeline_of
from .deberta import PathLike
from .file_rules import FileRules
from .rule_names import steps_of
from .template import Template
from .tokenizer import Tokenizer
from .tokenizer_json import added_tokens_of, named_errors, read_content
from .vocabulary import SPECIAL_NAMES
from .wordpiece import bert_file, bert_settings, read_vocab_txt, with_settings

BERT_TOKENS = {
    "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]",
}  # fmt: skip


class FileTokenizer(Tokenizer):
    """A tokenizer whose rules stand in its files; the ``tokenizers`` library runs them, and the ids are its own.

    ``AutoTokenizer`` gives one for vocab.txt (WordPiece with BERT's rules, as most Chinese DeBERTa-v2 models have) and
    for a tokenizer.json with another model than those of DeBERTa.

    Args:
        vocab_file: vocab.txt, or a dictionary of tokens to ids.
        tokenizer_file: tokenizer.json.
        do_lower_case: lower-case the text; default: as tokenizer.json says, or yes.
        strip_accents: take accents away; default: as tokenizer.json says, or where the text is lower-cased.
        tokenize_chinese_chars: each Chinese character is a word; default: as tokenizer.json says, or yes.
        do_basic_tokenize: vocab.txt: false leaves out all rules but the cuts at white space.
        never_split: refused; ``add_tokens`` does what it is for.
        add_prefix_space: put a space before a text, where the file has a rule for it; default: as it says.
        legacy_ids: without effect: the ids are the library's own in any case.
        bos_token: this and the other special tokens: default BERT's, where the vocabulary has them, and without a
            tokenizer.json in any case.
        eos_token: end of a text.
        unk_token: what stands for a character that is no token.
        sep_token: end of a text or of one of a pair.
        pad_token: what fills rows.
        cls_token: beginning of a row.
        mask_token: a hidden token.
        **settings: settings of ``Tokenizer``.

    Raises:
        ValueError: a file is damaged, or has rules that cannot be followed.
        FileNotFoundError: a file is missing.
        TypeError: an unknown keyword.
    """

    family = "file"
    vocab_files_names: ClassVar[dict[str, str]] = {"vocab_file": "vocab.txt"}
    slow_class_name = "PreTrainedTokenizerFast"
    is_fast = True
    taken_for = ("transformers.tokenization_utils_fast", "PreTrainedTokenizerFast")

    def __init__(
        self,
        vocab_file: PathLike | Mapping[str, int] | None = None,
        tokenizer_file: PathLike | None = None,
        do_lower_case: bool | None = None,
        strip_accents: bool | None = None,
        tokenize_chinese_chars: bool | None = None,
        do_basic_tokenize: bool = True,
        never_split: Sequence[str] | None = None,
        bos_token: Any = None,
        eos_token: Any = None,
        unk_token: Any = None,
        sep_token: Any = None,
        pad_token: Any = None,
        cls_token: Any = None,
        mask_token: Any = None,
        add_prefix_space: bool | None = None,
        legacy_ids: bool = False,
        **settings: Any,
    ) -> None:
        if never_split:
            raise ValueError(
                f"never_split={list(never_split)!r} has no counterpart here; give these tokens to add_tokens, which "
                "keeps them whole"
            )
        given = {"do_lower_case": do_lower_case, "strip_accents": strip_accents,
                 "tokenize_chinese_chars": tokenize_chinese_chars}  # fmt: skip
        options = {name: bool(value) for name, value in given.items() if value is not None}
        tokens = (bos_token, eos_token, unk_token, sep_token, pad_token, cls_token, mask_token)
        specials = {name: token for name, token in zip(SPECIAL_NAMES, tokens, strict=True) if token is not None}
        if tokenizer_file is not None:
            rules, listed = _read_file(Path(tokenizer_file), options)
            known = {*rules.vocab, *(entry["content"] for entry in listed.values())}
            specials = {name: token for name, token in BERT_TOKENS.items() if token in known} | specials
            settings["added_tokens_decoder"] = union(listed, settings.get("added_tokens_decoder"))
        elif vocab_file is not None:
            specials = BERT_TOKENS | specials
            settings.setdefault("clean_up_tokenization_spaces", True)  # as BERT's tokenizers do
            vocab = dict(vocab_file) if isinstance(vocab_file, Mapping) else read_vocab_txt(Path(vocab_file))
            unknown = AddedToken.of(specials["unk_token"]).content
            content = bert_file(vocab, unknown, options, basic=bool(do_basic_tokenize))
            rules = FileRules(content, "the vocabulary" if isinstance(vocab_file, Mapping) else str(vocab_file), ())
        else:
            raise ValueError("no vocabulary: give vocab_file (vocab.txt) or tokenizer_file (tokenizer.json)")
        rules = rules if add_prefix_space is None else rules.with_prefix(bool(add_prefix_space))
        self.add_prefix_space = rules.add_prefix_space
        self._bert = bert_settings(rules.content) or {}  # BERT's settings, where the rules are wholly BERT's
        self.do_lower_case = _lower_cases(rules)
        self._frames = tokenizer_file is None
        super().__init__(rules, specials, **settings)
        rules.segmenter(self._reading(None, None), self._vocabulary.added)  # refuses rules that the library knows not

    @property
    def backend_tokenizer(self) -> Any:
        """A ``tokenizers.Tokenizer`` made of this tokenizer's present state; changing it changes nothing here."""
        backend = pipeline_of(self)
        return add_frame(backend, self) if self._frames else backend

    def _template(self, special: bool) -> Template:
        framed = self._engine.template is not None or None not in (self.cls_token, self.sep_token)
        return super()._template(special and framed)

    @classmethod
    def _vocabulary_arguments(cls, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        if (folder / "tokenizer.json").is_file():
            return {"tokenizer_file": folder / "tokenizer.json"}
        return super()._vocabulary_arguments(folder, settings)

    def _vocabulary_files(self) -> dict[str, bytes]:
        if self._bert:
            return {"vocab.txt": "".join(f"{token}\n" for token in self._engine.tokens).encode()}
        return super()._vocabulary_files()

    def _fast_files(self) -> dict[str, bytes]:
        return self._pipeline_file()

    def _family_settings(self) -> dict[str, Any]:
        return {**self._bert, "tokenizer_class": "BertTokenizer"} if self._bert else {}


def _read_file(path: Path, options: Mapping[str, bool]) -> tuple[FileRules, dict[int, Any]]:
    """The rules of a tokenizer.json under BERT's settings, and its added tokens by id."""
    content = read_content(path)
    with named_errors(path):
        content["normalizer"] = with_settings(content.get("normalizer"), options)
        rules, listed = FileRules(content, str(path), ()), added_tokens_of(content)
    if options.get("do_lower_case") and not _lower_cases(rules):
        warnings.warn(f"do_lower_case=True is left out: {path} has no rule for it; the file is followed", stacklevel=4)
    return rules, listed


def _lower_cases(rules: FileRules) -> bool:
    steps = steps_of(rules.content["normalizer"])
    return any(step.get("type") == "Lowercase" or bool(step.get("lowercase")) for step in steps)
