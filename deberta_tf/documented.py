"""What the public documentation lists on every model, and scripts and libraries call, beside running and training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf
import tf_keras

from deberta_core.beside import Beside
from deberta_core.file_names import CARD
from deberta_core.files import write_text
from deberta_core.heads import HEADS
from deberta_core.hub.card import model_card
from deberta_tf.inputs import OPTIONS, parameters
from deberta_tf.losses import cross_entropy, question_answering_loss

LABELS = ("label", "label_ids", "labels")  # names of the one column of labels that data sets and collators use


class Documented(Beside):
    """Names that any model answers for; mixed into ``TFPreTrainedModel``."""

    config: Any
    head: ClassVar[str]
    taken_for = ("transformers.modeling_tf_utils", "TFPreTrainedModel")

    framework: ClassVar[str] = "tf"
    supports_xla_generation: ClassVar[bool] = False
    _auto_class: ClassVar[str | None] = None
    # No weight goes under two names, none may be missing in silence.
    _keys_to_ignore_on_load_missing: ClassVar[list[str] | None] = None
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str] | None] = None
    _requires_load_weight_prefix: ClassVar[bool] = False

    @classmethod
    def can_generate(cls) -> bool:
        """An encoder does not generate text."""
        return False

    @property
    def name_or_path(self) -> str:
        """What the model was loaded from; empty for a new one."""
        return str(self.config.name_or_path)

    @property
    def dummy_inputs(self) -> dict[str, tf.Tensor]:
        """A small batch that the model takes: ids ``[2, 5]``, or ``[2, 3, 5]`` where it chooses between texts."""
        shape = (2, 3, 5) if HEADS[self.head or "Model"].by_choice else (2, 5)
        ids = np.arange(np.prod(shape)).reshape(shape) % self.config.vocab_size
        return {"input_ids": tf.constant(ids, tf.int32)}

    @property
    def input_signature(self) -> dict[str, tf.TensorSpec]:
        """Specs of the inputs of a served model, of any number and length of texts."""
        shape = [None, None, None] if HEADS[self.head or "Model"].by_choice else [None, None]
        names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (self.config.type_vocab_size > 0)
        return {name: tf.TensorSpec(shape, tf.int32, name=name) for name in names}

    def build_in_name_scope(self) -> None:
        """Make the weights of layers of your own; all others exist from construction on."""
        layers = self._flatten_layers(include_self=False)  # type: ignore[attr-defined]
        if not all(layer.built for layer in layers):
            self(self.dummy_inputs, training=False)  # type: ignore[operator]

    @tf.function
    def serving(self, inputs: Mapping[str, tf.Tensor]) -> Any:
        """What a served model does: from one dict of inputs to ``serving_output``."""
        return self.serving_output(self.call(inputs))  # type: ignore[attr-defined]

    def serving_output(self, output: Any) -> Any:
        """What a served model answers: the output, states of all layers as one tensor, as answers hold no tuples."""
        if not isinstance(output, dict):
            return output
        return type(output)({k: tf.stack(v) if isinstance(v, (tuple, list)) else v for k, v in output.items()})

    def serving_signatures(self) -> dict[str, Any]:
        """``serving`` for ids that are int32, and for int64 under a name of its own."""
        wide = {k: tf.TensorSpec(spec.shape, tf.int64, name=k) for k, spec in self.input_signature.items()}
        specs = {"serving_default": self.input_signature, "int64_serving": wide}
        return {name: self.serving.get_concrete_function(spec) for name, spec in specs.items()}

    def hf_compute_loss(self, labels: Any, logits: Any) -> tf.Tensor:
        """The model's own loss of logits, a scalar, for a ``call`` or a training loop of your own.

        Args:
            labels: as among the inputs; of answers a dict of first and last positions.
            logits: as among the outputs; of answers both, first and last.
        """
        if isinstance(labels, Mapping):
            starts, ends = (labels.get(f"{n}s", labels.get(n)) for n in ("start_position", "end_position"))
            first, last = logits
            return question_answering_loss(first, last, starts, ends)
        judge = getattr(self, "judge", None)
        return cross_entropy(logits, labels) if judge is None else judge(logits, labels, None)

    def get_label_to_output_name_mapping(self) -> dict[str, str]:
        """Which output each label is held against, where there are several."""
        names = self.label_names  # type: ignore[attr-defined]
        return dict(zip(names, ("start_logits", "end_logits"), strict=True)) if len(names) == 2 else {}

    def get_head_mask(self, head_mask: tf.Tensor | None, num_hidden_layers: int) -> tf.Tensor | list[None]:
        """A mask of heads for layers of your own: ``[N]`` or ``[layers, N]`` as ``[layers, 1, N, 1, 1]``.

        Without a mask a list of ``None``, one for each layer.
        """
        if head_mask is None:
            return [None] * num_hidden_layers
        mask = tf.cast(head_mask, tf.float32)
        mask = tf.repeat(mask[None], num_hidden_layers, 0) if mask.shape.rank == 1 else mask
        return mask[:, None, :, None, None]

    @classmethod
    def _from_config(cls, config: Any, **options: Any) -> Any:
        return cls.from_config(config, **options)  # type: ignore[attr-defined]

    def create_model_card(self, output_dir: str, model_name: str, **_facts: Any) -> None:
        """Write a card that says what the config does; other software's facts about training are left out."""
        write_text(Path(output_dir) / CARD, model_card(self.saved_config(), model_name))  # type: ignore[attr-defined]

    # The layer that predicts words.

    def get_lm_head(self) -> tf_keras.layers.Layer | None:
        """The layer whose bias predicts words, ``None`` for a model that does not."""
        layers = self._flatten_layers()  # type: ignore[attr-defined]
        return next((layer for layer in layers if getattr(layer, "predicts_words", False)), None)

    def get_output_layer_with_bias(self) -> tf_keras.layers.Layer | None:
        """As ``get_lm_head``."""
        return self.get_lm_head()

    def get_prefix_bias_name(self) -> str | None:
        """Name of the layer of ``get_lm_head``."""
        head = self.get_lm_head()
        return None if head is None else str(head.name)

    def get_bias(self) -> dict[str, tf.Variable] | None:
        """The bias that predicts words, ``[V]``, under the name ``bias``; ``None`` for a model that does not."""
        head = self.get_lm_head()
        return None if head is None else {"bias": head.bias}

    def set_bias(self, value: Mapping[str, Any]) -> None:
        """Give that bias other values, of the same shape.

        Raises:
            ValueError: for a model that predicts no words.
        """
        head = self.get_lm_head()
        if head is None:
            raise ValueError(f"{type(self).__name__} predicts no words and has no such bias")
        head.bias.assign(value["bias"])

    def _get_word_embedding_weight(self, layer: Any) -> Any:
        return next((getattr(layer, n) for n in ("embeddings", "weight", "kernel") if hasattr(layer, n)), None)

    # Data.

    def prepare_tf_dataset(
        self,
        dataset: Any,
        batch_size: int = 8,
        shuffle: bool = True,
        tokenizer: Any = None,
        collate_fn: Callable[..., Any] | None = None,
        collate_fn_args: Mapping[str, Any] | None = None,
        drop_remainder: bool | None = None,
        prefetch: bool = True,
    ) -> tf.data.Dataset:
        """Batches for ``fit``, ``evaluate`` and ``predict`` from rows of token ids.

        Args:
            dataset: rows by number, each a mapping of columns: a ``datasets.Dataset``, or a list of dicts. Columns that
                the model has no input for are left out.
            batch_size: rows in a batch.
            shuffle: give the rows in another order in each epoch.
            tokenizer: pads the rows of a batch, where there is no ``collate_fn``; without either they must be of one
                length.
            collate_fn: makes a batch, a mapping of arrays, of a list of rows.
            collate_fn_args: further keywords of ``collate_fn``.
            drop_remainder: leave out a last batch that is not full; by default where rows are shuffled.
            prefetch: prepare the next batch meanwhile.

        Returns:
            Pairs of inputs, by name, and labels (by name, where the head has several), or inputs alone.

        Raises:
            ValueError: for no rows, or rows without inputs of the model.
        """
        inputs = {name for name in parameters(type(self).call) if name not in OPTIONS}  # type: ignore[attr-defined]
        labels = self.label_names  # type: ignore[attr-defined]
        wanted = {*inputs, *labels, *(LABELS if "labels" in labels else ())}
        collate = collate_fn or (lambda rows: _stack(rows, tokenizer))

        def batch_of(numbers: Sequence[int]) -> dict[str, np.ndarray[Any, Any]]:
            rows = [{k: v for k, v in dataset[int(number)].items() if k in wanted} for number in numbers]
            made = {k: np.asarray(v) for k, v in dict(collate(rows, **(collate_fn_args or {}))).items()}
            return {"labels" if k in LABELS and "labels" in labels else k: v for k, v in made.items()}

        if not len(dataset):
            raise ValueError("the data set has no rows")
        first = {k: v for k, v in batch_of(range(min(2, len(dataset)))).items() if k in wanted}
        if not inputs & first.keys() - set(labels):
            raise ValueError(f"rows have {', '.join(dict(dataset[0]))}, expected inputs of the model such as input_ids")
        dtypes = {k: tf.int64 if v.dtype.kind in "iub" else tf.float32 for k, v in first.items()}

        def load(numbers: tf.Tensor) -> Any:
            def arrays(numbers: Any) -> list[Any]:
                batch = batch_of(numbers)
                return [batch[k].astype(dtype.as_numpy_dtype) for k, dtype in dtypes.items()]

            found = dict(zip(dtypes, tf.numpy_function(arrays, [numbers], list(dtypes.values())), strict=True))
            for name, tensor in found.items():
                tensor.set_shape([None] * first[name].ndim)
            given = {name: tensor for name, tensor in found.items() if name not in labels}
            asked = {name: found[name] for name in labels if name in found}
            return (given, asked if len(labels) > 1 else next(iter(asked.values()))) if asked else given

        order = tf.data.Dataset.range(len(dataset))
        order = order.shuffle(len(dataset), reshuffle_each_iteration=True) if shuffle else order
        batches = order.batch(batch_size, drop_remainder=shuffle if drop_remainder is None else drop_remainder)
        found = batches.map(load)
        return found.prefetch(tf.data.AUTOTUNE) if prefetch else found


def _stack(rows: Sequence[Mapping[str, Any]], tokenizer: Any) -> Mapping[str, Any]:
    if tokenizer is None:
        return {name: np.stack([np.asarray(row[name]) for row in rows]) for name in rows[0]}
    labels = {name: np.asarray([row[name] for row in rows]) for name in rows[0] if name in LABELS}
    rest = [{k: v for k, v in row.items() if k not in labels} for row in rows]
    return {**dict(tokenizer.pad(rest, return_tensors="np")), **labels}
