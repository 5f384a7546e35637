"""Keras ``fit`` with the model's own loss: whether a premise entails a hypothesis.

    python examples/nli_tf.py --output run

teaches ``deberta-zoo/mini-generator`` entailment, neutral and contradiction with 960 pairs of the package; it is then
right on more than 60% of 240 others (guessing: 33%). From scratch: ``--model '' --rate 2e-3 --epochs 8``; a published
model: ``--model DIR --rate 2e-5``.
"""

import argparse

import numpy as np
import tf_keras

from deberta_tasks.finetune.start import new_tokenizer, small_config
from deberta_tasks.tasks import DATA, split, task_named
from deberta_tf import TFAutoModelForSequenceClassification
from tokenization import AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--output", required=True, help="folder for the model")
parser.add_argument("--model", default="deberta-zoo/mini-generator", help="to start from; '': from scratch")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--rate", type=float, default=1e-3, help="learning rate, which falls to zero")
args = parser.parse_args()
tf_keras.utils.set_random_seed(0)
task = task_named("nli", trainable=True)
train, held = split(task, task.read(DATA / "pairs.csv"), every=5)
names = task.label_names(train)
if args.model:
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = TFAutoModelForSequenceClassification.from_pretrained(args.model, **task.config(names))
else:
    tokenizer = new_tokenizer([text for example in train for text in task.texts(example)])
    model = TFAutoModelForSequenceClassification.from_config(small_config(tokenizer, **task.config(names)))


def arrays(examples):
    """One length for all: Keras then traces a single graph."""
    premises, hypotheses = ([example[part] for example in examples] for part in ("premise", "hypothesis"))
    batch = tokenizer(premises, hypotheses, padding=True, truncation=True, max_length=128, return_tensors="np")
    return dict(batch), np.array([names.index(example["label"]) for example in examples])


rate = tf_keras.optimizers.schedules.PolynomialDecay(args.rate, args.epochs * -(-len(train) // 16), 0.0)
optimizer = tf_keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1.0)
optimizer.exclude_from_weight_decay([weight for weight in model.trainable_weights if weight.shape.rank <= 1])
model.compile(optimizer, metrics=[tf_keras.metrics.SparseCategoricalAccuracy(name="accuracy")])  # no loss: its own
model.fit(*arrays(train), batch_size=16, epochs=args.epochs, validation_data=arrays(held), verbose=2)

scores = model.evaluate(*arrays(held), verbose=0, return_dict=True)
model.save_pretrained(f"{args.output}/model")
tokenizer.save_pretrained(f"{args.output}/model")
print(f"wrote {args.output}/model; held back: accuracy {scores['accuracy']:.4f}")
