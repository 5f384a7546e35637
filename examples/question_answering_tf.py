"""Train a model that finds the answer to a question in a text, in TensorFlow, with a plain ``model.fit``.

    python examples/question_answering_tf.py --output run

learns to answer questions about events from 960 reports that come with the package, from scratch, and answers more than
70% of 240 others word for word; chance would be near 0. Your own texts: ``--data FILE``, CSV or JSONL with
``question``, ``context`` and ``answer``. A published model: ``--model DIR --rate 2e-5 --epochs 3``. All GPUs of a host
are used, and several hosts where ``TF_CONFIG`` names them (see docs/training.md).

A run that was interrupted goes on with the epoch it was in when the same command is given again, and ends with the
same weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import tensorflow as tf
import tf_keras

from deberta_tasks.finetuning.loop import written
from deberta_tasks.finetuning.start import new_tokenizer, small_config
from deberta_tasks.finetuning.stream import Padder, Stream, padded_batches
from deberta_tasks.tasks import DATA, Limits, split
from deberta_tasks.tasks.question_answering import QuestionAnswering
from deberta_tasks.training.tf_parallel import is_first, start_strategy, training_data
from deberta_tf import TFAutoModelForQuestionAnswering
from tokenization import AutoTokenizer

TASK = QuestionAnswering()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the run; the same one resumes it")
    parser.add_argument("--data", type=Path, default=DATA / TASK.bundled, help="every fifth row is held back")
    parser.add_argument("--model", type=Path, help="checkpoint to start from; default: a small model from scratch")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--batch-size", type=int, default=16, help="rows of a step, over all replicas")
    parser.add_argument("--length", type=int, default=128, help="tokens of a row")
    parser.add_argument("--stride", type=int, default=32, help="tokens that two windows of a context share")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate, which falls to zero")
    parser.add_argument("--devices", type=int, default=0, help="GPUs (or virtual CPUs) of this host; default all GPUs")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def start(args, names, texts):
    """Tokenizer, and what makes the model: that of a checkpoint with a new head, or a new one."""
    if args.model:
        tokenizer = AutoTokenizer.from_pretrained(args.model)
        return tokenizer, lambda: TFAutoModelForQuestionAnswering.from_pretrained(args.model)
    tokenizer = new_tokenizer(texts)
    config = small_config(tokenizer, max_length=args.length)
    return tokenizer, lambda: TFAutoModelForQuestionAnswering.from_config(config)


def evaluate(model, features, padder, examples, names):
    """Scores on the examples that were held back."""
    predict = tf.function(lambda batch: dict(model(batch, training=False)), reduce_retracing=True)
    outputs = [{} for _ in features]
    for numbers, batch in padded_batches(features, padder, 32):
        found = predict({name: tf.constant(array) for name, array in batch.items()})
        starts, ends = found["start_logits"].numpy(), found["end_logits"].numpy()
        for row, number in enumerate(numbers):
            outputs[number] = {"start_logits": starts[row], "end_logits": ends[row]}
    return TASK.scores(TASK.answers(outputs, features, examples, names), examples, names)


def main() -> None:
    args = parse()
    strategy = start_strategy(args.devices)  # before anything else of TensorFlow
    tf_keras.utils.set_random_seed(args.seed)
    train, held = split(TASK, TASK.read(args.data), every=5)
    names = TASK.label_names(train)
    TASK.check_labels(held, names)
    tokenizer, make_model = start(args, names, [text for example in train for text in TASK.texts(example)])
    padder, limits = Padder(tokenizer.pad_token_id), Limits(args.length, args.stride)
    features = TASK.features(train, tokenizer, names, limits)
    held_features = TASK.features(held, tokenizer, names, limits)
    data = Stream(TASK, features, padder, args.batch_size, seed=args.seed)

    with strategy.scope():
        model = make_model()
        rate = tf_keras.optimizers.schedules.PolynomialDecay(args.rate, args.epochs * data.steps_per_epoch, 0.0)
        optimizer = tf_keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1.0)
        optimizer.exclude_from_weight_decay([w for w in model.trainable_weights if w.shape.rank <= 1])
        model.compile(optimizer=optimizer)  # no loss: the model's own
    callbacks = [tf_keras.callbacks.BackupAndRestore(str(args.output / "backup"), delete_checkpoint=False)]
    if is_first(strategy):
        args.output.mkdir(parents=True, exist_ok=True)
        callbacks.append(tf_keras.callbacks.CSVLogger(args.output / "log.csv", append=True))
    model.fit(
        training_data(strategy, data, model), steps_per_epoch=data.steps_per_epoch, epochs=args.epochs,
        callbacks=callbacks, verbose=2,
    )  # fmt: skip

    scores = evaluate(model, held_features, padder, held, names)
    if is_first(strategy):
        model.save_pretrained(args.output / "model")
        tokenizer.save_pretrained(args.output / "model")
        print(f"wrote {args.output / 'model'}; held back: {written(scores)}")


if __name__ == "__main__":
    main()
