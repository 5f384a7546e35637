"""Names in texts: labels of words become labels of tokens, in a loop that resumes and that several processes share.

    python examples/token_classification_pt.py --output run

teaches ``deberta-zoo/mini-generator`` to find people, places and organisations with 640 sentences of the package; it
then finds them in 160 others with an F1 of more than 0.9, whole names counted; chance would be near 0. Your own texts:
``--data FILE``, CSV or JSONL with ``tokens`` and ``tags``, such as B-PER, I-PER and O. From scratch: ``--model ''
--rate 2e-3 --epochs 8``; a published model: ``--model DIR --rate 2e-5``. On two GPUs, or on hosts (docs/training.md):

    torchrun --nproc-per-node 2 examples/token_classification_pt.py --output run

A run that was interrupted goes on when the same command is given again, with the losses it would have had.
"""

import argparse

import torch

from deberta_pt import AutoModelForTokenClassification
from deberta_tasks.finetune.start import new_tokenizer, small_config
from deberta_tasks.tasks import DATA, Limits, split, task_named
from deberta_tasks.training import Run, linear_rate
from deberta_tasks.training.pt import set_rate
from deberta_tasks.training.pt_parallel import Processes, load_state, save_state, unwrapped, whole_weights
from deberta_tasks.training.stream import Collator, Stream, predictions
from tokenization import AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--output", required=True, help="folder of the run; the same one resumes it")
parser.add_argument("--data", default=DATA / "names.jsonl", help="every fifth text is held back")
parser.add_argument("--model", default="deberta-zoo/mini-generator", help="to start from; '': from scratch")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--batch-size", type=int, default=16, help="texts of a step, over all processes")
parser.add_argument("--rate", type=float, default=1e-3, help="largest learning rate")
parser.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp", help="under torchrun")
args = parser.parse_args()
processes = Processes.start()
task = task_named("token-classification", trainable=True)
train, held = split(task, task.read(args.data), every=5)
names = task.label_names(train)
task.check_labels(held, names)
torch.manual_seed(0)
if args.model:
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForTokenClassification.from_pretrained(args.model, **task.config(names))
else:
    tokenizer = new_tokenizer([" ".join(example["tokens"]) for example in train])
    model = AutoModelForTokenClassification.from_config(small_config(tokenizer, **task.config(names)))

# Of each word the first token has its label, all others -100, which no loss counts.
features, held_features = (task.features(part, tokenizer, names, Limits(128)) for part in (train, held))
collate = Collator(tokenizer.pad_token_id)
batches = Stream(features, collate, args.batch_size)
steps = args.epochs * batches.steps_per_epoch
model = processes.wrap(model, args.parallel)
optimizer = torch.optim.AdamW(unwrapped(model).parameter_groups(weight_decay=0.01))
settings = {name: value for name, value in vars(args).items() if name not in ("output", "parallel")}
run = Run(args.output, settings, writes=processes.first)


def tensors(batch, part=slice(None)):
    return {name: torch.from_numpy(array[part]).to(processes.device) for name, array in batch.items()}


@torch.no_grad()
def predict(batch):
    return {"logits": unwrapped(model)(**tensors(batch)).logits.float().cpu().numpy()}


def scores():
    model.eval()
    outputs = predictions(predict, held_features, collate, 32)
    found = task.scores(task.answers(outputs, held_features, held, names), held, names)
    return ", ".join(f"{name} {value:.4f}" for name, value in found.items())


done = run.resume(batches, lambda folder: load_state(folder, model, optimizer))
for step in range(done + 1, steps + 1):
    torch.manual_seed(step * processes.size + processes.rank)  # dropout of a step is its own, whatever came before
    set_rate([optimizer], linear_rate(step, steps, args.rate, warmup=steps // 10))
    model.train()
    optimizer.zero_grad()
    loss = model(**tensors(batches.batch(step), processes.part(args.batch_size))).loss
    loss.backward()  # DDP and FSDP2 take the mean of the gradients of all processes
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    run.log(step, loss=float(processes.total(loss.detach())) / processes.size)
    if step % batches.steps_per_epoch == 0:
        text = scores()  # every process asks: with FSDP2 each has a part of the weights
        print(f"step {step}, held back: {text}") if processes.first else None
        run.save(step, batches, lambda folder: save_state(folder, model, optimizer))

text, weights = scores(), whole_weights(model)
if processes.first:
    unwrapped(model).save_pretrained(f"{args.output}/model", state_dict=weights)
    tokenizer.save_pretrained(f"{args.output}/model")
    run.plot()
    print(f"wrote {args.output}/model; held back: {text}")
processes.stop()
