"""A step of training, in both frameworks: parts of a batch, both frameworks alike, precision, frozen randomness."""

from __future__ import annotations

import argparse
import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deberta_core.perturbation import Perturbation
from deberta_tasks.finetune.recipe import Judge
from deberta_tasks.finetune.start import Size, new_tokenizer, small_config
from deberta_tasks.tasks import DATA, Limits
from deberta_tasks.tasks import TRAINABLE as TASKS
from deberta_tasks.training.options import Options, add_options, given_options
from deberta_tasks.training.stream import Collator, Stream
from tests.finetuning.helpers import MODULES

TASK = TASKS["token-classification"]  # whose rows have different numbers of labels
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
FRAMEWORKS = sorted(MODULES)


@functools.cache
def data() -> tuple[Any, list[str], Any, Any]:
    examples = TASK.read(DATA / TASK.bundled)[:48]
    tokenizer = new_tokenizer([text for example in examples for text in TASK.texts(example)])
    names = TASK.label_names(examples)
    return examples, names, tokenizer, TASK.features(examples, tokenizer, names, Limits(64))


def config(layers: int = 1, **fields: Any) -> Any:
    """Of one layer: most time of these tests goes into TensorFlow's graphs, which grow with each."""
    _, names, tokenizer, _ = data()
    return small_config(tokenizer, Size(16, layers, 2), max_length=64, **TASK.config(names), **fields)


def learner(
    framework: str, options: Options, folder: Path | None = None, perturbation: Perturbation | None = None,
    **fields: Any,
) -> Any:  # fmt: skip
    """With its own starting weights, or those of a folder."""
    pytest.importorskip(MODULES[framework])
    given = None if folder else config(**fields)
    if framework == "pt":
        from deberta_tasks.training import pt

        return pt.TorchLearner(pt.new_model(TASK.head, given, folder, 0), options, perturbation=perturbation)
    from deberta_tasks.training import tf

    return tf.KerasLearner(lambda: tf.new_model(TASK.head, given, folder, 0), options, perturbation=perturbation)


def losses(learning: Any, steps: int = 4, rate: float = 5e-3) -> list[float]:
    stream = Stream(data()[3], Collator(0), 8, seed=1)
    return [learning.step(stream.batch(step), rate, step)["loss"] for step in range(1, steps + 1)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, list[float]]]:
    """A checkpoint in a framework, and the losses of plain training from there."""

    @functools.cache
    def run(framework: str) -> tuple[Path, list[float]]:
        folder = tmp_path_factory.mktemp(framework)
        learning = learner(framework, Options(), **STILL)
        learning.save_model(folder)
        return folder, losses(learning)

    return run


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
def test_accumulation_changes_nothing(framework: str, plain: Any) -> None:
    """Though the parts of a batch have different numbers of labels; weight decay and layer groups are on."""
    found = []
    for parts in (1, {"pt": 4, "tf": 2}[framework]):  # a graph of TensorFlow holds the model once for each part
        one = learner(framework, Options(accumulate=parts, layer_decay=0.7, weight_decay=0.1), plain(framework)[0])
        found.append(losses(one))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    assert found[0][-1] < found[0][0]


@pytest.mark.slow
def test_both_frameworks_take_the_same_steps(tmp_path: Path) -> None:
    """From one checkpoint, without dropout: the same losses step by step, and the same scores at the end."""
    options = Options(layer_decay=0.7, weight_decay=0.1, clip=0.5)
    learner("pt", options, layers=2, **STILL).save_model(tmp_path)
    pt, tf = learner("pt", options, tmp_path), learner("tf", options, tmp_path)
    np.testing.assert_allclose(losses(pt, 12), losses(tf, 12), rtol=2e-4)  # a step of Adam magnifies what is near zero
    for ours, theirs in zip(judge().answers(pt), judge().answers(tf), strict=True):
        assert ours == theirs


def judge() -> Judge:
    examples, names, _, features = data()
    return Judge(TASK, names, examples, features, Collator(0), 16)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_converted_checkpoint_has_the_same_scores(framework: str, tmp_path: Path) -> None:
    from conversion import convert

    other = {"pt": "tf", "tf": "pt"}[framework]
    trained = learner(framework, Options())
    losses(trained, 12, 1e-2)
    trained.save_model(tmp_path / "one")
    convert(tmp_path / "one", tmp_path / "two", to=other)
    converted = learner(other, Options(), tmp_path / "two")
    said, again = judge().answers(trained), judge().answers(converted)
    assert judge()(converted) == judge()(trained)
    assert said == again
    assert len({tuple(tags) for tags in said}) > 5, "a model that says the same to all"


MODES = [{"precision": "bfloat16"}, {"precision": "float16"}, {"checkpointing": True}]


@pytest.mark.parametrize(
    ("framework", "mode"),
    [("pt", mode) for mode in MODES] + [pytest.param("tf", mode, marks=pytest.mark.slow) for mode in MODES],
)
def test_ways_to_save_memory(framework: str, mode: dict[str, Any], plain: Any) -> None:
    """Close to what plain training gives; checkpointing changes nothing."""
    folder, want = plain(framework)
    learning = learner(framework, Options(**mode), folder)
    found = losses(learning)
    if "checkpointing" in mode:
        assert learning.model.is_gradient_checkpointing
        np.testing.assert_allclose(found, want, rtol=1e-5)
    else:
        np.testing.assert_allclose(found, want, rtol=0.05)  # 8 bits of mantissa
        assert found != want
        weights = [w.dtype for w in learning.model.parameters()] if framework == "pt" else [
            w.dtype.name for w in learning.model.trainable_weights
        ]  # fmt: skip
        assert {str(dtype).removeprefix("torch.") for dtype in weights} == {"float32"}


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
def test_dropout_of_a_step_does_not_depend_on_the_steps_before(framework: str) -> None:
    first = learner(framework, Options())
    stream = Stream(data()[3], Collator(0), 8, seed=1)
    batch = stream.batch(1)
    found = [first.step(batch, 0.0, step) for step in (1, 2, 1)]
    assert found[0] == found[2] != found[1]
    first.options = Options(seed=5)  # at a rate of 0 the weights are those it began with
    assert first.step(batch, 0.0, 1) != found[0]


def test_float16_where_it_does_not_go() -> None:
    with pytest.raises(ValueError, match="float16 does not go with layer_decay in TensorFlow; use bfloat16"):
        learner("tf", Options(precision="float16", layer_decay=0.9))


def test_layers_that_are_compiled_learn_the_same(plain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One graph serves all layers and lengths; names in files stay, and evaluation takes the layers as they are."""
    torch = pytest.importorskip("torch")
    graphs, compile_module = [], torch.nn.Module.compile

    def kept(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch.nn.Module, "compile", lambda part, **how: compile_module(part, backend=kept, **how))
    folder, want = plain("pt")
    for options in (Options(compile=True), Options(compile=True, checkpointing=True, accumulate=2)):
        torch._dynamo.reset()
        graphs.clear()
        learning = learner("pt", options, folder)
        np.testing.assert_allclose(losses(learning), want, rtol=1e-5)
        assert 0 < len(graphs) <= 2, "compiled again for another length"
    answers = judge().answers(learning)
    learning.save_model(tmp_path)
    assert judge().answers(learner("pt", Options(), tmp_path)) == answers


@pytest.mark.everything
@pytest.mark.skipif(shutil.which("g++") is None, reason="wants a compiler of C++")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_layers_in_machine_code_learn_the_same(precision: str, plain: Any) -> None:
    """By the compiler that the command takes."""
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    folder, want = plain("pt")
    found = losses(learner("pt", Options(compile=True, precision=precision), folder))
    assert torch._dynamo.utils.counters["inductor"], "nothing was compiled"
    np.testing.assert_allclose(found, want, rtol=0.05 if precision == "bfloat16" else 1e-4)


def test_what_other_command_lines_call_it() -> None:
    """And a run from before layers could be compiled goes on."""
    parser = argparse.ArgumentParser()
    add_options(parser, {})
    given = given_options(parser.parse_args(["--precision", "bf16", "--compile"]))
    assert (given["precision"], given["compile"]) == ("bfloat16", True)
    assert "compile" not in Options().settings()
    assert Options(**given).settings()["compile"] is True
    with pytest.raises(ValueError, match="compile is of PyTorch"):
        learner("tf", Options(compile=True))


def test_on_a_gpu_a_step_of_the_optimiser_is_one_kernel() -> None:
    torch = pytest.importorskip("torch")
    from deberta_tasks.training.pt import adamw

    weights = [torch.nn.Parameter(torch.zeros(2))]
    assert adamw(weights, torch.device("cuda")).defaults["fused"]
    assert not adamw(weights, torch.device("cpu")).defaults["fused"]
