"""Train a model that finds names in texts, in PyTorch, with a plain loop.

    python examples/token_classification_pt.py --output run

learns to find people, places and organisations from 640 sentences that come with the package, from scratch, and finds
them in 160 others with an F1 of more than 0.9, whole names counted; chance would be near 0. Your own texts: ``--data
FILE``, CSV or JSONL with ``tokens`` and ``tags``, such as B-PER, I-PER and O. A published model: ``--model DIR --rate
2e-5 --epochs 3``. On two GPUs, or on hosts (see docs/training.md):

    torchrun --nproc-per-node 2 examples/token_classification_pt.py --output run

A run that was interrupted goes on when the same command is given again, with the losses it would have had.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from deberta_pt import AutoModelForTokenClassification
from deberta_tasks.finetuning.loop import written
from deberta_tasks.finetuning.start import new_tokenizer, small_config
from deberta_tasks.finetuning.stream import Padder, Stream, padded_batches
from deberta_tasks.tasks import DATA, Limits, split
from deberta_tasks.tasks.token_classification import TokenClassification
from deberta_tasks.training import Run, linear_rate
from deberta_tasks.training.pt import set_rate
from deberta_tasks.training.pt_parallel import Processes, load_state, own, save_state, whole_weights
from tokenization import AutoTokenizer

TASK = TokenClassification()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the run; the same one resumes it")
    parser.add_argument("--data", type=Path, default=DATA / TASK.bundled, help="every fifth row is held back")
    parser.add_argument("--model", type=Path, help="checkpoint to start from; default: a small model from scratch")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=16, help="rows of a step, over all processes")
    parser.add_argument("--length", type=int, default=128, help="tokens of a row")
    parser.add_argument("--rate", type=float, default=2e-3, help="largest learning rate")
    parser.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp", help="under torchrun")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def start(args, names, texts):
    """Tokenizer and model: those of a checkpoint with a new head, or new ones."""
    fields = TASK.config(names)  # how many labels, and what they are called
    torch.manual_seed(args.seed)
    if args.model:
        tokenizer = AutoTokenizer.from_pretrained(args.model)
        return tokenizer, AutoModelForTokenClassification.from_pretrained(args.model, **fields)
    tokenizer = new_tokenizer(texts)
    config = small_config(tokenizer, max_length=args.length, **fields)
    return tokenizer, AutoModelForTokenClassification.from_config(config)


def train_step(model, optimizer, batch, group) -> float:
    """This process' rows of the batch; DDP and FSDP2 take the mean of all gradients."""
    rows = group.part(len(batch["labels"]))
    inputs = {name: torch.from_numpy(array[rows]).to(group.device) for name, array in batch.items()}
    optimizer.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return group.total(loss.detach()) / group.size


@torch.no_grad()
def evaluate(model, features, padder, examples, names, group):
    """Scores on the examples that were held back."""
    model.eval()
    outputs = [{} for _ in features]
    for numbers, batch in padded_batches(features, padder, 32):
        inputs = {name: torch.from_numpy(array).to(group.device) for name, array in batch.items()}
        logits = own(model)(**inputs).logits.float().cpu().numpy()
        for row, number in enumerate(numbers):
            outputs[number] = {"logits": logits[row]}
    return TASK.scores(TASK.answers(outputs, features, examples, names), examples, names)


def main() -> None:
    args = parse()
    group = Processes.start()
    train, held = split(TASK, TASK.read(args.data), every=5)
    names = TASK.label_names(train)
    TASK.check_labels(held, names)
    tokenizer, model = start(args, names, [text for example in train for text in TASK.texts(example)])
    padder, limits = Padder(tokenizer.pad_token_id), Limits(args.length)
    features = TASK.features(train, tokenizer, names, limits)
    held_features = TASK.features(held, tokenizer, names, limits)
    data = Stream(TASK, features, padder, args.batch_size, seed=args.seed)
    steps = args.epochs * data.steps_per_epoch

    model = group.wrap(model, args.parallel)
    optimizer = torch.optim.AdamW(own(model).parameter_groups(weight_decay=0.01))
    settings = {name: value for name, value in vars(args).items() if name not in ("output", "parallel")}
    run = Run(args.output, settings, writes=group.first)
    done = run.resume(data, lambda folder: load_state(folder, model, optimizer))
    with run.progress(done, steps) as bar:
        for step in range(done + 1, steps + 1):
            torch.manual_seed(args.seed + step * group.size + group.rank)  # dropout of a step is its own
            set_rate([optimizer], linear_rate(step, steps, args.rate, warmup=steps // 10))
            model.train()
            loss = train_step(model, optimizer, data.batch(step), group)
            run.log(step, loss=loss)
            bar.update()
            if step % data.steps_per_epoch == 0:
                scores = evaluate(model, held_features, padder, held, names, group)
                bar.write(f"step {step}: loss {loss:.3f}, held back: {written(scores)}")
                run.save(step, data, lambda folder: save_state(folder, model, optimizer))

    scores = evaluate(model, held_features, padder, held, names, group)
    weights = whole_weights(model)
    if group.first:
        own(model).save_pretrained(args.output / "model", state_dict=weights)
        tokenizer.save_pretrained(args.output / "model")
        run.plot()
        print(f"wrote {args.output / 'model'}; held back: {written(scores)}")
    group.stop()


if __name__ == "__main__":
    main()
