"""Serve a classifier: weights prepared once, texts sorted into batches of like lengths, answers in their order.

    python examples/serve.py --model my-model < texts.txt > answers.jsonl

reads a text a line, as a stream of any length, and writes a JSON object for each. ``--bfloat16`` is faster still on
processors with instructions for it, with results near those of float32. ``deberta run`` does this for every task.
"""

import argparse
import json
import sys

import torch

from deberta_core.batching import run_by_length
from deberta_pt import AutoModelForSequenceClassification, optimize_for_inference
from tokenization import AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--model", required=True, help="folder with tokenizer and checkpoint")
parser.add_argument("--max-tokens", type=int, default=4096, help="most tokens of a batch, padding included")
parser.add_argument("--bfloat16", action="store_true")
args = parser.parse_args()
tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForSequenceClassification.from_pretrained(args.model)
names = model.config.id2label
# Projections fused, position keys kept: called as before, for inference alone. Load the model again to train it.
model = optimize_for_inference(model, dtype=torch.bfloat16 if args.bfloat16 else None)


def features(lines):
    for line in lines:
        yield {"input_ids": tokenizer(line.rstrip("\n"), truncation=True, max_length=512)["input_ids"]}


def answers(batch):
    logits = model(**tokenizer.pad(batch, return_tensors="pt")).logits.float()
    shares, best = logits.softmax(-1).max(-1)
    return [{"label": names[int(i)], "score": float(share)} for i, share in zip(best, shares, strict=True)]


# Eight batches are read ahead and sorted by length, so little is padding. For each answer at once: read_ahead=1.
with torch.inference_mode():
    for answer in run_by_length(
        features(sys.stdin), answers, length=lambda feature: len(feature["input_ids"]), max_tokens=args.max_tokens
    ):
        print(json.dumps(answer))
