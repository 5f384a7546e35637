"""Every kind of file that is read: a small valid one, what damages it, and who reads it."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from tests.fuzz import mutators as m
from tests.fuzz.runner import Kind

SEQUENCE = "ForSequenceClassification"
SENTENCES = ["The quick brown fox jumps over the lazy dog.", "Wie läuft das? Où est la gare?", "price: $5.00 - 4,50 €"]
TEXT = "A quick  fox's\u200b [MASK] Straße 猫 \n 5.00"


# Models.


def model_folder(**save: Any) -> Callable[[Path], None]:
    """Makes PyTorch's files of a small classifier."""

    def make(folder: Path) -> None:
        from tests.models.helpers import pt_model, small_config

        config = small_config("v3", vocab_size=20, num_hidden_layers=1)
        pt_model(config, SEQUENCE).save_pretrained(folder, **save)

    return make


def old_bin(folder: Path) -> None:
    """The container that torch wrote before version 1.6."""
    import torch

    model_folder(safe_serialization=False)(folder)
    path = folder / "pytorch_model.bin"
    state = torch.load(path, weights_only=True)
    torch.save(state, path, _use_new_zipfile_serialization=False)


def h5_folder(folder: Path) -> None:
    """TensorFlow's file."""
    from conversion import convert

    model_folder()(folder / "pt")
    convert(folder / "pt", folder / "tf", to="tf")
    for path in (folder / "tf").iterdir():
        path.rename(folder / path.name)
    for path in (folder / "pt").iterdir():
        path.unlink()


def packed_h5_folder(folder: Path) -> None:
    """Written anew by the library, in packed chunks."""
    import h5py

    h5_folder(folder)
    path = folder / "tf_model.h5"
    with h5py.File(io.BytesIO(path.read_bytes())) as source, h5py.File(folder / "new", "w") as target:
        target.attrs.update(source.attrs)

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                target.require_group(name).attrs.update(item.attrs)
            else:
                target.create_dataset(name, data=item[()], compression="gzip", shuffle=True, chunks=True)

        source.visititems(visit)
    (folder / "new").rename(path)


def load_model(folder: Path, framework: str) -> None:
    """As users do."""
    if framework == "pt":
        import deberta_pt

        deberta_pt.AutoModelForSequenceClassification.from_pretrained(folder)
    else:
        import deberta_tf

        deberta_tf.TFAutoModelForSequenceClassification.from_pretrained(folder)


def load_config(folder: Path, framework: str) -> None:
    """By itself, saved again, and for a model."""
    from deberta_core.config import AutoConfig

    AutoConfig.from_pretrained(folder).save_pretrained(folder / "again")
    load_model(folder, framework)


# Tokenizers.


def tokenizer_folder(family: str, *, fast: bool, drop: Sequence[str] = ()) -> Callable[[Path], None]:
    """Makes the files of a small vocabulary."""

    def make(folder: Path) -> None:
        from tokenization import train_from_iterator

        train_from_iterator(SENTENCES * 3, 340, family=family, fast=fast).save_pretrained(folder)
        for name in drop:
            (folder / name).unlink(missing_ok=True)

    return make


def bpe_encoder(folder: Path) -> None:
    """GPT-2's pickle, as v1 was published with."""
    import json

    tokenizer_folder("v1", fast=False, drop=("tokenizer.json",))(folder)
    vocab = json.loads((folder / "vocab.json").read_text())
    lines = (folder / "merges.txt").read_text().splitlines()
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    rows = [(str(number), 1) for number in range(4, len(vocab) - 1)]
    content = {"encoder": {token: str(number) for token, number in vocab.items()}, "vocab": merges, "dict_map": rows}
    (folder / "bpe_encoder.bin").write_bytes(pickle.dumps(content, 2))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()


def use_tokenizer(folder: Path, framework: str) -> None:
    """Loads, cuts, puts together and saves; ``framework`` is which of the two classes."""
    from tokenization import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=framework == "fast")
    ids = tokenizer(TEXT)["input_ids"]
    tokenizer.decode(ids)
    tokenizer.save_pretrained(folder / "again")


# Data.


def table(name: str, content: str) -> Callable[[Path], object]:
    """Makes a file of examples."""
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


CSV = "text,label\n" + "".join(f'"a text, number {i}",{"good" if i % 2 else "bad"}\n' for i in range(20))
JSONL = "".join(f'{{"tokens": ["a", "b{i}"], "tags": ["O", "B-X"]}}\n' for i in range(20))


def use_records(folder: Path, framework: str) -> None:
    """Reads examples and makes features of them."""
    from deberta_tasks.records import read_records
    from deberta_tasks.tasks import TRAINABLE

    (path,) = folder.glob("data.*")
    list(read_records(path))
    task = TRAINABLE["text-classification" if path.suffix == ".csv" else "token-classification"]
    examples = task.read(path, ())
    names = task.label_names(examples)
    task.check_labels(examples, names)


# Runs, stopped after two of three steps, with the checkpoints of both.

STEPS = 3
COMMANDS = {
    "finetune": ("--task", "text-classification", "--train", "data.csv", "--hidden-size", "8", "--heads", "1",
                 "--evaluate-every", "2"),
    "pretrain": ("--text", "data.csv", "--objective", "rtd", "--hidden-size", "64", "--vocab-size", "300"),
}  # fmt: skip


def drawn_files(folder: Path) -> dict[str, bytes]:
    """What a run's plot can tell of: its log, and what its checkpoints know of it."""
    paths = [path for path in folder.rglob("*") if path.name in ("losses.jsonl", "run.json")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@contextlib.contextmanager
def drawn_where_damaged(folder: Path) -> Iterator[None]:
    """A plot takes longer than all else that a run does: it is drawn where it can be another one."""
    import matplotlib.figure as module

    if drawn_files(folder / "run") == drawn_files(folder / "valid"):
        sys.modules["matplotlib.figure"] = None  # type: ignore[assignment] # as if it were not installed
    try:
        yield
    finally:
        sys.modules["matplotlib.figure"] = module


def keep_drawn_files(folder: Path) -> None:
    """Beside the run, as they are before damage."""
    for name, content in drawn_files(folder / "run").items():
        (folder / "valid" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "valid" / name).write_bytes(content)


def train(folder: Path, name: str) -> None:
    """A command of ``deberta``; raises what went wrong in it."""
    from deberta_tasks import cli

    words = [str(folder / word) if word == "data.csv" else word for word in COMMANDS[name]]
    how = ["--max-length", "16", "--batch-size", "4", "--layers", "1", "--steps", str(STEPS), "--save-every", "1"]
    with mock.patch.dict(os.environ, DEBERTA_TRACEBACK="1"), drawn_where_damaged(folder):
        if cli.main([name, *words, "--output", str(folder / "run"), *how]):
            raise RuntimeError(f"deberta {name} failed")


class Stopped(BaseException):
    """Ends a run as a kill would; nothing catches it."""


def run_folder(name: str) -> Callable[[Path], None]:
    """Makes one, as a kill before the first checkpoint went would leave it."""

    def make(folder: Path) -> None:
        from deberta_tasks.training.run import Run

        table("data.csv", CSV)(folder)
        save = Run.save

        def keeping(run: Run, step: int, data: Any, write: Callable[[Any], None]) -> None:
            if step == STEPS:
                raise Stopped
            save(run, step, data, write)
            shutil.copytree(run.folder / f"checkpoint-{step:08d}", folder / "run" / "kept" / f"checkpoint-{step:08d}")

        with mock.patch.object(Run, "save", keeping), contextlib.suppress(Stopped):
            train(folder, name)
        shutil.copytree(folder / "run" / "kept", folder / "run", dirs_exist_ok=True)
        shutil.rmtree(folder / "run" / "kept")
        keep_drawn_files(folder)

    return make


@functools.cache
def keras_learner() -> Any:
    """A small model in training, one for all cases of a child: its state is what is read."""
    from deberta_tasks.training.options import Options
    from deberta_tasks.training.tf import KerasLearner
    from tests.models.helpers import small_config, tf_model

    return KerasLearner(lambda: tf_model(small_config("v3", vocab_size=20, num_hidden_layers=1), SEQUENCE), Options())


def keras_run(folder: Path) -> None:
    """Two checkpoints of TensorFlow."""
    from deberta_tasks.training.loop import History
    from deberta_tasks.training.run import Run

    for part in ("kept", "run"):  # a run keeps the last one only
        run = Run(folder / part, {"task": "regression"})
        for step in (1,) if part == "kept" else (1, 2):
            run.log(step, loss=1.0)
            run.save(step, History(), keras_learner().save_state)
    (folder / "kept" / "checkpoint-00000001").rename(folder / "run" / "checkpoint-00000001")
    shutil.rmtree(folder / "kept")
    keep_drawn_files(folder)


def resume_keras_run(folder: Path, framework: str) -> None:
    """What a run reads before it goes on, and the plot at its end."""
    from deberta_tasks.training.loop import History
    from deberta_tasks.training.run import Run

    run, history = Run(folder / "run", {"task": "regression"}), History()
    run.resume(history, keras_learner().load_state)
    history.add(3, 0.5, 2)
    run.save(3, history, lambda made: None)
    with drawn_where_damaged(folder):
        run.plot()


MODEL, TOKENIZER = ("pt", "tf"), ("fast", "slow")
JSON = (m.json_values, m.json_values, m.bytes_anywhere)
KINDS = {  # those that need no framework first, while children are forked from a process that has none
    kind.name: kind
    for kind in (
        Kind("tokenizer_config.json of v1", tokenizer_folder("v1", fast=True), "tokenizer_config.json", JSON,
             use_tokenizer, TOKENIZER),
        Kind("tokenizer_config.json of v2", tokenizer_folder("v2", fast=True), "tokenizer_config.json", JSON,
             use_tokenizer, TOKENIZER),
        Kind("tokenizer.json of v1", tokenizer_folder("v1", fast=True, drop=("vocab.json", "merges.txt")),
             "tokenizer.json", JSON, use_tokenizer, TOKENIZER),
        Kind("tokenizer.json of v2", tokenizer_folder("v2", fast=True, drop=("spm.model",)), "tokenizer.json", JSON,
             use_tokenizer, TOKENIZER),
        Kind("spm.model", tokenizer_folder("v2", fast=False, drop=("tokenizer.json",)), "spm.model",
             (m.protobuf_fields, m.protobuf_fields, m.bytes_anywhere), use_tokenizer, TOKENIZER),
        Kind("vocab.json", tokenizer_folder("v1", fast=False, drop=("tokenizer.json",)), "vocab.json", JSON,
             use_tokenizer, TOKENIZER),
        Kind("merges.txt", tokenizer_folder("v1", fast=False, drop=("tokenizer.json",)), "merges.txt",
             (m.text_lines, m.bytes_anywhere), use_tokenizer, TOKENIZER),
        Kind("bpe_encoder.bin", bpe_encoder, "bpe_encoder.bin", (m.pickle_opcodes, m.bare_pickle, m.bytes_anywhere),
             use_tokenizer, TOKENIZER),
        Kind("csv", table("data.csv", CSV), "data.csv",
             (m.text_lines, m.text_lines, m.text_lines, m.bytes_anywhere, m.wide_table), use_records, ("",)),
        Kind("jsonl", table("data.jsonl", JSONL), "data.jsonl", (m.text_lines, m.json_lines, m.bytes_anywhere),
             use_records, ("",)),
        Kind("safetensors", model_folder(), "model.safetensors", (m.bytes_anywhere,), load_model),
        Kind("bin", model_folder(safe_serialization=False), "pytorch_model.bin",
             (m.zipped_pickle, m.zipped_pickle, m.zip_entries, m.bytes_anywhere), load_model),
        Kind("old bin", old_bin, "pytorch_model.bin", (m.stream_of_pickles, m.bytes_anywhere), load_model),
        Kind("h5", h5_folder, "tf_model.h5", (m.hdf5, m.bytes_anywhere), load_model),
        Kind("packed h5", packed_h5_folder, "tf_model.h5", (m.hdf5, m.bytes_anywhere), load_model),
        Kind("index", model_folder(max_shard_size="4KB"), "model.safetensors.index.json", JSON, load_model),
        Kind("config.json", model_folder(), "config.json", JSON, load_config),
        Kind("run of finetune", run_folder("finetune"), "run/*", (m.by_content,), lambda f, _: train(f, "finetune"),
             ("pt",), 0.4),
        Kind("run of pretrain", run_folder("pretrain"), "run/*", (m.by_content,), lambda f, _: train(f, "pretrain"),
             ("pt",), 0.4),
        Kind("run of TensorFlow", keras_run, "run/*", (m.by_content,), resume_keras_run, ("tf",)),
    )
}  # fmt: skip
