"""The same tokenizers as pipelines of the ``tokenizers`` library: for export, and to reproduce its ids on purpose."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .byte_bpe import ByteBpe
from .engine import Pieces, Span, original_span, surrogate_error
from .rule_names import BEFORE_BYTE_NAME, PUNCTUATION, steps_of
from .spm_proto import SpmModel
from .unigram import SPACE

if TYPE_CHECKING:
    from .vocabulary import Vocabulary


def unigram_backend(model: SpmModel, unk_id: int, *, lower_case: bool, split_by_punct: bool, prefix: bool) -> Any:
    """The pipeline nearest to SentencePiece that a tokenizer.json can hold.

    It gives other ids than SentencePiece for about 1 in 1500 blocks of code (segmentations with equal scores), for
    rare sequences of combining marks, and with ``split_by_punct`` where the character map makes punctuation.

    Args:
        model: pieces and rules.
        unk_id: id of unknown text.
        lower_case: lower-case the text.
        split_by_punct: cut at punctuation.
        prefix: put a space before a text.
    """
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    cased = [normalizers.Lowercase()] if lower_case else []
    mapped = [normalizers.NFC(), normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    spaces = [normalizers.Replace(SPACE, " "), normalizers.Replace(Regex(" {2,}"), " ")]
    if split_by_punct:  # each stretch loses the spaces at its ends
        spaces.append(normalizers.Replace(Regex(f" (?={PUNCTUATION})|(?<={PUNCTUATION}) "), ""))
    # only spaces: the library's Strip would take away controls too, and comes too early
    ends = [normalizers.Replace(Regex(r"\A | \z"), "")]
    cuts = [pre_tokenizers.Split(Regex(PUNCTUATION), "isolated")] if split_by_punct else []
    scheme = "always" if prefix else "never"
    # a piece for a byte must not match the text of its name, such as <0x41>
    names = [pre_tokenizers.Split(Regex(BEFORE_BYTE_NAME), "merged_with_previous")] if model.byte_fallback else []
    pre = pre_tokenizers.Sequence([*cuts, pre_tokenizers.Metaspace(prepend_scheme=scheme), *names])
    backend = _unigram(model, unk_id, byte_fallback=model.byte_fallback)
    backend.normalizer = normalizers.Sequence([*cased, *mapped, *spaces, *ends])
    backend.pre_tokenizer = pre
    space = decoders.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), space]) if model.byte_fallback else space
    return backend


def legacy_unigram_backend(model: SpmModel, unk_id: int, *, lower_case: bool, split_by_punct: bool) -> Any:
    """The pipeline of transformers 4's fast tokenizer, with its faults.

    Byte fallback is off, white space is stripped before the character map makes more of it, and a space before
    punctuation leaves a piece of its own.

    Args:
        model: pieces and rules.
        unk_id: id of unknown text.
        lower_case: lower-case the text.
        split_by_punct: cut at punctuation.
    """
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    backend = _unigram(model, unk_id, byte_fallback=False)
    rules = [normalizers.Lowercase()] if lower_case else []
    rules += [normalizers.Strip(), normalizers.Precompiled(model.charsmap)] if model.charsmap else [normalizers.Strip()]
    backend.normalizer = normalizers.Sequence([*rules, normalizers.Replace(Regex(" {2,}"), " ")])
    cuts = [pre_tokenizers.Punctuation("isolated")] if split_by_punct else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizers.Metaspace(prepend_scheme="always")])
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return backend


def _unigram(model: SpmModel, unk_id: int, *, byte_fallback: bool) -> Any:
    from tokenizers import Tokenizer, models

    pieces = [(text, score) for text, score, _ in model.pieces]
    return Tokenizer(models.Unigram(pieces, unk_id, byte_fallback))


def bpe_backend(engine: ByteBpe, unk_token: str | None, *, prefix: bool) -> Any:
    """The byte-level BPE pipeline.

    Args:
        engine: vocabulary and merges.
        unk_token: stands for bytes that the vocabulary lacks.
        prefix: put a space before a text.

    Raises:
        ValueError: a merge makes a token that the vocabulary lacks.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    known = unk_token if unk_token in engine.vocab else None
    try:
        model = models.BPE(engine.vocab, list(engine.merges), unk_token=known, fuse_unk=False)
    except Exception as error:  # the library raises the bare class
        raise ValueError(f"the tokenizers library cannot take these merges: {error}") from None
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    return backend


def add_special_parts(backend: Any, vocabulary: Vocabulary, *, faulty_unk: bool = False) -> Any:
    """Gives a pipeline the added tokens and the frame ``[CLS] A [SEP] B [SEP]``.

    Args:
        backend: the pipeline.
        vocabulary: the tokenizer whose added tokens it gets.
        faulty_unk: match [UNK] and added tokens in normalised text, as transformers 4 does.

    Raises:
        ValueError: the ids of the added tokens leave gaps, which the library cannot hold.
    """
    from tokenizers import AddedToken

    for token_id, token in vocabulary.added_tokens_decoder.items():
        # matched in the text as given, but where it is lower-cased first
        cased = getattr(vocabulary, "do_lower_case", False) and token.normalized and not token.special
        flags = {**token.to_dict(), "normalized": bool(cased)}
        if faulty_unk:
            flags["normalized"] = token.normalized or token.content == vocabulary.unk_token
        add = backend.add_special_tokens if token.special else backend.add_tokens
        add([AddedToken(flags.pop("content"), **flags)])
        if backend.token_to_id(token.content) != token_id:
            raise ValueError(
                f"the added token {token.content!r} has id {token_id}, where the tokenizers library would give it "
                f"{backend.token_to_id(token.content)}: it holds no ids with gaps; add the tokens one after the other"
            )
    return add_frame(backend, vocabulary)


def add_frame(backend: Any, vocabulary: Vocabulary) -> Any:
    """Gives a pipeline the frame ``[CLS] A [SEP] B [SEP]``, where the vocabulary has both tokens."""
    from tokenizers import processors

    begin, end = vocabulary.cls_token, vocabulary.sep_token
    if begin is not None and end is not None:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{begin}:0 $A:0 {end}:0",
            pair=f"{begin}:0 $A:0 {end}:0 $B:1 {end}:1",
            special_tokens=[(begin, vocabulary.cls_token_id), (end, vocabulary.sep_token_id)],
        )
    return backend


def load_backend(content: Mapping[str, Any], name: str) -> Any:
    """The pipeline in a tokenizer.json, without the truncation and padding that calls may have left in it.

    Args:
        content: the file's content.
        name: what errors call the file.

    Raises:
        ValueError: the library cannot read it.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(json.dumps({**content, "truncation": None, "padding": None}))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the library is no Exception
        unknown = _unknown_rules(content)
        if unknown:
            raise ValueError(
                f"{name} has rules that the installed tokenizers library does not know: {', '.join(unknown)}; update "
                "it (pip install -U tokenizers), or correct the file"
            ) from None
        raise ValueError(f"{name} is damaged ({type(error).__name__}: {error}); fetch or copy it again") from None


def _unknown_rules(content: Mapping[str, Any]) -> list[str]:
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    homes = {"normalizer": normalizers, "pre_tokenizer": pre_tokenizers, "post_processor": processors,
             "decoder": decoders, "model": models}  # fmt: skip
    steps = [(part, str(step.get("type"))) for part in homes for step in steps_of(content.get(part)) if "type" in step]
    return [f"{part} {kind}" for part, kind in steps if not hasattr(homes[part], kind)]


class BackendEngine:
    """An engine that runs a pipeline of the ``tokenizers`` library on whole texts, special tokens included.

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

    def encode_spans(self, texts: Sequence[str], *, trim: bool, words: bool, num_threads: int = 1) -> list[Pieces]:
        """Ids, spans and words of each text; without ``trim`` the spans are the library's own.

        Where the pipeline drops characters, the spans are those of the text without them: what a character map drops
        at the start of a text moves all of the library's spans. Where that would give other ids they stay.
        """
        encoded = self._run(texts)
        if not trim:
            return [Pieces(one.ids, one.offsets, [number or 0 for number in one.word_ids]) for one in encoded]
        kept = [[i for i, char in enumerate(text) if self.spacing(char) != ""] for text in texts]
        fewer = [number for number, text in enumerate(texts) if len(kept[number]) < len(text)]
        again = self._run(["".join([texts[number][i] for i in kept[number]]) for number in fewer]) if fewer else []
        offsets = [one.offsets for one in encoded]
        for number, one in zip(fewer, again, strict=True):
            if one.ids == encoded[number].ids:
                origin = [(i, i + 1) for i in kept[number]]
                offsets[number] = [original_span(span, origin) for span in one.offsets]
        return [
            Pieces(one.ids, self._own(text, spans, one.ids), [number or 0 for number in one.word_ids])
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
