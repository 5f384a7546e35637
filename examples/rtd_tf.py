"""Pretrain a DeBERTa v3 from scratch with replaced tokens, in one Keras ``fit``.

    python examples/rtd_tf.py --text texts.txt --output run

A generator learns to fill masked places, and a discriminator to tell which tokens are not the original; each has its
optimiser. ``run/model`` is the discriminator, an ordinary checkpoint for all heads, with the generator beside it.
Sizes are for a laptop. ``deberta pretrain`` does the same with checkpoints that resume, in either framework.
"""

import argparse

import tensorflow as tf
import tf_keras

from deberta_core.presets import preset
from deberta_core.pretraining import generator_config
from deberta_tasks.masking import RTD, MaskingCollator
from deberta_tasks.training import MaskedStream, blocks, read_lines
from deberta_tf import TFDebertaV2ForMaskedLM, TFDebertaV2ForReplacedTokenDetection, TFReplacedTokenPretraining
from tokenization import train_from_iterator

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--text", required=True, help="UTF-8 text file")
parser.add_argument("--output", required=True, help="folder for both models")
parser.add_argument("--vocab-size", type=int, default=8000, help="tokens of the new vocabulary")
parser.add_argument("--hidden-size", type=int, default=256, help="width of both models, 64 for each head")
parser.add_argument("--layers", type=int, default=6, help="layers of the discriminator, half of them in the generator")
parser.add_argument("--steps", type=int, default=10000)
parser.add_argument("--length", type=int, default=128, help="tokens of a block of text")
parser.add_argument("--rate", type=float, default=5e-4, help="learning rate, which falls to zero")
args = parser.parse_args()
tf_keras.utils.set_random_seed(0)
lines = read_lines(args.text)
tokenizer = train_from_iterator(lines, args.vocab_size, fast=False)
config = preset(
    "deberta-v3-small", vocab_size=len(tokenizer), hidden_size=args.hidden_size, num_hidden_layers=args.layers,
    num_attention_heads=max(1, args.hidden_size // 64), intermediate_size=4 * args.hidden_size,
    max_position_embeddings=args.length, position_buckets=max(4, args.length // 2),
)  # fmt: skip
# gdes, as in DeBERTa v3: the discriminator's tables are the generator's, as constants, plus a difference that its loss
# trains; so neither pulls the embeddings of the other.
model = TFReplacedTokenPretraining(
    TFDebertaV2ForMaskedLM(generator_config(config)), TFDebertaV2ForReplacedTokenDetection(config),
    embedding_sharing="gdes", rtd_lambda=10.0,
)  # fmt: skip

collator = MaskingCollator(tokenizer, RTD, max_length=args.length, pad_to_max_length=True)
stream = MaskedStream(blocks(tokenizer, lines, args.length), collator, batch_size=32)
data = tf.data.Dataset.from_generator(lambda: stream, output_signature=collator.signature())


def optimizer():
    rate = tf_keras.optimizers.schedules.PolynomialDecay(args.rate, args.steps, 0.0)
    return tf_keras.optimizers.AdamW(rate, weight_decay=0.01)


model.compile(optimizer(), discriminator_optimizer=optimizer())
history = model.fit(data, steps_per_epoch=args.steps // 10, epochs=10, verbose=2).history
model.save_pretrained(f"{args.output}/model")
tokenizer.save_pretrained(f"{args.output}/model")
losses = ", ".join(f"{name} {history[name][0]:.3f} -> {history[name][-1]:.3f}" for name in ("mlm_loss", "rtd_loss"))
print(f"wrote {args.output}/model; {losses}")
