"""The rules of a tokenizer.json by name, and the sets of rules that the published tokenizers are written with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deberta_core.wording import harmless

from .template import Frame, Template, published_template

PUNCTUATION = r"[!-/:-@\[-`{-~\p{P}]"
BEFORE_BYTE_NAME = "<(?=0x[0-9A-F]{2}>)"
MOST_DEPTH = 8

# What a rule does where its file does not say, so that a name shows only what is unusual. A pre-tokenizer's
# trim_offsets does nothing, and a character map is data.
USUAL: dict[str, dict[str, Any]] = {
    "ByteLevel": {"add_prefix_space": False, "use_regex": True},
    "Metaspace": {"replacement": "▁", "prepend_scheme": "always", "split": True},
    "Punctuation": {"behavior": "Isolated"},
    "Split": {"invert": False},
    "Strip": {"strip_left": True, "strip_right": True},
}

COLLAPSED = "Replace(Regex ' {2,}' -> ' ')"
# transformers 4 writes these for a SentencePiece model, between an optional lower case and the cuts
HF4 = ("Strip", "Precompiled", COLLAPSED)
# transformers 5 writes these in place of the map that the model has
HF5 = (r"Replace(Regex '\\s{2,}|[\\n\\r\\t]' -> ' ')", "NFC", "Strip(strip_left=False)")
# this library's: see unigram_backend
OWN = (
    "NFC", "Precompiled", "Replace(String '▁' -> ' ')", COLLAPSED,
    f"Replace(Regex {f' (?={PUNCTUATION})|(?<={PUNCTUATION}) '!r} -> '')", r"Replace(Regex '\\A | \\z' -> '')",
)  # fmt: skip
OWN_CUT, NAMES_CUT = f"Split(Regex {PUNCTUATION!r}, Isolated)", f"Split(Regex {BEFORE_BYTE_NAME!r}, MergedWithPrevious)"
NEVER = "Metaspace(prepend_scheme='never')"


def steps_of(part: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """The rules of a part of a file, out of their sequences.

    Raises:
        TypeError: sequences are nested beyond all use.
    """
    if not isinstance(part, dict):
        return
    if part.get("type") != "Sequence":
        yield part
        return
    if depth > MOST_DEPTH:
        raise TypeError("its sequences are nested too deeply")
    inside = next((part[key] for key in ("normalizers", "pretokenizers", "processors", "decoders") if key in part), ())
    for inner in inside:
        yield from steps_of(inner, depth + 1)


def names_of(part: Any) -> list[str]:
    """The rules of a part of a file by name, each with the options that are unusual."""
    return [harmless(_name(step)) for step in steps_of(part)]


def _name(step: dict[str, Any]) -> str:
    kind = str(step.get("type"))
    options = {name: value for name, value in step.items() if name not in ("type", "trim_offsets", "str_rep")}
    if kind == "Precompiled":
        return kind
    if kind == "Metaspace" and "add_prefix_space" in options:  # as older releases spell it
        prefix = options.pop("add_prefix_space")
        options.setdefault("prepend_scheme", "always" if prefix else "never")
    pattern = options.pop("pattern", None)
    shown = [f"{form} {text!r}" for form, text in pattern.items()] if isinstance(pattern, dict) else []
    if kind == "Replace":
        return f"Replace({', '.join(shown)} -> {options.get('content')!r})"
    if kind == "Split":
        shown.append(str(options.pop("behavior", None)))
    usual = USUAL.get(kind, {})
    shown += [f"{name}={value!r}" for name, value in options.items() if name not in usual or usual[name] != value]
    return f"{kind}({', '.join(shown)})" if shown else kind


def unigram_form(content: dict[str, Any], *, has_bytes: bool) -> str | None:
    """Which set of rules that stands for a SentencePiece model a unigram file has.

    Args:
        content: the file.
        has_bytes: the vocabulary has a piece for each byte.

    Returns:
        ``mapped``: with the character map, or none where the model has none. ``replaced``: with rules in place of the
        map. None for any other set.
    """
    rules, cuts = tuple(names_of(content.get("normalizer"))), tuple(names_of(content.get("pre_tokenizer")))
    rules = rules[1:] if rules[:1] == ("Lowercase",) else rules
    fallback = bool(content["model"].get("byte_fallback"))
    if cuts in (("Metaspace",), ("Punctuation", "Metaspace")) and (has_bytes or not fallback):
        # byte_fallback is false in these even where the model has it
        theirs = "mapped" if rules == HF4 else "replaced" if rules == HF5 and not fallback else None
        if theirs is not None:
            return theirs
    punct = cuts[:1] == (OWN_CUT,)
    names = (NAMES_CUT,) if has_bytes else ()
    if fallback != has_bytes or cuts[int(punct) :] not in (("Metaspace", *names), (NEVER, *names)):
        return None
    own = tuple(rule for rule in OWN if punct or rule != OWN[4])
    if rules in (own, own[2:]):
        return "mapped"
    return "replaced" if rules == ("NFC",) else None  # someone took the map out of a file of this library


def template_of(part: Any, name: str) -> Template | None:
    """How a file's post-processor frames texts; None where it leaves them as they are.

    Args:
        part: the post-processor.
        name: what errors call the file.

    Raises:
        ValueError: a row cannot be made so: a text comes twice, the second first, or in several steps.
    """
    steps = [step for step in steps_of(part) if step.get("type") != "ByteLevel"]  # which changes spans alone
    if not steps:
        return None
    step, kind = steps[0], steps[0].get("type")
    if kind == "BertProcessing" and len(steps) == 1:
        return published_template(step["cls"][1], step["sep"][1])
    if kind == "RobertaProcessing" and len(steps) == 1:
        # [CLS] A [SEP] [SEP] B [SEP], all of type 0: RoBERTa has no types of tokens.
        begin, end = (step["cls"][1],), (step["sep"][1],)
        ids = Frame((begin, end), (begin, end * 2, end))
        return Template(ids, ids.fill(0), (0, 0, 0))
    if kind == "TemplateProcessing" and len(steps) == 1:
        tokens = step["special_tokens"]
        single, pair = (_stretches(step[form], tokens, texts) for form, texts in (("single", "A"), ("pair", "AB")))
        if single is not None and pair is not None:
            (one, (single_type,)), (two, (first, second)) = single, pair
            ids, types = (Frame((one[0][i], one[1][i]), (two[0][i], two[1][i], two[2][i])) for i in (0, 1))
            return Template(ids, types, (single_type, first, second))
    found = harmless(" and ".join(str(step.get("type")) for step in steps))
    raise ValueError(
        f"{name}: the post_processor {found} makes rows that are not made here; rows are special tokens around "
        "the first text and, behind it, the second: write the file with one TemplateProcessing of this kind"
    )


Stretch = tuple[tuple[int, ...], tuple[int, ...]]  # ids of special tokens and their type ids


def _stretches(pieces: Any, tokens: Any, texts: str) -> tuple[list[Stretch], list[int]] | None:
    """The special tokens before, between and behind the texts of a template, and the texts' type ids."""
    found: list[Stretch] = [((), ())]
    types, seen = [], ""
    for piece in pieces:
        ((kind, what),) = piece.items()
        if kind == "Sequence":
            seen += what["id"]
            types.append(what["type_id"])
            found.append(((), ()))
        else:
            ids = tuple(tokens[what["id"]]["ids"])
            found[-1] = (found[-1][0] + ids, found[-1][1] + (what["type_id"],) * len(ids))
    return (found, types) if seen == texts else None


def has_published_frame(part: Any, name: str) -> bool:
    """Whether rows are ``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``, be it that the file does not say."""
    template = template_of(part, name)
    if template is None:
        return True
    edges = {*template.ids.single, *template.ids.pair}
    begin, end = template.ids.single
    return all(len(edge) == 1 for edge in edges) and template == published_template(begin[0], end[0])
