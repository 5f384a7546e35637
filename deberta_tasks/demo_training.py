"""The two training loops of the demo: a plain one in PyTorch, and ``fit`` in Keras."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from deberta_core.config import DebertaV2Config
from deberta_core.presets import preset
from deberta_tasks.data import LabelledTexts

MAX_TOKENS = 128


@dataclass(frozen=True)
class Settings:
    """What the demo trains, and for how long.

    Attributes:
        hidden_size: width of the model.
        layers: encoder layers.
        heads: attention heads.
        batch_size: texts in a step.
        torch_epochs: most passes over the texts in PyTorch.
        enough: PyTorch stops at this share of the way from chance to all held-back texts right, and Keras goes on.
        torch_rate: learning rate in PyTorch, to which it rises during the first pass.
        keras_epochs: passes in Keras.
        keras_rate: learning rate there.
        seed: of starting weights, dropout and order.
    """

    hidden_size: int = 64
    layers: int = 2
    heads: int = 4
    batch_size: int = 16
    torch_epochs: int = 16
    enough: float = 0.5
    torch_rate: float = 2e-3
    keras_epochs: int = 4
    keras_rate: float = 1e-3
    seed: int = 0


class Progress:
    """A bar while training lasts, where there is a terminal, and a line for each epoch that stays.

    Args:
        epochs: number of passes.
        steps: steps in a pass.
    """

    def __init__(self, epochs: int, steps: int) -> None:
        self.bar = tqdm(total=epochs * steps, desc="  training", unit="step", leave=False, disable=None)

    def step(self) -> None:
        """One step is done."""
        self.bar.update()

    def epoch(self, number: int, loss: float, accuracy: float) -> None:
        """Epoch ``number`` is done, with this mean loss and this share of the held-back texts right."""
        line = f"  epoch {number:>2}   loss {loss:.3f}   right on held-back texts {accuracy:6.1%}"
        self.bar.write(line)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()


def small_config(vocab_size: int, names: list[str], settings: Settings) -> DebertaV2Config:
    """DeBERTa v3 in small: its switches, with few and narrow layers."""
    config = preset(
        "deberta-v3-small",
        vocab_size=vocab_size,
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=4 * settings.hidden_size,
        max_position_embeddings=MAX_TOKENS,
        position_buckets=16,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
        num_labels=len(names),
    )
    assert isinstance(config, DebertaV2Config)
    return config


def encode(tokenizer: Any, texts: list[str], kind: str) -> dict[str, Any]:
    """Ids and masks of texts as tensors ``[B, L]`` of kind ``pt``, ``tf`` or ``np``."""
    return dict(tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors=kind))


def accuracy(scores: np.ndarray[Any, Any], labels: list[int]) -> float:
    """Share of rows of ``scores`` ``[B, Y]`` whose largest entry is the label's."""
    return float((scores.argmax(-1) == np.asarray(labels)).mean())


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use one thread: for so small a model, waiting for others takes longer than the work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_scores(model: Any, tokenizer: Any, texts: list[str]) -> np.ndarray[Any, Any]:
    """Probabilities of a PyTorch model, ``[B, Y]``."""
    import torch

    model.eval()
    with torch.no_grad():
        logits = model(**encode(tokenizer, texts, "pt")).logits
        return np.asarray(torch.softmax(logits, -1).numpy())


def tf_scores(model: Any, tokenizer: Any, texts: list[str]) -> np.ndarray[Any, Any]:
    """Probabilities of a TensorFlow model, ``[B, Y]``."""
    import tensorflow as tf

    logits = model(encode(tokenizer, texts, "tf")).logits
    return np.asarray(tf.nn.softmax(logits, -1).numpy())


def train_in_pytorch(
    folder: Path, tokenizer: Any, train: LabelledTexts, held: LabelledTexts, settings: Settings
) -> float:
    """Train a classifier from scratch and save it.

    Args:
        folder: where the model is written.
        tokenizer: whose ids it learns.
        train: texts to learn from.
        held: texts to judge by.
        settings: sizes, epochs, seed.

    Returns:
        Share of the held-back texts that it gets right.
    """
    import torch

    from deberta_pt import DebertaV2ForSequenceClassification

    torch.manual_seed(settings.seed)
    order = random.Random(settings.seed)
    model = DebertaV2ForSequenceClassification(small_config(len(tokenizer), train.names, settings))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.torch_rate)
    steps = -(-len(train) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / steps, total_iters=steps)
    right, chance = 0.0, held.most_frequent
    with Progress(settings.torch_epochs, steps) as progress:
        for epoch in range(1, settings.torch_epochs + 1):
            losses = []
            for batch in shuffled_batches(train, settings.batch_size, order):
                losses.append(torch_step(model, optimizer, encode(tokenizer, batch.texts, "pt"), batch.labels))
                schedule.step()
                progress.step()
            right = accuracy(torch_scores(model, tokenizer, held.texts), held.labels)
            progress.epoch(epoch, sum(losses) / steps, right)
            if right >= chance + settings.enough * (1 - chance):
                break
    model.save_pretrained(folder)
    return right


def shuffled_batches(data: LabelledTexts, size: int, order: random.Random) -> Iterator[LabelledTexts]:
    """All texts once, in random order, so many at a time."""
    places = list(range(len(data)))
    order.shuffle(places)
    for start in range(0, len(places), size):
        yield data.take(places[start : start + size])


def torch_step(model: Any, optimizer: Any, inputs: dict[str, Any], labels: list[int]) -> float:
    """One step of training; returns the loss before it."""
    import torch

    model.train()
    optimizer.zero_grad()
    loss = model(**inputs, labels=torch.tensor(labels)).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def fit_in_keras(
    source: Path, folder: Path, tokenizer: Any, train: LabelledTexts, held: LabelledTexts, settings: Settings
) -> float:
    """Go on training a saved classifier with ``model.fit`` and the model's own loss, and save it.

    Args:
        source: the model to start from.
        folder: where the trained one is written.
        tokenizer: the model's.
        train: texts to learn from.
        held: texts to judge by.
        settings: epochs, learning rate, seed.

    Returns:
        Share of the held-back texts that it gets right.
    """
    import tf_keras

    from deberta_tf import TFDebertaV2ForSequenceClassification

    tf_keras.utils.set_random_seed(settings.seed)
    model = TFDebertaV2ForSequenceClassification.from_pretrained(source)
    model.compile(optimizer=tf_keras.optimizers.Adam(settings.keras_rate))
    found = [0.0]
    with Progress(settings.keras_epochs, -(-len(train) // settings.batch_size)) as progress:

        def after_epoch(epoch: int, logs: dict[str, float]) -> None:
            found.append(accuracy(tf_scores(model, tokenizer, held.texts), held.labels))
            progress.epoch(epoch + 1, logs["loss"], found[-1])

        watch = tf_keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: progress.step(), on_epoch_end=after_epoch
        )
        model.fit(
            encode(tokenizer, train.texts, "np"), np.asarray(train.labels), batch_size=settings.batch_size,
            epochs=settings.keras_epochs, verbose=0, callbacks=[watch],
        )  # fmt: skip
    model.save_pretrained(folder)
    return found[-1]
