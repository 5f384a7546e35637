"""Train in PyTorch, convert, go on in Keras, come back: one model, two frameworks, the same numbers.

    python examples/convert_and_go_on.py --model my-model --output run

``--model`` is a classifier with its tokenizer; ``deberta demo`` leaves one in ``deberta-demo/1-pytorch``.
"""

import argparse

import numpy as np
import tf_keras
import torch

from conversion import convert, verify
from deberta_pt import AutoModelForSequenceClassification
from deberta_tf import TFAutoModelForSequenceClassification
from tokenization import AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--model", required=True, help="folder with tokenizer and checkpoint")
parser.add_argument("--output", required=True, help="folder for the checkpoints")
args = parser.parse_args()
here, there, back = (f"{args.output}/{name}" for name in ("pytorch", "tensorflow", "pytorch-again"))

tokenizer = AutoTokenizer.from_pretrained(args.model)
texts = ["A fine day at last.", "Rain again, and no end of it."]
inputs, labels = tokenizer(texts, padding=True, return_tensors="np"), np.array([1, 0])

model = AutoModelForSequenceClassification.from_pretrained(args.model).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
for _ in range(10):
    optimizer.zero_grad()
    model(**{n: torch.tensor(a) for n, a in inputs.items()}, labels=torch.tensor(labels)).loss.backward()
    optimizer.step()
model.save_pretrained(here)
tokenizer.save_pretrained(here)

report = convert(here, there, to="tf")  # tokenizer and other files included; neither framework is needed for it
print(f"{report.tensors} tensors, {'without loss' if report.lossless else 'with loss'}")
print(f"the same states in both frameworks: {verify(here, there).ok}")

twin = TFAutoModelForSequenceClassification.from_pretrained(there)
# Keras' AdamW begins with fresh moments: a file holds the weights alone, so go on with a low rate or a warmup.
twin.compile(tf_keras.optimizers.Adam(1e-4))
twin.fit(dict(inputs), labels, epochs=10, verbose=0)
twin.save_pretrained(there)

convert(there, back, to="pt")
again = AutoModelForSequenceClassification.from_pretrained(back).eval()
with torch.inference_mode():
    left = again(**{n: torch.tensor(a) for n, a in inputs.items()}).logits.numpy()
print(f"largest difference of the logits: {np.abs(left - twin(dict(inputs)).logits.numpy()).max():.1e}")
