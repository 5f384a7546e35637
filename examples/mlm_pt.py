"""Go on training a masked-LM model on a plain text file, in PyTorch.

    python examples/mlm_pt.py --model path/to/deberta-v3-small --generator --text texts.txt --output run

A published v3 folder holds a discriminator, which does not predict words, and a generator, which does: ``--generator``
takes that one. Models that were trained with masked words (v1, v2, your own) need no flag. A run that was interrupted
goes on when the same command is given again, with the losses it would have had.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from deberta_pt import AutoModelForMaskedLM
from deberta_tasks.masking import MLM, MaskingCollator
from deberta_tasks.training import MaskedStream, Run, blocks, linear_rate, read_lines
from deberta_tasks.training.pt import load_state, save_state, set_rate
from tokenization import AutoTokenizer


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="folder with tokenizer and checkpoint")
    parser.add_argument("--generator", action="store_true", help="train the generator in the folder")
    parser.add_argument("--text", type=Path, required=True, help="UTF-8 text file")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run; the same one resumes it")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=16, help="rows in a step")
    parser.add_argument("--length", type=int, default=128, help="tokens in a row")
    parser.add_argument("--rate", type=float, default=1e-4, help="largest learning rate")
    parser.add_argument("--warmup", type=int, default=100, help="steps until the largest rate")
    parser.add_argument("--save-every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def train_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, torch.Tensor]) -> float:
    """One step; only the masked places are decoded, which is what makes a large vocabulary affordable."""
    device = next(model.parameters()).device
    optimizer.zero_grad()
    loss = model(**{name: tensor.to(device) for name, tensor in batch.items()}, only_masked=True).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def main() -> None:
    """Train, and save the model with its tokenizer in ``output/model``."""
    args = parse()
    run = Run(args.output, {name: value for name, value in vars(args).items() if name not in ("output", "save_every")})
    torch.manual_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForMaskedLM.from_pretrained(args.model, generator=args.generator)
    model.to("cuda" if torch.cuda.is_available() else "cpu").train()
    optimizer = torch.optim.AdamW(model.parameter_groups(weight_decay=0.01))

    rows = blocks(tokenizer, read_lines(args.text), args.length)
    collator = MaskingCollator(tokenizer, MLM, max_length=args.length, seed=args.seed, return_tensors="pt")
    data = MaskedStream(rows, collator, args.batch_size, seed=args.seed)

    done = run.resume(data, lambda folder: load_state(folder, model, [optimizer]))
    with run.progress(done, args.steps) as bar:
        for step in range(done + 1, args.steps + 1):
            set_rate([optimizer], linear_rate(step, args.steps, args.rate, warmup=args.warmup))
            loss = train_step(model, optimizer, next(data))
            run.log(step, loss=loss)
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}")
            if step % args.save_every == 0 or step == args.steps:
                run.save(step, data, lambda folder: save_state(folder, model, [optimizer]))

    model.save_pretrained(args.output / "model")
    tokenizer.save_pretrained(args.output / "model")
    plot = run.plot()
    print(f"wrote {args.output / 'model'}, {run.folder / 'losses.jsonl'}" + (f" and {plot}" if plot else ""))


if __name__ == "__main__":
    main()
