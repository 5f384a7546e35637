"""Replaced-token pretraining: a generator fills masked places, a discriminator tells which tokens are not the original.

Shapes: ``B`` batch, ``L`` tokens, ``T`` targets (places whose label is not -100), ``V`` vocabulary, ``E`` embedding
size.

Source: He et al. 2021 (arXiv 2111.09543), sections 3.1 to 3.3; Clark et al. 2020 (arXiv 2003.10555).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

from deberta_core.checks import IGNORED
from deberta_core.hub.fetching import HUB_KEYWORDS
from deberta_core.pretraining import (
    READ_BY_BOTH,
    TABLES,
    ReplacedTokenPretrainingOutput,
    check_batch,
    check_pair,
    check_training,
    common_keys,
    generator_config,
    has_generator,
    save_generator,
)
from deberta_tf.families import TFAutoModelForMaskedLM, TFAutoModelForReplacedTokenDetection
from deberta_tf.heads import TFMaskedLM, TFReplacedTokenDetection
from deberta_tf.inputs import as_tensor, refuse_keras3
from deberta_tf.layers import AsWritten, TFEmbedding

LOSSES = ("loss", "mlm_loss", "rtd_loss")


class DisentangledEmbedding(AsWritten, tf_keras.layers.Layer):
    """A table that is another one, as a constant, plus a trained difference.

    Args:
        source: the other table, which belongs to another model.
        delta: starting value of the difference, ``[V, E]``.
    """

    def __init__(self, source: TFEmbedding, delta: tf.Tensor, *, name: str) -> None:
        super().__init__(name=name, dtype=source.dtype_policy)
        self._source: Callable[[], TFEmbedding] = lambda: source  # behind a function it is no part of this model
        with tf.name_scope(name):
            self.delta = self.add_weight("_weight", delta.shape, initializer=lambda *_, **__: delta)
        self.built = True

    @property
    def embeddings(self) -> tf.Tensor:
        """The sum, ``[V, E]``."""
        return tf.stop_gradient(tf.convert_to_tensor(self._source().embeddings)) + self.delta

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """Int ``[...]`` -> ``[..., E]``; only the rows that are read are added up."""
        source = self._source()
        rows = tf.gather(self.delta, ids)  # [..., E]
        if source.padding is not None:
            padding = (ids == tf.cast(source.padding, ids.dtype))[..., None]
            rows = tf.where(padding, tf.stop_gradient(rows), rows)
        return tf.stop_gradient(tf.gather(source.embeddings, ids)) + rows


class TFReplacedTokenPretraining(AsWritten, tf_keras.Model):
    """A generator and a discriminator that train together.

    Args:
        generator: masked-LM model.
        discriminator: replaced-token model of the same vocabulary.
        embedding_sharing: of the tables. ``gdes``: the discriminator's are the generator's plus a difference, and its
            loss reaches only the difference; ``es``: they are the generator's; ``none``: its own.
        rtd_lambda: weight of the discriminator's loss.
        temperature: divides the generator's logits before sampling.
        seed: of sampling.
        keep_discriminator: for ``gdes``: start from the difference of the two tables, so that the discriminator
            computes what it did before, instead of from zero.

    Raises:
        ValueError: if the two do not fit, or an argument is out of range.
    """

    def __init__(
        self,
        generator: TFMaskedLM,
        discriminator: TFReplacedTokenDetection,
        *,
        embedding_sharing: str = "gdes",
        rtd_lambda: float = 10.0,
        temperature: float = 1.0,
        seed: int = 0,
        keep_discriminator: bool = False,
    ) -> None:
        super().__init__(dtype=generator.dtype_policy)
        check_pair(generator.config, discriminator.config, embedding_sharing)
        check_training(rtd_lambda, temperature)
        self._autocast = False
        self.generator, self.discriminator = generator, discriminator
        self.embedding_sharing = embedding_sharing
        self.rtd_lambda, self.temperature = rtd_lambda, temperature
        # The seed, and how often it was drawn from.
        self.sampling_state = tf.Variable([seed, 0], dtype=tf.int64, trainable=False, name="sampling_state")
        self._share(keep_discriminator)
        self.built = True

    def _share(self, keep: bool) -> None:
        theirs = self.generator.deberta.embeddings
        own = self.discriminator.deberta.embeddings
        for name in TABLES:
            if self.embedding_sharing == "none" or not (hasattr(theirs, name) and hasattr(own, name)):
                continue
            source = getattr(theirs, name)
            if self.embedding_sharing == "es":
                setattr(own, name, source)
                continue
            before = tf.convert_to_tensor(getattr(own, name).embeddings)
            delta = before - source.embeddings if keep else tf.zeros_like(before)
            setattr(own, name, DisentangledEmbedding(source, delta, name=name))

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        generator: str | os.PathLike[str] | None = None,
        generator_layers: int | None = None,
        subfolder: str = "",
        **settings: Any,
    ) -> TFReplacedTokenPretraining:
        """Go on from published files.

        Args:
            path: folder of a discriminator, or its name on the hub.
            generator: folder or name of a masked-LM model; default the generator in ``path`` (its weights and
                ``generator_config.json``), and if there is none a new one, whose encoder starts as the discriminator's
                first layers and whose head starts afresh.
            generator_layers: layers of a new generator; default half of the discriminator's.
            subfolder: folder below ``path``.
            **settings: keywords of the class, and those of the hub, such as ``revision``, which is of ``path`` alone,
                and ``token``. With ``gdes`` the discriminator computes at first what the file does.

        Raises:
            FileNotFoundError: if there is no checkpoint.
            ValueError: if the two do not fit.
        """
        fetch = {name: settings.pop(name) for name in HUB_KEYWORDS if name in settings}
        here = {**fetch, "subfolder": subfolder}
        discriminator = TFAutoModelForReplacedTokenDetection.from_pretrained(path, **here)
        if generator is not None:
            fetch.pop("revision", None)
            writer = TFAutoModelForMaskedLM.from_pretrained(generator, **fetch)
        elif has_generator(path, **here):
            writer = TFAutoModelForMaskedLM.from_pretrained(path, **here, generator=True)
        else:
            writer = new_generator(discriminator, generator_layers)
        return cls(writer, discriminator, **{"keep_discriminator": True, **settings})

    # The two models.

    def noise(self, like: tf.Tensor) -> tf.Tensor:
        """Uniform numbers in [0, 1) to sample by, float32 of the shape of ``like`` ``[B, L]``; counts the draw."""
        drawn = tf.random.stateless_uniform(tf.shape(like), tf.convert_to_tensor(self.sampling_state))
        self.sampling_state.assign_add([0, 1])
        return drawn

    def generate(
        self,
        input_ids: tf.Tensor,
        labels: tf.Tensor,
        attention_mask: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        noise: tf.Tensor | None = None,
        sampled_ids: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> ReplacedTokenPretrainingOutput[tf.Tensor]:
        """Let the generator fill the targets.

        Args:
            input_ids: with [MASK] at the targets, int ``[B, L]``.
            labels: the original ids at the targets, -100 elsewhere, int ``[B, L]``.
            attention_mask: as for the models.
            token_type_ids: as for the models.
            noise: to sample by, in [0, 1), float ``[B, L]``, read at the targets; default drawn from ``seed``.
            sampled_ids: take these at the targets instead of sampling, int ``[B, L]``.
            position_ids: as for the models.
            training: whether dropout acts.

        Returns:
            ``mlm_loss``, ``corrupted_ids``, ``replaced`` and ``generator_logits``.
        """
        input_ids = as_tensor(input_ids, "input_ids")
        labels = tf.cast(labels, input_ids.dtype)
        given = {"input_ids": input_ids, "labels": labels, "noise": noise, "sampled_ids": sampled_ids}
        check_batch({name: tuple(x.shape) for name, x in given.items() if x is not None})
        output = self.generator(
            input_ids, attention_mask, token_type_ids, position_ids, labels=labels, only_masked=True, return_dict=True,
            training=training,
        )  # fmt: skip
        targets = labels != IGNORED
        if sampled_ids is None:
            noise = tf.boolean_mask(self.noise(labels) if noise is None else noise, targets)
            drawn = tf.cast(sample(tf.stop_gradient(output.logits), noise, self.temperature), input_ids.dtype)
        else:
            drawn = tf.cast(tf.boolean_mask(sampled_ids, targets), input_ids.dtype)
        corrupted = tf.tensor_scatter_nd_update(input_ids, tf.where(targets), drawn)
        replaced = tf.cast(targets & (corrupted != labels), tf.int64)
        return ReplacedTokenPretrainingOutput(
            mlm_loss=output.loss, corrupted_ids=corrupted, replaced=replaced, generator_logits=output.logits
        )

    def discriminate(
        self,
        corrupted_ids: tf.Tensor,
        replaced: tf.Tensor,
        attention_mask: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> Any:
        """The discriminator's output, with its loss before the weight.

        Args:
            corrupted_ids: int ``[B, L]``.
            replaced: 1 where an id is not the original, int ``[B, L]``.
            attention_mask: as for the models.
            token_type_ids: as for the models.
            position_ids: as for the models.
            training: whether dropout acts.
        """
        return self.discriminator(
            corrupted_ids, attention_mask, token_type_ids, position_ids, labels=replaced, return_dict=True,
            training=training,
        )  # fmt: skip

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: bool | None = None
    ) -> ReplacedTokenPretrainingOutput[tf.Tensor]:
        """The joint loss ``mlm_loss + rtd_lambda * rtd_loss``; ``inputs`` are the arguments of ``generate`` by name."""
        made = self.generate(**inputs, training=training)
        judged = self._judge(made, inputs, training)
        loss = made["mlm_loss"] + self.rtd_lambda * judged.loss
        return ReplacedTokenPretrainingOutput(made, loss=loss, rtd_loss=judged.loss, logits=judged.logits)

    def _judge(self, made: Mapping[str, Any], inputs: Mapping[str, Any], training: bool | None) -> Any:
        rest = {name: inputs[name] for name in READ_BY_BOTH if name in inputs}
        return self.discriminate(made["corrupted_ids"], made["replaced"], **rest, training=training)

    # Training.

    def generator_parameters(self) -> list[tf.Variable]:
        """What the generator's optimiser trains."""
        return list(self.generator.trainable_weights)

    def discriminator_parameters(self) -> list[tf.Variable]:
        """What the discriminator's optimiser trains; with ``es`` the shared tables are among both."""
        return list(self.discriminator.trainable_weights)

    def joint_step(
        self, optimizer: Any, batch: Mapping[str, tf.Tensor], *, clip: float = 1.0
    ) -> ReplacedTokenPretrainingOutput[tf.Tensor]:
        """One step on the joint loss.

        Args:
            optimizer: of ``tf_keras``, for all weights.
            batch: arguments of ``generate`` by name.
            clip: largest global norm of the gradients.
        """
        with tf.GradientTape() as tape:
            output = self(dict(batch), training=True)
            loss = _scaled(optimizer, output["loss"])
        _step(optimizer, tape, loss, list(self.trainable_weights), clip)
        return output

    def decoupled_step(
        self, generator_optimizer: Any, discriminator_optimizer: Any, batch: Mapping[str, tf.Tensor], *,
        clip: float = 1.0,
    ) -> ReplacedTokenPretrainingOutput[tf.Tensor]:  # fmt: skip
        """First a step of the generator, then one of the discriminator on what the generator had written.

        Args:
            generator_optimizer: of ``tf_keras``, for ``generator_parameters()``.
            discriminator_optimizer: of ``tf_keras``, for ``discriminator_parameters()``.
            batch: arguments of ``generate`` by name.
            clip: largest global norm of either model's gradients.
        """
        with tf.GradientTape() as tape:
            made = self.generate(**batch, training=True)
            loss = _scaled(generator_optimizer, made["mlm_loss"])
        _step(generator_optimizer, tape, loss, self.generator_parameters(), clip)
        # The ids are those that the generator wrote before its step; tables that the discriminator shares with it have
        # made that step. Two backward passes, of which each frees its graph, need less memory than one of both losses.
        with tf.GradientTape() as tape:
            judged = self._judge(made, batch, True)
            weighted = self.rtd_lambda * judged.loss
            loss = _scaled(discriminator_optimizer, weighted)
        _step(discriminator_optimizer, tape, loss, self.discriminator_parameters(), clip)
        loss = made["mlm_loss"] + weighted
        return ReplacedTokenPretrainingOutput(made, loss=loss, rtd_loss=judged.loss, logits=judged.logits)

    def compile(self, optimizer: Any, discriminator_optimizer: Any = None, **options: Any) -> None:
        """Make ``fit`` work on batches of ``input_ids``, ``labels`` and ``attention_mask``.

        Args:
            optimizer: of all weights; with ``discriminator_optimizer`` of the generator's.
            discriminator_optimizer: trains the discriminator in steps of its own.
            **options: as for Keras.

        Raises:
            TypeError: for objects of Keras 3.
        """
        refuse_keras3(optimizer=optimizer, discriminator_optimizer=discriminator_optimizer, **options)
        super().compile(optimizer=optimizer, **options)
        # As Keras takes the other one: by its name, too, and wrapped where float16 wants it.
        self.discriminator_optimizer = discriminator_optimizer and self._get_optimizer(discriminator_optimizer)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of ``fit``: the losses of this batch."""
        batch, _, _ = tf_keras.utils.unpack_x_y_sample_weight(data)
        if self.discriminator_optimizer is None:
            output = self.joint_step(self.optimizer, batch)
        else:
            output = self.decoupled_step(self.optimizer, self.discriminator_optimizer, batch)
        return {name: output[name] for name in LOSSES}

    # Saving.

    def save_pretrained(self, path: str | os.PathLike[str], *, safe_serialization: bool = False) -> None:
        """Write the discriminator as an ordinary checkpoint, its tables as sums, and the generator beside it.

        Args:
            path: folder, made if needed; both frameworks' ``from_pretrained`` read it, that of this class too.
            safe_serialization: the discriminator as ``model.safetensors``, instead of ``tf_model.h5`` (default).

        Raises:
            OSError: if the folder cannot be written.
        """
        self.discriminator.save_pretrained(path, safe_serialization=safe_serialization)
        save_generator(
            Path(path),
            lambda folder: self.generator.save_pretrained(folder, safe_serialization=True, max_shard_size="1TB"),
        )


def sample(logits: tf.Tensor, noise: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """One id for each row, with the probability that the logits give it.

    Args:
        logits: ``[T, V]``.
        noise: in [0, 1), ``[T]``: where in the cumulated probabilities to look.
        temperature: divides the logits.

    Returns:
        int64 ``[T]``.
    """
    wide = tf.cast(logits, tf.float64)  # 128,000 summands leave float32 few digits
    cumulated = tf.cumsum(tf.nn.softmax(wide / temperature), axis=-1)
    wanted = tf.cast(noise, tf.float64)[:, None] * cumulated[:, -1:]  # [T, 1]
    found = tf.searchsorted(cumulated, wanted, side="right", out_type=tf.int64)[:, 0]
    return tf.minimum(found, tf.shape(logits, tf.int64)[-1] - 1)


def new_generator(discriminator: TFReplacedTokenDetection, layers: int | None = None) -> TFMaskedLM:
    """A generator whose encoder starts as a discriminator's first layers, and whose head starts afresh.

    Args:
        discriminator: replaced-token model.
        layers: its layers; default half of the discriminator's.
    """
    config = generator_config(discriminator.config, layers=layers)
    generator: TFMaskedLM = TFAutoModelForMaskedLM.from_config(config)
    theirs, own = discriminator.weight_rows(), generator.weight_rows()
    copied = common_keys(config, discriminator.config)
    for key in copied:
        generator.variable(own[key]).assign(discriminator.variable(theirs[key]))
    fresh = ", ".join(sorted(own.keys() - set(copied)))
    warnings.warn(f"no generator was given: a new one starts with the discriminator's encoder and fresh {fresh}",
                  stacklevel=3)  # fmt: skip
    return generator


def _scaled(optimizer: Any, loss: tf.Tensor) -> tf.Tensor:
    """The loss as an optimiser of float16 wants it, whose gradients would be rounded to zero otherwise."""
    return optimizer.get_scaled_loss(loss) if hasattr(optimizer, "get_scaled_loss") else loss


def _step(optimizer: Any, tape: tf.GradientTape, loss: tf.Tensor, variables: list[tf.Variable], clip: float) -> None:
    found = tape.gradient(loss, variables)
    if hasattr(optimizer, "get_unscaled_gradients"):  # before they are clipped
        found = optimizer.get_unscaled_gradients(found)
    # Rows of a table that were read twice come as two entries, whose norm is not that of their sum.
    pairs = [(tf.convert_to_tensor(g), v) for g, v in zip(found, variables, strict=True) if g is not None]
    gradients, _ = tf.clip_by_global_norm([g for g, _ in pairs], clip)
    optimizer.apply_gradients(zip(gradients, [v for _, v in pairs], strict=True))
