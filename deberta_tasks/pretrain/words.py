"""How often the hidden word of a text is among the first five that fill-mask says, beside what counting words gives."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

WORD = re.compile(r"[^\W\d_]+")
FIRST = 5


@dataclass(frozen=True)
class Hidden:
    """A text of which one word is hidden.

    Attributes:
        before: the text up to it.
        word: what is hidden.
        after: the rest.
    """

    before: str
    word: str
    after: str


def hide_words(texts: Sequence[str], *, seed: int = 0) -> list[Hidden]:
    """One word of each text that has any, letters alone; which one is a matter of chance."""
    rng = np.random.default_rng(seed)
    found = []
    for text in texts:
        words = list(WORD.finditer(text))
        if words:
            chosen = words[int(rng.integers(len(words)))]
            found.append(Hidden(text[: chosen.start()], chosen[0], text[chosen.end() :]))
    return found


class Counted:
    """Words by how often they occur, and by how often they follow another.

    Args:
        texts: to count in.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.words: Counter[str] = Counter()
        self.after: dict[str, Counter[str]] = {}
        for text in texts:
            words = WORD.findall(text)
            self.words.update(words)
            for word, following in itertools.pairwise(words):
                self.after.setdefault(word, Counter())[following] += 1
        self.frequent = [word for word, _ in self.words.most_common(FIRST)]

    def unigram(self, hidden: Hidden) -> list[str]:
        """The most frequent words, whatever the text."""
        return self.frequent

    def bigram(self, hidden: Hidden) -> list[str]:
        """What follows the word before most often, filled up with the most frequent words."""
        before = WORD.findall(hidden.before)
        following = self.after.get(before[-1], Counter()) if before else Counter()
        likely = [word for word, _ in following.most_common(FIRST)]
        return [*likely, *(word for word in self.frequent if word not in likely)][:FIRST]


def share_right(hidden: Sequence[Hidden], guesses: Callable[[Hidden], Sequence[str]]) -> float:
    """Share of the texts whose word is among the first five guesses."""
    return sum(each.word in guesses(each)[:FIRST] for each in hidden) / max(len(hidden), 1)
