"""Pretrain a DeBERTa v3 from scratch on a plain text file, with replaced tokens, in TensorFlow.

    python examples/rtd_tf.py --text texts.txt --output run

A vocabulary is trained first. Then a generator learns to fill masked places, and a discriminator to tell which tokens
are not the original; each has its optimiser. ``run/model`` is the discriminator, an ordinary checkpoint for all heads,
with the generator beside it. A run that was interrupted goes on when the same command is given again, with the losses
it would have had. Sizes are for a laptop; for a published size see ``deberta_core.presets``. ``--start`` goes on from a
published folder instead: from discriminator and generator, or from the discriminator alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

from deberta_core.presets import preset
from deberta_core.pretraining import generator_config
from deberta_tasks.masking import RTD, MaskingCollator
from deberta_tasks.training import MaskedStream, Run, blocks, linear_rate, read_lines
from deberta_tasks.training.tf import adamw, load_state, save_state, set_rate
from deberta_tf import TFDebertaV2ForMaskedLM, TFDebertaV2ForReplacedTokenDetection, TFReplacedTokenPretraining
from tokenization import AutoTokenizer, train_from_iterator


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", type=Path, required=True, help="UTF-8 text file")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run; the same one resumes it")
    parser.add_argument("--start", type=Path, help="go on from this folder; its sizes and vocabulary are kept")
    parser.add_argument("--vocab-size", type=int, default=8000, help="tokens of the new vocabulary")
    parser.add_argument("--hidden-size", type=int, default=256, help="width of both models, 64 for each head")
    parser.add_argument("--layers", type=int, default=6, help="layers of the discriminator; the generator has half")
    parser.add_argument("--sharing", choices=("gdes", "es", "none"), default="gdes", help="of the embedding tables")
    parser.add_argument("--rtd-lambda", type=float, default=10.0, help="weight of the discriminator's loss")
    parser.add_argument("--steps", type=int, default=10000)
    parser.add_argument("--batch-size", type=int, default=32, help="rows in a step")
    parser.add_argument("--length", type=int, default=128, help="tokens in a row")
    parser.add_argument("--rate", type=float, default=5e-4, help="largest learning rate")
    parser.add_argument("--warmup", type=int, default=500, help="steps until the largest rate")
    parser.add_argument("--save-every", type=int, default=500, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def load_tokenizer(args: argparse.Namespace) -> Any:
    """The run's vocabulary: that of the start, or one trained on the text when the run begins."""
    folder = args.output / "model"
    if args.start is None and not (folder / "spm.model").is_file():
        train_from_iterator(read_lines(args.text), args.vocab_size, fast=False).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(args.start or folder)


def build(args: argparse.Namespace, tokenizer: Any) -> TFReplacedTokenPretraining:
    """Both models, with starting weights or those of the start."""
    settings = {"embedding_sharing": args.sharing, "rtd_lambda": args.rtd_lambda, "seed": args.seed}
    if args.start is not None:
        return TFReplacedTokenPretraining.from_pretrained(args.start, **settings)
    config = preset(
        "deberta-v3-small", vocab_size=len(tokenizer), hidden_size=args.hidden_size, num_hidden_layers=args.layers,
        num_attention_heads=max(1, args.hidden_size // 64), intermediate_size=4 * args.hidden_size,
        max_position_embeddings=args.length, position_buckets=max(4, args.length // 2),
    )  # fmt: skip
    generator = TFDebertaV2ForMaskedLM(generator_config(config))
    discriminator = TFDebertaV2ForReplacedTokenDetection(config)
    return TFReplacedTokenPretraining(generator, discriminator, **settings)


def make_step(model: TFReplacedTokenPretraining, optimizers: list[Any]) -> Any:
    """One step of each model, as one graph."""

    @tf.function
    def train_step(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        output = model.decoupled_step(*optimizers, batch)
        return {name: output[name] for name in ("mlm_loss", "rtd_loss")}

    return train_step


def main() -> None:
    """Train, and save both models with their tokenizer in ``output/model``."""
    args = parse()
    run = Run(args.output, {name: value for name, value in vars(args).items() if name not in ("output", "save_every")})
    tf_keras.utils.set_random_seed(args.seed)
    tokenizer = load_tokenizer(args)
    model = build(args, tokenizer)
    optimizers = [adamw(half) for half in (model.generator_parameters(), model.discriminator_parameters())]
    train_step = make_step(model, optimizers)

    rows = blocks(tokenizer, read_lines(args.text), args.length)
    # All batches of one shape: a graph is traced once.
    collator = MaskingCollator(tokenizer, RTD, max_length=args.length, seed=args.seed, pad_to_max_length=True)
    data = MaskedStream(rows, collator, args.batch_size, seed=args.seed)

    done = run.resume(data, lambda folder: load_state(folder, model, optimizers))
    with run.progress(done, args.steps) as bar:
        for step in range(done + 1, args.steps + 1):
            set_rate(optimizers, linear_rate(step, args.steps, args.rate, warmup=args.warmup))
            output = train_step({name: tf.constant(array) for name, array in next(data).items()})
            losses = {name: float(loss) for name, loss in output.items()}
            run.log(step, **losses)
            bar.update()
            bar.set_postfix({name: f"{loss:.3f}" for name, loss in losses.items()})
            if step % args.save_every == 0 or step == args.steps:
                run.save(step, data, lambda folder: save_state(folder, model, optimizers))

    model.save_pretrained(args.output / "model")
    tokenizer.save_pretrained(args.output / "model")
    plot = run.plot()
    print(f"wrote {args.output / 'model'}, {run.folder / 'losses.jsonl'}" + (f" and {plot}" if plot else ""))


if __name__ == "__main__":
    main()
