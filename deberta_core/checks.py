"""What a caller can get wrong about the inputs of a model: one text for both frameworks, before any arithmetic.

Shapes are tuples of integers; ``None`` is a size that is unknown while a graph is traced and fits anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deberta_core.config import BaseConfig

IGNORED = -100  # a label that no loss counts, as PyTorch's cross entropy has it

Shape = Sequence[int | None]


def fits(shape: Shape, expected: Shape) -> bool:
    """Whether two shapes can be equal."""
    return len(shape) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(shape, expected, strict=True)
    )


def spell(shape: Shape) -> str:
    """A shape as a user writes it."""
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def check_inputs(config: BaseConfig, shapes: Mapping[str, Shape | None], floats: Mapping[str, bool]) -> None:
    """Check shapes and kinds of a model's inputs.

    Args:
        config: the model's config.
        shapes: shape by input name: ``input_ids``, ``inputs_embeds``, ``attention_mask``, ``token_type_ids``,
            ``position_ids``.
        floats: whether the dtype of each is a floating-point one; a mask may be of any.

    Raises:
        ValueError: for the first input that does not fit; the text says what was expected.
    """
    ids, embeds = shapes.get("input_ids"), shapes.get("inputs_embeds")
    if (ids is None) == (embeds is None):
        raise ValueError(
            f"got {'neither' if ids is None else 'both'} input_ids and inputs_embeds, expected one of them"
        )
    if ids is not None and len(ids) != 2:
        raise ValueError(f"input_ids has shape {spell(ids)}, expected [batch, length]")
    if embeds is not None and not fits(embeds, (None, None, config.embedding_width)):
        raise ValueError(f"inputs_embeds has shape {spell(embeds)}, expected [batch, length, {config.embedding_width}]")
    batch, length = (ids or embeds or ())[:2]
    if length == 0:
        raise ValueError("the inputs have length 0, expected at least one token")
    mask = shapes.get("attention_mask")
    allowed = ((batch, length), (batch, 1, 1, length), (batch, length, length), (batch, 1, length, length))
    if mask is not None and not any(fits(mask, shape) for shape in allowed):
        raise ValueError(f"attention_mask has shape {spell(mask)}, expected {' or '.join(spell(s) for s in allowed)}")
    types, positions = shapes.get("token_type_ids"), shapes.get("position_ids")
    if types is not None and not fits(types, (batch, length)):
        raise ValueError(f"token_type_ids has shape {spell(types)}, expected {spell((batch, length))}")
    if positions is not None and not fits(positions, (batch, length)) and not fits(positions, (1, length)):
        raise ValueError(f"position_ids has shape {spell(positions)}, expected {spell((batch, length))}")
    if config.position_biased_input and positions is None:
        check_length(config, length)
    for name in ("input_ids", "inputs_embeds", "token_type_ids", "position_ids"):
        if shapes.get(name) is not None and floats[name] != (name == "inputs_embeds"):
            kinds = ("floats", "integers") if floats[name] else ("integers", "floats")
            raise ValueError(f"{name} holds {kinds[0]}, expected {kinds[1]}")


def check_length(config: BaseConfig, length: int | None) -> None:
    """Refuse more tokens than the table of absolute positions has rows.

    Raises:
        ValueError: for a longer input.
    """
    limit = config.max_position_embeddings
    if length is not None and length > limit:
        raise ValueError(f"the inputs have {length} tokens, {too_long(limit)}")


def too_long(limit: int) -> str:
    """Why a model with absolute positions takes no more tokens."""
    return (
        f"but the table of absolute positions has {limit} rows (max_position_embeddings); truncate the text, or use a "
        "model (or a masked-LM head) that has only relative positions"
    )


def id_tables(config: BaseConfig, reads_positions: bool) -> list[tuple[str, str, int]]:
    """Inputs that a model looks up in a table: name of the input, the table in words, its rows.

    Args:
        config: the model's config.
        reads_positions: whether there is a table of absolute positions.
    """
    tables = [("input_ids", "the word table", config.vocab_size)]
    if config.type_vocab_size > 0:
        tables.append(("token_type_ids", "the table of token types", config.type_vocab_size))
    if reads_positions:
        tables.append(("position_ids", "the table of positions", config.max_position_embeddings))
    return tables


def out_of_range(name: str, table: str, rows: int) -> str:
    """An id beyond its table."""
    return (
        f"{name} holds an id outside 0..{rows - 1}; {table} has {rows} rows: does the tokenizer belong to this model?"
    )


NEGATIVE_MASK = (
    "attention_mask holds a negative value; expected non-zero for visible and 0 for hidden. "
    "For an additive mask (0 and -inf) pass attention_mask=(mask == 0)"
)


TRUTH_VALUES = "{name} holds truth values, expected integers: is it the attention_mask?"
UNEVEN = (
    "{name} is no array of numbers ({error}); expected rows of one length: pad them (padding=True in the tokenizer's "
    "call) and pass the attention_mask"
)
TEXTS = "{name} holds texts, expected token ids: call the tokenizer first, model(**tokenizer(...))"
SPREAD = "{name} is a {kind} tensor, expected a dense one: pad it ({how}) and pass its attention_mask"
LEFT_PADDING = (
    "a text begins with hidden tokens, and this head reads its first token (pooled_row is 'first'): pad on the right "
    "(padding_side=\"right\"), or set pooled_row='first_visible' for a model that was trained so"
)


def check_labels(name: str, shape: Shape, expected: Shape, *, is_float: bool = False) -> None:
    """Check labels before the loss.

    Args:
        name: what the caller calls them.
        shape: their shape.
        expected: the shape that fits the logits.
        is_float: whether their dtype is a floating-point one where it must not be.

    Raises:
        ValueError: if shape or dtype does not fit.
    """
    if not fits(shape, expected):
        raise ValueError(f"{name} has shape {spell(shape)}, expected {spell(expected)}")
    if is_float:
        raise ValueError(
            f"{name} holds floats, expected integers; for soft labels pass floats of shape [batch, labels]"
        )


def label_out_of_range(name: str, classes: int, *, ignored: str = "-100") -> str:
    """A label beyond the classes."""
    return f"{name} holds a value outside 0..{classes - 1} (and not {ignored}, which is ignored); does num_labels fit?"


def check_answer(starts: object, ends: object) -> None:
    """Refuse one end of an answer without the other.

    Raises:
        ValueError: if one is ``None`` and the other is not.
    """
    if (starts is None) != (ends is None):
        given, lacking = ("end", "start") if starts is None else ("start", "end")
        raise ValueError(f"got {given}_positions without {lacking}_positions, expected both or neither")


def check_choices(shapes: Mapping[str, Shape | None]) -> None:
    """Refuse inputs without an axis of choices, or with different ones.

    Args:
        shapes: shape by input name.

    Raises:
        ValueError: for the first input that does not fit.
    """
    for name, rank in (("input_ids", 3), ("inputs_embeds", 4)):
        shape = shapes.get(name)
        if shape is not None and len(shape) != rank:
            raise ValueError(
                f"{name} has shape {spell(shape)}, expected [batch, choices, length{', width' * (rank == 4)}]"
            )
    first = shapes.get("input_ids") or shapes.get("inputs_embeds")
    for name, shape in shapes.items():
        if first and shape is not None and (len(shape) < 3 or not fits(shape[:2], first[:2])):
            raise ValueError(f"{name} has shape {spell(shape)}, expected {spell(first[:2])[:-1]}, ...]")


def innermost(value: Any) -> Any:
    """What nested lists hold first: a number, a text, an array or a tensor; of what is no list, it itself."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return value
