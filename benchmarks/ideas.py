"""What each of DeBERTa's ideas buys a small model, each learning from the same texts for as many steps.

    python -m benchmarks.ideas --texts run/texts --work /tmp/ideas --threads 2

``run/texts`` is what ``python -m deberta_tasks.pretrain.mini --output run`` makes first. As many runs as ``--threads``
go side by side, each in a process of its own with one thread; one that breaks off stops no other. What was interrupted
goes on from its last checkpoint in ``--work``; a run that ended is a JSON file in ``benchmarks/ideas``, with a checksum
of its texts, and is not made again. ``--write docs/ideas/FILE.md`` fills the places in the page and draws the curves
beside it, of all runs that ended.

Every variant is the one before and one idea more, up to v2's convolution; those of replaced tokens are the one with the
mask decoder, beside a generator of half the layers. All hide the same words, so that losses of words compare. What is
compared across all is what a few labelled texts make of the model.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import fill, markdown
from conversion.command_line import ERROR, terminate_cleanly
from deberta_core.checks import IGNORED
from deberta_core.config import BaseConfig
from deberta_core.files import write_text
from deberta_core.presets import preset
from deberta_core.pretraining import generator_config
from deberta_tasks.finetune.recipe import finetune
from deberta_tasks.finetune.request import Request as FinetuneRequest
from deberta_tasks.masking import RTD, MaskingCollator
from deberta_tasks.pretrain.corpus import Corpus, read_texts
from deberta_tasks.pretrain.request import Request
from deberta_tasks.tasks import TRAINABLE
from deberta_tasks.training.loop import Evaluation, Learner, train, written
from deberta_tasks.training.options import Options
from deberta_tasks.training.run import Run
from deberta_tasks.training.text import MaskedStream, read_lines
from tokenization import AutoTokenizer, train_from_iterator

RESULTS = Path(__file__).parent / "ideas"
SEEDS = (0, 1, 2)
ALIKE, STEPS_ALIKE = "alike", 100  # both frameworks step by step, from the same weights
LEARN, HELD = "learn.txt", "held_back.txt"
OF_WORDS = ("held_mlm_loss", "in_first_five")
Job = tuple[str, str, int]  # variant, framework or ``ALIKE``, seed
TASKS = {"text-classification": Options(epochs=8, rate=1e-3, max_length=64),
         "nli": Options(epochs=4, rate=5e-4, max_length=64)}  # fmt: skip
SCORES = {
    "held_mlm_loss": "loss of words", "in_first_five": "in first five", "held_rtd_loss": "loss of replaced",
    **{task: task for task in TASKS},
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A model with some of the ideas.

    Attributes:
        title: what it has.
        fields: of its config.
        before: the variant that it adds an idea to.
        sharing: of the tables of generator and discriminator; empty for masked tokens.
        frameworks: that it is trained in.
    """

    title: str
    fields: Mapping[str, Any]
    before: str = ""
    sharing: str = ""
    frameworks: tuple[str, ...] = ("pt",)


_ABSOLUTE = {"relative_attention": False, "position_biased_input": True, "pos_att_type": [], "mlm_head": "plain"}
_C2P = {**_ABSOLUTE, "relative_attention": True, "position_biased_input": False, "pos_att_type": ["c2p"]}
_P2C = {**_C2P, "pos_att_type": ["c2p", "p2c"]}
_EMD = {**_P2C, "mlm_head": "emd"}
VARIANTS = {
    "absolute": Variant("absolute positions alone", _ABSOLUTE),
    "c2p": Variant("c2c + c2p", _C2P, "absolute"),
    "p2c": Variant("+ p2c", _P2C, "c2p"),
    "emd": Variant("+ enhanced mask decoder", _EMD, "p2c"),
    "convolution": Variant("+ convolution (v2)", {**_EMD, "conv_kernel_size": 3, "conv_act": "gelu"}, "emd"),
    "rtd-none": Variant("replaced tokens (v3), tables apart", _EMD, "emd", "none"),
    "rtd-es": Variant("replaced tokens, tables shared", _EMD, "rtd-none", "es", ("pt", "tf")),
    "rtd-gdes": Variant("replaced tokens, GDES", _EMD, "rtd-es", "gdes", ("pt", "tf")),
}


@dataclass(frozen=True)
class Budget:
    """How large the models are, and how much each run sees.

    Attributes:
        vocab_size: of the vocabulary, which all share.
        hidden_size: width.
        layers: of the encoder.
        every: one line of the texts in so many is read.
        options: of the training.
        tasks: that the trained models are fine-tuned for, and how.
    """

    vocab_size: int = 4000
    hidden_size: int = 128
    layers: int = 4
    every: int = 8
    options: Options = field(default_factory=lambda: Options(
        steps=1000, batch_size=16, max_length=64, rate=1e-3, warmup=0.1, evaluate_every=100, save_every=50,
    ))  # fmt: skip
    tasks: Mapping[str, Options] = field(default_factory=lambda: TASKS)

    def config(self, variant: Variant, vocab_size: int) -> BaseConfig:
        """Of a variant; without dropout, as no text is seen twice."""
        length = self.options.max_length
        return preset("deberta-v3-small", **{
            "vocab_size": vocab_size, "hidden_size": self.hidden_size, "num_hidden_layers": self.layers,
            "num_attention_heads": max(1, self.hidden_size // 64), "intermediate_size": 4 * self.hidden_size,
            "max_position_embeddings": length, "position_buckets": length // 2, "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0, **variant.fields,
        })  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """By name, as they stand in a result."""
        return json.loads(json.dumps(asdict(self)))


@dataclass
class Texts:
    """What all runs learn from and are judged by.

    Attributes:
        tokenizer: of all.
        features: blocks to learn from.
        held: batches with hidden words, from texts that are held back.
    """

    tokenizer: Any
    features: Sequence[Any]
    held: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, folder: Path, work: Path, budget: Budget) -> Texts:
        """From the folder of the texts; what is made of them, the vocabulary first, is kept with the runs."""
        vocabulary, options = work / "vocabulary", budget.options
        if not (vocabulary / "spm.model").is_file():
            lines = read_lines(folder / LEARN)[:: budget.every]
            work.mkdir(parents=True, exist_ok=True)
            write_text(work / LEARN, "\n".join(lines) + "\n")
            train_from_iterator(lines, budget.vocab_size, fast=False).save_pretrained(vocabulary)
        tokenizer = AutoTokenizer.from_pretrained(vocabulary, use_fast=False)
        learn, held = (
            Corpus(read_texts([str(path)], "text", tokenizer, work / name), tokenizer, options.max_length)
            for name, path in (("learn", work / LEARN), ("held", folder / HELD))
        )
        collator, size = MaskingCollator(tokenizer, RTD, max_length=options.max_length), options.batch_size
        rows = [held[number] for number in range(min(len(held), 512))]
        return cls(tokenizer, learn, [collator(rows[i : i + size]) for i in range(0, len(rows), size)])


def digest(folder: Path) -> str:
    """Of all texts; runs of others are not to be compared.

    Raises:
        FileNotFoundError: one of the two files is not there.
    """
    found = hashlib.sha256()
    for name in (LEARN, HELD):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"no {name} in {folder}; python -m deberta_tasks.pretrain.mini --output run makes it in run/texts"
            )
        found.update((folder / name).read_bytes())
    return found.hexdigest()[:16]


def place_of(work: Path, texts: str, budget: Budget) -> Path:
    """The folder of what is no result yet; other texts, or another budget, have another, and go on from nothing here.

    Args:
        work: of all.
        texts: their checksum.
        budget: of the runs.
    """
    words = json.dumps([texts, budget.settings()])
    return work / hashlib.sha256(words.encode()).hexdigest()[:12]


def new_learner(variant: Variant, framework: str, options: Options, config: BaseConfig, start: Path | None) -> Learner:
    """A model, or a pair, with starting weights or those of a folder."""
    module = importlib.import_module(f"deberta_tasks.pretrain.{framework}")
    request = Request(
        "rtd" if variant.sharing else "mlm", Path(), Path(), framework, None if start is None else str(start),
        sharing=variant.sharing or "gdes",
    )  # fmt: skip
    return module.new_learner(request, options, config if start is None else None)


def caller(learner: Any, framework: str) -> Any:
    """What gives of a batch of arrays, noise among them for a pair, loss and logits of words and the pair's loss."""
    model = learner.model

    def call(batch: Mapping[str, Any]) -> dict[str, Any]:
        if not hasattr(model, "generator"):
            output = model(**batch, only_masked=True, return_dict=True)
            return {"mlm": output.loss, "logits": output.logits}
        made = model.generate(**batch)
        judged = model.discriminate(made["corrupted_ids"], made["replaced"], batch["attention_mask"])
        return {"mlm": made["mlm_loss"], "logits": made["generator_logits"], "rtd": judged.loss}

    if framework == "tf":
        import tensorflow as tf

        graph = tf.function(call, reduce_retracing=True)
        return lambda arrays: graph({name: tf.constant(array) for name, array in arrays.items()})
    import torch

    def without_learning(arrays: Mapping[str, Any]) -> dict[str, Any]:
        model.eval()
        with torch.no_grad():
            found = call({name: torch.from_numpy(array) for name, array in arrays.items()})
        model.train()
        return found

    return without_learning


def scores(call: Any, batches: Sequence[Mapping[str, Any]], *, pair: bool) -> dict[str, float]:
    """Loss of hidden words, and share of them among the first five; of a pair also the discriminator's loss.

    Args:
        call: of ``caller``.
        batches: with hidden words.
        pair: whether a generator fills them in for a discriminator.
    """
    rng = np.random.default_rng(0)  # always the same noise, and none of the training's
    sums = dict.fromkeys(("words", "mlm", "five", "tokens", "rtd"), 0.0)
    for arrays in batches:
        noise = {"noise": rng.random(arrays["input_ids"].shape, np.float32)} if pair else {}
        output = call({**arrays, **noise})
        words, tokens = arrays["labels"][arrays["labels"] != IGNORED], int(arrays["attention_mask"].sum())
        logits = np.asarray(output["logits"])
        better = (logits > np.take_along_axis(logits, words[:, None], -1)).sum(-1)  # words before the right one
        sums["words"] += len(words)
        sums["mlm"] += len(words) * float(output["mlm"])
        sums["five"] += int((better < 5).sum())
        sums["tokens"] += tokens
        sums["rtd"] += tokens * float(output.get("rtd", 0.0))
    found = {"held_mlm_loss": sums["mlm"] / sums["words"], "in_first_five": sums["five"] / sums["words"]}
    return found | ({"held_rtd_loss": sums["rtd"] / sums["tokens"]} if pair else {})


def run_one(name: str, framework: str, seed: int, texts: Texts, budget: Budget, work: Path) -> dict[str, Any]:
    """Pretrain a variant and fine-tune what came of it; a run that was interrupted goes on.

    Returns:
        What is kept of it.
    """
    variant, options = VARIANTS[name], replace(budget.options, seed=seed)
    config = budget.config(variant, len(texts.tokenizer))
    if variant.sharing == "":
        config = generator_config(config, layers=budget.layers, mlm_head=variant.fields["mlm_head"])
    learner: Any = new_learner(variant, framework, options, config, None)
    collator = MaskingCollator(
        texts.tokenizer, RTD, max_length=options.max_length, seed=seed, pad_to_max_length=framework == "tf"
    )  # fmt: skip
    stream = MaskedStream(texts.features, collator, options.batch_size, seed=seed)
    folder = work / f"{name}-{framework}-{seed}"
    run = Run(folder, {"variant": name, "framework": framework, **options.settings()})
    started = time.monotonic()
    call, pair = caller(learner, framework), bool(variant.sharing)
    evaluation = Evaluation(
        lambda: scores(call, texts.held, pair=pair), "in_first_five", lambda: None,
        report=lambda step, losses, found: f"{folder.name}, step {step}: {written({**losses, **found})}",
    )  # fmt: skip
    train(learner, run, stream, options, evaluation)
    seconds = time.monotonic() - started
    learner.save_model(folder / "model")
    texts.tokenizer.save_pretrained(folder / "model")
    tuned = {task: tune(task, framework, folder, replace(how, seed=seed)) for task, how in budget.tasks.items()}
    curve = [line for line in run.losses() if "held_mlm_loss" in line]
    return {
        "variant": name, "framework": framework, "seed": seed, "curve": curve, "finetuned": tuned,
        "seconds_of_last_stretch": round(seconds, 1),
    }  # fmt: skip


def tune(task: str, framework: str, folder: Path, options: Options) -> float:
    """The score that decides, of the bundled set's held-back part."""
    found = TRAINABLE[task]
    request = FinetuneRequest(found, folder / task, framework, str(folder / "model"))
    return finetune(request, options)[found.best]


def alike(name: str, texts: Texts, budget: Budget, work: Path, steps: int = STEPS_ALIKE) -> dict[str, Any]:
    """The same steps in both frameworks, from the same weights; TensorFlow reads the tokens that PyTorch put in.

    Returns:
        The largest difference of either loss, of all steps.
    """
    import tensorflow as tf
    import torch

    variant, options = VARIANTS[name], budget.options
    config = budget.config(variant, len(texts.tokenizer))
    left: Any = new_learner(variant, "pt", options, config, None)
    start = work / f"{name}-start"
    left.save_model(start)
    right: Any = new_learner(variant, "tf", options, config, start)
    stream = MaskedStream(
        texts.features, MaskingCollator(texts.tokenizer, RTD, max_length=options.max_length), options.batch_size
    )  # fmt: skip
    graph = tf.function(lambda batch: dict(right.model.decoupled_step(*right.optimizers, batch)))
    worst = 0.0
    for step in range(1, steps + 1):
        batch, rate = stream.batch(step), options.rate_at(step, steps)
        for group in (group for optimizer in left.optimizers for group in optimizer.param_groups):
            # Keras' default, which it adds to a mean of squares that is not corrected yet for the few steps it is of.
            group["lr"], group["eps"] = rate, 1e-7 / (1 - group["betas"][1] ** step) ** 0.5
        for optimizer in right.optimizers:
            optimizer.learning_rate.assign(rate)
        one = left.model.decoupled_step(*left.optimizers, {k: torch.from_numpy(v) for k, v in batch.items()})
        other = graph({k: tf.constant(v) for k, v in {**batch, "sampled_ids": one["corrupted_ids"].numpy()}.items()})
        gaps = [abs(float(one[loss].detach()) - float(other[loss])) for loss in ("mlm_loss", "rtd_loss")]
        worst = max(worst, *gaps)
    return {"variant": name, "framework": ALIKE, "steps": steps, "largest_difference": worst}


def wanted(seeds: Sequence[int] = SEEDS) -> Iterator[Job]:
    """All runs; each variant once before any has its second seed."""
    for seed in seeds:
        for framework in ("pt", "tf", ALIKE):
            for name, variant in VARIANTS.items():
                # TensorFlow's are held against the spread of PyTorch's: one of each is enough.
                if framework == "pt" or ("tf" in variant.frameworks and seed == seeds[0]):
                    yield name, framework, seed


def make_all(folder: Path, work: Path, results: Path, budget: Budget, at_once: int = 1) -> list[Job]:
    """Every run that has no result yet, some of them side by side.

    Returns:
        The runs that broke off.

    Raises:
        ValueError: if a result is of other texts, or of another budget.
    """
    texts = digest(folder)
    check_results(results, texts, budget)
    waiting = deque(job for job in wanted() if not result_of(results, job).is_file())
    if waiting:
        Texts.read(folder, place_of(work, texts, budget), budget)  # once, before several would write the same files
    context = multiprocessing.get_context("spawn")
    running: dict[int, tuple[Job, Any]] = {}
    broken = []
    while waiting or running:
        while waiting and len(running) < at_once:
            job = waiting.popleft()
            process = context.Process(target=make_one, args=(job, folder, work, results, budget), daemon=True)
            process.start()
            running[process.sentinel] = job, process
        for ended in wait(list(running)):
            job, process = running.pop(ended)  # type: ignore[arg-type]
            process.join()
            if process.exitcode:
                broken.append(job)
    return broken


def make_one(job: Job, folder: Path, work: Path, results: Path, budget: Budget) -> None:
    """A run from its start, or its last checkpoint, to its result."""
    checksum = digest(folder)
    place = place_of(work, checksum, budget)
    texts, (name, framework, seed) = Texts.read(folder, place, budget), job
    if framework == ALIKE:
        result = alike(name, texts, budget, place)
    else:
        result = run_one(name, framework, seed, texts, budget, place)
    path = result_of(results, job)
    results.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({**result, "texts": checksum, "budget": budget.settings()}, indent=1) + "\n")
    print(f"wrote {path}", flush=True)


def result_of(results: Path, job: Job) -> Path:
    """The file of what a run comes to."""
    return results / "{}-{}-{}.json".format(*job)


def check_results(results: Path, texts: str, budget: Budget) -> None:
    """Refuse to mix runs that cannot be compared.

    Raises:
        ValueError: if a result is of other texts, or of another budget.
    """
    for path in sorted(results.glob("*.json")):
        kept = json.loads(path.read_bytes())
        for what, now in (("texts", texts), ("budget", budget.settings())):
            if kept.get(what) != now:
                raise ValueError(
                    f"{path} has other {what} than asked for now ({kept.get(what)}, now {now}); give another "
                    "--results, or delete it"
                )


def final(results: Path) -> dict[tuple[str, str], dict[str, list[float]]]:
    """By variant and framework: each score of the trained models, one for each seed."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for path in sorted(results.glob("*.json")):
        result = json.loads(path.read_bytes())
        if "curve" in result:
            of = found.setdefault((result["variant"], result["framework"]), {score: [] for score in SCORES})
            for score, value in {**result["curve"][-1], **result["finetuned"]}.items():
                if score in SCORES:
                    of[score].append(value)
    return found


def table(results: Path) -> list[str]:
    """A row for each variant: mean over the seeds, and the largest distance from it."""
    found, rows = final(results), []
    for name, variant in VARIANTS.items():
        for framework in variant.frameworks:
            if scores := found.get((name, framework)):
                title = variant.title + (" (TensorFlow)" if framework == "tf" else "")
                rows.append([title, str(len(scores["held_mlm_loss"])), *(spread(scores[score]) for score in SCORES)])
    return markdown(["model", "runs", *SCORES.values()], rows)


def bought(results: Path) -> list[str]:
    """A row for each idea: how the means change by it; bold as of ``change``."""
    found, rows = final(results), []
    for name, variant in VARIANTS.items():
        with_it, without = found.get((name, "pt")), found.get((variant.before, "pt"))
        if with_it and without:
            # A generator has half the layers of a model that learns from masked tokens itself.
            apart = bool(variant.sharing) != bool(VARIANTS[variant.before].sharing)
            cells = ["-" if apart and score in OF_WORDS else change(with_it[score], without[score]) for score in SCORES]
            rows.append([variant.title, VARIANTS[variant.before].title, *cells])
    return markdown(["model", "against", *SCORES.values()], rows)


def change(new: Sequence[float], old: Sequence[float]) -> str:
    """The difference of two means; bold where the ranges of several runs each do not touch."""
    if not new or not old:
        return "-"
    text = f"{np.mean(new) - np.mean(old):+.3f}"
    clear = min(len(new), len(old)) > 1 and (min(new) > max(old) or max(new) < min(old))
    return f"**{text}**" if clear else text


def agreement(results: Path) -> list[str]:
    """How far PyTorch and TensorFlow are apart when they take the same steps."""
    kept = [json.loads(path.read_bytes()) for path in sorted(results.glob(f"*-{ALIKE}-*.json"))]
    rows = [[VARIANTS[k["variant"]].title, str(k["steps"]), f"{k['largest_difference']:.1e}"] for k in kept]
    return markdown(["model", "steps", "largest difference of a loss"], rows)


def spread(values: Sequence[float]) -> str:
    """Mean, and how far from it the farthest is, of several."""
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else "-"
    mean = float(np.mean(values))
    return f"{mean:.3f} ± {max(abs(value - mean) for value in values):.3f}"


def draw(results: Path, path: Path) -> None:
    """Loss of hidden words by step, a line for each variant and, around it, what lies between its seeds.

    TensorFlow's lines are broken, in the colour of PyTorch's.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot(xlabel="step", ylabel="loss of hidden words, held-back texts")
    for number, (name, variant) in enumerate(VARIANTS.items()):
        for framework, style in (("pt", "-"), ("tf", "--")):
            files = sorted(results.glob(f"{name}-{framework}-*.json"))
            if curves := [json.loads(file.read_bytes())["curve"] for file in files]:
                steps, color = [line["step"] for line in curves[0]], f"C{number}"
                values = np.array([[line["held_mlm_loss"] for line in curve] for curve in curves])
                title = variant.title if framework == "pt" else None
                axes.plot(steps, values.mean(0), style, label=title, linewidth=1.2, color=color)
                axes.fill_between(steps, values.min(0), values.max(0), alpha=0.2, color=color)
    axes.legend(fontsize=8)
    figure.savefig(path, format="svg", metadata={"Date": None})


def main(words: Sequence[str] | None = None) -> int:
    """Make what is not there yet, then the tables; 1 if a run broke off."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ideas", description=__doc__)
    parser.add_argument("--texts", type=Path, metavar="DIR", help="learn.txt and held_back.txt; without, only --write")
    parser.add_argument("--work", type=Path, default=Path("ideas-work"), metavar="DIR", help="default %(default)s")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="runs at once; default all cores")
    parser.add_argument("--write", type=Path, metavar="FILE", help="page with places for tables")
    given = parser.parse_args(words)
    if given.threads < 1:
        parser.error(f"--threads is {given.threads}, expected at least 1")
    broken: list[Job] = []
    if given.texts:
        # Models so small gain nothing from a second thread, and a second run beside them costs them nothing.
        pools = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        os.environ.update(dict.fromkeys(pools, "1"), CUDA_VISIBLE_DEVICES="-1")
        terminate_cleanly()  # so that the runs end with it, and are free to be gone on with
        try:
            broken = make_all(given.texts, given.work, given.results, Budget(), given.threads)
        except (OSError, ValueError) as error:
            parser.exit(ERROR, f"error: {error}\n")
        for job in broken:
            print(f"broke off: {'-'.join(map(str, job))}; the same command goes on with it", file=sys.stderr)
    if given.write:
        for mark, lines in (("ideas", table), ("bought", bought), ("alike", agreement)):
            found = lines(given.results)
            fill(given.write, mark, found if len(found) > 2 else ["None of these runs has ended yet."])
        draw(given.results, given.write.with_suffix(".svg"))
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
