"""Byte-level BPE of GPT-2, the tokenization of DeBERTa v1, in time linear in the length of the text."""

from __future__ import annotations

import heapq
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain, pairwise, repeat
from typing import Any

import regex

from .arguments import TextOptions
from .engine import (
    AddedTokens,
    Encoding,
    Span,
    lower_case_with_origin,
    make_spans,
    original_span,
    surrogate_error,
    trim_spans,
    with_space,
)
from .files import to_json
from .whole_tokens import whole_tokens
from .workers import Workers

# Letters, numbers or other characters with one space before them, contractions, white space. The order of the
# alternatives differs from GPT-2's where no character can begin both, so that the most frequent come first.
# Source: Radford et al. 2019 (GPT-2), encoder.py.
WORD = regex.compile(r" ?\p{L}++|'(?:s|t|re|ve|m|ll|d)| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s+")

# The same for ASCII, for which the standard library's module is faster. It takes the separators 1C to 1F for white
# space, which the other does not, hence the classes.
ASCII_WORD = re.compile(
    r" ?[A-Za-z]+|'(?:s|t|re|ve|m|ll|d)| ?[0-9]+| ?[^\t-\r A-Za-z0-9]+|[\t-\r ]+(?![^\t-\r ])|[\t-\r ]+"
)

# Above this many bytes the pairs of a word are kept in a queue by rank: a search for the best pair in each round
# would take time quadratic in the length.
LONG_WORD = 40
CACHED_WORDS = 1 << 17
MERGES_HEADER = "#version: 0.2"

# Below this many characters a batch is done before another process has been told of it.
SHARED_FROM = 1 << 18

Pair = tuple[str, str]


def byte_characters() -> str:
    """The printable character that stands for each byte 0..255.

    Source: GPT-2. Bytes that print stand for themselves, the other 68 take U+0100 onwards, in byte order.
    """
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(spare)) for byte in range(256))


BYTE_TO_CHAR = byte_characters()
BYTE_SPACE = BYTE_TO_CHAR[32]
TRANSLATION = dict(enumerate(BYTE_TO_CHAR))
CHAR_TO_BYTE = {char: byte for byte, char in enumerate(BYTE_TO_CHAR)}


def words_of(text: str) -> list[str]:
    """The words of a text, which together are the text."""
    return (ASCII_WORD if text.isascii() else WORD).findall(text)


def bpe_files(vocab: Mapping[str, int], merges: Iterable[Pair]) -> dict[str, bytes]:
    """The content of vocab.json and merges.txt."""
    lines = [MERGES_HEADER, *(f"{first} {second}" for first, second in merges)]
    return {"vocab.json": to_json(vocab), "merges.txt": ("\n".join(lines) + "\n").encode()}


class _Cache(dict[str, Any]):
    """Words already merged; what is missing is made by ``make`` and kept unless the word is long."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, word: str) -> Any:
        made = self.make(word)
        if len(word) <= LONG_WORD:
            if len(self) >= CACHED_WORDS:
                self.clear()
            self[word] = made
        return made


class ByteBpe:
    """The engine of the v1 tokenizers.

    Args:
        vocab: id of each token, in GPT-2's byte characters.
        merges: pairs of tokens, best first.
        unk_id: id of what the vocabulary lacks; without one, texts that hold such are refused.

    Raises:
        ValueError: the merges make tokens that, for the most part, the vocabulary lacks.
    """

    random = finds_added = follows_file = spaces_added = False
    template = None

    def __init__(self, vocab: dict[str, int], merges: Sequence[Pair], unk_id: int | None = None) -> None:
        foreign = [pair for pair in merges if pair[0] + pair[1] not in vocab]
        if len(foreign) * 2 > len(merges):
            raise ValueError(
                f"vocabulary and merges do not belong together: {len(foreign)} of {len(merges)} merges make tokens "
                f"that the vocabulary lacks, first {foreign[0]!r}; take both files from the same folder"
            )
        self.vocab, self.merges, self.unk_id = vocab, merges, unk_id
        # From the last on: of a pair that stands in the file twice the first, better rank counts.
        self.ranks = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
        self._is_whole = whole_tokens(merges, self.ranks)
        self._ids = _Cache(self._make_ids)
        self._aligned = _Cache(self._make_aligned)

    @cached_property
    def _workers(self) -> Workers:
        return Workers(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return ByteBpe, (self.vocab, self.merges, self.unk_id)

    def set_unknown(self, unk_id: int | None) -> None:
        """Changes the id of what the vocabulary lacks."""
        if unk_id == self.unk_id:
            return
        self.unk_id = unk_id
        self._ids.clear()
        self._aligned.clear()
        self.__dict__.pop("_workers", None)

    @cached_property
    def tokens(self) -> list[str]:
        """The tokens in the order of their ids."""
        return sorted(self.vocab, key=self.vocab.__getitem__)

    def segmenter(self, options: TextOptions, added: AddedTokens) -> ByteBpe:
        """Itself: it has no settings."""
        return self

    def prepares(self, options: TextOptions) -> bool:
        """Whether a text is lower-cased, or gets a space before it."""
        return options.prefix or options.lower_case

    def prepare(self, text: str, options: TextOptions, special: Sequence[Span]) -> tuple[str, list[Span] | None]:
        """The text in lower case where that is wanted, with a space before it where it is wanted and there is none."""
        lowered, origin = lower_case_with_origin(text, special) if options.lower_case else (text, None)
        if not options.prefix:
            return lowered, origin
        spaced, moved = with_space(lowered)
        if origin is None or moved is None:
            return spaced, origin or moved
        return spaced, [original_span(span, origin) for span in moved]

    def stretches(self, text: str, options: TextOptions) -> Iterable[tuple[int, str]]:
        """The whole."""
        return [(0, text)] if text else []

    def text_of(self, tokens: Sequence[str], added: Collection[str], special: Collection[str], errors: str) -> str:
        """The text that tokens stand for, byte for byte; added tokens get no spaces around them."""
        data = bytearray()
        for token in tokens:
            if token in added:
                data += token.encode()
                continue
            for char in token:
                byte = CHAR_TO_BYTE.get(char)
                data += char.encode() if byte is None else bytes((byte,))
        return data.decode("utf-8", errors)

    def files(self) -> dict[str, bytes]:
        """vocab.json and merges.txt."""
        return bpe_files(self.vocab, self.merges)

    def encode(self, texts: Sequence[str], *, num_threads: int = 1) -> list[list[int]]:
        """Ids of each text. The work is Python's, so further threads are processes, which pays for large batches."""
        if num_threads > 1 and len(texts) >= num_threads and sum(map(len, texts)) >= SHARED_FROM:
            shared = self._workers.encode(self, texts, num_threads)
            if shared is not None:
                return shared
        ids_of, flat = self._ids.__getitem__, chain.from_iterable
        try:
            return [list(flat(map(ids_of, words_of(text)))) for text in texts]
        except UnicodeEncodeError as error:
            raise surrogate_error(texts) or error from None

    def encode_spans(self, texts: Sequence[str], *, trim: bool, words: bool, num_threads: int = 1) -> list[Encoding]:
        """Ids, spans and words of each text. A word is what GPT-2's pattern cuts out."""
        try:
            return [self._encode_spans(text, 2 if trim else 3, words) for text in texts]
        except UnicodeEncodeError as error:
            raise surrogate_error(texts) or error from None

    def _encode_spans(self, text: str, kind: int, words: bool) -> Encoding:
        found = words_of(text)
        aligned = list(map(self._aligned.__getitem__, found))
        ids = [token_id for word in aligned for token_id in word[0]]
        begins = accumulate(map(len, found), initial=0)
        ends = [begin + end for begin, word in zip(begins, aligned, strict=False) for end in word[1]]
        spans = make_spans(ends, [width for word in aligned for width in word[kind]], len(text))
        numbers = [number for number, word in enumerate(aligned) for _ in word[0]] if words else []
        return Encoding(ids, spans, numbers)

    def spacing(self, char: str) -> str | None:
        """A space, or ``None`` for anything else: no character is lost, and no other one becomes a space."""
        return " " if char == " " else None

    def tokenize(self, text: str) -> list[str]:
        """Tokens as strings of byte characters."""
        return [token for word in words_of(text) for token in self.split(word)]

    def split(self, word: str) -> list[str]:
        """The tokens of a word, in byte characters."""
        if word.isascii() and word.isprintable():  # of these bytes only the space has another character
            token = word.replace(" ", BYTE_SPACE)
        else:
            token = word.encode().decode("latin-1").translate(TRANSLATION)
        return [token] if self._is_whole(token) else self.merge(list(token))

    def _make_ids(self, word: str) -> tuple[int, ...]:
        return self._ids_of(self.split(word), word)

    def _ids_of(self, tokens: list[str], word: str) -> tuple[int, ...]:
        ids = tuple(map(self.vocab.get, tokens, repeat(self.unk_id)))
        if self.unk_id is None and None in ids:
            lacking = tokens[ids.index(None)]
            raise ValueError(
                f"the vocabulary has no token {lacking!r} for a part of {word!r}, and the tokenizer no unk_token that "
                "would stand for it; give one: unk_token='[UNK]'"
            )
        return ids  # type: ignore[return-value]  # no None is left

    def _make_aligned(self, word: str) -> tuple[tuple[int, ...], ...]:
        """Ids, ends of the spans in the word, and widths of the spans, trimmed and not."""
        tokens = self.split(word)
        ids = self._ids_of(tokens, word)
        # A character takes one to four bytes, and tokens may end inside it: each of them then has the whole of it.
        owner = [i for i, char in enumerate(word) for _ in char.encode()]  # character that owns each byte
        ends = list(accumulate(map(len, tokens), initial=0))
        whole = [(owner[start], owner[end - 1] + 1) for start, end in pairwise(ends)]
        return ids, tuple([end for _, end in whole]), _widths(trim_spans(word, whole)), _widths(whole)

    def merge(self, symbols: list[str]) -> list[str]:
        """Joins pairs of symbols, best rank first, every occurrence from left to right, until none is left.

        Args:
            symbols: the characters of the bytes of a word; the list is used up.
        """
        if len(symbols) > LONG_WORD:
            return _merge_long(symbols, self.ranks, self.merges)
        rank_of = self.ranks.get
        none = len(self.merges)
        ranks = list(map(rank_of, pairwise(symbols), repeat(none)))
        while ranks and (best := min(ranks)) < none:
            i = -1
            for _ in range(ranks.count(best)):
                try:
                    i = ranks.index(best, i + 1)
                except ValueError:
                    break  # occurrences overlapped, as in aaa
                symbols[i] += symbols.pop(i + 1)
                del ranks[i]
                if i:
                    ranks[i - 1] = rank_of((symbols[i - 1], symbols[i]), none)
                if i < len(ranks):
                    ranks[i] = rank_of((symbols[i], symbols[i + 1]), none)
        return symbols


def _widths(spans: list[Span]) -> tuple[int, ...]:
    return tuple([end - start for start, end in spans])


def _merge_long(symbols: list[str], ranks: dict[Pair, int], merges: Sequence[Pair]) -> list[str]:
    """The same merges on a linked list: positions wait in one queue per rank, so each is looked at once per pair."""
    count = len(symbols)
    symbol: list[str | None] = [*symbols, None]
    after = list(range(1, count + 2))
    before = list(range(-1, count))
    queue: dict[int, list[int]] = {}
    for i, pair in enumerate(pairwise(symbols)):
        rank = ranks.get(pair)
        if rank is not None:
            queue.setdefault(rank, []).append(i)
    waiting = list(queue)
    heapq.heapify(waiting)

    def look(i: int, second: str | None) -> None:
        first = symbol[i]
        rank = ranks.get((first, second)) if first is not None and second is not None else None
        if rank is not None:
            if rank not in queue:
                queue[rank] = []
                heapq.heappush(waiting, rank)
            queue[rank].append(i)

    while waiting:
        rank = heapq.heappop(waiting)
        first, second = merges[rank]
        for i in sorted(queue.pop(rank)):  # from left to right, which decides where occurrences overlap, as in aaa
            j = after[i]
            if symbol[i] != first or j >= count or symbol[j] != second:
                continue  # an earlier merge took one of the two
            symbol[i], symbol[j] = first + second, None
            after[i] = after[j]
            before[after[j]] = i
            if before[i] >= 0:
                look(before[i], symbol[i])
            look(i, symbol[after[i]])
    return [token for token in symbol if token is not None]
