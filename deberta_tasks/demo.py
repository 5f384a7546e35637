"""``deberta demo``: a small classifier from text to the same probabilities in two frameworks.

The model that comes with the package, training in PyTorch with a model from scratch measured beside it, conversion,
verification, further training in Keras, conversion back, and one table of what both frameworks answer. Each step says
which files it wrote and which command does the same for other data. With ``--scratch`` there is no model to start from:
vocabulary and weights come from the texts alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import tempfile
import textwrap
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from conversion.command_line import FINE, OVER_LIMIT, add_json_option, telling, terminate_cleanly
from deberta_core.files import settle, write_text
from deberta_core.packaged import GENERATOR
from deberta_tasks.data import BUNDLED, TASK, hold_back, most_frequent, read_csv
from deberta_tasks.finetune.recipe import Judge
from deberta_tasks.finetune.start import Size, small_config
from deberta_tasks.pipelines import pipeline
from deberta_tasks.quiet import start_tensorflow_quietly, waiting
from deberta_tasks.records import Record
from deberta_tasks.tasks import Limits
from deberta_tasks.training.loop import Evaluation, TaskLearner, train
from deberta_tasks.training.options import Options
from deberta_tasks.training.run import Run
from deberta_tasks.training.stream import Collator, Stream

TORCH, TF, TF_TRAINED, TORCH_AGAIN = "1-pytorch", "2-tensorflow", "3-tensorflow-trained", "4-pytorch"
MARKER = "deberta-demo.json"
LIMIT = 1e-5  # largest difference of two probabilities
STEPS = 7
MAX_TOKENS = 128
UNBROKEN: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def options(seed: int = 0, **fields: Any) -> Options:
    """Of the training in PyTorch, unless ``fields`` say otherwise: the rate rises during the first pass, and stays."""
    return Options(**{"epochs": 16, "rate": 2e-3, "warmup": 1 / 16, "schedule": "constant", "seed": seed, **fields})


@dataclass(frozen=True)
class Settings:
    """What the demo trains, and for how long.

    Attributes:
        size: of a model from scratch.
        torch: how the model is trained in PyTorch.
        enough: PyTorch stops at this share of the way from chance to all held-back texts right, and Keras goes on.
        keras: how it is trained in Keras.
        model: to start from; ``None`` for one from scratch.
        beside: how one from scratch is trained that is only measured; ``None`` to do without.
    """

    size: Size = field(default_factory=Size)
    torch: Options = field(default_factory=options)
    enough: float = 0.5
    keras: Options = field(default_factory=lambda: options(epochs=4, rate=1e-3, warmup=0.0))
    model: str | None = None
    beside: Options | None = None

    @classmethod
    def seeded(cls, seed: int, *, scratch: bool = False) -> Settings:
        """Those of the command: with other starting weights, dropout and order by seed."""
        if scratch:
            return cls(torch=options(seed), keras=options(seed, epochs=4, rate=1e-3, warmup=0.0))
        return cls(
            torch=options(seed, epochs=6, rate=1e-3, schedule="linear"), enough=math.inf,
            keras=options(seed, epochs=2, rate=1e-4, warmup=0.0), model=GENERATOR, beside=options(seed),
        )  # fmt: skip


@dataclass(frozen=True)
class Texts:
    """What the demo learns from, and what it is judged by.

    Attributes:
        train: texts to learn from.
        held: texts held back.
        names: the labels by number.
    """

    train: list[Record]
    held: list[Record]
    names: list[str]

    @classmethod
    def of(cls, examples: list[Record]) -> Texts:
        """One text in five of each label is held back.

        Raises:
            ValueError: if there are too few labels or texts.
        """
        return cls(*hold_back(examples), TASK.label_names(examples))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--output", default="deberta-demo", metavar="DIR", help="folder to write, default %(default)s")
    parser.add_argument(
        "--data", default=BUNDLED, metavar="FILE", help="your own texts: CSV with the columns label and text"
    )
    parser.add_argument(
        "--scratch", action="store_true",
        help=f"start from your texts alone, vocabulary included; default: from {GENERATOR}, which knows English",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of starting weights, dropout and order, default 0")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 if it holds, 1 if the classifier is no better than chance or the frameworks differ."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the same sums in both frameworks: a GPU may round products to TF32
    terminate_cleanly()
    output, texts = Path(args.output), Texts.of(read_csv(args.data))
    prepare_folder(output)
    with telling(args.json) as tell:
        with waiting("Starting TensorFlow; the first start on a machine takes a minute or two"):
            start_tensorflow_quietly()
        with waiting("Starting PyTorch"):
            import torch  # noqa: F401 - here, so that the wait is not one of the first step's
        code = run_demo(output, texts, Settings.seeded(args.seed, scratch=args.scratch))
        if args.json:
            found = json.loads((output / MARKER).read_text(encoding="utf-8"))
            folders = [str(output / name) for name in (TORCH, TF, TF_TRAINED, TORCH_AGAIN)]
            tell("", {**found, "holds": code == FINE, "models": folders})
    return code


def run_demo(output: Path, texts: Texts, settings: Settings) -> int:
    """All steps, in one process.

    Args:
        output: folder to write; one that an earlier demo wrote is replaced.
        texts: to learn from and to judge by.
        settings: sizes, epochs, seed.

    Raises:
        FileExistsError: if the folder holds something else.
    """
    started = time.monotonic()
    prepare_folder(output)
    held = texts.held
    print(f"{len(texts.train)} texts to train on, {len(held)} held back; labels: {', '.join(texts.names)}")
    with one_thread():
        prepare_vocabulary(output, [example["text"] for example in texts.train], settings.model)
        results = {"pytorch": torch_training(output, texts, settings)}
        scratch = {"from_scratch": beside(texts, settings)} if settings.beside else {}
        convert_to(output, TORCH, TF, "tf", step=3)
        verified = verify_step(output)
        results["keras"] = keras_training(output, texts, settings)
        convert_to(output, TF_TRAINED, TORCH_AGAIN, "pt", step=6)
        difference = compare(output, texts)
    write_marker(output, accuracy=results, **scratch, largest_difference=difference, verified=verified)
    good = judge(results, held, difference, verified)
    print(f"\nThis took {time.monotonic() - started:.0f} s.")
    return FINE if good else OVER_LIMIT


def prepare_folder(output: Path) -> None:
    """Make the output folder; of an earlier demo, remove what it wrote.

    Raises:
        NotADirectoryError: if there is a file of this name.
        FileExistsError: if the folder holds something that no demo wrote.
    """
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"{output} is a file; give the name of a folder with --output")
    if settle(output) and not (output / MARKER).is_file():
        raise FileExistsError(
            f"{output} holds files that no earlier demo wrote; give a new or empty folder with --output"
        )
    output.mkdir(parents=True, exist_ok=True)
    write_marker(output)
    for name in (TORCH, TF, TF_TRAINED, TORCH_AGAIN):
        if (output / name).exists():
            shutil.rmtree(output / name)


def write_marker(output: Path, **results: Any) -> None:
    """Write the file that shows a folder to be the demo's, with what came out."""
    write_text(output / MARKER, json.dumps({"written_by": "deberta demo", **results}, indent=2) + "\n")


def say_step(number: int, title: str) -> None:
    """Head a step."""
    print(f"\n{number}/{STEPS}  {title}", flush=True)


def say_done(written: Sequence[Path], *commands: str) -> None:
    """Close a step: what was written, and how to do the same with other data."""
    names = sorted(path.name for path in written)
    if names:
        text = f"{written[0].parent}: {', '.join(names)}"
        print(textwrap.fill(text, 110, initial_indent="  wrote        ", subsequent_indent=" " * 15, **UNBROKEN))
    for number, command in enumerate(commands):
        print(f"  {'your data:' if number == 0 else '':<12} {command}")


def new_vocabulary(texts: list[str]) -> Any:
    """SentencePiece pieces, from the texts to train on alone."""
    from tokenization import train_from_iterator

    size = min(max(sum(map(len, texts)) // 50, 500), 32000)  # a piece wants to be seen some ten times
    return train_from_iterator(texts, size, fast=False, byte_fallback=False)


def prepare_vocabulary(output: Path, texts: list[str], model: str | None) -> None:
    """Step 1: that of the model, or a new one."""
    from tokenization import DebertaV2Tokenizer

    if model is None:
        say_step(1, "Vocabulary: SentencePiece pieces from the texts to train on")
        tokenizer = new_vocabulary(texts)
        same = "t.train_from_iterator(open('texts.txt'), 32000, fast=False).save_pretrained('my-model')"
    else:
        say_step(1, f"Vocabulary: SentencePiece pieces of {model}, which comes with the package")
        tokenizer = DebertaV2Tokenizer.from_pretrained(model)
        same = f"print(t.AutoTokenizer.from_pretrained('{model}').tokenize('A sentence.'))"
    written = [Path(path) for path in tokenizer.save_pretrained(output / TORCH)]
    tokens = tokenizer.tokenize(texts[0])
    print(f"  {len(tokenizer)} pieces; {texts[0]!r} becomes\n  {' '.join(tokens)}")
    say_done(written, f'python -c "import tokenization as t; {same}"')


def load_tokenizer(output: Path, name: str) -> Any:
    """The tokenizer in one of the demo's folders."""
    from tokenization import DebertaV2Tokenizer

    return DebertaV2Tokenizer.from_pretrained(output / name)


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


def learn(learner: TaskLearner, tokenizer: Any, texts: Texts, options: Options, enough: float = math.inf) -> float:
    """Train with the loop of ``deberta finetune``, until ``enough`` answers are right; returns the share that is."""
    limits, collate = Limits(MAX_TOKENS), Collator(tokenizer.pad_token_id)
    features = TASK.features(texts.train, tokenizer, texts.names, limits)
    stream = Stream(features, collate, options.batch_size, seed=options.seed)
    held = TASK.features(texts.held, tokenizer, texts.names, limits)
    judge = Judge(TASK, texts.names, texts.held, held, collate, options.batch_size)

    def report(step: int, losses: Mapping[str, float], scores: Mapping[str, float]) -> str:
        epoch, right = step // stream.steps_per_epoch, scores["accuracy"]
        return f"  epoch {epoch:>2}   loss {losses['loss']:.3f}   right on held-back texts {right:6.1%}"

    watch = Evaluation(lambda: judge(learner), "accuracy", keep=lambda: None, enough=enough, report=report)
    with tempfile.TemporaryDirectory() as folder:  # the demo is short: it is not gone on with, but done again
        run = Run(folder, {})
        train(learner, run, stream, options, watch)
        right = run.losses()[-1]["accuracy"]
    print(f"  {right:.1%} of the held-back texts right, chance is {most_frequent(texts.held):.1%}")
    return right


def torch_training(output: Path, texts: Texts, settings: Settings) -> float:
    """Step 2: a classifier, from the model or from scratch."""
    from deberta_tasks.training.pt import TorchLearner, new_model

    size, chance, labels = settings.size, most_frequent(texts.held), TASK.config(texts.names)
    folder = output / TORCH
    before = set(folder.iterdir())
    tokenizer = load_tokenizer(output, TORCH)
    if settings.model is None:
        say_step(2, f"PyTorch: a DeBERTa v3 with {size.layers} layers of width {size.hidden_size}, from scratch")
        config = small_config(tokenizer, size, max_length=MAX_TOKENS, **labels)
        model = new_model(TASK.head, config, None, settings.torch.seed)
    else:
        with warnings.catch_warnings():  # that the classifier is new is what the training is for
            warnings.filterwarnings("ignore", message=".*newly initialised", category=UserWarning)
            still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # as it was pretrained, too
            model = new_model(TASK.head, None, settings.model, settings.torch.seed, **labels, **still)
        shape = f"a DeBERTa v3 with {model.config.num_hidden_layers} layers of width {model.config.hidden_size}"
        say_step(2, f"PyTorch: {settings.model}, {shape}, learns the labels")
    learner = TorchLearner(model, settings.torch)
    right = learn(learner, tokenizer, texts, settings.torch, chance + settings.enough * (1 - chance))
    learner.save_model(folder)
    # From scratch the command has a rate of its own; what it has for other models is for larger ones.
    start = "" if settings.model is None else f"--model {settings.model} {as_words(settings.torch)} "
    say_done(
        sorted(set(folder.iterdir()) - before),
        f"deberta finetune --task text-classification {start}--train my-texts.csv --output my-run",
    )
    return right


def as_words(options: Options) -> str:
    """How ``deberta finetune`` is told to train for as long and as fast."""
    return f"--epochs {options.epochs:g} --rate {options.rate:g}"


def beside(texts: Texts, settings: Settings) -> float:
    """What a model from scratch gets right, which has seen nothing but the texts; it is not kept."""
    from deberta_tasks.training.pt import TorchLearner, new_model

    assert settings.beside is not None
    size, options = settings.size, settings.beside
    shape = f"{size.layers} layers of width {size.hidden_size}"
    print(f"\n  For comparison, a model from scratch, {shape}, which has seen nothing but these texts")
    tokenizer = new_vocabulary([example["text"] for example in texts.train])
    config = small_config(tokenizer, size, max_length=MAX_TOKENS, **TASK.config(texts.names))
    learner = TorchLearner(new_model(TASK.head, config, None, options.seed), options)
    return learn(learner, tokenizer, texts, options)


def convert_to(output: Path, source: str, target: str, to: str, *, step: int) -> None:
    """Steps 3 and 6: the checkpoint in the other framework's files."""
    from conversion import convert

    say_step(step, f"Conversion to {'TensorFlow' if to == 'tf' else 'PyTorch'}")
    report = convert(output / source, output / target, to=to)
    print(f"  {report.tensors} tensors, {'without loss' if report.lossless else 'NOT without loss'}")
    say_done(sorted((output / target).iterdir()), f"deberta convert my-model my-{to}-model --to {to}")


def verify_step(output: Path) -> bool:
    """Step 4: both checkpoints in both frameworks, layer by layer."""
    from conversion import verify

    say_step(4, "Verification: random padded batches through both files in both frameworks")
    with waiting("  layer by layer"):
        report = verify(output / TORCH, output / TF, dtypes=("float32",))
    for comparison in report.comparisons:
        worst = comparison.worst
        print(f"  {comparison.other}: at most {worst.relative:.1e} of the largest value ({worst.name})")
    print(f"  {'within' if report.ok else 'OVER'} the limit, compared with {report.comparisons[0].reference}")
    say_done([], "deberta verify my-model my-tf-model")
    return report.ok


def keras_training(output: Path, texts: Texts, settings: Settings) -> float:
    """Step 5: the converted classifier goes on learning in Keras."""
    from deberta_tasks.training.tf import KerasLearner, new_model

    say_step(5, "TensorFlow: training goes on in Keras")
    folder = output / TF_TRAINED
    tokenizer = load_tokenizer(output, TF)
    learner = KerasLearner(lambda: new_model(TASK.head, None, output / TF, settings.keras.seed), settings.keras)
    right = learn(learner, tokenizer, texts, settings.keras)
    learner.save_model(folder)
    tokenizer.save_pretrained(folder)
    say_done(
        sorted(folder.iterdir()),
        f"deberta finetune --framework tf --task text-classification --model my-tf-model {as_words(settings.keras)} "
        "--train my-texts.csv --output my-run",
        "or with model.fit, as examples/nli_tf.py does",
    )
    return right


def compare(output: Path, texts: Texts) -> float:
    """Step 7: what both frameworks say to the held-back texts; returns the largest difference of two probabilities."""
    say_step(7, "The same texts in both frameworks: probability of the likeliest label")
    left, right = (
        probabilities(output / name, framework, texts) for name, framework in ((TORCH_AGAIN, "pt"), (TF_TRAINED, "tf"))
    )
    print(table(texts.held, texts.names, left, right, examples(texts.held)))
    difference = float(np.abs(left - right).max())
    print(f"  Largest difference over all labels of all {len(texts.held)} held-back texts: {difference:.1e}")
    say_done(
        [],
        "classify = deberta_tasks.pipeline('text-classification', 'my-model')  # the same with framework='tf'",
        "classify('A sentence.')",
    )
    return difference


def probabilities(folder: Path, framework: str, texts: Texts) -> np.ndarray[Any, Any]:
    """Of each label, in the order of the names, for each text held back, ``[B, Y]``."""
    classify = pipeline("text-classification", os.fspath(folder), framework, top_k=None, truncation=True,
                        max_length=MAX_TOKENS)  # fmt: skip
    answers = classify([example["text"] for example in texts.held])
    by_name = [{answer["label"]: answer["score"] for answer in answer_list} for answer_list in answers]
    return np.array([[scores[name] for name in texts.names] for scores in by_name])


def examples(held: Sequence[Record], most: int = 8) -> list[int]:
    """Places of some texts, the labels in turn."""
    by_label: dict[str, list[int]] = {}
    for place, example in enumerate(held):
        by_label.setdefault(example["label"], []).append(place)
    in_order = [places for _, places in sorted(by_label.items())]
    turns = max(map(len, in_order))
    return [places[turn] for turn in range(turns) for places in in_order if turn < len(places)][:most]


def table(
    held: Sequence[Record], names: Sequence[str], left: np.ndarray[Any, Any], right: np.ndarray[Any, Any],
    places: Sequence[int],
) -> str:  # fmt: skip
    """One line per text: what it says, the answer, both probabilities ``[B, Y]`` of it, the largest difference."""
    width = max(map(len, (*names, "answer"))) + 2
    lines = [f"  {'text':<32}{'answer':<{width}}{'PyTorch':>9}{'TensorFlow':>12}{'difference':>12}"]
    wrong = False
    for i in places:
        text, best = held[i]["text"], int(left[i].argmax())
        text = text if len(text) <= 30 else text[:29].rstrip() + "…"
        gap = np.abs(left[i] - right[i]).max()
        answer = names[best] + ("" if names[best] == held[i]["label"] else "*")
        wrong |= answer.endswith("*")
        lines.append(f"  {text:<32}{answer:<{width}}{left[i, best]:>9.6f}{right[i, best]:>12.6f}{gap:>12.1e}")
    return "\n".join([*lines, *(["  * the text was labelled otherwise"] if wrong else [])])


def needed(held: Sequence[Record]) -> float:
    """Share that must be right to be clearly above chance: four standard deviations of guessing."""
    chance = most_frequent(held)
    return chance + 4 * math.sqrt(chance * (1 - chance) / len(held))


def judge(results: dict[str, float], held: Sequence[Record], difference: float, verified: bool) -> bool:
    """Say whether the demo holds."""
    problems = [
        f"after training in {name}, {right:.1%} of the held-back texts are right; "
        f"clearly above chance would be {needed(held):.1%}"
        for name, right in results.items()
        if right < needed(held)
    ]
    if not difference <= LIMIT:
        problems.append(f"the frameworks differ by {difference:.1e}, expected at most {LIMIT:.0e}")
    if not verified:
        problems.append("the verification is over its limit")
    for problem in problems:
        print(f"  FAILED: {problem}")
    return not problems
