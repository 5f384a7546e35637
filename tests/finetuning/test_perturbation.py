"""SiFT, R-Drop, FGM and AWP: against plain formulas in float64, in both frameworks alike, and in runs that resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deberta_core.perturbation import PASSES, Perturbation, distance_kind
from deberta_core.presets import preset
from deberta_tasks.cli import main
from tests.finetuning.helpers import MODULES, WEIGHTS, arguments, few, log
from tests.finetuning.test_learners import STILL, learner, losses
from tests.models.helpers import assert_gradients_close, pt_gradients, tf_gradients

B, L, C, H, V = 3, 9, 2, 16, 40
# head, fields of its config, shape of the ids, labels
CASES: dict[str, tuple[str, dict[str, Any], tuple[int, ...], dict[str, Any]]] = {
    "classification": ("ForSequenceClassification", {"num_labels": 4}, (B, L), {"labels": [1, 3, 0]}),
    "regression": ("ForSequenceClassification", {"num_labels": 1}, (B, L), {"labels": [0.5, -1.0, 2.0]}),
    "several": (
        "ForSequenceClassification", {"num_labels": 2, "problem_type": "multi_label_classification"}, (B, L),
        {"labels": [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]},
    ),
    "tokens": (
        "ForTokenClassification", {"num_labels": 5}, (B, L), {"labels": [[0, -100, 4, 1, 2, 0, 0, 3, -100]] * B},
    ),
    "questions": ("ForQuestionAnswering", {}, (B, L), {"start_positions": [2, 0, 5], "end_positions": [4, 0, 5]}),
    "choices": ("ForMultipleChoice", {}, (B, C, L), {"labels": [1, 0, 1]}),
}  # fmt: skip
ALL = Perturbation(sift=2.0, sift_rate=0.3, sift_size=0.2, fgm=1.5)


def made(name: str, cls: str = "DebertaV2", **fields: Any) -> tuple[Any, dict[str, Any], Any]:
    """A PyTorch model, its inputs and a start for SiFT; weights and padding so that nothing is near zero by chance."""
    torch = pytest.importorskip("torch")
    import deberta_pt

    head, own, shape, labels = CASES[name]
    config = preset(
        "deberta-v3-small", vocab_size=V, hidden_size=H, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, position_buckets=4, max_position_embeddings=16, **{**STILL, **own, **fields},
    )  # fmt: skip
    torch.manual_seed(0)
    model = getattr(deberta_pt, f"{cls}{head}")(config).train()
    for weight in model.parameters():  # wider where the gradients of choices and of places cancel
        torch.nn.init.normal_(weight, std=0.5 if name in ("choices", "questions") else 0.2)
    ids, mask = torch.randint(1, V, shape), torch.ones(shape, dtype=torch.long)
    mask[0, ..., -3:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask, **{key: torch.tensor(given) for key, given in labels.items()}}
    return model, inputs, torch.randn(ids.numel() // L, L, H)


def answers(output: Any) -> list[Any]:
    return [output[name] for name in ("logits", "start_logits", "end_logits") if name in output]


def apart(name: str, one: list[Any], other: list[Any], labels: Any) -> Any:
    """Mean over what counts of KL(p, q) + KL(q, p); probabilities are constants, as the published code has it."""
    import torch

    if name == "regression":
        return torch.stack([((a - b) ** 2).mean() for a, b in zip(one, other, strict=True)])
    if name == "several":
        one, other = ([torch.stack([x, 0 * x], -1) for x in given] for given in (one, other))
    found = []
    for a, b in zip(one, other, strict=True):
        p, q = a.log_softmax(-1), b.log_softmax(-1)
        forth = (q.exp().detach() * (q.detach() - p)).sum(-1)
        back = (p.exp().detach() * (p.detach() - q)).sum(-1)
        counted = labels != -100 if name == "tokens" else torch.ones_like(forth, dtype=torch.bool)
        found.append((forth + back)[counted].mean())
    return torch.stack(found)


def reference(name: str, model: Any, inputs: dict[str, Any], noise: Any, wanted: Perturbation) -> Any:
    """Loss of a model with SiFT and FGM, by a hook on its first norm, as the papers describe them."""
    import torch

    given: list[Any] = []

    def run(change: Any) -> Any:
        def hook(_: Any, states: Any) -> Any:
            x = states[0]
            given[:] = [x, (x.var(-1, correction=0, keepdim=True) + 1e-7).sqrt()]
            return (change(x, (x - x.mean(-1, keepdim=True)) / given[1]),)

        handle = model.base_model.embeddings.LayerNorm.register_forward_pre_hook(hook)
        output = model(**inputs)
        handle.remove()
        return output

    clean = run(lambda x, _: x)
    target, labels = answers(clean), inputs.get("labels")
    slope = torch.autograd.grad(clean.loss, given[0], retain_graph=True)[0] * given[1].detach()
    moved = wanted.fgm * slope / slope.norm(dim=(1, 2), keepdim=True)
    delta = (wanted.sift_size * noise).clamp(-2 * wanted.sift_size, 2 * wanted.sift_size).requires_grad_()
    first = apart(name, answers(run(lambda _, x: x.detach() + delta)), [t.detach() for t in target], labels)
    (rise,) = torch.autograd.grad(first.sum(), delta)
    largest = 1e-6 / scale(name, target, labels) + rise.abs().amax(-1, keepdim=True)
    delta = (delta + wanted.sift_rate * rise / largest).detach()
    second = apart(name, answers(run(lambda _, x: x.detach() + delta)), target, labels).mean()
    return clean.loss + wanted.sift * second + run(lambda _, x: x + moved).loss


def scale(name: str, target: list[Any], labels: Any) -> float:
    """How many distances a mean is of: what the published code takes the slope of is their sum."""
    if name == "tokens":
        return float((labels != -100).sum())
    return float(target[0].numel() if name == "several" else target[0].shape[0])


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_that_of_the_papers(name: str) -> None:
    """Loss and the gradient of every weight, in float64."""
    from deberta_pt.perturbation import PerturbedLoss

    model, inputs, noise = made(name)
    model, noise = model.double(), noise.double()
    inputs = {key: value.double() if value.is_floating_point() else value for key, value in inputs.items()}
    found = []
    for loss in (PerturbedLoss(model, ALL)(inputs, noise), reference(name, model, inputs, noise, ALL)):
        model.zero_grad()
        loss.backward()
        found.append((float(loss.detach()), {key: w.grad.numpy().copy() for key, w in model.named_parameters()}))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-10)
    for key, gradient in found[1][1].items():
        near(found[0][1][key], gradient, 1e-9)
    plain = float(model(**inputs).loss.detach())
    assert found[0][0] > plain * 1.01, "nothing was added"


def near(got: Any, want: Any, limit: float) -> None:
    assert np.abs(got - want).max() <= limit * max(np.abs(want).max(), 1e-3)


RARE = [pytest.mark.slow, pytest.mark.everything]
MARKS: dict[str, Any] = {"questions": [], "tokens": pytest.mark.slow, "regression": pytest.mark.slow}
ALIKE = [pytest.param(name, marks=MARKS.get(name, RARE)) for name in CASES]


@pytest.mark.parametrize("name", ALIKE)
def test_both_frameworks_are_alike(name: str, tmp_path: Path) -> None:
    """Given the same start, without dropout: loss and gradients, and the loss with weights that AWP has moved."""
    tf = pytest.importorskip("tensorflow")
    import deberta_tf
    from deberta_pt import perturbation as pt
    from deberta_tf import perturbation as twin

    model, inputs, noise = made(name)
    model.save_pretrained(tmp_path)
    other = getattr(deberta_tf, f"TF{type(model).__name__}").from_pretrained(tmp_path)
    loss = pt.PerturbedLoss(model, ALL)(inputs, noise)
    loss.backward()
    given = {key: tf.constant(value.numpy()) for key, value in inputs.items()}
    first = int(other.base_model.dropout_state[1])
    with tf.GradientTape(persistent=True) as tape:
        theirs = twin.PerturbedLoss(other, ALL)(given, tape, tf.constant(noise.numpy()))
    passes = int(other.base_model.dropout_state[1]) - first + 1  # R-Drop's, which is not among them
    assert 2 * passes == PASSES, "two steps would draw the same numbers for dropout"
    assert float(theirs) == pytest.approx(float(loss.detach()), rel=1e-5)
    assert_gradients_close(tf_gradients(other, tape, theirs), pt_gradients(model), "tf gradient")

    variables = [other.variable(row) for row in other.weight_rows().values()]
    slopes = [tf.convert_to_tensor(slope) for slope in tape.gradient(theirs, variables)]
    weights, before = list(model.parameters()), [variable.numpy() for variable in variables]
    clean = float(model(**inputs).loss.detach())
    with pt.moved_weights(weights, [weight.grad for weight in weights], 0.05):
        moved = float(model(**inputs).loss.detach())
    with twin.moved_weights(variables, slopes, 0.05):
        assert float(other(given, training=True).loss) == pytest.approx(moved, rel=1e-5)
    assert moved != pytest.approx(clean, rel=1e-2)
    assert float(model(**inputs).loss.detach()) == clean
    for variable, held in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), held)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid", "squared"])
def test_distances(kind: str) -> None:
    """Those of probabilities, in both frameworks; nothing between equal answers; slopes with and without constants."""
    torch, tf = pytest.importorskip("torch"), pytest.importorskip("tensorflow")
    from deberta_pt.perturbation import distances
    from deberta_tf.perturbation import distances as twin

    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 5, 3)) * 3
    if kind == "squared":
        want = ((one - other) ** 2).mean(-1)
    elif kind == "sigmoid":
        p, q = (1 / (1 + np.exp(-x)) for x in (one, other))
        want = (p - q) * (one - other)  # the log odds are the logits
    else:
        p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (one, other))
        want = (p * np.log(p / q) + q * np.log(q / p)).sum(-1)
    first, second = torch.tensor(one, requires_grad=True), torch.tensor(other, requires_grad=True)
    for constant in (True, False):
        found = distances(kind, first, second, constant)
        np.testing.assert_allclose(found.detach(), want, rtol=1e-9)
        np.testing.assert_allclose(twin(kind, tf.constant(one), tf.constant(other), constant), want, rtol=1e-9)
        near(distances(kind, first, first, constant).detach().numpy(), 0.0, 1e-9)
        (slope,) = torch.autograd.grad(found.sum(), first)
        if constant and kind != "squared":
            near(slope.numpy(), p - q, 1e-9)  # of a cross entropy
        else:
            moved = torch.zeros_like(first)
            moved[2, 1] = 1e-6
            rise = distances(kind, first + moved, second).sum() - distances(kind, first - moved, second).sum()
            assert float(rise) / 2e-6 == pytest.approx(float(slope[2, 1]), rel=1e-4)


def test_r_drop_compares_two_passes_of_other_dropout() -> None:
    import torch

    from deberta_pt.perturbation import PerturbedLoss

    model, inputs, _ = made("classification", hidden_dropout_prob=0.3)
    torch.manual_seed(5)
    loss = PerturbedLoss(model, Perturbation(r_drop=3.0))(inputs)
    torch.manual_seed(5)
    first, second = model(**inputs), model(**inputs)
    p, q = first.logits.log_softmax(-1), second.logits.log_softmax(-1)
    both = sum(torch.nn.functional.kl_div(a, b, log_target=True, reduction="batchmean") for a, b in ((p, q), (q, p)))
    assert float(both) > 0.01
    torch.testing.assert_close(loss, first.loss + second.loss + 3.0 / 2 * both)


def test_no_labels_no_loss() -> None:
    from deberta_pt.perturbation import PerturbedLoss

    model, inputs, _ = made("classification")
    with pytest.raises(ValueError, match="DebertaV2ForSequenceClassification gave no loss; give it labels"):
        PerturbedLoss(model, ALL)({"input_ids": inputs["input_ids"]})


def test_a_loop_of_ones_own_reaches_all_weights() -> None:
    """As in the guide, whose block runs as it stands with the others of the page."""
    from deberta_pt.perturbation import PerturbedLoss

    model, inputs, _ = made("tokens")
    PerturbedLoss(model, Perturbation(sift=1.0, r_drop=1.0))(inputs).backward()
    assert all(weight.grad is not None for weight in model.parameters())


WAYS = {"sift": 1.0, "r_drop": 1.0, "fgm": 1.0, "awp": 1e-2}


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=RARE)])
def test_parts_of_a_step_and_its_start(framework: str, tmp_path: Path) -> None:
    """Without chance, four parts are as good as one; before the step that is asked for nothing is other than plain."""
    from deberta_tasks.training.options import Options

    learner(framework, Options(), **STILL).save_model(tmp_path)
    plain = losses(learner(framework, Options(), tmp_path))
    wanted = Perturbation(sift=1.0, sift_size=0.0, sift_rate=0.1, fgm=1.0, awp=1e-2, perturb_start=3)
    found = [losses(learner(framework, Options(accumulate=p), tmp_path, perturbation=wanted)) for p in (1, 4)]
    np.testing.assert_allclose(found[0][:2], plain[:2], rtol=1e-6)
    assert found[0][2] > 1.5 * plain[2]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_each_way_does_something(way: str, tmp_path: Path) -> None:
    from deberta_tasks.training.options import Options

    learner("pt", Options()).save_model(tmp_path)
    plain = losses(learner("pt", Options(), tmp_path))
    found = losses(learner("pt", Options(), tmp_path, perturbation=Perturbation(**{way: WAYS[way]})))
    assert np.isfinite(found).all()
    assert found[-1] != pytest.approx(plain[-1], rel=1e-6)


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
def test_resumes_to_the_same_weights(framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken off between checkpoints, with dropout and all perturbations, which begin in the middle."""
    pytest.importorskip(MODULES[framework])
    from deberta_tasks.training import loop

    # Every pass and every start is a graph of its own in TensorFlow, which takes half a minute to make.
    ways = {**WAYS, "perturb_start": 2} if framework == "pt" else {"sift": 1.0}
    file = few("nli", tmp_path)

    def command(folder: Path) -> list[str]:
        steps = ["--steps", "6", "--save-every", "2", "--evaluate-every", "6", "--rate", "1e-3", "--batch-size", "8"]
        chosen = [word for name, value in ways.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return arguments("nli", framework, folder, "--train", str(file), *steps, *chosen)

    assert main(command(tmp_path / "whole")) == 0
    save = loop.Run.save

    def broken(self: Any, step: int, *given: Any) -> None:
        save(self, step, *given)
        if step == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.Run, "save", broken)
    assert main(command(tmp_path / "broken")) != 0
    monkeypatch.undo()
    assert main(command(tmp_path / "broken")) == 0
    assert log(tmp_path / "broken") == log(tmp_path / "whole")
    one, two = (tmp_path / folder / "model" / WEIGHTS[framework] for folder in ("whole", "broken"))
    assert one.read_bytes() == two.read_bytes()
    settings = json.loads((tmp_path / "whole" / "settings.json").read_text())
    assert {name: settings[name] for name in ways} == ways
    assert "`sift=1.0`" in (tmp_path / "whole" / "model" / "README.md").read_text()


def test_settings_of_plain_runs_stay() -> None:
    """So that runs of earlier versions go on."""
    assert Perturbation().settings() == {}
    assert Perturbation(sift=1.0).settings()["sift_rate"] == 1e-4


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"sift": -1.0}, "sift is -1.0, expected at least 0"),
        ({"fgm": float("nan")}, "fgm is nan, expected at least 0"),
        ({"perturb_start": 0}, "perturb_start is 0, expected at least 1"),
    ],
)
def test_values_that_cannot_be(given: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Perturbation(**given)


def test_how_answers_are_compared() -> None:
    for name, kind in (("classification", "softmax"), ("regression", "squared"), ("several", "sigmoid")):
        head, fields, _, _ = CASES[name]
        assert distance_kind(preset("deberta-v3-small", **fields), head) == kind
    assert distance_kind(preset("deberta-v3-small"), "ForReplacedTokenDetection") == "sigmoid"
