"""Which tokens of a byte-level BPE come out of the merges as one piece, known without running the merges."""

from __future__ import annotations

from collections.abc import Sequence

Pair = tuple[str, str]


class WholeTokens:
    """Finds out whether the merges turn a token's own text into that one token, as they do in trained vocabularies.

    Merges happen in the order of their ranks if no merge uses a token that only a later one makes. The parts of a token
    are then built as each would be alone, unless a merge across their border comes first: at that time the last token
    of the left part and the first one of the right part both exist, and their rank is below those of the merges that
    use them up otherwise. So it is enough to look at the tokens along the border, from the last merge backwards.
    Where the merges are not in such an order, no token is called whole, and the merges decide.

    Args:
        merges: pairs of tokens, best first.
        ranks: rank of each pair.
    """

    def __init__(self, merges: Sequence[Pair], ranks: dict[Pair, int]) -> None:
        self.ranks = ranks
        self.made = {first + second: rank for rank, (first, second) in enumerate(merges)}
        self.merges = merges
        self.known: dict[str, bool] = {}
        self.usable = len(self.made) == len(merges) and all(
            self._birth(first) < rank and self._birth(second) < rank for rank, (first, second) in enumerate(merges)
        )

    def _birth(self, token: str) -> int:
        """Rank of the merge that makes a token; -1 for a byte; beyond all ranks where none does."""
        return -1 if len(token) == 1 else self.made.get(token, len(self.merges))

    def has(self, token: str) -> bool:
        """Whether the merges make this one token of its text; never wrongly true."""
        rank = self.made.get(token) if self.usable else None
        if rank is None:
            return False
        if token not in self.known:
            first, second = self.merges[rank]
            parts = all(len(part) == 1 or self.has(part) for part in (first, second))
            self.known[token] = parts and self._border_holds(first, second, rank)
        return self.known[token]

    def _border_holds(self, left: str, right: str, rank: int) -> bool:
        left_end = right_end = rank
        while True:
            left_birth, right_birth = self._birth(left), self._birth(right)
            if left_birth < 0 and right_birth < 0:
                return True
            if left_birth > right_birth:
                left, left_end = self.merges[left_birth][1], left_birth
            else:
                right, right_end = self.merges[right_birth][0], right_birth
            across = self.ranks.get((left, right))
            # of equal pairs the one further left goes first
            if across is not None and across < left_end and across <= right_end:
                return False
