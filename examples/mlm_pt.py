"""Go on training a masked-LM model on your own texts: whole words hidden, only the hidden places decoded.

    python examples/mlm_pt.py --model path/to/deberta-v3-small --generator --text texts.txt --output run

A published v3 folder holds a discriminator, which does not predict words, and a generator, which does: ``--generator``
takes that one. Models that were trained with masked words (v1, v2, your own) need no flag. ``deberta pretrain
--objective mlm`` does the same with checkpoints that resume, in either framework and on several devices.
"""

import argparse

import torch
from torch.utils.data import DataLoader

from deberta_pt import AutoModelForMaskedLM
from deberta_tasks.masking import MLM, MaskingCollator
from deberta_tasks.training import blocks, read_lines
from tokenization import AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--model", required=True, help="folder with tokenizer and checkpoint")
parser.add_argument("--generator", action="store_true", help="train the generator in the folder")
parser.add_argument("--text", required=True, help="UTF-8 text file")
parser.add_argument("--output", required=True, help="folder for the model")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--length", type=int, default=128, help="tokens of a block of text")
parser.add_argument("--rate", type=float, default=1e-4, help="learning rate, which falls to zero")
args = parser.parse_args()
torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForMaskedLM.from_pretrained(args.model, generator=args.generator).train()
device = "cuda" if torch.cuda.is_available() else "cpu"
model.to(device)

# Lines one behind the other fill blocks, so hardly anything is padding. 15% of the tokens are hidden, words and runs of
# words whole: of those 80% become [MASK], 10% another token, 10% stay. ``masking.RTD`` hides all of them as [MASK].
texts = blocks(tokenizer, read_lines(args.text), args.length)
collator = MaskingCollator(tokenizer, MLM, max_length=args.length, return_tensors="pt")
loader = DataLoader(texts, batch_size=16, shuffle=True, collate_fn=collator)
optimizer = torch.optim.AdamW(model.parameter_groups(weight_decay=0.01), lr=args.rate)
schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=args.epochs * len(loader))
for epoch in range(1, args.epochs + 1):
    losses = []
    for batch in loader:
        optimizer.zero_grad()
        # only_masked: logits of the hidden places alone, [targets, V], the same loss. Of all places, those of a
        # vocabulary of 128,000 would take 1 GB for 16 blocks of 128 tokens.
        loss = model(**{name: tensor.to(device) for name, tensor in batch.items()}, only_masked=True).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    print(f"epoch {epoch}: mean loss {sum(losses) / len(losses):.4f}")

model.save_pretrained(f"{args.output}/model")
tokenizer.save_pretrained(f"{args.output}/model")
print(f"wrote {args.output}/model")
