"""What people call: a tokenizer has an engine, added tokens, a template for its special tokens, and settings."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Self, overload

from deberta_core.beside import Beside
from deberta_core.file_names import CONFIG, TOKENIZER_FILES
from deberta_core.files import Reading, read_together
from deberta_core.hub.fetching import HubOptions
from deberta_core.hub.pushing import PushToHub, check_push, push_saved

from . import documented
from .added_tokens import AddedToken, TextReader
from .arguments import (
    TRUNCATION,
    BatchOptions,
    TextOptions,
    batch_options,
    check_count,
    check_separator,
    check_side,
    choice,
    unknown_keyword,
)
from .documented import kept_settings
from .encoding import Alignment, BatchEncoding, alignments
from .engine import Encoding, Engine, Span, lower_case
from .files import to_json, write_files
from .folder import (
    check_size,
    find_folder,
    prefixed,
    read_settings,
    saved_settings,
    saved_special_tokens,
    vocabulary_arguments,
)
from .inputs import Examples, Texts, each, listed, read_examples, values_of
from .template import UNFRAMED, Template, published_template
from .tensors import as_lists, by_key, pad_columns, tensor_kind, to_tensor
from .vocabulary import SPECIAL_NAMES, Vocabulary, as_integers
from .windows import windows

# The length that every published DeBERTa was trained with; config.json and tokenizer_config.json overrule it.
PUBLISHED_MAX_LENGTH = 512

# What clean_up_tokenization_spaces closes up: a space before punctuation, and before English contractions.
CLEAN_UP = re.compile(r" (?=[.?!,]|n't|'m|'s|'ve|'re)")


class Tokenizer(Beside):
    """Base of the tokenizers. A call changes nothing in it, so threads may share one.

    Args:
        engine: the vocabulary with its rules.
        special_tokens: tokens by their names of ``SPECIAL_NAMES``, ``None`` for one that the tokenizer lacks.
        model_max_length: most tokens in a row that ``truncation=True`` leaves; default 512, which every published
            model was trained with. ``int(1e30)`` for no limit.
        padding_side: ``right`` or ``left``.
        truncation_side: the end that truncation cuts off.
        clean_up_tokenization_spaces: ``decode`` closes up spaces before punctuation.
        split_special_tokens: special tokens in a text are read as ordinary characters; for untrusted text.
        trim_offsets: spans leave out the white space at their start.
        num_threads: cores that a batch may use: threads of SentencePiece, and for large batches of v1, whose work is
            Python's, further processes, which stay as long as the tokenizer.
        model_input_names: the outputs of a call, in order.
        name_or_path: where the tokenizer came from.
        additional_special_tokens: further special tokens.
        extra_special_tokens: further special tokens, as a list, or as a dictionary whose keys become attributes.
        added_tokens_decoder: tokens by id, as a saved tokenizer lists them.

    Raises:
        ValueError: a side is neither ``left`` nor ``right``, a number is below 1, or an added token claims an id that
            the vocabulary gives to another token.
        TypeError: an unknown keyword.
    """

    is_fast = False
    taken_for = ("transformers.tokenization_utils", "PreTrainedTokenizer")
    family: ClassVar[str]
    vocab_files_names: ClassVar[dict[str, str]]
    slow_class_name: ClassVar[str]
    model_input_names: Sequence[str] = ["input_ids", "token_type_ids", "attention_mask"]
    SPECIAL_TOKENS_ATTRIBUTES: ClassVar[list[str]] = [*SPECIAL_NAMES, "additional_special_tokens"]
    init_inputs: ClassVar[tuple[Any, ...]] = ()
    slow_tokenizer_class: ClassVar[type | None] = None
    can_save_slow_tokenizer: ClassVar[bool] = True
    _auto_class: ClassVar[str | None] = None
    padding_side: str = "right"
    truncation_side: str = "right"
    extra_settings: Mapping[str, Any] = {}
    pad_token_type_id = 0
    add_prefix_space: Any
    do_lower_case = False
    split_by_punct = False
    errors = "replace"
    legacy_ids = False
    backend_tokenizer: Any  # of the fast classes
    _has_no_additional = False
    _fixed_file: bytes | None = None  # a tokenizer.json that is reproduced as it is
    _mask_swallows = False  # the white space to its left
    _spaces_words = False  # engines of v2 and v3 put a space before each word themselves

    def __init__(
        self,
        engine: Engine,
        special_tokens: Mapping[str, Any],
        *,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        clean_up_tokenization_spaces: bool = False,
        split_special_tokens: bool = False,
        trim_offsets: bool = True,
        num_threads: int = 1,
        model_input_names: Sequence[str] | None = None,
        name_or_path: str = "",
        additional_special_tokens: Any = None,
        extra_special_tokens: Any = None,
        added_tokens_decoder: Mapping[Any, Any] | None = None,
        **unknown: Any,
    ) -> None:
        kept, others = kept_settings(unknown)
        if others and callable(getattr(type(self), others[0], None)):
            raise AttributeError(f"{others[0]!r} is a method of {type(self).__name__}, and no setting")
        if others:
            raise unknown_keyword(others[0], type(self).__name__, self.init_names())
        self.extra_settings = kept
        self._engine = engine
        self._vocabulary = Vocabulary(
            engine, special_tokens, additional_special_tokens, extra_special_tokens, added_tokens_decoder,
            mask_swallows=self._mask_swallows,
        )  # fmt: skip
        limit = PUBLISHED_MAX_LENGTH if model_max_length is None else int(model_max_length)
        self.model_max_length = check_count("model_max_length", limit)
        self.padding_side = check_side("padding_side", padding_side)
        self.truncation_side = check_side("truncation_side", truncation_side)
        self.clean_up_tokenization_spaces = bool(clean_up_tokenization_spaces)
        self.split_special_tokens = bool(split_special_tokens)
        self.trim_offsets = bool(trim_offsets)
        self.num_threads = check_count("num_threads", num_threads)
        self.name_or_path = str(name_or_path)
        self.model_input_names = list(type(self).model_input_names if model_input_names is None else model_input_names)

    @classmethod
    def init_names(cls) -> list[str]:
        """The keywords that the class takes."""
        made = [base.__dict__["__init__"] for base in cls.__mro__[:-1] if "__init__" in base.__dict__]
        names = {name for one in made for name in inspect.signature(one).parameters}
        return sorted(names - {"self", "engine", "special_tokens", "common", "settings", "unknown"})

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        *,
        add_prefix_space: bool | None = None,
        split_special_tokens: bool | None = None,
        trim_offsets: bool | None = None,
        num_threads: int | None = None,
        word_separator: str = " ",
    ) -> BatchEncoding:
        """Ids and masks of texts.

        Args:
            text: a text, a list of texts, or a list of pairs; with ``is_split_into_words`` a list of words, or a list
                of such lists.
            text_pair: the second text of a pair, or a list with one for each text.
            text_target: texts whose ids become ``labels``.
            text_pair_target: their second texts.
            add_special_tokens: frame each row as ``[CLS] A [SEP]`` or ``[CLS] A [SEP] B [SEP]``.
            padding: ``True`` or ``longest``, ``max_length``, or ``False``.
            truncation: ``True`` or ``longest_first`` (tokens leave the longer text one at a time, the second where both
                are equal), ``only_first``, ``only_second``, or ``False``.
            max_length: the limit in tokens, special ones included; default ``model_max_length``.
            stride: tokens that two windows of one text share.
            is_split_into_words: texts come as lists of words; spans are then places in the word.
            pad_to_multiple_of: pad to a multiple of this number of tokens.
            padding_side: side of the padding in this call.
            return_tensors: ``pt`` (int64), ``tf`` (int32) or ``np`` (int64).
            return_token_type_ids: whether to return them; default: where ``model_input_names`` has them.
            return_attention_mask: the same for the mask.
            return_overflowing_tokens: make a row of each window; ``overflow_to_sample_mapping`` has their texts.
            return_special_tokens_mask: 1 for special tokens and padding.
            return_offsets_mapping: first and past-the-last character of each token.
            return_length: tokens in each row before padding.
            verbose: without effect; old scripts pass it.
            add_prefix_space: v1: put a space before the text; v2 and v3: the model's dummy space. Default: the
                tokenizer's setting.
            split_special_tokens: read special tokens in the text as ordinary characters; default: the setting.
            trim_offsets: spans leave out the white space at their start; default: the setting.
            num_threads: cores for this batch; default: the setting.
            word_separator: with ``is_split_into_words`` what stands between two words, as in ``separator.join(words)``:
                a space, or with ``""`` nothing but the spaces that words bring along: ``["New", " York", "'s"]``. Of
                white space between two words the later one gets the token, and the text begins as any text does.

        Raises:
            TypeError: a text is no string, a batch meets a single second text.
            ValueError: a limit cannot be kept, rows of tensors differ in length, ``pad_to_multiple_of`` makes rows
                longer than the limit, a text holds a lone surrogate, an argument is unknown.
        """
        outputs = {
            "token_type_ids": return_token_type_ids, "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask, "offset_mapping": return_offsets_mapping,
            "length": return_length,
        }  # fmt: skip
        options = batch_options(
            self, special=add_special_tokens, padding=padding, truncation=truncation, max_length=max_length,
            stride=stride, overflow=return_overflowing_tokens, multiple=pad_to_multiple_of, side=padding_side,
            tensors=return_tensors, outputs=outputs,
        )  # fmt: skip
        reading = self._reading(add_prefix_space, split_special_tokens, trim_offsets, num_threads)
        plain = type(text) is str and text_pair is None and text_target is None
        if plain and not is_split_into_words and word_separator == " ":
            return self._encode(Examples([text], None, split=False, single=True), reading, options)
        if is_split_into_words or word_separator != " ":
            reading = replace(reading, separator=check_separator(word_separator, is_split_into_words))
        if text is None and text_target is None:
            raise TypeError("text is None; give a string or a list of strings, and replace missing texts by ''")
        if text_target is None:
            return self._encode(read_examples(text, text_pair, is_split_into_words), reading, options)
        target = self._encode(read_examples(text_target, text_pair_target, is_split_into_words), reading, options)
        if text is None:
            return target
        encoded = self._encode(read_examples(text, text_pair, is_split_into_words), reading, options)
        encoded["labels"] = target["input_ids"]
        return encoded

    def _encode(self, examples: Examples, reading: TextOptions, options: BatchOptions) -> BatchEncoding:
        if examples.split and reading.separator and self._spaces_words:
            reading = replace(reading, prefix=True)
        reader = TextReader(self._engine, self._vocabulary.added, reading)
        random = self._engine.segmenter(reading, self._vocabulary.added).random
        wants_spans = bool(options.outputs["offset_mapping"])
        encodings: Texts[Encoding] | None = None
        if wants_spans or random:
            encodings = reader.encodings(examples, words=random)
            ids = each(encodings, lambda one: one.ids)
        else:
            ids = reader.ids(examples)
        kept = encodings if random else None  # asked again, it would give other tokens

        def align() -> list[Alignment]:
            found = kept or reader.encodings(examples, words=True)
            template = self._template(options.special)
            return alignments(found, template, windows(each(found, lambda one: one.ids), template, options))

        spans = each(encodings, lambda one: one.spans) if encodings is not None and wants_spans else None
        return self._batch(ids, options, single=examples.single, align=align, spans=spans)

    def _batch(
        self,
        ids: Texts[list[int]],
        options: BatchOptions,
        *,
        single: bool,
        align: Callable[[], list[Alignment]] | None = None,
        spans: Texts[list[Span]] | None = None,
    ) -> BatchEncoding:
        """The features of a batch from the ids of its texts: framed, cut, padded, as tensors."""
        template = self._template(options.special)
        chosen = windows(ids, template, options) if options.cuts else None
        made: dict[str, Any] = {}
        inputs = template.ids.features(*ids, chosen)
        for name in dict.fromkeys((*self.model_input_names, "token_type_ids", "attention_mask")):
            asked = options.outputs.get(name)
            if name == "input_ids":
                made[name] = inputs
            elif not (name in self.model_input_names if asked is None else asked):
                continue
            elif name == "token_type_ids":
                made[name] = template.type_ids(*ids, chosen)
            elif name == "attention_mask":
                made[name] = [[1] * len(feature) for feature in inputs]
        if options.outputs.get("special_tokens_mask"):
            made["special_tokens_mask"] = template.ids.fill(1).features(*each(ids, lambda one: [0] * len(one)), chosen)
        if options.overflow:
            made["overflow_to_sample_mapping"] = (
                list(range(len(inputs))) if chosen is None else [window.example for window in chosen]
            )
        if spans is not None:
            made["offset_mapping"] = template.ids.fill((0, 0)).features(*spans, chosen)
        lengths = [len(feature) for feature in inputs] if options.outputs.get("length") else None
        if options.padding != "do_not_pad":
            made = pad_columns(made, options, self._filling)
        if lengths is not None:
            made["length"] = lengths
        single = single and not options.overflow and options.tensors is None
        if options.tensors is not None:
            made = {name: to_tensor(name, value, options.tensors) for name, value in made.items()}
        elif single:
            made = {name: value[0] for name, value in made.items()}
        return BatchEncoding(
            made, align=align, single=single, padding_side=options.padding_side, names=self.convert_ids_to_tokens
        )

    def _template(self, special: bool) -> Template:
        """Where special tokens stand, if they are wanted.

        Raises:
            ValueError: the tokenizer lacks one of them.
        """
        own = self._engine.template
        if own is not None:
            return own if special else Template(text_types=own.text_types)
        if not special:
            return UNFRAMED
        named, ids = self._vocabulary.named, self._vocabulary.added.ids  # special tokens are always among the added
        begin, end = ids.get(named["cls_token"] or ""), ids.get(named["sep_token"] or "")
        if begin is None or end is None:
            raise ValueError(
                f"special tokens cannot be added: cls_token={self.cls_token!r}, sep_token={self.sep_token!r}; "
                "set both, or use add_special_tokens=False"
            )
        return published_template(begin, end)

    def _filling(self) -> dict[str, Any]:
        """What each output is padded with."""
        if self.pad_token_id is None:
            raise ValueError("rows cannot be padded: pad_token is None; set it, for instance to '[PAD]'")
        return {
            "input_ids": self.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
            "offset_mapping": (0, 0),
        }

    def encode(self, text: Any, text_pair: Any = None, **kwargs: Any) -> Any:
        """The ``input_ids`` of a call; the arguments are those of the call."""
        return self(text, text_pair, **kwargs)["input_ids"]

    def encode_plus(self, text: Any, text_pair: Any = None, **kwargs: Any) -> BatchEncoding:
        """The same as a call with one text or pair; or, as ids or tokens, what ``prepare_for_model`` makes of them.

        Of ids there is one row: what was cut of the one that ``truncation`` names, ``stride`` tokens before it
        included, stands in ``overflowing_tokens`` where ``return_overflowing_tokens`` asks for it, for the next call.
        Loops that cut windows themselves work so, such as the one of question answering with slow tokenizers.
        """
        if not (isinstance(text, (list, tuple)) and text and all(isinstance(one, int) for one in text)):
            return self(text, text_pair, **kwargs)
        pair = None if text_pair is None else list(text_pair)
        if pair and isinstance(pair[0], str):
            pair = self.convert_tokens_to_ids(pair)
        asked, stride = kwargs.pop("return_overflowing_tokens", False), kwargs.pop("stride", 0)
        row = self.prepare_for_model(list(text), pair, **kwargs)
        if asked:
            frame = self.num_special_tokens_to_add(pair is not None) if kwargs.get("add_special_tokens", True) else 0
            limit = kwargs.get("max_length") or self.model_max_length
            how = choice("truncation", kwargs.get("truncation"), TRUNCATION)
            over = max(len(text) + len(pair or ()) + frame - limit, 0) if how != "do_not_truncate" else 0
            *_, gone = self.truncate_sequences(list(text), pair, over, how, stride)
            row["overflowing_tokens"] = gone
            row["num_truncated_tokens"] = over
        return row

    def batch_encode_plus(self, batch_text_or_text_pairs: Any, **kwargs: Any) -> BatchEncoding:
        """The same as a call with a list."""
        return self(batch_text_or_text_pairs, **kwargs)

    def tokenize(
        self,
        text: str,
        pair: str | None = None,
        add_special_tokens: bool = False,
        *,
        add_prefix_space: bool | None = None,
        split_special_tokens: bool | None = None,
    ) -> list[str]:
        """The tokens of a text as strings; what the vocabulary lacks shows as the characters it stands for.

        Args:
            text: the text.
            pair: a second text, whose tokens follow.
            add_special_tokens: frame them as in a call.
            add_prefix_space: as in a call.
            split_special_tokens: as in a call.

        Raises:
            TypeError: a text is no string.
            ValueError: a text holds a lone surrogate.
        """
        examples = read_examples(text, pair, split=False)
        if not examples.single:
            raise TypeError("tokenize takes one text; call the tokenizer with a list of texts")
        reading = self._reading(add_prefix_space, split_special_tokens)
        firsts, seconds = TextReader(self._engine, self._vocabulary.added, reading).tokens(examples)
        frame = self._template(add_special_tokens).ids.map(self._vocabulary.token_of)
        return frame.around(firsts[0], None if seconds is None else seconds[0])

    def _reading(
        self,
        add_prefix_space: bool | None,
        split_special_tokens: bool | None,
        trim_offsets: bool | None = None,
        num_threads: int | None = None,
    ) -> TextOptions:
        split = self.split_special_tokens if split_special_tokens is None else split_special_tokens
        return TextOptions(
            prefix=bool(self.add_prefix_space if add_prefix_space is None else add_prefix_space),
            which="plain" if split else "all",
            trim=self.trim_offsets if trim_offsets is None else bool(trim_offsets),
            num_threads=self.num_threads if num_threads is None else check_count("num_threads", num_threads),
            lower_case=self.do_lower_case,
            cut_punctuation=self.split_by_punct,
        )

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pads features that a call has made to one length.

        Args:
            encoded_inputs: a list of dictionaries, or one dictionary of a batch or of one row; lists, arrays or
                tensors. Rows longer than the length asked for stay as they are.
            padding: as in a call.
            max_length: as in a call.
            pad_to_multiple_of: as in a call.
            padding_side: as in a call.
            return_attention_mask: whether to make a mask where there is none; default: as in a call.
            return_tensors: ``pt``, ``tf`` or ``np``; default: what the rows were, lists for lists.
            verbose: without effect.

        Raises:
            ValueError: ``input_ids``, or what ``model_input_names`` begins with, are missing, an argument is unknown,
                or rows of tensors differ in length (keys other than those of a call, such as labels, are not padded).
        """
        options = batch_options(
            self, special=False, padding=padding, max_length=max_length, multiple=pad_to_multiple_of,
            side=padding_side, tensors=return_tensors,
        )  # fmt: skip
        features, main = by_key(encoded_inputs, self.model_input_names[0]), self.model_input_names[0]
        kind = options.tensors or tensor_kind(features["input_ids"])
        columns = {name: as_lists(value) for name, value in features.items()}
        single = bool(columns["input_ids"]) and not isinstance(columns["input_ids"][0], list)
        if single:
            columns = {name: [value] for name, value in columns.items()}
        wants_mask = (
            "attention_mask" in self.model_input_names if return_attention_mask is None else return_attention_mask
        )
        if wants_mask and "attention_mask" not in columns:
            columns["attention_mask"] = [[1] * len(feature) for feature in columns["input_ids"]]
        columns = pad_columns(columns, options, self._filling)
        if single:
            columns = {name: value[0] for name, value in columns.items()}
        if kind is not None:
            columns = {name: to_tensor(name, value, kind) for name, value in columns.items()}
        columns = {main if name == "input_ids" else name: value for name, value in columns.items()}
        return BatchEncoding(
            columns, single=single, padding_side=options.padding_side, names=self.convert_ids_to_tokens
        )

    def prepare_for_model(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        prepend_batch_axis: bool = False,
    ) -> BatchEncoding:
        """A feature from the ids of a text, and of a second one, without special tokens.

        The arguments and errors are those of a call. Tensors always have a batch axis; ``prepend_batch_axis`` gives
        lists one, too.
        """
        outputs = {
            "token_type_ids": return_token_type_ids, "attention_mask": return_attention_mask,
            "special_tokens_mask": return_special_tokens_mask, "length": return_length,
        }  # fmt: skip
        options = batch_options(
            self, special=add_special_tokens, padding=padding, truncation=truncation, max_length=max_length,
            stride=stride, overflow=return_overflowing_tokens, multiple=pad_to_multiple_of, side=padding_side,
            tensors=return_tensors, outputs=outputs,
        )  # fmt: skip
        texts: Texts[list[int]] = ([as_integers(ids)], None if pair_ids is None else [as_integers(pair_ids)])
        return self._batch(texts, options, single=not prepend_batch_axis)

    @property
    def max_len_single_sentence(self) -> int:
        """Tokens of a text that fit beside its special tokens."""
        return self.model_max_length - self._template(True).count(False)

    @property
    def max_len_sentences_pair(self) -> int:
        """Tokens of a pair that fit beside its special tokens."""
        return self.model_max_length - self._template(True).count(True)

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Special tokens of a row: in the published template 2, or 3 with a pair."""
        return self._template(True).count(pair)

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """``[CLS] A [SEP]``, or ``[CLS] A [SEP] B [SEP]``.

        Args:
            token_ids_0: ids of the first text.
            token_ids_1: ids of the second one.
        """
        return self._template(True).ids.around(token_ids_0, token_ids_1)

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """0 for the first text and its special tokens, 1 for the second and the token behind it.

        Args:
            token_ids_0: ids of the first text.
            token_ids_1: ids of the second one.
        """
        second = None if token_ids_1 is None else [token_ids_1]
        return self._template(True).type_ids([token_ids_0], second)[0]

    def get_special_tokens_mask(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None, already_has_special_tokens: bool = False
    ) -> list[int]:
        """1 for special tokens, 0 for others.

        Args:
            token_ids_0: ids of the first text, or of a whole row.
            token_ids_1: ids of the second one.
            already_has_special_tokens: ``token_ids_0`` is a whole row; every special id in it counts, ``[UNK]`` and
                ``[PAD]`` too.

        Raises:
            ValueError: a second text was given with a whole row.
        """
        if already_has_special_tokens:
            if token_ids_1 is not None:
                raise ValueError("with already_has_special_tokens=True the row is token_ids_0 alone; drop token_ids_1")
            special = set(self.all_special_ids)
            return [int(token_id in special) for token_id in as_integers(token_ids_0)]
        second = None if token_ids_1 is None else [0] * len(token_ids_1)
        return self._template(True).ids.fill(1).around([0] * len(token_ids_0), second)

    def __getattr__(self, name: str) -> Any:
        vocabulary = self.__dict__.get("_vocabulary")
        if vocabulary is not None:
            named = {**vocabulary.named, **vocabulary.extra}
            if name in named:
                return named[name]
            if name.endswith("_id") and name[:-3] in named:
                token = named[name[:-3]]
                return None if token is None else vocabulary.id_of(token)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in SPECIAL_NAMES:
            self._vocabulary.name(name, value)
        elif name.endswith("_id") and name[:-3] in SPECIAL_NAMES:
            self._vocabulary.name(name[:-3], None if value is None else self.convert_ids_to_tokens(int(value)))
        else:
            super().__setattr__(name, value)

    @property
    def additional_special_tokens(self) -> Any:
        """Special tokens without a name of their own, as a list; ``None`` after it was set to that."""
        return None if self._has_no_additional else list(self._vocabulary.additional)

    @additional_special_tokens.setter
    def additional_special_tokens(self, values: Iterable[Any] | None) -> None:
        self._has_no_additional = values is None
        self._vocabulary.set_additional(values or ())

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """Their ids."""
        return self.convert_tokens_to_ids(self._vocabulary.additional)

    @additional_special_tokens_ids.setter
    def additional_special_tokens_ids(self, values: Iterable[int]) -> None:
        self.additional_special_tokens = self.convert_ids_to_tokens(values)

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """Special tokens by name."""
        return self._vocabulary.special_map

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once."""
        return self._vocabulary.special

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of the special tokens."""
        return self.convert_tokens_to_ids(self._vocabulary.special)

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Ids of the added and special tokens."""
        return dict(self._vocabulary.added.ids)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Added and special tokens by id."""
        return dict(sorted(self._vocabulary.added.by_id.items()))

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary itself, without those added to it."""
        return len(self._engine.tokens)

    @property
    def vocab(self) -> dict[str, int]:
        """The same as ``get_vocab()``."""
        return self.get_vocab()

    def __len__(self) -> int:
        return len(self._vocabulary)

    def get_vocab(self) -> dict[str, int]:
        """Id of each token, added ones included."""
        return {**self._engine.vocab, **self._vocabulary.added.ids}

    def get_added_vocab(self) -> dict[str, int]:
        """Ids of the added and special tokens, in the order of the ids."""
        return {token.content: token_id for token_id, token in self.added_tokens_decoder.items()}

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Adds tokens that are recognised as a whole; those that the vocabulary lacks get ids from ``len()`` on.

        Args:
            new_tokens: a string, an ``AddedToken``, or a list of these.
            special_tokens: whether they are special.

        Returns:
            How many are new. Models then need ``resize_token_embeddings``.

        Raises:
            ValueError: the tokenizer reproduces a tokenizer.json, which holds its own.
        """
        if self._fixed_file is not None:
            raise ValueError(
                "tokens cannot be added to a tokenizer.json that is reproduced with legacy_ids=True; "
                "add them to the file, or load without legacy_ids"
            )
        new_tokens = listed(new_tokens)
        values = values_of(new_tokens if isinstance(new_tokens, list) else [new_tokens])
        tokens = [AddedToken.of(value, special=True if special_tokens else None) for value in values if value != ""]
        lowers = self.do_lower_case and not self._engine.follows_file
        return sum(
            self._vocabulary.add(
                replace(token, content=lower_case(token.content))
                if lowers and token.normalized and not token.special
                else token
            )
            for token in tokens
        )

    def add_special_tokens(
        self,
        special_tokens_dict: Mapping[str, Any],
        replace_additional_special_tokens: bool = True,
        *,
        replace_additional: bool | None = None,
    ) -> int:
        """Sets special tokens by name, adding those that the vocabulary lacks.

        Args:
            special_tokens_dict: names of ``SPECIAL_NAMES`` to tokens; ``additional_special_tokens`` to a list.
            replace_additional_special_tokens: the list takes the place of the one before, whose tokens stay in the
                vocabulary.
            replace_additional: a shorter name of the same.

        Returns:
            How many tokens are new.

        Raises:
            ValueError: an unknown name.
            TypeError: ``additional_special_tokens`` is no list.
        """
        before = len(self)
        replaces = replace_additional_special_tokens if replace_additional is None else replace_additional
        for name, value in special_tokens_dict.items():
            if name in SPECIAL_NAMES:
                self._vocabulary.name(name, value)
            elif name == "additional_special_tokens":
                if not isinstance(value, (list, tuple)):
                    raise TypeError(f"additional_special_tokens is {value!r}, expected a list of tokens")
                self._has_no_additional = False
                self._vocabulary.set_additional(value, after=() if replaces else self._vocabulary.additional)
            else:
                known = ", ".join((*SPECIAL_NAMES, "additional_special_tokens"))
                raise ValueError(f"unknown special token name {name!r}; known are {known}")
        return len(self) - before

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...
    @overload
    def convert_tokens_to_ids(self, tokens: list[str] | tuple[str, ...]) -> list[int]: ...
    def convert_tokens_to_ids(self, tokens: str | list[str] | tuple[str, ...]) -> Any:
        """Ids of tokens; that of the unknown token where the vocabulary lacks one, ``None`` where there is none either.

        Raises:
            TypeError: something is no string.
        """
        tokens = listed(tokens)
        if isinstance(tokens, list):
            return [self.convert_tokens_to_ids(token) for token in tokens]
        if not isinstance(tokens, str):
            raise TypeError(f"a token is a string, not {tokens!r}; use convert_ids_to_tokens for ids")
        token_id = self._vocabulary.id_of(tokens)
        return self._vocabulary.unk_id if token_id is None else token_id

    @overload
    def convert_ids_to_tokens(self, ids: int, skip_special_tokens: bool = ...) -> str: ...
    @overload
    def convert_ids_to_tokens(self, ids: Iterable[int], skip_special_tokens: bool = ...) -> list[str]: ...
    def convert_ids_to_tokens(self, ids: int | Iterable[int], skip_special_tokens: bool = False) -> str | list[str]:
        """Tokens of ids.

        Args:
            ids: one id or several.
            skip_special_tokens: leave the special ones out.

        Raises:
            ValueError: an id that no token has.
            TypeError: something is no integer.
        """
        token_of = self._vocabulary.token_of
        if not isinstance(ids, Iterable) or getattr(ids, "ndim", 1) == 0:
            return token_of(as_integers([ids])[0])
        if not skip_special_tokens:
            return [token_of(token_id) for token_id in as_integers(ids)]
        skipped = self._vocabulary.skipped_ids()
        filler = range(self._vocabulary.next_id, self._vocabulary.rows)  # as the unknown token, which is special
        return [token_of(number) for number in as_integers(ids) if number not in skipped and number not in filler]

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """The text that tokens stand for.

        v1: byte for byte, without spaces around special tokens. v2 and v3: as the published tokenizer has it, with a
        space before the text that ends at a special token and none around the special token itself:
        ``[CLS] Hello[MASK] there.[SEP]``.
        """
        vocabulary = self._vocabulary
        return self._engine.text_of(values_of(tokens), vocabulary.added.ids, set(vocabulary.special), self.errors)

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        *,
        spaces_between_special_tokens: bool = True,
    ) -> str:
        """The text that ids stand for.

        Args:
            token_ids: ids, as a list, an array or a tensor of one axis, or one id.
            skip_special_tokens: leave the special tokens out.
            clean_up_tokenization_spaces: close up the space before punctuation; default: the tokenizer's setting.
            spaces_between_special_tokens: v2 and v3: put spaces around tokens that a user added.

        Raises:
            ValueError: an id that no token has.
            TypeError: the ids have two axes, or something is no integer.
        """
        if not isinstance(token_ids, Iterable) or getattr(token_ids, "ndim", 1) == 0:
            token_ids = [token_ids]
        tokens = self.convert_ids_to_tokens(token_ids, skip_special_tokens=skip_special_tokens)
        alone = self._vocabulary.user_tokens() if self._engine.spaces_added else ()
        texts: list[str] = []
        for is_alone, group in groupby(tokens, lambda token: token in alone):
            run = list(group)
            texts += run if is_alone else [self.convert_tokens_to_string(run)]
        text = (" " if spaces_between_special_tokens else "").join(text for text in texts if text)
        clean = clean_up_tokenization_spaces
        clean = self.clean_up_tokenization_spaces if clean is None else clean
        return self.clean_up_tokenization(text) if clean else text

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **kwargs: Any) -> list[str]:
        """The texts of a batch of ids; the arguments are those of ``decode``."""
        return [self.decode(ids, skip_special_tokens, **kwargs) for ids in sequences]

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """The text without spaces before punctuation and English contractions."""
        return CLEAN_UP.sub("", text.replace(" ' ", "'"))

    def __bool__(self) -> bool:
        return True  # ``tokenizer or ...``, whatever ``len`` is

    init_kwargs = property(documented.init_kwargs)
    special_tokens_map_extended = property(documented.special_tokens_map_extended)
    all_special_tokens_extended = property(documented.all_special_tokens_extended)
    sanitize_special_tokens = documented.sanitize_special_tokens
    train_new_from_iterator = documented.train_new_from_iterator
    truncate_sequences = documented.truncate_sequences
    prepare_seq2seq_batch = documented.prepare_seq2seq_batch
    _special_tokens_map = property(documented.all_special_tokens_map)
    _convert_token_to_id, _convert_id_to_token = convert_tokens_to_ids, convert_ids_to_tokens
    _tokenize = documented.tokens_of

    push_to_hub = PushToHub.push_to_hub
    _config = saved_settings

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **settings: Any) -> Self:
        """Reads a tokenizer from a folder, a vocabulary file, or by name from the hub.

        Args:
            pretrained_model_name_or_path: a folder, a file such as spm.model, or a name such as
                ``microsoft/deberta-v3-base``, which needs the package ``huggingface_hub``.
            settings: arguments of the class, which overrule the files; ``subfolder``; for the hub the fields of
                ``HubOptions``.

        Raises:
            FileNotFoundError: there is no such folder, or it holds no vocabulary.
            ValueError: a file is damaged, the files do not belong together, or the vocabulary has more tokens than
                config.json gives the model.
            TypeError: an unknown keyword.
        """
        options, subfolder = HubOptions.take(settings), str(settings.pop("subfolder", None) or "")
        settings.pop("use_fast", None)
        path = Path(pretrained_model_name_or_path)
        if path.is_file():
            of_json = path.suffix == ".json" and path.name != "vocab.json"
            arguments: dict[str, Any] = {"tokenizer_file" if of_json else "vocab_file": path, **settings}
            return cls(**arguments)
        folder = find_folder(str(pretrained_model_name_or_path), subfolder, options)

        def read(_: Reading) -> Any:
            found, kept = read_settings(folder, cls.init_names())
            vocabulary = cls._vocabulary_arguments(folder, settings)
            try:
                tokenizer = cls(**{**vocabulary, **found, **settings})
            except (TypeError, ValueError) as error:
                if str(folder) in str(error) or (settings and not _fails(cls, {**vocabulary, **found})):
                    raise
                names = ", ".join(sorted(str(path.name) for path in vocabulary.values() if isinstance(path, Path)))
                raise ValueError(f"{folder} ({names}, tokenizer_config.json): {error}") from None
            tokenizer.name_or_path = str(pretrained_model_name_or_path)
            tokenizer.extra_settings = {**kept, **tokenizer.extra_settings}
            size = check_size(tokenizer.vocab_size, tokenizer._vocabulary.next_id, folder)
            tokenizer._vocabulary.rows = size
            return tokenizer

        loaded: Self = read_together(folder, read, (*TOKENIZER_FILES, CONFIG))
        return loaded

    @classmethod
    def _vocabulary_arguments(cls, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that name the vocabulary in a folder."""
        return vocabulary_arguments(folder, cls.__name__, cls.vocab_files_names, settings)

    def save_vocabulary(self, save_directory: str | Path, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Writes the files of the vocabulary alone.

        Args:
            save_directory: the folder, made where it does not exist.
            filename_prefix: put before each name, with a hyphen.

        Returns:
            The paths written.
        """
        return write_files(Path(save_directory), prefixed(self._vocabulary_files(), filename_prefix))

    def save_pretrained(
        self,
        save_directory: str | Path,
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
        push_to_hub: bool = False,
        **hub: Any,
    ) -> tuple[str, ...]:
        """Writes vocabulary and settings, so that ``from_pretrained`` and transformers 4 read them.

        Args:
            save_directory: the folder, made where it does not exist. Files appear in it only when all are complete;
                further ones of a tokenizer that was there before go.
            legacy_format: ``False`` writes tokenizer.json without the files it makes unnecessary to fast tokenizers of
                other libraries, ``True`` writes no tokenizer.json; default: all that the class has.
            filename_prefix: put before each name, with a hyphen.
            push_to_hub: upload the files afterwards.
            **hub: keywords of ``push_to_hub``; ``repo_id`` is by default the name of the folder.

        Returns:
            The paths written.

        Raises:
            ValueError: ``save_directory`` is a file, or tokenizer.json is left out where nothing else has the rules.
            OSError: nothing could be uploaded.
            TypeError: an unknown keyword.
        """
        check_push(push_to_hub, hub, self.save_pretrained)
        if legacy_format is True and "tokenizer.json" in self._vocabulary_files():
            raise ValueError(
                "legacy_format=True leaves tokenizer.json out, but this tokenizer's rules stand in no other file; use "
                "legacy_format=False"
            )
        files = {
            **self._vocabulary_files(),
            "tokenizer_config.json": to_json(self._config()),
            "special_tokens_map.json": to_json(saved_special_tokens(self._vocabulary)),
        }
        added = {token: number for token, number in self.get_added_vocab().items() if number >= self.vocab_size}
        if added:
            files["added_tokens.json"] = to_json(added)
        if legacy_format is not True:
            files |= self._fast_files()
        # A tokenizer.json, added tokens or a vocabulary of another tokenizer would be read beside these.
        gone = prefixed(dict.fromkeys(TOKENIZER_FILES, b""), filename_prefix)
        written = write_files(Path(save_directory), prefixed(files, filename_prefix), list(gone))
        if push_to_hub:
            push_saved([Path(path) for path in written], hub)
        return written

    def _vocabulary_files(self) -> dict[str, bytes]:
        """The files that hold the vocabulary, by name."""
        return self._engine.files() | (self._pipeline_file() if self._engine.follows_file else {})

    def _fast_files(self) -> dict[str, bytes]:
        """tokenizer.json, for the classes that have one."""
        if not self.is_fast or self._engine.follows_file:
            return {}
        try:
            return self._pipeline_file()
        except ValueError as error:
            warnings.warn(f"tokenizer.json is not written: {error}", stacklevel=3)
            return {}

    def _pipeline_file(self) -> dict[str, bytes]:
        return {"tokenizer.json": self.backend_tokenizer.to_str(pretty=True).encode()}

    def _family_settings(self) -> dict[str, Any]:
        """What only this family saves."""
        return {}

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, len={len(self)}, "
            f"model_max_length={self.model_max_length}, special_tokens={self.special_tokens_map})"
        )


def _fails(cls: type[Tokenizer], arguments: Mapping[str, Any]) -> bool:
    """Whether a tokenizer cannot be made."""
    try:
        cls(**arguments)
    except (TypeError, ValueError):
        return True
    return False
