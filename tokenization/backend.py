"""The same tokenizers as pipelines of the ``tokenizers`` library: for export, and to reproduce its ids on purpose."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from deberta_core.wording import harmless

from .byte_bpe import ByteBpe
from .rule_names import BEFORE_BYTE_NAME, PUNCTUATION, steps_of
from .unigram import SPACE, Unigram


def unigram_backend(engine: Unigram, *, lower_case: bool, split_by_punct: bool) -> Any:
    """The pipeline nearest to SentencePiece that a tokenizer.json can hold.

    It gives other ids than SentencePiece for about 1 in 1500 blocks of code (segmentations with equal scores), for
    rare sequences of combining marks, and with ``split_by_punct`` where the character map makes punctuation.

    Args:
        engine: pieces and rules.
        lower_case: lower-case the text.
        split_by_punct: cut at punctuation.
    """
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    model = engine.model
    cased = [normalizers.Lowercase()] if lower_case else []
    mapped = [normalizers.NFC(), normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    spaces = [normalizers.Replace(SPACE, " "), normalizers.Replace(Regex(" {2,}"), " ")]
    if split_by_punct:  # each stretch loses the spaces at its ends
        spaces.append(normalizers.Replace(Regex(f" (?={PUNCTUATION})|(?<={PUNCTUATION}) "), ""))
    # only spaces: the library's Strip would take away controls too, and comes too early
    ends = [normalizers.Replace(Regex(r"\A | \z"), "")]
    cuts = [pre_tokenizers.Split(Regex(PUNCTUATION), "isolated")] if split_by_punct else []
    scheme = "always" if engine.add_prefix_space else "never"
    # a piece for a byte must not match the text of its name, such as <0x41>
    names = [pre_tokenizers.Split(Regex(BEFORE_BYTE_NAME), "merged_with_previous")] if model.byte_fallback else []
    pre = pre_tokenizers.Sequence([*cuts, pre_tokenizers.Metaspace(prepend_scheme=scheme), *names])
    backend = _unigram(engine, byte_fallback=model.byte_fallback)
    backend.normalizer = normalizers.Sequence([*cased, *mapped, *spaces, *ends])
    backend.pre_tokenizer = pre
    space = decoders.Metaspace(prepend_scheme=scheme)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), space]) if model.byte_fallback else space
    return backend


def legacy_unigram_backend(engine: Unigram, *, lower_case: bool, split_by_punct: bool) -> Any:
    """The pipeline of transformers 4's fast tokenizer, with its faults.

    Byte fallback is off, white space is stripped before the character map makes more of it, and a space before
    punctuation leaves a piece of its own.

    Args:
        engine: pieces and rules.
        lower_case: lower-case the text.
        split_by_punct: cut at punctuation.
    """
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    charsmap = engine.model.charsmap
    backend = _unigram(engine, byte_fallback=False)
    rules = [normalizers.Lowercase()] if lower_case else []
    rules += [normalizers.Strip(), normalizers.Precompiled(charsmap)] if charsmap else [normalizers.Strip()]
    backend.normalizer = normalizers.Sequence([*rules, normalizers.Replace(Regex(" {2,}"), " ")])
    cuts = [pre_tokenizers.Punctuation("isolated")] if split_by_punct else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*cuts, pre_tokenizers.Metaspace(prepend_scheme="always")])
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return backend


def _unigram(engine: Unigram, *, byte_fallback: bool) -> Any:
    from tokenizers import Tokenizer, models

    pieces = [(text, score) for text, score, _ in engine.model.pieces]
    return Tokenizer(models.Unigram(pieces, engine.unk_id, byte_fallback))


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
        raise ValueError(f"the tokenizers library cannot take these merges: {harmless(str(error))}") from None
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = decoders.ByteLevel()
    return backend


def pipeline_of(tokenizer: Any) -> Any:
    """A pipeline that comes as near to a tokenizer as the library can, made of its present state.

    Args:
        tokenizer: one of the fast classes.

    Raises:
        ValueError: the library cannot hold its vocabulary or its added tokens, or knows no rule of its file.
    """
    from tokenizers import normalizers

    engine, vocabulary = tokenizer._engine, tokenizer._vocabulary
    if engine.follows_file:
        return engine.pipeline(vocabulary.added, prefix=engine.add_prefix_space and tokenizer.add_prefix_space)
    if tokenizer._fixed_file is not None:
        return load_backend(json.loads(tokenizer._fixed_file), "tokenizer.json")
    legacy = tokenizer.legacy_ids
    exact = vocabulary.engine
    if isinstance(exact, ByteBpe):
        backend = bpe_backend(exact, tokenizer.unk_token, prefix=tokenizer.add_prefix_space)
        if tokenizer.do_lower_case:
            backend.normalizer = normalizers.Lowercase()
    else:
        backend = (legacy_unigram_backend if legacy else unigram_backend)(
            exact, lower_case=tokenizer.do_lower_case, split_by_punct=tokenizer.split_by_punct
        )
    return add_special_parts(backend, tokenizer, faulty_unk=legacy)


def add_special_parts(backend: Any, tokenizer: Any, *, faulty_unk: bool = False) -> Any:
    """Gives a pipeline the added tokens and the frame ``[CLS] A [SEP] B [SEP]``.

    Args:
        backend: the pipeline.
        tokenizer: the one whose added tokens it gets.
        faulty_unk: match [UNK] and added tokens in normalised text, as transformers 4 does.

    Raises:
        ValueError: the ids of the added tokens leave gaps, which the library cannot hold.
    """
    from tokenizers import AddedToken

    tokens = tokenizer.added_tokens_decoder
    # Those of a kind together: the library goes through all that it has after each call.
    for special, group in itertools.groupby(tokens.values(), key=lambda token: token.special):
        made = []
        for token in group:
            # matched in the text as given, but where it is lower-cased first
            cased = getattr(tokenizer, "do_lower_case", False) and token.normalized and not special
            flags = {**token.to_dict(), "normalized": bool(cased)}
            if faulty_unk:
                flags["normalized"] = token.normalized or token.content == tokenizer.unk_token
            made.append(AddedToken(flags.pop("content"), **flags))
        (backend.add_special_tokens if special else backend.add_tokens)(made)
    for token_id, token in tokens.items():
        if backend.token_to_id(token.content) != token_id:
            raise ValueError(
                f"the added token {token.content!r} has id {token_id}, where the tokenizers library would give it "
                f"{backend.token_to_id(token.content)}: it holds no ids with gaps; add the tokens one after the other"
            )
    return add_frame(backend, tokenizer)


def add_frame(backend: Any, tokenizer: Any) -> Any:
    """Gives a pipeline the frame ``[CLS] A [SEP] B [SEP]``, where the tokenizer has both tokens."""
    from tokenizers import processors

    begin, end = tokenizer.cls_token, tokenizer.sep_token
    if begin is not None and end is not None:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{begin}:0 $A:0 {end}:0",
            pair=f"{begin}:0 $A:0 {end}:0 $B:1 {end}:1",
            special_tokens=[(begin, tokenizer.cls_token_id), (end, tokenizer.sep_token_id)],
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
        said = f"{type(error).__name__}: {harmless(str(error))}"
        raise ValueError(f"{name} is damaged ({said}); fetch or copy it again") from None


def _unknown_rules(content: Mapping[str, Any]) -> list[str]:
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    homes = {"normalizer": normalizers, "pre_tokenizer": pre_tokenizers, "post_processor": processors,
             "decoder": decoders, "model": models}  # fmt: skip
    steps = [(part, str(step.get("type"))) for part in homes for step in steps_of(content.get(part)) if "type" in step]
    return [f"{part} {harmless(kind)}" for part, kind in steps if not hasattr(homes[part], kind)]
