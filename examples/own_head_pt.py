"""A head of your own around the encoder: a number for each text from the mean of its tokens, squared error as loss.

    python examples/own_head_pt.py --output run

learns to tell the stars of a review from 720 reviews that come with the package, from scratch; on 180 others its stars
and the true ones correlate with more than 0.9 (Pearson), where 0 would be chance. A published encoder: ``--model DIR
--rate 2e-5``.
"""

import argparse

import numpy as np
import torch
from torch import nn

from deberta_pt import AutoModel
from deberta_tasks.finetune.start import new_tokenizer, small_config
from deberta_tasks.tasks import DATA, split, task_named
from tokenization import AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--output", required=True, help="folder for encoder, tokenizer and head")
parser.add_argument("--model", help="encoder to start from; default: a small one from scratch")
parser.add_argument("--rate", type=float, default=2e-3, help="learning rate of the encoder; the head has twice as much")
args = parser.parse_args()


class Stars(nn.Module):
    """A number for each text."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, 1)

    def forward(self, input_ids, attention_mask, **inputs):
        """From ids and mask, int ``[B, L]``."""
        states = self.encoder(input_ids, attention_mask, **inputs).last_hidden_state  # [B, L, H]
        mask = attention_mask[..., None]
        return self.head((states * mask).sum(1) / mask.sum(1))[:, 0]  # padding has no part in the mean


torch.manual_seed(0)
task = task_named("regression", trainable=True)
train, held = split(task, task.read(DATA / "stays.csv"), every=5)
if args.model:
    tokenizer, encoder = AutoTokenizer.from_pretrained(args.model), AutoModel.from_pretrained(args.model)
else:
    tokenizer = new_tokenizer([example["text"] for example in train])
    encoder = AutoModel.from_config(small_config(tokenizer))
model = Stars(encoder).train()
head = {"params": model.head.parameters(), "lr": 2 * args.rate}
optimizer = torch.optim.AdamW([*encoder.parameter_groups(weight_decay=0.01), head], lr=args.rate)


def batch_of(examples):
    texts = [example["text"] for example in examples]
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
    return inputs, torch.tensor([example["label"] for example in examples])


for _ in range(8):
    for places in torch.randperm(len(train)).split(16):
        inputs, stars = batch_of([train[place] for place in places])
        optimizer.zero_grad()
        nn.functional.mse_loss(model(**inputs), stars).backward()
        optimizer.step()

model.eval()
with torch.no_grad():
    inputs, stars = batch_of(held)
    pearson = np.corrcoef(model(**inputs), stars)[0, 1]
encoder.save_pretrained(f"{args.output}/model")  # for from_pretrained of every class
tokenizer.save_pretrained(f"{args.output}/model")
torch.save(model.head.state_dict(), f"{args.output}/head.pt")
print(f"wrote {args.output}/model and head.pt; held back: pearson {pearson:.4f}")
