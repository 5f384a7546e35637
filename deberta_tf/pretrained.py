"""What all models share: inputs of any shape, loading and saving weights, outputs."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Literal, ParamSpec, Protocol, Self, TypeVar, overload

import numpy as np
import tensorflow as tf
import tf_keras
from tf_keras.src.utils.generic_utils import to_snake_case

from deberta_core.beside import is_face
from deberta_core.checkpoint import TensorFile, TensorInfo, write_weights
from deberta_core.checkpoint.tensors import stored_as
from deberta_core.commits import is_leftover
from deberta_core.config import BaseConfig, resized_vocabulary
from deberta_core.file_names import weights_files, weights_name, with_variant
from deberta_core.files import Replacement
from deberta_core.folder import Folder, open_folder
from deberta_core.heads import HEADS, h5_layout, weights
from deberta_core.hub.card import write_config_and_card
from deberta_core.hub.pushing import PushToHub, check_push, push_saved
from deberta_core.integers import Integers, integers_of, note_method, scale_of, widened
from deberta_core.loading import (
    HeldTensor,
    LoadReport,
    Unused,
    UnusedTensor,
    loading_info,
    plan_load,
    read_config,
    read_tensor,
    take_keywords,
    unused_tensors,
    with_plain_names,
    with_side_file,
)
from deberta_core.weight_names import Weight, tf_name_of, to_pt
from deberta_tf import surgery
from deberta_tf.documented import Documented
from deberta_tf.fast.inference import optimize_for_inference
from deberta_tf.inputs import LEGACY_KERAS, is_by_name, read_inputs, refuse_keras3, with_unpacked_inputs
from deberta_tf.layers import AsWritten, policy, policy_in_force
from deberta_tf.training import KerasTraining

FORMATS = ("h5", "safetensors", "bin")

if TYPE_CHECKING:
    Inputs = ParamSpec("Inputs")
    Output = TypeVar("Output", covariant=True)

    class Runs(Protocol[Inputs, Output]):
        """A model as type checkers see it: it takes and gives what its ``call`` does, or inputs of any other kind."""

        @overload
        def __call__(self, *inputs: Inputs.args, **named: Inputs.kwargs) -> Output: ...
        @overload
        def __call__(self, *inputs: Any, **named: Any) -> Output: ...

    def runs(call: Callable[Concatenate[Any, Inputs], Output]) -> Callable[[Any], Runs[Inputs, Output]]:
        """Declares a ``__call__``: of a class that extends Keras' own, which has no types, nothing is inferred."""
        ...


class TFPreTrainedModel(Documented, PushToHub, KerasTraining, AsWritten, tf_keras.Model):
    """Base of all models; use ``TFDebertaPreTrainedModel`` or ``TFDebertaV2PreTrainedModel`` to ask for a family."""

    config_class: ClassVar[type[BaseConfig]] = BaseConfig
    encoder_class: ClassVar[Any]  # of a family, for its heads
    head: ClassVar[str] = ""
    base_model_prefix: ClassVar[str] = "deberta"
    main_input_name: ClassVar[str] = "input_ids"
    prepared: bool = False  # for inference
    unused_tensors: Unused
    integers: dict[str, Integers]

    def __init_subclass__(cls, **options: Any) -> None:
        """Tell Keras the class, so that its ``load_model`` finds it, and let its ``call`` take inputs in any way."""
        super().__init_subclass__(**options)
        package, known = cls.__module__.partition(".")[0], tf_keras.saving.get_custom_objects()
        before = known.pop(f"{package}>{cls.__name__}", None)
        tf_keras.saving.register_keras_serializable(package=package)(cls)
        if is_face(cls):  # saved models name the class that it stands for
            known[f"{package}>{cls.__name__}"] = before
            return
        if "call" in vars(cls):
            cls.call = with_unpacked_inputs(vars(cls)["call"])

    def __init__(self, config: BaseConfig, **options: Any) -> None:
        config = self.config_class.of(config, type(self).__name__)
        super().__init__(**{"dtype": policy_in_force(), **options})
        self._autocast = False  # soft labels and given embeddings keep their precision
        self.config = config
        self.__dict__["unused_tensors"] = {}  # of the file it was loaded from, for saving; Keras would track it
        self.__dict__["integers"] = {}  # that weights of that file stand for, by full key
        self.built = True  # all weights exist from construction on

    if TYPE_CHECKING:

        def __new__(cls, *args: Any, **named: Any) -> Self:
            """A model of this class; Keras' own may give one of another."""
            ...

    # Inputs.

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Run the model.

        Args:
            *inputs: one dict, list or tuple of inputs, or the inputs one by one in the order of ``call``.
            **named: inputs and options of ``call`` by name; with ``training`` dropout acts.

        Raises:
            TypeError: for an input that the model does not know (with the near spelling).
            ValueError: for inputs that do not fit.
        """
        if not is_by_name(type(self).call):
            return super().__call__(*inputs, **named)
        tensors, options = read_inputs(type(self).call, inputs, named)
        return super().__call__(tensors, **options)

    def _set_save_spec(self, inputs: Any, args: Any = None, kwargs: Any = None) -> None:
        """What Keras saves a model for, at its first call: here texts of any number and length, without labels."""
        if isinstance(inputs, Mapping):
            inputs = {name: _any_length(x, name) for name, x in inputs.items() if name not in self.label_names}
        super()._set_save_spec(inputs, args, kwargs)

    def export(self, *where: Any, **options: Any) -> None:
        """As Keras' ``export``."""
        self._check_called("export")
        super().export(*where, **options)

    def save(self, filepath: Any, overwrite: bool = True, save_format: str | None = None, **options: Any) -> None:
        """As Keras' ``save``."""
        if save_format == "tf" or (save_format is None and Path(filepath).suffix not in (".keras", ".h5", ".hdf5")):
            self._check_called("save")
        super().save(filepath, overwrite=overwrite, save_format=save_format, **options)

    def _check_called(self, method: str) -> None:
        if self.save_spec() is None:
            raise ValueError(
                f"{type(self).__name__} was never called, so that Keras does not know its inputs: call it once, on any "
                f"text, before {method}()"
            )

    @property
    def _keras_history(self) -> Any:
        """What Keras 3 asks any object for that is to be part of one of its models: there the reason is given."""
        if sys._getframe(1).f_globals.get("__name__", "").startswith("keras."):
            raise TypeError(f"a model of Keras 3 cannot hold a {type(self).__name__}, {LEGACY_KERAS}")
        raise AttributeError("_keras_history")

    # Outputs.

    def finish(self, body: Mapping[str, Any], return_dict: bool | None, **results: Any) -> Any:
        """The head's output object, or a tuple of what is there.

        Args:
            body: output of the encoder, or what it holds: its states and attentions are passed on.
            return_dict: default ``config.return_dict``.
            **results: the head's own entries; ``None`` is left out.
        """
        extra = {"hidden_states": body.get("hidden_states"), "attentions": body.get("attentions")}
        output = HEADS[self.head].output({**results, **extra})
        as_dict = self.config.use_return_dict if return_dict is None else return_dict
        return output if as_dict else output.to_tuple()

    # Parts.

    @property
    def base_model(self) -> tf_keras.Model:
        """The encoder without head."""
        name = self._encoder_name()
        return getattr(self, name) if name else self

    def get_input_embeddings(self) -> tf_keras.layers.Layer:
        """The word table."""
        return self.base_model.embeddings.word_embeddings

    def set_input_embeddings(self, table: tf_keras.layers.Layer) -> None:
        """Replace the word table: a layer that holds ``embeddings`` ``[V, E]``."""
        refuse_keras3(table=table)
        self.base_model.embeddings.word_embeddings = table
        surgery.forget_graphs(self)

    def get_output_embeddings(self) -> tf_keras.layers.Layer | None:
        """The layer that holds the matrix which predicts words, ``None`` for a model that does not."""
        for module in self._flatten_layers():
            if getattr(module, "predicts_words", False):
                return getattr(module, "decoder", self.get_input_embeddings())
        return None

    def set_output_embeddings(self, layer: tf_keras.layers.Layer) -> None:
        """Replace the layer that predicts words, a dense one without bias; a tied one is the word table."""
        for own in self._flatten_layers():
            if getattr(own, "predicts_words", False) and hasattr(own, "decoder"):
                own.decoder = layer
                surgery.forget_graphs(self)
                return
        raise ValueError(f"{type(self).__name__} has no word matrix of its own; use set_input_embeddings")

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> tf_keras.layers.Layer:
        """Cut or continue the word table, and with it the bias (and matrix) that predicts words.

        A compiled model has to be compiled again: its optimiser knows the old table.

        Args:
            new_num_tokens: rows; default as many as now.
            pad_to_multiple_of: round the rows up to a multiple.
            mean_resizing: let new rows begin as the mean of the old ones, instead of at random around zero.

        Returns:
            The word table.

        Raises:
            ValueError: if the pad token's row would be cut off, or a multiple is not of whole rows.
        """
        count = resized_vocabulary(self.config, new_num_tokens, pad_to_multiple_of)
        if count == self.config.vocab_size:
            return self.get_input_embeddings()
        return surgery.resize_token_embeddings(self, count, mean=mean_resizing)

    def prune_heads(self, heads_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Cut attention heads out for good; the config remembers, so saving, loading and conversion keep it.

        A compiled model has to be compiled again: its optimiser knows the old weights.

        Args:
            heads_to_prune: numbers of heads by number of the layer, counted as in the uncut model.

        Raises:
            ValueError: for heads that do not exist, a layer left without heads, or a model with talking heads or
                prepared for inference.
        """
        surgery.prune_heads(self, heads_to_prune)

    def prune_layers(self, layers_to_prune: Iterable[int]) -> None:
        """Cut layers out for good; those that stay move up.

        A compiled model has to be compiled again: its optimiser knows the old weights.

        Args:
            layers_to_prune: their numbers.

        Raises:
            ValueError: for layers that do not exist, all of them, or a model prepared for inference.
        """
        surgery.prune_layers(self, layers_to_prune)

    def prune_intermediate(self, columns_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Cut columns out between the two halves of the feed-forward parts for good, as many in each layer.

        A compiled model has to be compiled again: its optimiser knows the old weights.

        Args:
            columns_to_prune: their numbers by number of the layer.

        Raises:
            ValueError: for columns that do not exist, another number in some layer, all of them, or a model prepared
                for inference.
        """
        surgery.prune_intermediate(self, columns_to_prune)

    # Training.

    def gradient_checkpointing_enable(self) -> None:
        """Recompute each layer in the backward pass: less memory, the same gradients."""
        self.base_model.encoder.set_checkpointing(True)

    def gradient_checkpointing_disable(self) -> None:
        """Keep the states of all layers for the backward pass again."""
        self.base_model.encoder.set_checkpointing(False)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers are recomputed in the backward pass."""
        return bool(self.base_model.encoder.checkpointing)

    def parameter_groups(self, weight_decay: float = 0.01) -> list[dict[str, Any]]:
        """Groups for an optimiser: weight decay for matrices and tables, none for biases and norms.

        ``optimizer.exclude_from_weight_decay(model.parameter_groups()[1]["params"])`` tells one of Keras, before the
        first step.

        Args:
            weight_decay: of the first group.
        """
        trainable = self.trainable_weights
        return [
            {"params": [v for v in trainable if len(v.shape) > 1], "weight_decay": weight_decay},
            {"params": [v for v in trainable if len(v.shape) <= 1], "weight_decay": 0.0},
        ]

    # Keras.

    def get_config(self) -> dict[str, Any]:
        """What ``from_config`` builds the model from."""
        return {"config": self.config.to_dict(), "name": self.name}

    @classmethod
    def from_config(
        cls,
        config: Any,
        custom_objects: Any = None,
        *,
        dtype: tf.DType | str | None = None,
        torch_dtype: Any = None,
        attn_implementation: str | None = None,
        trust_remote_code: bool = False,
    ) -> Self:
        """A model with starting weights.

        Args:
            config: of the family, or transformers' object; or what ``get_config`` gave, with which Keras calls.
            custom_objects: of Keras; not needed.
            dtype: of the weights; default that of the policy in force.
            torch_dtype: older name of ``dtype``.
            attn_implementation: instead of the config's.
            trust_remote_code: of old scripts; without effect.
        """
        if not isinstance(config, Mapping):
            if attn_implementation is not None:  # in a copy: the caller's config may be that of other models
                config = cls.config_class.of(config, cls.__name__).copy(attn_implementation=attn_implementation)
            with policy(read_policy(dtype if dtype is not None else torch_dtype, set())):
                return cls(config)
        model = cls(cls.config_class.from_dict(config["config"]))
        model._name = config.get("name", model.name)
        return model

    def load_own_variables(self, store: Any) -> None:
        """What Keras calls first when it reads a file of its own.

        It calls the group of a layer by the layer's class. That of the encoder was once ``TFModel``, and files written
        then are read as well: Keras' store, which only its caller holds, looks for the new name at the old place.
        """
        at = getattr(store, "name", "/vars").removesuffix("vars").lstrip("/") + "layers/"
        new, old = (at + to_snake_case(name) for name in (type(self.base_model).__name__, "TFModel"))
        held: Any = sys._getframe(1).f_locals.get("weights_store")
        files = getattr(held, "h5_file", {})
        if old in files and new not in files:
            get = held.get
            held.get = lambda path: get(old + path.removeprefix(new) if f"{path}/".startswith(f"{new}/") else path)
        super().load_own_variables(store)

    def num_parameters(self, only_trainable: bool = False) -> int:
        """Number of scalars in the weights."""
        found = self.trainable_weights if only_trainable else self.weights
        return sum(int(np.prod(v.shape)) for v in found if v.dtype.is_floating)  # dropout's count is no weight

    # Loading and saving.

    @overload
    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | Folder | None = None,
        *model_args: Any,
        config: BaseConfig | str | os.PathLike[str] | None = None,
        dtype: tf.DType | str | None = None,
        torch_dtype: Any = None,
        key_mapping: Mapping[str, str] | None = None,
        subfolder: str = "",
        variant: str | None = None,
        generator: bool = False,
        from_pt: bool = False,
        use_safetensors: bool | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: Literal[False] = False,
        prepare: bool = False,
        **overrides: Any,
    ) -> Self: ...
    @overload
    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | Folder | None = None,
        *model_args: Any,
        output_loading_info: Literal[True],
        **options: Any,
    ) -> tuple[Self, dict[str, Any]]: ...
    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | Folder | None = None,
        *model_args: Any,
        config: BaseConfig | str | os.PathLike[str] | None = None,
        dtype: tf.DType | str | None = None,
        torch_dtype: Any = None,
        key_mapping: Mapping[str, str] | None = None,
        subfolder: str = "",
        variant: str | None = None,
        generator: bool = False,
        from_pt: bool = False,
        use_safetensors: bool | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        prepare: bool = False,
        **overrides: Any,
    ) -> Any:
        """A model with the weights of a checkpoint.

        Args:
            path: folder with ``config.json`` and weights of any format: h5, safetensors or bin, sharded or not;
                or a name on the hub, such as ``microsoft/deberta-v3-base``; or a folder that is open already. Also as
                ``pretrained_model_name_or_path``.
            *model_args: further arguments of a class of your own; keywords of its ``__init__`` are handed on, too.
            config: instead of the folder's: an object, ours or transformers', or where to load one from.
            dtype: of the weights; default float32 whatever the file holds; ``"auto"``: that of the file.
            torch_dtype: older name of ``dtype``.
            key_mapping: patterns and what takes their place in the file's names, as of ``re.sub``. One prefix that a
                wrapper puts before all names of a PyTorch file (``module.``, ``_orig_mod.``) is taken off without.
            subfolder: folder below ``path``.
            variant: take ``tf_model.<variant>.h5`` and the like.
            generator: take the generator beside a discriminator: ``pytorch_model.generator.bin`` (or
                ``model.generator.safetensors``) and ``generator_config.json``.
            from_pt: take PyTorch's file even if there are others.
            use_safetensors: take only (``True``) or never (``False``) safetensors.
            ignore_mismatched_sizes: start a head afresh where its shape differs from the file's.
            output_loading_info: also return what was missing, unexpected, mismatched and renamed, as a dict of lists.
            prepare: give the model as ``optimize_for_inference`` makes it, which holds its weights once.
            **overrides: config fields to change; for the hub, the fields of ``HubOptions``.

        Returns:
            The model, or the model and the loading info.

        Raises:
            FileNotFoundError: if config or weights are not there.
            TypeError: for an unknown keyword.
            ValueError: if the file is damaged, lacks weights of the encoder, or does not fit the config.
        """
        options = {**overrides, "config": config, "subfolder": subfolder or "", "generator": generator}
        options |= {"from_pt": from_pt, "use_safetensors": use_safetensors, "variant": variant}
        path = take_keywords(path, options)
        own = cls._own_arguments(options)
        if path is None:
            raise TypeError(f"{cls.__name__}.from_pretrained takes a folder or a name, got None")
        with open_folder(path, options, FORMATS, cls.head) as folder:
            folder.weights = file = widened(with_plain_names(folder.weights, key_mapping))
            config = read_config(cls, folder, options)
            checked: dict[str, Any] = {"name": cls.__name__, "ignore_mismatched": ignore_mismatched_sizes}
            asked = dtype if dtype is not None else torch_dtype
            if cls._has_own_layers():
                with policy(read_policy(asked, {info.dtype for info in file.tensors.values()})):
                    model = cls(config, *model_args, **own)
                    model.build_in_name_scope()
                wanted = model.weight_rows()
                file = with_side_file(file, folder.path, wanted)
                report = plan_load(file, config, wanted, **checked)
            else:  # all is known before anything is built
                report = plan_load(file, config, weights(config, cls.head), **checked)
                with policy(read_policy(asked, {file.tensors[name].dtype for name in report.sources.values()})):
                    model = cls(config)
            model.load_file(file, report)
        if prepare:
            model = optimize_for_inference(model)
        return (model, loading_info(report)) if output_loading_info else model

    @classmethod
    def _has_own_layers(cls) -> bool:
        """Whether a user wrote its ``__init__``: nobody knows its weights before it is built."""
        return not cls.__init__.__module__.startswith("deberta_tf.")

    @classmethod
    def _own_arguments(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Take out of the keywords those of a user's ``__init__``."""
        if not cls._has_own_layers():
            return {}
        known = cls.config_class._named_fields()
        taken = inspect.signature(cls.__init__).parameters
        names = [name for name in taken if name not in ("self", "config")]
        names += ["name"] * any(p.kind is p.VAR_KEYWORD for p in taken.values())  # for Keras
        return {name: options.pop(name) for name in names if name in options and name not in known}

    def load_file(self, file: TensorFile, report: LoadReport) -> None:
        """Fill the model from an open checkpoint, one tensor at a time.

        Args:
            file: the checkpoint.
            report: what ``plan_load`` found in it.
        """
        wanted = self.weight_rows()
        for key, name in report.sources.items():
            if key not in report.fresh:
                array = read_tensor(file, name)
                variable = self.variable(wanted[key])
                variable.assign(tf.cast(array.T if wanted[key].transposed else array, variable.dtype))
        self.__dict__["unused_tensors"] = unused_tensors(file, report, self.config.model_type)
        self.__dict__["integers"] = integers_of(file, report.sources)

    def kept_integers(self) -> dict[str, Integers]:
        """The integers of weights that are still what those stand for, by full key."""
        rows, found = self.weight_rows() if self.integers else {}, {}
        for key, held in self.integers.items():
            variable = self.variable(rows[key])
            stored = tuple(variable.shape)
            if (stored[::-1] if rows[key].transposed else stored) != held.values.shape:
                continue
            wide = held.widened()
            wanted = tf.cast(wide.T if rows[key].transposed else wide, variable.dtype)
            if bool(tf.reduce_all(variable == wanted)):
                found[key] = held
        return found

    def weight_rows(self) -> dict[str, Weight]:
        """The model's weights by full published key, those of a user's layers by their attributes."""
        known = weights(self.config, self.head or "Model")
        if not self._has_own_layers():
            return known
        by_attribute = {weight.tf_attribute: weight for weight in known.values()}
        before, rows = self._encoder_name() + ".", {}
        for path in self._weight_paths():
            name = ".".join(map(str, path))
            inside = self.head == "Model" or name.startswith(before)
            row = by_attribute.get("deberta." + name.removeprefix(before) if inside else name)
            if row is None:
                # Keras keeps layers of a functional model in a list of this name, which says nothing to a reader.
                tf_name = "/".join(str(part) for part in path if part != "_self_tracked_trackables") + ":0"
                row = Weight(to_pt(tf_name, family=self.config.model_type), (), tf_name, name)
            shape = tuple(self.variable(replace(row, tf_attribute=name)).shape)
            rows[row.key] = replace(row, shape=shape[::-1] if row.transposed else shape, tf_attribute=name)
        return rows

    def _weight_paths(self) -> list[tuple[Any, ...]]:
        """Attributes and positions in lists that lead to each weight, those of the encoder first."""
        encoder, left = self._encoder_name(), {id(variable) for variable in self.weights}
        seen: set[int] = set()

        def walk(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
            if id(value) in seen:
                return
            seen.add(id(value))
            if id(value) in left:
                yield path
            elif isinstance(value, tf_keras.Sequential):
                yield from walk(value.layers, path)  # without what Keras puts before the first
            elif isinstance(value, tf.Module):
                names = [name for name in vars(value) if name != "_obj_reference_counts_dict"]
                # Keras' own lists, whose names say nothing, come last.
                for name in sorted(names, key=lambda name: (name.startswith("_"), name != encoder, name)):
                    yield from walk(vars(value)[name], (*path, name))
            elif isinstance(value, (list, tuple, Mapping)):
                items = value.items() if isinstance(value, Mapping) else enumerate(value)
                for key, part in items:
                    yield from walk(part, (*path, key))

        return [path for path in walk(self, ()) if path[-1] != "dropout_state"]

    def _encoder_name(self) -> str:
        """Attribute that holds the encoder, under whatever name; empty for the encoder itself and where there are
        several.
        """
        if self.head == "Model" or hasattr(self, self.base_model_prefix):
            return "" if self.head == "Model" else self.base_model_prefix
        inside = [name for name, value in vars(self).items() if getattr(value, "head", None) == "Model"]
        return inside[0] if len(inside) == 1 else ""

    def variable(self, weight: Weight) -> tf.Variable:
        """The variable of a weight, found by attribute path."""
        path = weight.tf_attribute.split(".")
        found: Any = self
        for part in path[1:] if self.head == "Model" and path[0] == "deberta" else path:
            found = found.layers if isinstance(found, tf_keras.Sequential) else found
            if isinstance(found, Mapping):
                found = found[part]
            else:
                found = found[int(part)] if part.isdigit() else getattr(found, part)
        return found

    def save_pretrained(
        self,
        path: str | os.PathLike[str],
        *,
        safe_serialization: bool = False,
        max_shard_size: int | str = "5GB",
        variant: str | None = None,
        saved_model: bool = False,
        version: int = 1,
        signatures: Any = None,
        push_to_hub: bool = False,
        **hub: Any,
    ) -> None:
        """Write ``config.json``, the weights and, where there is none, a model card; a reader meets the old
        state or the new one.

        Tensors of the loaded file that this class has no use for (heads of pretraining, say) are written back, in
        the model's dtype.

        Args:
            path: folder, made if needed.
            safe_serialization: ``model.safetensors`` with TF names, instead of ``tf_model.h5`` (default);
                ``tf_model.h5``, which is read first, does not stay beside the other.
            max_shard_size: bytes, or ``"500MB"``: larger models are written in several files.
            variant: put into the name of the weights: ``tf_model.<variant>.h5``.
            saved_model: write a SavedModel as well, into ``saved_model/<version>``, as TensorFlow Serving wants it.
            version: of the SavedModel.
            signatures: of the SavedModel; default ``serving`` for int32 and for int64 ids.
            push_to_hub: upload the files afterwards.
            **hub: keywords of ``push_to_hub``; ``repo_id`` is by default the name of the folder.

        Raises:
            OSError: if the folder cannot be written, or nothing be uploaded.
            TypeError: for an unknown keyword.
            ValueError: for bfloat16 weights, which h5 cannot hold.
        """
        if self.prepared:
            raise ValueError("a model prepared for inference cannot be saved; save the one it was made of")
        check_push(push_to_hub, hub, self.save_pretrained)
        with Replacement(Path(path)) as files:
            self.write_into(
                files, safe_serialization=safe_serialization, max_shard_size=max_shard_size, variant=variant,
                name=hub.get("repo_id"),
            )  # fmt: skip
            written = files.commit()
        if saved_model:
            self._save_servable(Path(path) / "saved_model" / str(version), signatures)
        if push_to_hub:
            push_saved(written, hub)

    def write_into(
        self,
        files: Replacement,
        *,
        safe_serialization: bool = False,
        max_shard_size: int | str = "5GB",
        variant: str | None = None,
        name: str | None = None,
        dtypes: Mapping[str, str] | None = None,
    ) -> None:
        """Add to a commit what ``save_pretrained`` writes, of which it also has the arguments.

        Args:
            files: the commit.
            safe_serialization: ``model.safetensors`` with TF names, or ``tf_model.h5``.
            max_shard_size: of one file.
            variant: put into the name of the weights.
            name: where the card's examples load the model from; default the folder's name.
            dtypes: what weights are stored in, by full key, and what the model has no use for; default its own dtype.
        """
        tensors, config, stored = [], self.saved_config(), dtypes or {}
        integers = self.kept_integers()
        for weight in self.weight_rows().values():
            variable = self.variable(weight)
            dtype = variable.dtype
            if weight.key not in integers:
                info = TensorInfo(weight.tf_name, tuple(variable.shape), dtype.name)
                tensors.append(stored_as(info, _reader(variable), stored.get(weight.key)))
                continue
            for leaf, array in integers[weight.key].tensors("weight").items():
                own = weight.tf_name if leaf == "weight" else scale_of(weight.tf_name, leaf)
                array = np.ascontiguousarray(array.T) if leaf == "weight" and weight.transposed else array
                tensors.append((TensorInfo(own, array.shape, array.dtype.name), array))
        note_method(config, bool(integers))
        config.extra["dtype"] = stored.get(next(iter(self.weight_rows())), config.extra["dtype"])
        for key, unused in self.unused_tensors.items():
            own, transposed = tf_name_of(key, self.config)
            shape, wanted = unused.shape[::-1] if transposed else unused.shape, tf.as_dtype(unused.dtype)
            wanted = dtype if wanted.is_floating else wanted
            info = TensorInfo(own, shape, wanted.name)
            tensors.append(stored_as(info, _later(unused, transposed, wanted), stored.get(key)))
        if not safe_serialization and any(info.dtype == "bfloat16" for info, _ in tensors):
            raise ValueError("h5 cannot hold weights of type bfloat16; save with safe_serialization=True, or cast them")
        format = "safetensors" if safe_serialization else "h5"
        write_weights(
            files, tensors, format=format, naming="tf", max_shard_size=max_shard_size,
            h5=h5_layout(self.config, self.head or "Model", [info.name for info, _ in tensors]),
            file_name=with_variant(weights_name(format), variant),
            instead_of=set(weights_files(FORMATS[: FORMATS.index(format)], variant).values()),
        )  # fmt: skip
        write_config_and_card(files, config, name)

    def _save_servable(self, folder: Path, signatures: Any) -> None:
        """Write a SavedModel: a new folder in one step, as TensorFlow Serving loads a version once its folder is there;
        into one that is there already, which no step can replace, as one commit of files.
        """
        if self.save_spec() is None:  # Keras saves what it has seen run
            self(self.dummy_inputs, training=False)
        signatures = self.serving_signatures() if signatures is None else signatures
        with Replacement(folder.parent) as whole:
            made = whole.create(folder.name, folder=True)
            self.save(made, include_optimizer=False, save_traces=False, signatures=signatures)
            if not folder.exists():
                whole.commit()
                return
            with Replacement(folder) as files:
                before = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
                files.drop([name for name in before if not is_leftover(name.partition("/")[0])])
                for path in sorted(path for path in made.rglob("*") if path.is_file()):
                    os.replace(path, files.create(path.relative_to(made).as_posix()))
                files.commit()

    def saved_config(self) -> BaseConfig:
        """The config as written beside the weights: with PyTorch's class name, as published files have it, and
        dtype.
        """
        config = self.config.copy()
        dtype = self.variable(next(iter(self.weight_rows().values()))).dtype.name
        config.extra.update(architectures=[type(self).__name__.removeprefix("TF")], dtype=dtype)
        config.extra.pop("torch_dtype", None)
        return config


def _any_length(x: Any, name: str) -> tf.TensorSpec:
    """The spec of an input of any number and length of texts; the width of given embeddings stays."""
    kept = [x.shape[-1]] if name == "inputs_embeds" else []
    return tf.TensorSpec([None] * (len(x.shape) - len(kept)) + kept, x.dtype, name=name)


def read_policy(dtype: Any, stored: set[str]) -> str | None:
    """The dtype policy of a model with weights of ``dtype``; ``None``: the one in force.

    Args:
        dtype: asked for; ``None``: what the policy in force says, float32 as a rule; ``"auto"``: the file's if it has
            one. A policy in force whose weights are of this type stays, such as ``mixed_bfloat16`` for float32.
        stored: dtypes of the file.

    Raises:
        ValueError: for a name that is no floating-point dtype.
    """
    if dtype == "auto":
        dtype = next(iter(stored)) if len(stored) == 1 else "float32"
    if dtype is None:
        return None
    try:
        found = tf.as_dtype(str(dtype).removeprefix("torch.") if not isinstance(dtype, tf.DType) else dtype)
    except TypeError:
        found = None
    if found is None or not found.is_floating:
        raise ValueError(f"dtype is {dtype!r}, expected 'auto' or a floating-point dtype such as tf.bfloat16")
    return None if found.name == policy_in_force().variable_dtype else str(found.name)


def _later(unused: UnusedTensor | HeldTensor, transposed: bool, dtype: tf.DType) -> Any:
    """A function that reads an unused tensor."""

    def read() -> np.ndarray[Any, Any]:
        array = unused.read()
        return np.asarray(_reader(tf.cast(tf.constant(array.T if transposed else array), dtype))())

    return read


def _reader(variable: tf.Variable) -> Any:
    """The variable as NumPy, when it is written: bfloat16 as its bits."""

    def read() -> np.ndarray[Any, Any]:
        array = variable.numpy()
        return array.view(np.uint16) if variable.dtype == tf.bfloat16 else array

    return read
