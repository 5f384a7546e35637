"""transformers' Trainer with its defaults, and PEFT: the same losses, metrics and predictions, step by step."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from tests.inside.helpers import is_ours  # noqa: E402
from tests.pipelines.cases import SENTENCES  # noqa: E402

LIMIT = 1e-5
STATES = ("loss", "eval_loss", "eval_accuracy", "grad_norm", "learning_rate")


def rows(tokenizer):
    labels = [0, 1, 2, 0, 1, 2, 0]
    return [{**tokenizer(text), "labels": label} for text, label in zip(SENTENCES, labels, strict=True)] * 2


def arguments(folder, **options):
    return transformers.TrainingArguments(
        str(folder), per_device_train_batch_size=4, report_to=[], disable_tqdm=True, use_cpu=True, logging_steps=1,
        **{"num_train_epochs": 2, "learning_rate": 1e-3, "eval_strategy": "epoch", "save_strategy": "epoch", **options},
    )  # fmt: skip


def trainer(path, folder, wrap=lambda model: model, **options):
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path, num_labels=3)
    data = rows(tokenizer)
    return transformers.Trainer(
        wrap(model), arguments(folder, **options), train_dataset=data, eval_dataset=data[:5],
        processing_class=tokenizer,
        compute_metrics=lambda found: {"accuracy": (found.predictions.argmax(-1) == found.label_ids).mean()},
    )  # fmt: skip


def history(found):
    return [[entry[name] for name in STATES if name in entry] for entry in found.state.log_history]


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_train_evaluate_resume_best_and_predict(checkpoint, both, tmp_path, family):
    path = checkpoint(family=family, num_labels=3)

    def run():
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        one = trainer(path, folder, load_best_model_at_end=True)
        one.train()
        last = sorted(folder.glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
        predicted = one.predict(one.eval_dataset).predictions
        again = trainer(path, folder / "again", num_train_epochs=3)
        again.train(resume_from_checkpoint=str(last[-1]))
        one.save_model(folder / "best")
        return history(one), one.evaluate()["eval_loss"], predicted, history(again), is_ours(one.model), folder

    want, got = both(run)
    assert (want[4], got[4]) == (False, True)
    for a, b in zip([*want[0], *want[3], want[1], want[2]], [*got[0], *got[3], got[1], got[2]], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=LIMIT)
    configs = [json.loads((Path(side[5]) / "best" / "config.json").read_text()) for side in (want, got)]
    assert configs[0] == configs[1]
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(got[5] / "best")  # without us
    assert not is_ours(loaded)


@pytest.mark.parametrize(
    "options", [{"gradient_checkpointing": True}, {"bf16": True}, {"gradient_accumulation_steps": 2}]
)
def test_options_that_people_set(checkpoint, both, tmp_path, options):
    # Theirs cannot recompute layers of v3 in 4.x, nor compute v1 under autocast.
    path = checkpoint(family="v3" if "bf16" in options else "v1", num_labels=3)

    def run():
        one = trainer(path, tmp_path / "run", save_strategy="no", num_train_epochs=1, **options)
        one.train()
        return [entry["loss"] for entry in one.state.log_history if "loss" in entry]

    want, got = both(run)
    np.testing.assert_allclose(got, want, rtol=2e-2 if "bf16" in options else 1e-4)


def test_gradient_checkpointing_of_v3(checkpoint, both, tmp_path):
    path = checkpoint(num_labels=3)

    def run(**options):
        one = trainer(path, tmp_path / "run", save_strategy="no", num_train_epochs=1, **options)
        one.train()
        return [entry["loss"] for entry in one.state.log_history if "loss" in entry]

    want = both(run)[0]
    got = both(lambda: run(gradient_checkpointing=True, gradient_checkpointing_kwargs={"use_reentrant": False}))[1]
    np.testing.assert_allclose(got, want, rtol=1e-4)


ADAPTERS = {
    "lora": lambda: peft.LoraConfig(task_type="SEQ_CLS", target_modules="all-linear"),
    "lora by default": lambda: peft.LoraConfig(task_type="SEQ_CLS"),
    "dora": lambda: peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query_proj", "dense"], use_dora=True),
    "ia3": lambda: peft.IA3Config(
        task_type="SEQ_CLS", target_modules=["key_proj", "dense"], feedforward_modules=["dense"]
    ),
    "norms": lambda: peft.LNTuningConfig(task_type="SEQ_CLS", target_modules=["LayerNorm"]),
    "prompt": lambda: peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4),
    "p-tuning": lambda: peft.PromptEncoderConfig(task_type="SEQ_CLS", num_virtual_tokens=4, encoder_hidden_size=8),
}  # fmt: skip


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters(checkpoint, both, tmp_path, name):
    path = checkpoint(num_labels=3)

    def run():
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        one = trainer(path, folder, lambda model: peft.get_peft_model(model, ADAPTERS[name]()), num_train_epochs=1,
                      eval_strategy="no")  # fmt: skip
        one.train()
        predicted = one.predict(one.eval_dataset).predictions
        one.model.save_pretrained(folder / "adapter")
        base = transformers.AutoModelForSequenceClassification.from_pretrained(path, num_labels=3)
        again = peft.PeftModel.from_pretrained(base, folder / "adapter")
        loaded = trainer(path, folder, lambda _: again).predict(one.eval_dataset).predictions
        return [[entry["loss"]] for entry in one.state.log_history if "loss" in entry], predicted, loaded, is_ours(base)

    want, got = both(run)
    assert (want[3], got[3]) == (False, True)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-4)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-4, atol=LIMIT)
    np.testing.assert_allclose(got[2], got[1], rtol=1e-4, atol=LIMIT)


def test_prefix_tuning_says_why_not(checkpoint, both):
    path = checkpoint(num_labels=3)

    def run():
        model = transformers.AutoModelForSequenceClassification.from_pretrained(path)
        config = peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=4)
        with pytest.raises(ValueError, match="past key") as error:
            peft.get_peft_model(model, config)(input_ids=torch.ones(1, 4, dtype=torch.long))
        return str(error.value)

    want, got = both(run)
    assert got == want
