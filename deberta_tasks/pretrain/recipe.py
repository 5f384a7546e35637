"""Pretraining from a plain text file: with masked tokens (MLM), or with replaced ones (RTD) as DeBERTa v3 has it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from deberta_core.config import AutoConfig, BaseConfig
from deberta_core.file_names import CARD
from deberta_core.files import write_text
from deberta_tasks.masking import MaskingCollator
from deberta_tasks.parts import files_of
from deberta_tasks.pretrain.corpus import Corpus, documents, read_texts
from deberta_tasks.pretrain.request import Request, new_config
from deberta_tasks.training.loop import Learner, train
from deberta_tasks.training.options import Options
from deberta_tasks.training.run import LOG, Run, say
from deberta_tasks.training.stream import shares
from deberta_tasks.training.text import MaskedStream, blocks, read_lines

MODEL, TEXTS = "model", "texts"


def pretrain(request: Request, options: Options, *, tell: Callable[[str, Mapping[str, Any]], None] = say) -> None:
    """Train, or go on with a run that was interrupted; the model, with its tokenizer, is in ``output/model``.

    Args:
        request: what to train, and on what.
        options: how.
        tell: gets what the run came to: in a sentence, and as what JSON can hold.

    Raises:
        FileNotFoundError: if a file or folder is not there.
        ValueError: for text, checkpoints or options that do not fit.
    """
    masking, folder = request.masking(), request.output / MODEL
    lines = read_lines(request.text) if request.text else []
    tokenizer = load_tokenizer(request, folder, lines)
    config = None if request.model else new_config(request, len(tokenizer), options.max_length)
    learner = new_learner(request, options, config)
    if request.texts:
        if learner.first:
            read_texts(files_of(request.texts), request.column, tokenizer, request.output / TEXTS)
        learner.wait()
        features: Any = Corpus(request.output / TEXTS, tokenizer, options.max_length, request.rows)
    else:
        features = blocks(tokenizer, lines, options.max_length)
    # TensorFlow: all batches of one shape, though the last block of the text is shorter, for one graph.
    collator = MaskingCollator(
        tokenizer, masking, max_length=options.max_length, seed=options.seed,
        pad_to_max_length=request.framework == "tf" and request.rows != "single",
    )  # fmt: skip
    stream = MaskedStream(
        features, collator, options.batch_size, seed=options.seed, by_length=request.rows == "single"
    )
    shares(stream.batch(1), learner.processes * options.accumulate)  # says at once if it cannot be
    run = Run(request.output, settings(request, options, features), writes=learner.first)
    if learner.first and request.model is None:
        tokenizer.save_pretrained(folder)  # now: a run that goes on has to read its own vocabulary
    train(learner, run, stream, options)
    learner.save_model(folder if learner.first else None)
    if learner.first:
        tokenizer.save_pretrained(folder)
        if request.note and request.note not in (card := folder / CARD).read_text(encoding="utf-8"):
            write_text(card, f"{card.read_text(encoding='utf-8').rstrip()}\n\n{request.note}")
        plot = run.plot()
        log, last = run.folder / LOG, next(iter(run.losses()[-1:]), {})
        found = {"model": str(folder), "log": str(log), "plot": str(plot) if plot else None, "last": last}
        tell(f"wrote {folder}, {log}" + (f" and {plot}" if plot else ""), found)
    learner.stop()


def load_tokenizer(request: Request, folder: Path, lines: Iterable[str]) -> Any:
    """That of the checkpoint, of the run, or a new one; several processes train the same from the same text.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if the checkpoint's does not fit its model.
    """
    from tokenization import AutoTokenizer, train_from_iterator

    if request.model is not None:
        tokenizer = AutoTokenizer.from_pretrained(request.model)
        check_vocabulary(request.model, len(tokenizer))
        return tokenizer
    if (folder / "spm.model").is_file():
        return AutoTokenizer.from_pretrained(folder, use_fast=False)  # the class of a new one: it leaves the same files
    if request.texts:
        read = documents(files_of(request.texts), request.column)
        lines = (line for text in read for line in text.splitlines())  # what is very long would be passed over
    return train_from_iterator(lines, request.vocab_size, fast=False)


def check_vocabulary(folder: str, tokens: int) -> None:
    """Refuse a tokenizer with more tokens than its model; published models have rows that no token uses.

    Raises:
        ValueError: if there are more.
    """
    rows = AutoConfig.from_pretrained(folder).vocab_size
    if tokens > rows:
        raise ValueError(
            f"the tokenizer in {folder} has {tokens} tokens, the model's vocabulary {rows}; give the tokenizer that "
            "the model was trained with, or add rows first: resize_token_embeddings(len(tokenizer))"
        )


def new_learner(request: Request, options: Options, config: BaseConfig | None) -> Learner:
    """The model in its framework, with starting weights or those of the checkpoint."""
    if request.framework == "tf":
        from deberta_tasks.pretrain import tf

        return tf.new_learner(request, options, config)
    from deberta_tasks.pretrain import pt

    return pt.new_learner(request, options, config)


def settings(request: Request, options: Options, features: Any) -> dict[str, Any]:
    """What the weights depend on; the number of processes is not part of it."""
    if isinstance(features, Corpus):
        data = f"{len(features)} rows, checksum {features.checksum}"
    else:
        digest = zlib.crc32(repr([feature["input_ids"] for feature in features]).encode())
        data = f"{len(features)} blocks, checksum {digest:08x}"
    lessons = request.lessons.settings() if request.lessons else {}
    return {**request.settings(), "data": data, **options.settings(), **lessons}
