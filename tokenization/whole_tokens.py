"""Which tokens of a byte-level BPE come out of the merges as one piece, known without running the merges."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Pair = tuple[str, str]

LONGEST = 200  # characters; parts are looked into one inside the other, and the interpreter's stack has an end


def whole_tokens(merges: Sequence[Pair], ranks: dict[Pair, int]) -> Callable[[str], bool]:
    """Finds out whether the merges turn a token's own text into that one token, as they do in trained vocabularies.

    Merges happen in the order of their ranks if no merge uses a token that only a later one makes. The parts of a token
    are then built as each would be alone, unless a merge across their border comes first: at that time the last token
    of the left part and the first one of the right part both exist, and their rank is below those of the merges that
    use them up otherwise. So it is enough to look at the tokens along the border, from the last merge backwards.
    Where the merges are not in such an order, no token is called whole, and the merges decide.

    Args:
        merges: pairs of tokens, best first.
        ranks: rank of each pair.

    Returns:
        Whether a text is a token that the merges make of it; never wrongly true.
    """
    made = {first + second: rank for rank, (first, second) in enumerate(merges)}
    bytes_ = {part for pair in merges for part in pair if len(part) == 1}
    born = {**made, **dict.fromkeys(bytes_, -1)}  # rank of the merge that makes a token; -1 for a byte
    beyond = len(merges)
    usable = len(made) == len(merges) and all(
        born.get(part, beyond) < rank for rank, pair in enumerate(merges) for part in pair
    )
    known = dict.fromkeys(bytes_ if usable else born, usable)
    # Each new word asks, so all is in one function of local names.
    known_of, born_of, rank_of = known.get, born.get, ranks.get

    def is_whole(token: str) -> bool:
        answer = known_of(token)
        if answer is None:
            rank = born_of(token)
            if rank is None or len(token) > LONGEST:
                return False
            answer = known[token] = find_out(token, rank)
        return answer

    def find_out(token: str, rank: int) -> bool:
        left, right = merges[rank]
        if not (known_of(left) or is_whole(left)) or not (known_of(right) or is_whole(right)):
            return False
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

    return is_whole
