"""A training step of your own in TensorFlow: which of several texts goes on with a scene.

    python examples/multiple_choice_tf.py --output run

teaches ``deberta-zoo/mini-generator`` to choose one of three endings with 800 scenes of the package; it is right on
more than 70% of 200 others (guessing: 33%). From scratch: ``--model '' --rate 2e-3 --epochs 8``; a published model:
``--model DIR --rate 2e-5``.
"""

import argparse

import numpy as np
import tensorflow as tf
import tf_keras

from deberta_core.batching import pad_batch
from deberta_tasks import pipeline
from deberta_tasks.finetune.start import new_tokenizer, small_config
from deberta_tasks.tasks import DATA, split, task_named
from deberta_tf import TFAutoModelForMultipleChoice
from tokenization import AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--output", required=True, help="folder for the model")
parser.add_argument("--model", default="deberta-zoo/mini-generator", help="to start from; '': from scratch")
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--rate", type=float, default=1e-3, help="learning rate, which falls to zero")
args = parser.parse_args()
tf_keras.utils.set_random_seed(0)
task = task_named("multiple-choice", trainable=True)
train, held = split(task, task.read(DATA / "endings.jsonl"), every=5)
if args.model:
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = TFAutoModelForMultipleChoice.from_pretrained(args.model)
else:
    tokenizer = new_tokenizer([text for example in train for text in task.texts(example)])
    model = TFAutoModelForMultipleChoice.from_config(small_config(tokenizer))
rate = tf_keras.optimizers.schedules.PolynomialDecay(args.rate, args.epochs * (len(train) // 16), 0.0)
optimizer = tf_keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1.0)
optimizer.exclude_from_weight_decay([weight for weight in model.trainable_weights if weight.shape.rank <= 1])


def arrays(examples):
    """Of each example a pair with each choice: ids and mask ``[B, C, L]``, labels ``[B]``."""
    pairs = [tokenizer([e["prompt"]] * len(e["choices"]), e["choices"], truncation=True)["input_ids"] for e in examples]
    features = [{"input_ids": ids, "labels": e["label"]} for ids, e in zip(pairs, examples, strict=True)]
    return pad_batch(features, fill={"input_ids": tokenizer.pad_token_id})


ids, labels = tf.TensorSpec([None, None, None], tf.int64), tf.TensorSpec([None], tf.int64)


@tf.function(input_signature=[{"input_ids": ids, "attention_mask": ids, "labels": labels}])
def train_step(batch):
    """One graph for batches of all lengths, which the signature leaves open."""
    with tf.GradientTape() as tape:
        loss = model(batch, training=True).loss
    gradients = tape.gradient(loss, model.trainable_weights)
    optimizer.apply_gradients(zip(gradients, model.trainable_weights, strict=True))
    return loss


rng = np.random.default_rng(0)
for epoch in range(1, args.epochs + 1):
    order = rng.permutation(len(train))
    losses = [train_step(arrays([train[i] for i in order[n : n + 16]])) for n in range(0, len(order) - 15, 16)]
    print(f"epoch {epoch}: mean loss {np.mean(losses):.3f}", flush=True)

model.save_pretrained(f"{args.output}/model")
tokenizer.save_pretrained(f"{args.output}/model")
choose = pipeline("multiple-choice", f"{args.output}/model", "tf", truncation=True)
answers = choose([{"prompt": example["prompt"], "choices": example["choices"]} for example in held])
right = [answer["index"] == example["label"] for answer, example in zip(answers, held, strict=True)]
print(f"wrote {args.output}/model; held back: accuracy {np.mean(right):.4f}")
