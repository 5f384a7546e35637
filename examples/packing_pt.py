"""Several texts in one row that do not see each other: no padding is computed, and each keeps the states it has alone.

    python examples/packing_pt.py --model my-model

``--model`` is any checkpoint with its tokenizer; ``deberta demo`` leaves one in ``deberta-demo/1-pytorch``.
"""

import argparse

import torch

from deberta_core.packing import pack
from deberta_pt import AutoModel
from deberta_tasks.tasks import DATA, task_named
from tokenization import AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--model", required=True, help="folder with tokenizer and checkpoint")
args = parser.parse_args()
tokenizer = AutoTokenizer.from_pretrained(args.model)
encoder = AutoModel.from_pretrained(args.model).eval()
texts = [example["text"] for example in task_named("text-classification", trainable=True).read(DATA / "topics.csv")]
ids = tokenizer(texts, truncation=True, max_length=128)["input_ids"]
tokens = sum(map(len, ids))

packed = pack(ids, max_length=128, pad_token_id=tokenizer.pad_token_id)
with torch.inference_mode():
    states = encoder(
        torch.from_numpy(packed.input_ids),
        torch.from_numpy(packed.attention_mask),  # [rows, L, L]: who sees whom
        position_ids=torch.from_numpy(packed.position_ids),  # from 0 in each text, for models that have positions
    ).last_hidden_state
    of_each = packed.unpack(states.numpy())  # [tokens of the text, H], in the order of the texts
    alone = encoder(torch.tensor([ids[0]])).last_hidden_state[0].numpy()
rows, length = packed.input_ids.shape
print(f"{len(texts)} texts in {rows} rows of {length} tokens, {tokens / (rows * length):.0%} of which are no padding;")
print(f"one text a row it would be {tokens / (len(ids) * max(map(len, ids))):.0%}")
print(f"largest difference from the first text alone: {abs(of_each[0] - alone).max():.1e}")
