"""Loops and callbacks of other libraries: transformers' Trainer, Accelerate and PEFT, and those of Keras."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deberta_tasks.finetune.start import Size, new_tokenizer, small_config
from deberta_tasks.tasks import DATA, Limits
from deberta_tasks.tasks import TRAINABLE as TASKS
from deberta_tasks.training.stream import Collator, Stream

TASK = TASKS["nli"]


@functools.cache
def data() -> tuple[Any, Any, Any]:
    """Tokenizer, config with dropout, rows."""
    examples = TASK.read(DATA / TASK.bundled)[:64]
    tokenizer = new_tokenizer([text for example in examples for text in TASK.texts(example)])
    names = TASK.label_names(examples)
    config = small_config(tokenizer, Size(16, 1, 2), max_length=72, **TASK.config(names))
    return tokenizer, config, TASK.features(examples, tokenizer, names, Limits(72))


def torch_model() -> Any:
    torch = pytest.importorskip("torch")
    from deberta_pt import DebertaV2ForSequenceClassification

    torch.manual_seed(0)
    return DebertaV2ForSequenceClassification(data()[1])


def collate(rows: Any) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(array) for name, array in Collator(0)(rows).items()}


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(**collate(data()[2][:8])).logits


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [False, True])
def test_trainer_saves_whole_folders(adapter: bool, tmp_path: Path) -> None:
    """Evaluation, early stopping and going on from a checkpoint included."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from deberta_pt import AutoModelForSequenceClassification
    from deberta_tasks.training.trainer import WholeCheckpoints
    from tokenization import AutoTokenizer

    def trainer(folder: Path, epochs: int) -> Any:
        model = torch_model()
        if adapter:
            peft = pytest.importorskip("peft")
            model = peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query_proj"], r=2))
        arguments = transformers.TrainingArguments(
            str(folder), num_train_epochs=epochs, per_device_train_batch_size=16, learning_rate=2e-3, report_to=[],
            use_cpu=True, save_strategy="epoch", eval_strategy="epoch", disable_tqdm=True, label_names=["labels"],
            lr_scheduler_type="constant",
        )  # fmt: skip
        rows = [{"row": feature} for feature in data()[2]]
        arguments.remove_unused_columns = False
        return transformers.Trainer(
            model, arguments, train_dataset=rows, eval_dataset=rows[:16],
            data_collator=lambda found: collate([one["row"] for one in found]),
            callbacks=[WholeCheckpoints(data()[0])],
        )  # fmt: skip

    whole = trainer(tmp_path / "whole", 3)
    whole.train()
    last = tmp_path / "whole" / "checkpoint-12"
    assert len(AutoTokenizer.from_pretrained(last)) == len(data()[0])
    again = trainer(tmp_path / "whole", 3)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-8"))
    assert torch.equal(logits(again.model), logits(whole.model))
    if adapter:
        merged = whole.model.merge_and_unload()
        merged.save_pretrained(tmp_path / "merged")
        loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
        torch.testing.assert_close(logits(loaded), logits(merged))
        assert not torch.equal(logits(loaded), logits(torch_model()))
    else:
        assert torch.equal(logits(AutoModelForSequenceClassification.from_pretrained(last)), logits(whole.model))


def test_the_callback_says_nothing_to_other_events() -> None:
    from deberta_tasks.training.trainer import WholeCheckpoints

    callback = WholeCheckpoints()
    assert callback.on_step_end(1, 2, 3, model=4) is None
    with pytest.raises(AttributeError):
        _ = callback.other


@pytest.mark.slow
def test_accelerate(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    accelerate = pytest.importorskip("accelerate")
    from deberta_pt import AutoModelForSequenceClassification

    def start() -> Any:
        accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
        model = torch_model()
        optimizer = torch.optim.AdamW(model.parameter_groups(), lr=2e-3)
        loader = torch.utils.data.DataLoader(data()[2], batch_size=8, collate_fn=collate)
        return accelerator, *accelerator.prepare(model, optimizer, loader)

    def epoch(accelerator: Any, model: Any, optimizer: Any, loader: Any) -> list[float]:
        losses = []
        model.train()
        for batch in loader:
            with accelerator.accumulate(model):
                loss = model(**batch).loss
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            losses.append(float(loss.detach()))
        return losses

    one = start()
    first = epoch(*one)
    one[0].save_state(str(tmp_path / "state"))
    want = epoch(*one)
    two = start()
    two[0].load_state(str(tmp_path / "state"))
    assert epoch(*two) == want, "dropout included"
    assert np.mean(want) < np.mean(first)
    accelerator, model = one[:2]
    folder = tmp_path / "model"
    accelerator.unwrap_model(model).save_pretrained(folder, state_dict=accelerator.get_state_dict(model))
    assert torch.equal(logits(AutoModelForSequenceClassification.from_pretrained(folder)), logits(model))


def keras_model() -> Any:
    """With the same starting weights each time, compiled."""
    tf_keras = pytest.importorskip("tf_keras")
    from deberta_tf import TFDebertaV2ForSequenceClassification

    tf_keras.utils.set_random_seed(0)
    model = TFDebertaV2ForSequenceClassification(data()[1])
    model.compile(optimizer=tf_keras.optimizers.AdamW(2e-3, weight_decay=0.01), metrics=["accuracy"])
    return model


def keras_fit(*, stop_after: int = 0, callbacks: Any = ()) -> tuple[Any, Any]:
    """Three epochs; after ``stop_after`` steps it breaks off."""
    import tensorflow as tf
    import tf_keras

    from deberta_tasks.training.tf_parallel import training_data

    model = keras_model()
    stream = Stream(data()[2], Collator(0), 16)

    def interrupt(batch: int, logs: Any) -> None:
        if stop_after and int(model.optimizer.iterations) == stop_after:
            raise KeyboardInterrupt

    watch = tf_keras.callbacks.LambdaCallback(on_train_batch_end=interrupt)
    rows = training_data(tf.distribute.get_strategy(), stream, model)
    history = model.fit(
        rows, steps_per_epoch=stream.steps_per_epoch, epochs=3, verbose=0, callbacks=[*callbacks, watch]
    )  # fmt: skip
    return model, history


@pytest.fixture(scope="module")
def whole() -> list[Any]:
    """Weights after a ``fit`` that nobody stopped."""
    pytest.importorskip("tf_keras")
    return [weight.numpy() for weight in keras_fit()[0].weights]


@pytest.mark.slow
@pytest.mark.parametrize("every", ["epoch", 3])
def test_backup_and_restore(every: Any, whole: list[Any], tmp_path: Path) -> None:
    """Broken off in the second epoch and given again, ``fit`` ends with the same weights."""
    tf_keras = pytest.importorskip("tf_keras")

    def backup() -> list[Any]:
        return [tf_keras.callbacks.BackupAndRestore(str(tmp_path), save_freq=every, delete_checkpoint=False)]

    with pytest.raises(KeyboardInterrupt):
        keras_fit(stop_after=7, callbacks=backup())
    again, history = keras_fit(callbacks=backup())
    assert len(history.epoch) == 2, "the first epoch was done again"
    for one, two in zip(whole, again.weights, strict=True):
        assert np.array_equal(one, two.numpy()), two.name


@pytest.mark.slow
def test_keras_callbacks(tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    callbacks = tf_keras.callbacks
    best = str(tmp_path / "best.weights.h5")
    stop = callbacks.EarlyStopping(monitor="loss", min_delta=100.0, patience=1, restore_best_weights=True)
    model, history = keras_fit(
        callbacks=[
            callbacks.ModelCheckpoint(best, monitor="loss", save_best_only=True, save_weights_only=True),
            stop,
            callbacks.TensorBoard(str(tmp_path / "board"), update_freq=1),
            callbacks.ReduceLROnPlateau(monitor="loss", patience=5),
        ],
    )
    assert len(history.epoch) == 2, "no epoch is better than the first by as much as is asked for"
    assert list((tmp_path / "board" / "train").glob("events*"))
    inputs = {k: v for k, v in Collator(0)(data()[2][:8]).items() if k != "labels"}
    want = model(inputs).logits.numpy()
    other = keras_model()
    assert not np.array_equal(other(inputs).logits, want)
    for restored in (model, other):
        restored.load_weights(best)
    assert np.array_equal(other(inputs).logits, model(inputs).logits)
