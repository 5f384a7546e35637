"""Makes ``deberta-zoo/mini``: texts that packages of Debian bring, a vocabulary, a small DeBERTa v3 with its generator.

    python -m deberta_tasks.pretrain.mini --output run

The same command goes on with a run that was interrupted, at whatever stage.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conversion.command_line import ERROR, terminate_cleanly
from deberta_core.checks import IGNORED
from deberta_core.config import AutoConfig, BaseConfig
from deberta_core.file_names import CARD, CONFIG, GENERATOR_CONFIG, GENERATOR_WEIGHTS, WEIGHTS
from deberta_core.files import Replacement
from deberta_core.packaged import GENERATOR, NAME
from deberta_core.presets import preset
from deberta_core.pretraining import generator_config
from deberta_pt import AutoModelForMaskedLM, AutoModelForReplacedTokenDetection, ReplacedTokenPretraining
from deberta_tasks.masking import RTD, MaskingCollator
from deberta_tasks.pipelines import pipeline
from deberta_tasks.pretrain.mini_card import card
from deberta_tasks.pretrain.pt import TorchPairLearner
from deberta_tasks.pretrain.texts import SOURCES, number, write_texts
from deberta_tasks.pretrain.words import FIRST, Counted, hide_words, share_right
from deberta_tasks.training.loop import Evaluation, train
from deberta_tasks.training.options import Options
from deberta_tasks.training.pt import autocast
from deberta_tasks.training.run import Run
from deberta_tasks.training.stream import Batch
from deberta_tasks.training.text import MaskedStream, blocks, read_lines
from tokenization import AutoTokenizer, train_from_iterator

TEXTS, VOCABULARY, TRAINING, MODEL = "texts", "vocabulary", "training", "model"
LEARN, HELD, COUNTS = "learn.txt", "held_back.txt", "counts.json"
# Single words, a quarter of the tokens: with so few texts a generator learns more from more targets (Wettig et al.
# 2023, arXiv 2202.08005), and a pass or two over them wants no dropout (Geiping and Goldstein 2022, arXiv 2212.14034,
# 4.3).
MASKING = replace(RTD, probability=0.25)
OPTIONS = Options(
    steps=5500, batch_size=16, max_length=128, rate=1e-3, warmup=0.06, precision="bfloat16", evaluate_every=500,
    save_every=50,
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """Of a model from scratch; its generator has half the layers."""

    vocab_size: int = 8000
    hidden_size: int = 192
    layers: int = 6

    def config(self, vocab_size: int, length: int, **fields: Any) -> BaseConfig:
        """A DeBERTa v3.

        Args:
            vocab_size: of the vocabulary as it came out.
            length: of the texts it learns from, tokens. Farther neighbours are all taken to be this far, so that
                longer texts meet no distance that was never learnt.
            **fields: others of the config.
        """
        return preset(
            "deberta-v3-small", vocab_size=vocab_size, hidden_size=self.hidden_size, num_hidden_layers=self.layers,
            num_attention_heads=max(1, self.hidden_size // 64), intermediate_size=4 * self.hidden_size,
            max_position_embeddings=max(length, 512), max_relative_positions=length, position_buckets=length // 2,
            **fields,
        )  # fmt: skip


SIZE = Size()


def make_texts(folder: Path, root: Path) -> None:
    """Write texts and what came of each package, if they are not there."""
    if (folder / COUNTS).is_file():
        return
    with Replacement(folder.parent) as files:
        made = files.create(folder.name, folder=True)
        with open(made / LEARN, "w", encoding="utf-8") as learn, open(made / HELD, "w", encoding="utf-8") as held:
            counts = write_texts(SOURCES, root, learn, held)
        (made / COUNTS).write_text(json.dumps({k: asdict(v) for k, v in counts.items()}, indent=1), encoding="utf-8")
        files.commit()


def make_vocabulary(folder: Path, lines: Sequence[str], size: int) -> Any:
    """The tokenizer, trained if it is not there."""
    if not (folder / "spm.model").is_file():
        train_from_iterator(lines, size, fast=False).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder, use_fast=False)


@dataclass(frozen=True)
class HeldBack:
    """Judges both models by texts that they do not learn from, always the same with the same words hidden.

    Attributes:
        learner: whose models.
        features: the texts.
        collator: hides words.
        batch_size: texts at once.
    """

    learner: TorchPairLearner
    features: Sequence[Any]
    collator: MaskingCollator
    batch_size: int

    @cached_property
    def batches(self) -> list[tuple[Batch, Any]]:
        """The texts, and numbers to sample by."""
        self.collator.load_state_dict({"seed": 0, "batches": 0})
        starts = range(0, len(self.features), self.batch_size)
        made = [self.collator(self.features[i : i + self.batch_size]) for i in starts]
        rng = np.random.default_rng(0)
        return [(batch, rng.random(batch["input_ids"].shape, np.float32)) for batch in made]

    def __call__(self) -> Mapping[str, float]:
        """Both losses; share of the hidden tokens that are among the generator's first five, and that the discriminator
        tells from what was put in their place.
        """
        model, device = self.learner.model.eval(), self.learner.device
        sums: dict[str, float] = dict.fromkeys(("mlm", "five", "rtd", "told"), 0.0)
        targets = tokens = replaced = 0
        for arrays, noise in self.batches:
            batch = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
            with torch.no_grad(), autocast(device, self.learner.options.precision):
                made = model.generate(**batch, noise=torch.from_numpy(noise).to(device))
                judged = model.discriminate(made["corrupted_ids"], made["replaced"], batch["attention_mask"])
            wanted = batch["labels"][batch["labels"] != IGNORED]
            count, size = len(wanted), int(batch["attention_mask"].sum())
            sums["mlm"] += count * float(made["mlm_loss"])
            sums["five"] += int((made["generator_logits"].topk(5).indices == wanted[:, None]).sum())
            sums["rtd"] += size * float(judged.loss)
            sums["told"] += int(((judged.logits > 0) & (made["replaced"] == 1)).sum())
            targets, tokens, replaced = targets + count, tokens + size, replaced + int(made["replaced"].sum())
        model.train()
        return {
            "held_mlm_loss": sums["mlm"] / targets, "held_rtd_loss": sums["rtd"] / tokens,
            "in_first_five": sums["five"] / targets, "replaced_found": sums["told"] / max(replaced, 1),
        }  # fmt: skip


def pretrain(output: Path, tokenizer: Any, size: Size, options: Options) -> tuple[TorchPairLearner, Run]:
    """Train both models, or go on."""
    texts = output / TEXTS
    lines = read_lines(texts / LEARN)
    features = blocks(tokenizer, lines, options.max_length)
    held = blocks(tokenizer, read_lines(texts / HELD), options.max_length)
    config = size.config(
        len(tokenizer), options.max_length, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )  # fmt: skip
    torch.manual_seed(options.seed)
    pair = ReplacedTokenPretraining(
        AutoModelForMaskedLM.from_config(generator_config(config)),
        AutoModelForReplacedTokenDetection.from_config(config), embedding_sharing="gdes", seed=options.seed,
    )  # fmt: skip
    learner = TorchPairLearner(pair, options)
    collators = [MaskingCollator(tokenizer, MASKING, max_length=options.max_length, seed=options.seed) for _ in "12"]
    stream = MaskedStream(features, collators[0], options.batch_size, seed=options.seed)
    judge = HeldBack(learner, held, collators[1], options.batch_size)
    said = {"texts": f"{len(features)} blocks, {number(''.join(lines)):016x}", "masked": MASKING.probability}
    run = Run(output / TRAINING, {**said, **asdict(size), **options.settings()})
    train(learner, run, stream, options, Evaluation(judge, "in_first_five", lambda: None))
    return learner, run


def save_apart(pair: ReplacedTokenPretraining, tokenizer: Any, folder: Path) -> None:
    """Generator and discriminator as a checkpoint each, with the tokenizer, as they lie in the package."""
    generator, discriminator = folder / "generator", folder / "discriminator"
    pair.save_pretrained(discriminator)  # which adds up what the two share
    generator.mkdir(exist_ok=True)
    os.replace(discriminator / GENERATOR_CONFIG, generator / CONFIG)
    os.replace(discriminator / GENERATOR_WEIGHTS[0], generator / WEIGHTS["safetensors"])
    for half in (generator, discriminator):
        tokenizer.save_pretrained(half)


def save(learner: TorchPairLearner, run: Run, tokenizer: Any, output: Path) -> None:
    """Both models in float16 with their tokenizer, a picture of the curves, and a card that says how good they are."""
    folder = output / MODEL
    for model in (learner.model.generator, learner.model.discriminator):
        # Learnt without dropout: those who go on with a few texts want the usual one.
        model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.1
    learner.model.to(torch.float16)
    save_apart(learner.model, tokenizer, folder)
    plot = run.plot()
    counts = json.loads((output / TEXTS / COUNTS).read_bytes())
    curve, right = [line for line in run.losses() if "held_mlm_loss" in line], shares_right(folder, output / TEXTS)
    sources = [source for source in SOURCES if source.package in counts]
    # What is loaded by the short name is mostly the discriminator as an encoder for a head of another kind.
    configs = {GENERATOR: AutoConfig.from_pretrained(folder / "generator"), NAME: learner.model.discriminator.config}
    for (name, config), half in zip(configs.items(), ("generator", "discriminator"), strict=True):
        text = card(
            name, config, learner.options, MASKING.probability, sources, counts, curve, right,
            plot.name if plot else None,
        )  # fmt: skip
        with Replacement(folder / half) as files:
            if plot:
                files.write(plot.name, plot.read_bytes())
            files.write(CARD, text)
            files.commit()


def shares_right(folder: Path, texts: Path, most: int = 1000) -> dict[str, float]:
    """Share of hidden words of held-back texts that are among the first five, for fill-mask and for counting."""
    held = [line for line in read_lines(texts / HELD) if len(line) < 400]  # that the model reads as a whole
    hidden = hide_words([held[i] for i in np.random.default_rng(0).permutation(len(held))[:most]])
    fill = pipeline("fill-mask", str(folder / "generator"), "pt", top_k=FIRST)
    answers = fill([f"{each.before}[MASK]{each.after}" for each in hidden])
    said = {each: [word["token_str"].strip() for word in words] for each, words in zip(hidden, answers, strict=True)}
    counted = Counted(read_lines(texts / LEARN))
    guesses = {"fill-mask": said.__getitem__, "most frequent after the word before": counted.bigram,
               "most frequent": counted.unigram}  # fmt: skip
    return {who: share_right(hidden, guess) for who, guess in guesses.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the model; what is wrong with texts or folder is said in a sentence."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder; the same goes on")
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="where packages are unpacked")
    parser.add_argument("--steps", type=int, default=0, help=f"of training, default {OPTIONS.steps}")
    args = parser.parse_args(arguments)
    terminate_cleanly()
    try:
        make(args.output, args.root, replace(OPTIONS, steps=args.steps or OPTIONS.steps))
    except (OSError, ValueError, FloatingPointError) as error:
        parser.exit(ERROR, f"error: {error}\n")


def make(output: Path, root: Path, options: Options) -> None:
    """All stages, each where the last call left it.

    Raises:
        FloatingPointError: if a loss is no number any more.
        OSError: if a package is not there, or a folder cannot be written.
        ValueError: if texts are damaged, or the folder holds a run with other settings.
    """
    output.mkdir(parents=True, exist_ok=True)
    make_texts(output / TEXTS, root)
    tokenizer = make_vocabulary(output / VOCABULARY, read_lines(output / TEXTS / LEARN), SIZE.vocab_size)
    save(*pretrain(output, tokenizer, SIZE, options), tokenizer, output)
    print(f"wrote {output / MODEL}")


if __name__ == "__main__":
    main()
