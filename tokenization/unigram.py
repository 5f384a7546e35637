"""SentencePiece unigram, the tokenization of DeBERTa v2, v3 and mDeBERTa. SentencePiece itself does the work."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import accumulate
from typing import Any

from .arguments import TextOptions
from .engine import (
    AddedTokens,
    Encoding,
    Span,
    lower_case_with_origin,
    make_spans,
    spaced_span,
    surrogate_error,
)
from .spm_proto import BYTE, SpmModel, read_model, with_dummy_prefix

SPACE = "▁"  # SentencePiece writes a space as this character
SAMPLING = {"enable_sampling": bool, "nbest_size": int, "alpha": float, "num_threads": int}


class Unigram:
    """The engine of the v2 and v3 tokenizers.

    Args:
        proto: the bytes of an spm.model.
        sp_model_kwargs: settings of ``SentencePieceProcessor``: ``enable_sampling``, ``nbest_size``, ``alpha`` for
            sampled segmentations, ``num_threads``.
        add_prefix_space: put the model's dummy space before a text; default: as it was trained.
        name: what errors call the model.
        checked: the bytes were read and checked before.

    Raises:
        ValueError: the model is damaged, or a setting is unknown or of a wrong type.
    """

    def __init__(
        self,
        proto: bytes,
        sp_model_kwargs: dict[str, Any] | None = None,
        *,
        add_prefix_space: bool | None = None,
        name: str = "spm.model",
        checked: bool = False,
    ) -> None:
        import sentencepiece

        self.proto, self.settings = proto, dict(sp_model_kwargs or {})
        _check_settings(self.settings)
        if not checked:
            self.model = read_model(proto, name)
        self.add_prefix_space = self.model.add_dummy_prefix if add_prefix_space is None else add_prefix_space
        effective = proto if add_prefix_space is None else with_dummy_prefix(proto, add_prefix_space)
        try:
            self.processor = sentencepiece.SentencePieceProcessor(model_proto=effective, **self.settings)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ValueError(f"SentencePiece cannot load {name}: {error}") from None
        self.threads = self.settings.get("num_threads")
        self._spacing: dict[str, str | None] = {}
        self.random = bool(self.settings.get("enable_sampling"))

    finds_added = follows_file = False
    spaces_added = True
    template = None

    def __reduce__(self) -> tuple[Any, ...]:
        made = partial(Unigram, add_prefix_space=self.add_prefix_space, checked=True)
        return made, (self.proto, self.settings)

    @cached_property
    def model(self) -> SpmModel:
        """Encoding and rules as read from the file."""
        return read_model(self.proto)

    @cached_property
    def with_other_prefix(self) -> Unigram:
        """The same model with the dummy space switched the other way."""
        return Unigram(self.proto, self.settings, add_prefix_space=not self.add_prefix_space, checked=True)

    @cached_property
    def vocab(self) -> dict[str, int]:
        """Id of each piece."""
        return {piece[0]: number for number, piece in enumerate(self.model.pieces)}

    @cached_property
    def tokens(self) -> list[str]:
        """The pieces in the order of their ids."""
        return [piece[0] for piece in self.model.pieces]

    @property
    def unk_id(self) -> int:
        """Id of what the vocabulary lacks."""
        return int(self.processor.unk_id())

    def segmenter(self, options: TextOptions, added: AddedTokens) -> Unigram:
        """The model with the dummy space that the call wants."""
        return self if options.prefix == self.add_prefix_space else self.with_other_prefix

    def prepares(self, options: TextOptions) -> bool:
        """Whether a text is lower-cased."""
        return options.lower_case

    def prepare(self, text: str, options: TextOptions, special: Sequence[Span]) -> tuple[str, list[Span] | None]:
        """The text in lower case where that is wanted, but for special tokens."""
        return lower_case_with_origin(text, special) if options.lower_case else (text, None)

    def stretches(self, text: str, options: TextOptions) -> Iterable[tuple[int, str]]:
        """The whole, or what punctuation leaves, and each mark."""
        if options.cut_punctuation:
            return split_punctuation(text)
        return [(0, text)] if text else []

    def text_of(self, tokens: Sequence[str], added: Collection[str], special: Collection[str], errors: str) -> str:
        """The text that tokens stand for.

        Source: the published tokenizer, which puts a space before the text that ends at a special token and none
        around the special token itself: ``[CLS] Hello[MASK] there.[SEP]``.
        """
        parts: list[str] = []
        run: list[str] = []
        after_special = False
        for token in tokens:
            if token in special:
                parts += ["" if after_special else " ", self.processor.decode(run) if run else "", token]
                run = []
            else:
                run.append(token)
            after_special = token in special
        return "".join([*parts, self.processor.decode(run) if run else ""]).strip()

    def files(self) -> dict[str, bytes]:
        """spm.model, byte for byte."""
        return {"spm.model": self.proto}

    def encode(self, texts: Sequence[str], *, num_threads: int = 1) -> list[list[int]]:
        """Ids of each text."""
        result: list[list[int]] = self._run(texts, num_threads, int)
        return result

    def encode_spans(self, texts: Sequence[str], *, trim: bool, words: bool, num_threads: int = 1) -> list[Encoding]:
        """Ids, spans and words of each text. A word begins at each piece that begins with a space."""
        if self.random:
            return self._aligned(texts, None, trim, words, num_threads)
        ids = self.encode(texts, num_threads=num_threads)
        found = [self._verbatim(text, of_text, trim, words) for text, of_text in zip(texts, ids, strict=True)]
        changed = [number for number, pieces in enumerate(found) if pieces is None]
        chosen = [texts[number] for number in changed], [ids[number] for number in changed]
        rest = iter(self._aligned(*chosen, trim, words, num_threads) if changed else ())
        return [next(rest) if pieces is None else pieces for pieces in found]

    def _verbatim(self, text: str, ids: list[int], trim: bool, words: bool) -> Encoding | None:
        """The pieces of a text that normalisation leaves as it is; ``None`` for another text.

        Joined, the pieces then are the text, and their lengths are the spans. Most texts are such, and asking
        SentencePiece for spans takes it twice the time.
        """
        shift = int(self.add_prefix_space)
        joined = "".join(map(self.tokens.__getitem__, ids))
        if SPACE in text or joined != SPACE * shift + text.replace(" ", SPACE):
            return None
        ends = accumulate(map(self._lengths.__getitem__, ids), initial=-shift)
        next(ends)
        spans = make_spans(ends, map((self._shown if trim else self._lengths).__getitem__, ids), len(text))
        if spans and spans[0][0] < 0:  # the dummy space
            spans[0] = (0, spans[0][1])
        return Encoding(ids, spans, _words([int(self.tokens[i][0] == SPACE) for i in ids]) if words else [])

    @cached_property
    def _lengths(self) -> list[int]:
        return [len(token) for token in self.tokens]

    @cached_property
    def _shown(self) -> list[int]:
        """Lengths without white space at the start."""
        return [len(token.removeprefix(SPACE).lstrip()) for token in self.tokens]

    @cached_property
    def _bytes(self) -> frozenset[int]:
        """Ids of the pieces that stand for one byte."""
        return frozenset(number for number, piece in enumerate(self.model.pieces) if piece[2] == BYTE)

    def spacing(self, char: str) -> str | None:
        """What normalisation leaves of a character between letters: "" or a space, or ``None`` for anything else."""
        if char not in self._spacing:
            between = self.processor.normalize(f"a{char}a").removeprefix(SPACE)
            self._spacing[char] = {"aa": "", f"a{SPACE}a": " "}.get(between)
        return self._spacing[char]

    def _is_blank(self, char: str) -> bool:
        return char.isspace() or self.spacing(char) is not None

    def _aligned(
        self, texts: Sequence[str], ids: list[list[int]] | None, trim: bool, words: bool, num_threads: int
    ) -> list[Encoding]:
        """The pieces of texts that normalisation changes; ``ids`` are theirs where they are known."""
        unknown = self.processor.unk_id()
        # Of an unknown piece the vocabulary does not say what it stands for.
        if ids is None or any(unknown in of_text for of_text in ids):
            encoded = self._run(texts, num_threads, "offset_mapping")
            ids, pieces = [one["ids"] for one in encoded], [one["pieces"] for one in encoded]
        else:
            pieces = [[self.tokens[token_id] for token_id in of_text] for of_text in ids]
        normalized = self.processor.normalize(list(texts), with_offsets=True)
        found = []
        for text, (form, origins), of_text, strings in zip(texts, normalized, ids, pieces, strict=True):
            spans = self._spans(text, form, origins, of_text, strings, trim)
            starts = [int(one[0] == SPACE) for one in strings] if words else []
            found.append(Encoding(of_text, spans, _words(starts) if words else []))
        return found

    def _spans(
        self, text: str, form: str, origins: Sequence[int], ids: Sequence[int], pieces: Sequence[str], trim: bool
    ) -> list[Span]:
        """The characters that each piece came from.

        SentencePiece's own spans reach from piece to piece: what normalisation drops or turns into spaces is in them,
        and of the pieces of one character only the last has it. So they are made of the places where the characters of
        the normalised form come from, of which the pieces are stretches.

        Args:
            text: the text.
            form: its normalised form, spaces as ``SPACE``.
            origins: where in the text each character of the form comes from, and the end of the last.
            ids: of the pieces.
            pieces: as strings; unknown ones as the characters they stand for.
            trim: leave out white space at the start.
        """
        ends = [origins[-1]] * (len(form) + 1)  # a character reaches to where the next one begins that is not its own
        for i in range(len(form) - 1, -1, -1):
            ends[i] = origins[i + 1] if origins[i + 1] > origins[i] else ends[i + 1]
        spans, at, known_bytes = [], 0, 0
        for token_id, piece in zip(ids, pieces, strict=True):
            first, behind = at, at + len(piece)
            if token_id in self._bytes:  # all bytes of a character have the whole of it
                behind, known_bytes = at + 1, known_bytes + 1
                if known_bytes == len(form[at].encode()):
                    at, known_bytes = behind, 0
            else:
                at = behind
            start, last = first, behind - 1
            while start < behind and form[start] == SPACE:
                start += 1
            while last > start and form[last] == SPACE:
                last -= 1
            dummy = first == 0 and self.add_prefix_space
            if start == behind and (dummy or self._is_blank(text[origins[first]])):  # a space and nothing else
                spans.append(spaced_span(text, origins[first], origins[behind], origins[behind], trim))
                continue
            start = min(start, last)
            if origins[start] < origins[last] == origins[behind]:  # of its last character the next piece has the rest
                while origins[last] == origins[behind]:
                    last -= 1
            end = ends[last]
            while end > origins[last] + 1 and self._is_blank(text[end - 1]):
                end -= 1
            spans.append(spaced_span(text, origins[first], origins[start], end, trim))
        return spans

    def tokenize(self, text: str) -> list[str]:
        """The pieces; unknown ones as the characters they stand for."""
        result: list[str] = self._run([text], 1, str)[0]
        return result

    def _run(self, texts: Sequence[str], num_threads: int, kind: Any) -> Any:
        try:
            if len(texts) == 1:  # of a list, SentencePiece makes work for its threads, which takes longer than a text
                return [self.processor.encode(texts[0], return_type=kind)]
            return self.processor.encode(list(texts), return_type=kind, num_threads=self.threads or num_threads)
        except (TypeError, RuntimeError, UnicodeEncodeError) as error:
            raise surrogate_error(texts) or error from None


def _words(leads: list[int]) -> list[int]:
    """The number of each piece's word: a new one at every piece that begins with a space, and at the first."""
    return [number - leads[0] for number in accumulate(leads)] if leads else []


def _check_settings(settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        if key not in SAMPLING:
            raise ValueError(f"unknown key {key!r} in sp_model_kwargs; known are {', '.join(SAMPLING)}")
        kinds: tuple[type, ...] = (int, float) if SAMPLING[key] is float else (SAMPLING[key],)
        if not isinstance(value, kinds):
            raise ValueError(f"sp_model_kwargs[{key!r}] is {value!r}, expected {SAMPLING[key].__name__}")
    if settings.get("enable_sampling") and settings.get("nbest_size", -1) in (0, 1):
        raise ValueError(
            f"sp_model_kwargs['nbest_size'] is {settings['nbest_size']}, which leaves nothing to sample from; "
            "use -1 for all segmentations or a number above 1"
        )


def split_punctuation(text: str) -> Iterator[tuple[int, str]]:
    """The runs between punctuation marks and each mark on its own, with their places.

    A mark is a character of Unicode's categories P*, or ASCII that is neither letter, digit, space nor control.
    """
    begin = 0
    for i, char in enumerate(text):
        if is_punctuation(char):
            if begin < i:
                yield begin, text[begin:i]
            yield i, char
            begin = i + 1
    if begin < len(text):
        yield begin, text[begin:]


def is_punctuation(char: str) -> bool:
    """Whether ``split_by_punct`` cuts at this character."""
    code = ord(char)
    if code < 128:
        return 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return unicodedata.category(char).startswith("P")
