"""``deberta demo``: a small classifier from text to the same probabilities in two frameworks.

Vocabulary, training in PyTorch, conversion, verification, further training in Keras, conversion back, and one table of
what both frameworks answer. Each step says which files it wrote and which command does the same for other data.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conversion.command_line import FINE, OVER_LIMIT, terminate_cleanly
from deberta_tasks.data import BUNDLED, LabelledTexts, hold_back, read_csv
from deberta_tasks.demo_training import Settings, fit_in_keras, one_thread, tf_scores, torch_scores, train_in_pytorch
from deberta_tasks.quiet import start_tensorflow_quietly

TORCH, TF, TF_TRAINED, TORCH_AGAIN = "1-pytorch", "2-tensorflow", "3-tensorflow-trained", "4-pytorch"
MARKER = "deberta-demo.json"
LIMIT = 1e-5  # largest difference of two probabilities
STEPS = 7
UNBROKEN: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--output", default="deberta-demo", metavar="DIR", help="folder to write, default %(default)s")
    parser.add_argument(
        "--data", default=BUNDLED, metavar="FILE", help="your own texts: CSV with the columns label and text"
    )
    parser.add_argument("--seed", type=int, default=0, help="of starting weights, dropout and order, default 0")


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 if it holds, 1 if the classifier is no better than chance or the frameworks differ."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the same sums in both frameworks: a GPU may round products to TF32
    terminate_cleanly()
    train, held = hold_back(read_csv(args.data))
    prepare_folder(Path(args.output))
    print("Starting TensorFlow ...", flush=True)
    start_tensorflow_quietly()
    return run_demo(Path(args.output), train, held, Settings(seed=args.seed))


def run_demo(output: Path, train: LabelledTexts, held: LabelledTexts, settings: Settings) -> int:
    """All steps, in one process.

    Args:
        output: folder to write; one that an earlier demo wrote is replaced.
        train: texts to learn from.
        held: texts to judge by.
        settings: sizes, epochs, seed.

    Raises:
        FileExistsError: if the folder holds something else.
    """
    started = time.monotonic()
    prepare_folder(output)
    print(f"{len(train)} texts to train on, {len(held)} held back; labels: {', '.join(train.names)}")
    with one_thread():
        train_vocabulary(output, train)
        results = {"pytorch": first_training(output, train, held, settings)}
        convert_to(output, TORCH, TF, "tf", step=3)
        verified = verify_step(output)
        results["keras"] = keras_training(output, train, held, settings)
        convert_to(output, TF_TRAINED, TORCH_AGAIN, "pt", step=6)
        difference = compare(output, held)
    write_marker(output, accuracy=results, largest_difference=difference)
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
    if output.is_dir() and any(output.iterdir()) and not (output / MARKER).is_file():
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
    text = json.dumps({"written_by": "deberta demo", **results}, indent=2)
    (output / MARKER).write_text(text + "\n", encoding="utf-8")


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


def train_vocabulary(output: Path, train: LabelledTexts) -> None:
    """Step 1: a SentencePiece vocabulary, from the texts to train on alone."""
    from tokenization import train_from_iterator

    say_step(1, "Vocabulary: SentencePiece pieces from the texts to train on")
    size = min(max(sum(map(len, train.texts)) // 50, 500), 32000)  # a piece wants to be seen some ten times
    tokenizer = train_from_iterator(train.texts, size, fast=False, byte_fallback=False)
    written = [Path(path) for path in tokenizer.save_pretrained(output / TORCH)]
    tokens = tokenizer.tokenize(train.texts[0])
    print(f"  {len(tokenizer)} pieces; {train.texts[0]!r} becomes\n  {' '.join(tokens)}")
    say_done(
        written,
        "python -c \"import tokenization as t; t.train_from_iterator(open('texts.txt'), 32000, fast=False)"
        ".save_pretrained('my-model')\"",
    )


def load_tokenizer(output: Path, name: str) -> Any:
    """The tokenizer in one of the demo's folders."""
    from tokenization import DebertaV2Tokenizer

    return DebertaV2Tokenizer.from_pretrained(output / name)


def first_training(output: Path, train: LabelledTexts, held: LabelledTexts, settings: Settings) -> float:
    """Step 2: a classifier from scratch."""
    say_step(2, f"PyTorch: a DeBERTa v3 with {settings.layers} layers of width {settings.hidden_size}, from scratch")
    folder = output / TORCH
    before = set(folder.iterdir())
    right = train_in_pytorch(folder, load_tokenizer(output, TORCH), train, held, settings)
    print(f"  {right:.1%} of the held-back texts right, chance is {held.most_frequent:.1%}")
    say_done(sorted(set(folder.iterdir()) - before), "deberta demo --data my-texts.csv --output my-demo")
    return right


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
    report = verify(output / TORCH, output / TF, dtypes=("float32",))
    for comparison in report.comparisons:
        worst = comparison.worst
        print(f"  {comparison.other}: at most {worst.relative:.1e} of the largest value ({worst.name})")
    print(f"  {'within' if report.ok else 'OVER'} the limit, compared with {report.comparisons[0].reference}")
    say_done([], "deberta verify my-model my-tf-model")
    return report.ok


def keras_training(output: Path, train: LabelledTexts, held: LabelledTexts, settings: Settings) -> float:
    """Step 5: the converted classifier goes on learning in Keras."""
    say_step(5, "TensorFlow: training goes on with model.fit")
    folder = output / TF_TRAINED
    tokenizer = load_tokenizer(output, TF)
    right = fit_in_keras(output / TF, folder, tokenizer, train, held, settings)
    tokenizer.save_pretrained(folder)
    print(f"  {right:.1%} of the held-back texts right, chance is {held.most_frequent:.1%}")
    say_done(
        sorted(folder.iterdir()),
        "model = deberta_tf.TFAutoModelForSequenceClassification.from_pretrained('my-tf-model')",
        "model.compile(tf_keras.optimizers.Adam(2e-5))",
        "model.fit(dict(tokenizer(texts, padding=True, return_tensors='np')), numpy.array(labels))",
    )
    return right


def compare(output: Path, held: LabelledTexts) -> float:
    """Step 7: what both frameworks say to the held-back texts; returns the largest difference of two probabilities."""
    from deberta_pt import AutoModelForSequenceClassification
    from deberta_tf import TFAutoModelForSequenceClassification

    say_step(7, "The same texts in both frameworks: probability of the likeliest label")
    tokenizer = load_tokenizer(output, TORCH_AGAIN)
    left = torch_scores(AutoModelForSequenceClassification.from_pretrained(output / TORCH_AGAIN), tokenizer, held.texts)
    right = tf_scores(TFAutoModelForSequenceClassification.from_pretrained(output / TF_TRAINED), tokenizer, held.texts)
    print(table(held, left, right, examples(held)))
    difference = float(np.abs(left - right).max())
    print(f"  Largest difference over all labels of all {len(held)} held-back texts: {difference:.1e}")
    say_done(
        [],
        "tokenizer = tokenization.AutoTokenizer.from_pretrained('my-model')",
        "model = deberta_pt.AutoModelForSequenceClassification.from_pretrained('my-model')",
        "model(**tokenizer('A sentence.', return_tensors='pt')).logits.softmax(-1)",
    )
    return difference


def examples(held: LabelledTexts, most: int = 8) -> list[int]:
    """Places of some texts, the labels in turn."""
    by_label = [[i for i, label in enumerate(held.labels) if label == n] for n in range(len(held.names))]
    turns = max(map(len, by_label))
    return [places[turn] for turn in range(turns) for places in by_label if turn < len(places)][:most]


def table(held: LabelledTexts, left: np.ndarray[Any, Any], right: np.ndarray[Any, Any], places: list[int]) -> str:
    """One row per text: what it says, the answer, both probabilities ``[B, Y]`` of it, the largest difference."""
    width = max(map(len, (*held.names, "answer"))) + 2
    lines = [f"  {'text':<32}{'answer':<{width}}{'PyTorch':>9}{'TensorFlow':>12}{'difference':>12}"]
    for i in places:
        text, best = held.texts[i], int(left[i].argmax())
        text = text if len(text) <= 30 else text[:29].rstrip() + "…"
        gap = np.abs(left[i] - right[i]).max()
        answer = held.names[best] + ("" if best == held.labels[i] else "*")
        lines.append(f"  {text:<32}{answer:<{width}}{left[i, best]:>9.6f}{right[i, best]:>12.6f}{gap:>12.1e}")
    wrong = any(left[i].argmax() != held.labels[i] for i in places)
    return "\n".join([*lines, *(["  * the text was labelled otherwise"] if wrong else [])])


def needed(held: LabelledTexts) -> float:
    """Share that must be right to be clearly above chance: four standard deviations of guessing."""
    chance = held.most_frequent
    return chance + 4 * math.sqrt(chance * (1 - chance) / len(held))


def judge(results: dict[str, float], held: LabelledTexts, difference: float, verified: bool) -> bool:
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
