"""The sides of the table of many texts: pipelines of both libraries, and a graph in ONNX Runtime."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import torch

from benchmarks.inside import PEER, make_folder, sentences
from benchmarks.models_pt import exported
from benchmarks.settings import Settings
from benchmarks.timing import Recorder, Side, measure
from deberta_tasks import pipeline

TASK, LAYERS = "text-classification", 4
TOGETHER, OF_GRAPH = 8, 32  # texts of a batch
OURS, BY_PIPELINE, BY_GRAPH = "ours", f"{PEER} pipeline", "ONNX Runtime, sorted"


def throughput(settings: Settings, record: Recorder) -> None:
    """Texts in no order, from text to answer."""
    torch.set_num_threads(settings.threads)
    texts = sentences(16 if settings.quick else 2000)
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), settings.layers or LAYERS)
        sides: dict[str, Side] = {}
        with record.peer(BY_PIPELINE):
            from transformers import pipeline as of_transformers

            peer = of_transformers(TASK, model=folder, device="cpu", batch_size=TOGETHER)
            sides[BY_PIPELINE] = functools.partial(peer, texts)
        with record.peer(BY_GRAPH):
            sides[BY_GRAPH] = by_graph(folder, texts, settings.threads)
        sides[OURS] = functools.partial(pipeline(TASK, folder, framework="pt"), texts)
        measure(record, f"{len(texts)} texts", sides, settings.rounds)
    words = [len(text.split()) for text in texts]
    record.note(
        f"texts of {min(words)} to {max(words)} words; {PEER} gets batches of {TOGETHER} as they come, ONNX Runtime "
        f"batches of {OF_GRAPH} sorted by length, of the encoder alone; ours is called without options"
    )


def by_graph(folder: str, texts: list[str], threads: int) -> Side:
    """The encoder of transformers, exported, and its tokenizer, with the sorting that its user would write."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, call = AutoTokenizer.from_pretrained(folder), exported(AutoModel.from_pretrained(folder), threads)

    def run() -> None:
        rows = sorted(tokenizer(texts)["input_ids"], key=len)
        for start in range(0, len(rows), OF_GRAPH):
            batch = tokenizer.pad({"input_ids": rows[start : start + OF_GRAPH]}, return_tensors="pt")
            call({name: batch[name] for name in ("input_ids", "attention_mask")})

    return run
