"""The sides of the table inside transformers: pipelines and a cross-encoder, by its own encoder and by ours."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path
from typing import Any

import torch

import deberta_pt
import tokenization
from benchmarks.settings import Settings, model_values
from benchmarks.timing import Recorder, Side, measure

LONGEST, SHORTEST, LAYERS = 60, 6, 12
PEER, ENABLED, PREPARED = "transformers", "ours by enable()", "ours by replace(prepare=True)"


def sentences(count: int) -> list[str]:
    """Texts of 6 to 60 words in no order, the same in every run."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(400)]
    return [" ".join(draw.choices(words, k=draw.randint(SHORTEST, LONGEST))) for _ in range(count)]


def make_folder(folder: Path, layers: int) -> None:
    """A classifier of the sizes of v3-base with random weights, and a tokenizer for it."""
    tokenizer = tokenization.train_from_iterator(sentences(200), 1800, family="v2")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = deberta_pt.DebertaV2Config(**{**model_values(layers), "num_labels": 1, "pad_token_id": 0})
    deberta_pt.DebertaV2ForSequenceClassification(config).save_pretrained(folder)


def three_ways(build: Any) -> dict[str, Any]:
    """What ``build`` builds by transformers alone, after ``enable()``, and prepared."""
    from deberta_pt.transformers import enable, replace

    found = {PEER: build()}
    with enable():
        found |= {ENABLED: build(), PREPARED: build()}
    replace(getattr(found[PREPARED], "model", found[PREPARED]), prepare=True)
    return found


def inside(settings: Settings, record: Recorder) -> None:
    """Texts in no order, and pairs, in batches of eight."""
    torch.set_num_threads(settings.threads)
    count = 8 if settings.quick else 32
    texts = sentences(2 * count)
    with tempfile.TemporaryDirectory() as name:
        make_folder(Path(name), settings.layers or LAYERS)
        with record.peer(f"{PEER} pipeline"):
            measure(record, f"text-classification pipeline, {count} texts", pipelines(name, texts[:count]),
                    settings.rounds)  # fmt: skip
        with record.peer("sentence-transformers"):
            pairs = list(zip(texts[:count], texts[count:], strict=True))
            measure(record, f"CrossEncoder.predict, {count} pairs", cross_encoders(name, pairs), settings.rounds)
    lengths = [len(text.split()) for text in texts]
    record.note(f"texts of {min(lengths)} to {max(lengths)} words, in batches of 8; pairs are sorted by length")


def pipelines(folder: str, texts: list[str]) -> dict[str, Side]:
    """``transformers.pipeline``, which pads each batch to its longest text."""
    from transformers import pipeline

    build = functools.partial(pipeline, "text-classification", model=folder, device="cpu", batch_size=8)
    return {side: functools.partial(pipe, texts) for side, pipe in three_ways(build).items()}


def cross_encoders(folder: str, pairs: list[tuple[str, str]]) -> dict[str, Side]:
    """``CrossEncoder.predict``, which sorts by length before it makes batches."""
    from sentence_transformers import CrossEncoder

    build = functools.partial(CrossEncoder, folder, num_labels=1, device="cpu", max_length=256)
    return {
        side: functools.partial(model.predict, pairs, batch_size=8, show_progress_bar=False)
        for side, model in three_ways(build).items()
    }
