"""Which tokens of a byte-level BPE come out of the merges as one piece, known without running the merges."""

from __future__ import annotations

from collections.abc import Sequence

Pair = tuple[str, str]

LONGEST = 200  # characters; parts are looked into one inside the other, and the interpreter's stack has an end


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
        self.merges, self.ranks = merges, ranks
        made = {first + second: rank for rank, (first, second) in enumerate(merges)}
        bytes_ = {part for pair in merges for part in pair if len(part) == 1}
        # Rank of the merge that makes a token; -1 for a byte.
        self.born = {**made, **dict.fromkeys(bytes_, -1)}
        beyond = len(merges)
        self.usable = len(made) == len(merges) and all(
            self.born.get(first, beyond) < rank and self.born.get(second, beyond) < rank
            for rank, (first, second) in enumerate(merges)
        )
        self.known = dict.fromkeys(bytes_ if self.usable else self.born, self.usable)

    def has(self, token: str) -> bool:
        """Whether the merges make this one token of its text; never wrongly true."""
        known = self.known.get(token)
        if known is None and token in self.born and len(token) <= LONGEST:
            known = self.known[token] = self._find_out(token)
        return bool(known)

    def _find_out(self, token: str) -> bool:
        rank = self.born[token]
        first, second = self.merges[rank]
        known = self.known.get  # most parts have been met before
        parts = (known(first) or self.has(first)) and (known(second) or self.has(second))
        return parts and self._border_holds(first, second, rank)

    def _border_holds(self, left: str, right: str, rank: int) -> bool:
        born, merges, rank_of = self.born, self.merges, self.ranks.get
        left_birth, right_birth = born[left], born[right]
        left_end = right_end = rank
        while left_birth >= 0 or right_birth >= 0:
            if left_birth > right_birth:
                left, left_end = merges[left_birth][1], left_birth
                left_birth = born[left]
            else:
                right, right_end = merges[right_birth][0], right_birth
                right_birth = born[right]
            across = rank_of((left, right))
            # of equal pairs the one further left goes first
            if across is not None and across < left_end and across <= right_end:
                return False
        return True
