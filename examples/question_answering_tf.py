"""Answers in texts longer than the model reads: windows, and a Keras ``fit`` that resumes, on all devices there are.

    python examples/question_answering_tf.py --output run

teaches ``deberta-zoo/mini-generator`` to read with 960 reports and questions of the package; it then answers more than
70% of 240 others to the letter (chance: near 0). Your own texts: ``--data FILE``, CSV or JSONL with ``question``,
``context`` and ``answer``. From scratch: ``--model '' --rate 2e-3 --epochs 9``; a published model: ``--model DIR --rate
2e-5``. All GPUs of a host are used, and several hosts where ``TF_CONFIG`` names them (see docs/training.md). A run that
was interrupted goes on when the same command is given again, with the epoch it was in, and ends with the same weights.
"""

import argparse
from pathlib import Path

import tensorflow as tf
import tf_keras

from deberta_tasks.finetune.start import new_tokenizer, small_config
from deberta_tasks.tasks import DATA, Limits, split, task_named
from deberta_tasks.training.stream import Collator, Stream, predictions
from deberta_tasks.training.tf_parallel import is_first, start_strategy, training_data
from deberta_tf import TFAutoModelForQuestionAnswering
from tokenization import AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--output", type=Path, required=True, help="folder of the run; the same one resumes it")
parser.add_argument("--data", type=Path, default=DATA / "answers.jsonl", help="every fifth question is held back")
parser.add_argument("--model", default="deberta-zoo/mini-generator", help="to start from; '': from scratch")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--batch-size", type=int, default=16, help="windows of a step, over all replicas")
parser.add_argument("--length", type=int, default=128, help="tokens of a window, question included")
parser.add_argument("--rate", type=float, default=1e-3, help="learning rate, which falls to zero")
parser.add_argument("--devices", type=int, default=0, help="GPUs (or virtual CPUs) of this host; default all GPUs")
args = parser.parse_args()
strategy = start_strategy(args.devices)  # before anything else of TensorFlow
tf_keras.utils.set_random_seed(0)
task = task_named("question-answering", trainable=True)
train, held = split(task, task.read(args.data), every=5)
tokenizer = (
    AutoTokenizer.from_pretrained(args.model) if args.model
    else new_tokenizer([text for example in train for text in task.texts(example)])
)  # fmt: skip
# A context becomes as many windows as it needs, which share 32 tokens; the labels of a window without the answer are
# both [CLS]. An answer is the best stretch of all windows of its context.
limits = Limits(args.length, stride=32)
features, held_features = (task.features(part, tokenizer, [], limits) for part in (train, held))
collate = Collator(tokenizer.pad_token_id)
batches = Stream(features, collate, args.batch_size)

with strategy.scope():
    if args.model:
        model = TFAutoModelForQuestionAnswering.from_pretrained(args.model)
    else:
        model = TFAutoModelForQuestionAnswering.from_config(small_config(tokenizer, max_length=args.length))
    rate = tf_keras.optimizers.schedules.PolynomialDecay(args.rate, args.epochs * batches.steps_per_epoch, 0.0)
    optimizer = tf_keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay([w for w in model.trainable_weights if w.shape.rank <= 1])
    model.compile(optimizer=optimizer)  # no loss: the model's own
callbacks = [tf_keras.callbacks.BackupAndRestore(str(args.output / "backup"), delete_checkpoint=False)]
if is_first(strategy):
    args.output.mkdir(exist_ok=True)
    callbacks.append(tf_keras.callbacks.CSVLogger(args.output / "log.csv", append=True))
data = training_data(strategy, batches, model)
model.fit(data, steps_per_epoch=batches.steps_per_epoch, epochs=args.epochs, callbacks=callbacks, verbose=2)

outputs = tf.function(lambda batch: dict(model(batch, training=False)), reduce_retracing=True)
logits = predictions(
    lambda batch: {n: v.numpy() for n, v in outputs({k: tf.constant(a) for k, a in batch.items()}).items()},
    held_features, collate, 32,
)  # fmt: skip
scores = task.scores(task.answers(logits, held_features, held, []), held, [])
if is_first(strategy):
    model.save_pretrained(args.output / "model")
    tokenizer.save_pretrained(args.output / "model")
    print(f"wrote {args.output / 'model'}; held back: " + ", ".join(f"{n} {v:.4f}" for n, v in scores.items()))
