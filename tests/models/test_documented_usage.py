"""What the public documentation of DeBERTa shows for each class, with a tiny local checkpoint in place of a name.

Each example is the documented sequence of calls: tokenize, call, read the logits, call with labels, read the loss.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import tokenization
from deberta_core.config import BaseConfig
from tests.models.helpers import class_name, random_weights, small_config

SENTENCES = [
    "Hello, my dog is cute and my cat is not.", "The capital of France is Paris.", "Who was Jim Henson?",
    "Jim Henson was a nice puppet.",
    "In Italy, pizza served in formal settings, such as at a restaurant, is presented unsliced.",
    "It is eaten with a fork and a knife.", "It is eaten while held in the hand.",
    "HuggingFace is a company based in Paris and New York.",
]  # fmt: skip
FRAMEWORKS = ["pt", "tf"]
FAMILIES = ["v1", "v3"]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: Any) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: Any) -> Path:
    """A tokenizer and a config; each example adds the weights of its head."""
    path: Path = tmp_path_factory.mktemp(family)
    kind, size = ("v1", 320) if family == "v1" else ("v2", 330)
    tokenizer = tokenization.train_from_iterator(SENTENCES * 4, size, family=kind, fast=False)
    tokenizer.save_pretrained(path)
    changes = {"max_position_embeddings": 64, "num_labels": 2, "vocab_size": len(tokenizer)}
    small_config("v1" if family == "v1" else "v3", **changes).save_pretrained(path)
    return path


def checkpoint(folder: Path, head: str) -> Path:
    """The folder with the weights of one head, written without a framework."""
    from deberta_core.checkpoint import TensorInfo, write_weights
    from deberta_core.config import AutoConfig

    config: BaseConfig = AutoConfig.from_pretrained(folder)
    values = {k: v.astype("float32") for k, v in random_weights(config, head).items()}
    write_weights(folder, [(TensorInfo(k, v.shape, "float32"), v) for k, v in values.items()])
    return folder


def load(framework: str, folder: Path, head: str) -> tuple[Any, Any, Any]:
    """Framework, tokenizer, model."""
    if framework == "pt":
        torch = pytest.importorskip("torch")
        import deberta_pt as package

        lib, prefix = torch, ""
    else:
        lib = pytest.importorskip("tensorflow")
        import deberta_tf as package

        prefix = "TF"
    config = package.AutoConfig.from_pretrained(folder)
    cls = getattr(package, prefix + class_name(config, head))
    tokenizer = tokenization.AutoTokenizer.from_pretrained(folder)
    return lib, tokenizer, cls.from_pretrained(checkpoint(folder, head))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_model(framework: str, folder: Path) -> None:
    _, tokenizer, model = load(framework, folder, "Model")
    inputs = tokenizer("Hello, my dog is cute", return_tensors=framework)
    last_hidden_states = model(**inputs).last_hidden_state
    assert tuple(last_hidden_states.shape) == (1, inputs["input_ids"].shape[1], model.config.hidden_size)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_masked_lm(framework: str, folder: Path) -> None:
    lib, tokenizer, model = load(framework, folder, "ForMaskedLM")
    inputs = tokenizer("The capital of France is [MASK].", return_tensors=framework)
    logits = model(**inputs).logits
    is_mask = inputs["input_ids"] == tokenizer.mask_token_id
    labels = tokenizer("The capital of France is Paris.", return_tensors=framework)["input_ids"][:, : is_mask.shape[1]]
    if framework == "pt":
        mask_token_index = is_mask[0].nonzero(as_tuple=True)[0]
        predicted_token_id = logits[0, mask_token_index].argmax(axis=-1)
        inputs = {k: v[:, : labels.shape[1]] for k, v in inputs.items()}
        labels = lib.where(inputs["input_ids"] == tokenizer.mask_token_id, labels, -100)
    else:
        mask_token_index = lib.where(is_mask[0])[:, 0]
        predicted_token_id = lib.math.argmax(lib.gather(logits[0], mask_token_index), axis=-1)
        inputs = {k: v[:, : labels.shape[1]] for k, v in inputs.items()}
        labels = lib.where(inputs["input_ids"] == tokenizer.mask_token_id, labels, -100)
    assert len(mask_token_index) == 1
    assert isinstance(tokenizer.decode(predicted_token_id), str)
    loss = model(**inputs, labels=labels).loss
    assert float(loss) > 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_sequence_classification(framework: str, folder: Path) -> None:
    lib, tokenizer, model = load(framework, folder, "ForSequenceClassification")
    inputs = tokenizer("Hello, my dog is cute", return_tensors=framework)
    logits = model(**inputs).logits
    predicted_class_id = int(logits.argmax().item() if framework == "pt" else lib.math.argmax(logits, axis=-1)[0])
    assert model.config.id2label[predicted_class_id] in ("LABEL_0", "LABEL_1")
    labels = lib.tensor([1]) if framework == "pt" else lib.constant(1)[None]
    assert float(model(**inputs, labels=labels).loss) > 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_sequence_classification_of_several_labels(framework: str, folder: Path) -> None:
    lib, tokenizer, model = load(framework, folder, "ForSequenceClassification")
    model.config.problem_type = "multi_label_classification"
    inputs = tokenizer("Hello, my dog is cute", return_tensors=framework)
    logits = model(**inputs).logits
    labels = lib.ones_like(logits)
    assert tuple(logits.shape) == (1, 2)
    assert float(model(**inputs, labels=labels).loss) > 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_token_classification(framework: str, folder: Path) -> None:
    lib, tokenizer, model = load(framework, folder, "ForTokenClassification")
    text = "HuggingFace is a company based in Paris and New York"
    inputs = tokenizer(text, add_special_tokens=False, return_tensors=framework)
    logits = model(**inputs).logits
    predicted_token_class_ids = logits.argmax(-1) if framework == "pt" else lib.math.argmax(logits, axis=-1)
    names = [model.config.id2label[int(i)] for i in predicted_token_class_ids[0]]
    assert len(names) == inputs["input_ids"].shape[1]
    assert float(model(**inputs, labels=predicted_token_class_ids).loss) > 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_question_answering(framework: str, folder: Path) -> None:
    lib, tokenizer, model = load(framework, folder, "ForQuestionAnswering")
    question, text = "Who was Jim Henson?", "Jim Henson was a nice puppet"
    inputs = tokenizer(question, text, return_tensors=framework)
    outputs = model(**inputs)
    if framework == "pt":
        start, end = int(outputs.start_logits.argmax()), int(outputs.end_logits.argmax())
        targets = lib.tensor([14]), lib.tensor([15])
    else:
        start = int(lib.math.argmax(outputs.start_logits, axis=-1)[0])
        end = int(lib.math.argmax(outputs.end_logits, axis=-1)[0])
        targets = lib.constant([14]), lib.constant([15])
    answer = tokenizer.decode(inputs["input_ids"][0, start : end + 1])
    assert isinstance(answer, str)
    assert float(model(**inputs, start_positions=targets[0], end_positions=targets[1]).loss) > 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_multiple_choice(framework: str, folder: Path) -> None:
    lib, tokenizer, model = load(framework, folder, "ForMultipleChoice")
    prompt, choice0, choice1 = SENTENCES[4], SENTENCES[5], SENTENCES[6]
    encoding = tokenizer([prompt, prompt], [choice0, choice1], return_tensors=framework, padding=True)
    if framework == "pt":
        labels = lib.tensor(0).unsqueeze(0)
        outputs = model(**{k: v.unsqueeze(0) for k, v in encoding.items()}, labels=labels)
        assert float(outputs.loss) > 0
    else:
        outputs = model({k: lib.expand_dims(v, 0) for k, v in encoding.items()})
    assert tuple(outputs.logits.shape) == (1, 2)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_replaced_token_detection(framework: str, folder: Path) -> None:
    lib, tokenizer, model = load(framework, folder, "ForReplacedTokenDetection")
    inputs = tokenizer("Hello, my dog is Paris", return_tensors=framework)
    labels = lib.zeros_like(inputs["input_ids"])
    outputs = model(**inputs, labels=labels)
    assert outputs.logits.shape == inputs["input_ids"].shape
    assert float(outputs.loss) > 0


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("head", ["Model", "ForSequenceClassification"])
def test_auto_classes(framework: str, head: str, folder: Path) -> None:
    load(framework, folder, head)
    package = __import__({"pt": "deberta_pt", "tf": "deberta_tf"}[framework])
    auto = getattr(package, {"pt": "Auto", "tf": "TFAuto"}[framework] + "Model" + head.removeprefix("Model"))
    model = auto.from_pretrained(checkpoint(folder, head))
    assert type(model).__name__.endswith(class_name(model.config, head))
    with pytest.raises(TypeError, match="from_pretrained or from_config"):
        auto()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", ["Deberta", "DebertaV2"])
def test_configuration(framework: str, name: str) -> None:
    pytest.importorskip({"pt": "torch", "tf": "tensorflow"}[framework])
    package = __import__({"pt": "deberta_pt", "tf": "deberta_tf"}[framework])
    configuration = getattr(package, f"{name}Config")()
    assert (configuration.hidden_size, configuration.num_hidden_layers) == {"Deberta": (768, 12),
                                                                            "DebertaV2": (1536, 24)}[name]  # fmt: skip
    smaller = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "vocab_size": 50}
    configuration = getattr(package, f"{name}Config")(**smaller)
    model = getattr(package, {"pt": "", "tf": "TF"}[framework] + f"{name}Model")(configuration)
    assert model.config == configuration


@pytest.mark.parametrize("fast", ["", "Fast"])
def test_tokenizers(fast: str, family: str, folder: Path) -> None:
    cls = getattr(tokenization, ("Deberta" if family == "v1" else "DebertaV2") + f"Tokenizer{fast}")
    tokenizer = cls.from_pretrained(folder)
    with_space, without = tokenizer(" Hello world")["input_ids"], tokenizer("Hello world")["input_ids"]
    assert (with_space == without) == (family == "v3")  # v1 reads a space before a word as part of it
    assert tokenizer.decode(without, skip_special_tokens=True) == "Hello world"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_several_labels_from_pretrained(framework: str, folder: Path) -> None:
    lib, tokenizer, model = load(framework, folder, "ForSequenceClassification")
    inputs = tokenizer("Hello, my dog is cute", return_tensors=framework)
    problem = {"num_labels": len(model.config.id2label), "problem_type": "multi_label_classification"}
    model = type(model).from_pretrained(folder, **problem)
    logits = model(**inputs).logits
    if framework == "pt":
        predicted_class_ids = lib.arange(0, logits.shape[-1])[lib.sigmoid(logits).squeeze(dim=0) > 0.5]
        one_hot = lib.nn.functional.one_hot(predicted_class_ids[None, :].clone(), num_classes=problem["num_labels"])
        labels = lib.sum(one_hot, dim=1).to(lib.float)
    else:
        predicted_class_ids = lib.where(lib.sigmoid(logits)[0] > 0.5)[:, 0]
        labels = lib.reduce_sum(lib.one_hot(predicted_class_ids[None], problem["num_labels"]), axis=1)
    assert tuple(labels.shape) == (1, 2)
    assert float(model(**inputs, labels=labels).loss) > 0


def test_tensorflow_inputs_in_every_form(folder: Path) -> None:
    """Keywords, a dict, a list in the order of the documentation, or the ids alone, all in the first argument."""
    _, tokenizer, model = load("tf", folder, "ForSequenceClassification")
    inputs = tokenizer("Hello, my dog is cute", return_tensors="tf")
    want = model(**inputs).logits.numpy()
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    for form in (dict(inputs), [ids, mask], {"input_ids": ids}, ids):
        assert model(form).logits.numpy() == pytest.approx(want, abs=1e-6)


PREMISE, HYPOTHESIS = "A soccer game with multiple people playing.", "Some people are playing a sport."


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_quick_start_with_a_pipeline(framework: str, folder: Path) -> None:
    from deberta_tasks.pipelines import pipeline

    load(framework, folder, "ForSequenceClassification")
    classifier = pipeline(task="text-classification", model=str(folder), framework=framework, device=-1)
    result = classifier({"text": PREMISE, "text_pair": HYPOTHESIS})
    assert result["label"] in ("LABEL_0", "LABEL_1")
    assert 0.5 <= result["score"] <= 1
    assert classifier("DeBERTa-v2 is great at understanding context!")[0].keys() == {"label", "score"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_quick_start_with_auto_classes(framework: str, folder: Path) -> None:
    lib, tokenizer, model = load(framework, folder, "ForSequenceClassification")
    inputs = tokenizer(PREMISE, HYPOTHESIS, return_tensors=framework)
    if framework == "pt":
        inputs = inputs.to(model.device)
        with lib.no_grad():
            predicted_class = model(**inputs).logits.argmax().item()
    else:
        predicted_class = int(lib.math.argmax(model(**inputs).logits, axis=-1)[0])
    assert model.config.id2label[predicted_class] in ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_quick_start_on_the_command_line(
    framework: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from deberta_tasks.cli import main

    for head, task, line in [
        ("ForSequenceClassification", "text-classification", json.dumps({"text": PREMISE, "text_pair": HYPOTHESIS})),
        ("ForMaskedLM", "fill-mask", "DeBERTa-v2 is great at understanding [MASK]!"),
    ]:
        load(framework, folder, head)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line.encode() + b"\n")))
        options = ["--task", task, "--model", str(folder), "--framework", framework, "--device", "-1"]
        assert main(["run", *options]) == 0
        assert json.loads(capsys.readouterr().out)["result"]
