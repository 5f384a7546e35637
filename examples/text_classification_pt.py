"""A plain PyTorch loop: a classifier of texts, with nothing between you and the model.

    python examples/text_classification_pt.py --output run

teaches ``deberta-zoo/mini-generator`` four topics with 384 sentences of the package; it is then right on more than half
of 96 others (guessing: 25%). Your own texts: ``--data FILE``, CSV or JSONL with ``text`` and ``label``. From scratch:
``--model '' --rate 2e-3 --epochs 10``; a published model: ``--model DIR --rate 2e-5``.
"""

import argparse

import torch
from torch.utils.data import DataLoader

from deberta_pt import AutoModelForSequenceClassification
from deberta_tasks import pipeline
from deberta_tasks.finetune.start import new_tokenizer, small_config
from deberta_tasks.tasks import DATA, split, task_named
from tokenization import AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--output", required=True, help="folder for the model")
parser.add_argument("--data", default=DATA / "topics.csv", help="every fifth text of a label is held back")
parser.add_argument("--model", default="deberta-zoo/mini-generator", help="to start from; '': from scratch")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--rate", type=float, default=1e-3, help="learning rate, which falls to zero")
args = parser.parse_args()
torch.manual_seed(0)
task = task_named("text-classification", trainable=True)
train, held = split(task, task.read(args.data), every=5)
names = task.label_names(train)
if args.model:
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForSequenceClassification.from_pretrained(args.model, **task.config(names))
else:
    tokenizer = new_tokenizer([example["text"] for example in train])
    model = AutoModelForSequenceClassification.from_config(small_config(tokenizer, **task.config(names)))
device = "cuda" if torch.cuda.is_available() else "cpu"
model.to(device).train()


def collate(examples):
    batch = tokenizer([e["text"] for e in examples], padding=True, truncation=True, max_length=128, return_tensors="pt")
    return {**batch, "labels": torch.tensor([names.index(example["label"]) for example in examples])}


loader = DataLoader(train, batch_size=16, shuffle=True, collate_fn=collate)
optimizer = torch.optim.AdamW(model.parameter_groups(weight_decay=0.01), lr=args.rate)  # biases and norms do not decay
schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=args.epochs * len(loader))
for epoch in range(1, args.epochs + 1):
    for batch in loader:
        optimizer.zero_grad()
        loss = model(**{name: tensor.to(device) for name, tensor in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    print(f"epoch {epoch}: {loss:.3f}")

model.save_pretrained(f"{args.output}/model")
tokenizer.save_pretrained(f"{args.output}/model")
classify = pipeline("text-classification", f"{args.output}/model", truncation=True)
answers = classify([example["text"] for example in held])
right = [answer["label"] == example["label"] for answer, example in zip(answers, held, strict=True)]
print(f"wrote {args.output}/model; held back: accuracy {sum(right) / len(right):.4f}")
