"""What all models share: starting, loading and saving weights, outputs."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, ParamSpec, Protocol, Self, TypeVar, overload

import numpy as np
import torch
from torch import Tensor, nn

from deberta_core.checkpoint import NamedTensors, TensorFile, TensorInfo, write_weights
from deberta_core.checkpoint.tensors import stored_as
from deberta_core.config import BaseConfig, resized_vocabulary
from deberta_core.file_names import weights_files, weights_name, with_variant
from deberta_core.files import Replacement
from deberta_core.folder import Folder, open_folder, open_in_memory
from deberta_core.heads import HEADS, weights
from deberta_core.hub.card import write_config_and_card
from deberta_core.hub.pushing import PushToHub, check_push, push_saved
from deberta_core.integers import Integers, integers_of, note_method, widened
from deberta_core.loading import (
    QUANTISED,
    HeldTensor,
    LoadReport,
    Unused,
    UnusedTensor,
    loading_info,
    match_names,
    plain_names,
    plan_load,
    read_config,
    read_tensor,
    take_keywords,
    unused_tensors,
    with_plain_names,
    with_side_file,
)
from deberta_core.weight_names import HEAD_MODULES, Weight, tf_name_of
from deberta_pt import surgery
from deberta_pt.by_others import STORED, quantised_by_others
from deberta_pt.documented import Documented
from deberta_pt.fast.inference import optimize_for_inference
from deberta_pt.placing import place
from deberta_pt.starting import Filling, filled_later, read_dtype

FORMATS = ("safetensors", "bin", "h5")

Inputs = ParamSpec("Inputs")
Output = TypeVar("Output", covariant=True)


class Runs(Protocol[Inputs, Output]):
    """A model as type checkers see it: calling it takes and gives what its ``forward`` does, a user's own too."""

    def forward(self, *inputs: Inputs.args, **named: Inputs.kwargs) -> Output:
        """As the model's."""


class PreTrainedModel(Documented, PushToHub, nn.Module):
    """Base of all models; use ``DebertaPreTrainedModel`` or ``DebertaV2PreTrainedModel`` to ask for a family."""

    config_class: ClassVar[type[BaseConfig]] = BaseConfig
    encoder_class: ClassVar[Any]  # of a family, for its heads
    head: ClassVar[str] = ""
    base_model_prefix: ClassVar[str] = "deberta"
    main_input_name: ClassVar[str] = "input_ids"
    supports_gradient_checkpointing: ClassVar[bool] = True
    prepared: bool = False  # for inference
    quantization_method: str | None = None  # library that quantised its layers on loading

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        config = self.config_class.of(config, type(self).__name__)
        self.config = config
        self.unused_tensors: Unused = {}  # of the file it was loaded from, for saving
        self.integers: dict[str, Integers] = {}  # that weights of that file stand for, by full key
        self.quantization: Any = None  # what ``quantize`` found
        self._input_hook: Any = None
        self.register_load_state_dict_pre_hook(_read_published_names)

    if TYPE_CHECKING:

        @overload
        def __call__(self: Runs[Inputs, Output], *inputs: Inputs.args, **named: Inputs.kwargs) -> Output: ...
        @overload  # a dict of tensors taken apart, arrays, lists
        def __call__(self: Runs[..., Output], *inputs: Any, **named: Any) -> Output: ...
        def __call__(self, *inputs: Any, **named: Any) -> Any:
            """As ``forward``."""
            ...

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

    # Starting weights.

    def initialise(self) -> None:
        """Give every weight its starting value; models inside this one have done so for their own."""
        if not all(weight.is_meta for weight in self.parameters()):  # else a checkpoint gives them memory and values
            inside = tuple(f"{name}." for name, m in self.named_modules() if name and isinstance(m, PreTrainedModel))
            for name, module in self.named_modules():
                if not f"{name}.".startswith(inside):
                    self._init_weights(module)
        if self.config.gradient_checkpointing:  # as configs of old scripts ask for it
            self.gradient_checkpointing_enable()

    # Parts.

    @property
    def base_model(self) -> nn.Module:
        """The encoder without head."""
        return self.get_submodule(self._encoder_name())

    @property
    def device(self) -> torch.device:
        """Device of the first weight that is not away: accelerate keeps those of other devices on ``meta``."""
        weights = list(self.parameters())
        return next((weight for weight in weights if not weight.is_meta), weights[0]).device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the first weight."""
        return next(self.parameters()).dtype

    @property
    def vocab_size(self) -> int:
        """Rows of the word table."""
        return self.config.vocab_size

    def get_input_embeddings(self) -> nn.Embedding:
        """The word table."""
        table: nn.Embedding = self.base_model.get_submodule("embeddings").word_embeddings  # type: ignore[assignment]
        return table

    def set_input_embeddings(self, table: nn.Embedding) -> None:
        """Replace the word table."""
        self.base_model.get_submodule("embeddings").word_embeddings = table

    def get_output_embeddings(self) -> nn.Module | None:
        """A linear layer whose ``weight`` ``[V, E]`` predicts words, ``None`` for a model that does not.

        That of a tied model shares the word table and the head's bias; it is no part of the model.
        """
        for module in self.modules():
            if getattr(module, "predicts_words", False):
                tied = surgery.as_linear(self.get_input_embeddings().weight, module.bias)  # type: ignore[arg-type]
                return getattr(module, "decoder", tied)
        return None

    def set_output_embeddings(self, module: nn.Module) -> None:
        """Replace the matrix that predicts words; a tied one is the word table."""
        for own in self.modules():
            if getattr(own, "predicts_words", False) and hasattr(own, "decoder"):
                own.decoder = module
                return
        raise ValueError(f"{type(self).__name__} has no word matrix of its own; use set_input_embeddings")

    def tie_weights(self) -> None:
        """Nothing to do: a tied model holds the word table once. Yours is called at the end of building and loading."""

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Cut or continue the word table, and with it the bias (and matrix) that predicts words.

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

        Args:
            heads_to_prune: numbers of heads by number of the layer, counted as in the uncut model.

        Raises:
            ValueError: for heads that do not exist, a layer left without heads, or a model with talking heads or
                prepared for inference.
        """
        surgery.prune_heads(self, heads_to_prune)

    def prune_layers(self, layers_to_prune: Iterable[int]) -> None:
        """Cut layers out for good; those that stay move up.

        Args:
            layers_to_prune: their numbers.

        Raises:
            ValueError: for layers that do not exist, all of them, or a model prepared for inference.
        """
        surgery.prune_layers(self, layers_to_prune)

    def prune_intermediate(self, columns_to_prune: Mapping[int, Iterable[int]]) -> None:
        """Cut columns out between the two halves of the feed-forward parts for good, as many in each layer.

        Args:
            columns_to_prune: their numbers by number of the layer.

        Raises:
            ValueError: for columns that do not exist, another number in some layer, all of them, or a model prepared
                for inference.
        """
        surgery.prune_intermediate(self, columns_to_prune)

    # Training.

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None) -> None:
        """Recompute each layer in the backward pass: less memory, the same gradients.

        Args:
            gradient_checkpointing_kwargs: for ``torch.utils.checkpoint.checkpoint``; both of its modes work, and
                ``use_reentrant`` is ``False`` by default.
        """
        self._encoder().set_checkpointing(True, **(gradient_checkpointing_kwargs or {}))

    def gradient_checkpointing_disable(self) -> None:
        """Keep the states of all layers for the backward pass again."""
        self._encoder().set_checkpointing(False)

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether layers are recomputed in the backward pass."""
        return self._encoder().checkpointing is not None

    def _encoder(self) -> Any:
        return self.base_model.get_submodule("encoder")

    def enable_input_require_grads(self) -> None:
        """Let gradients flow into the embeddings' output even if all tables are frozen, as adapters need."""
        if self._input_hook is None:
            table = self.get_input_embeddings()
            self._input_hook = table.register_forward_hook(_require_grad)

    def disable_input_require_grads(self) -> None:
        """Undo ``enable_input_require_grads``."""
        if self._input_hook is not None:
            self._input_hook.remove()
            self._input_hook = None

    def parameter_groups(self, weight_decay: float = 0.01) -> list[dict[str, Any]]:
        """Groups for an optimiser: weight decay for matrices and tables, none for biases and norms.

        Args:
            weight_decay: of the first group.
        """
        trainable = [p for p in self.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
        ]

    # Loading and saving.

    @overload
    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | Folder | None = None,
        *model_args: Any,
        config: BaseConfig | str | os.PathLike[str] | None = None,
        state_dict: Mapping[str, Tensor] | None = None,
        key_mapping: Mapping[str, str] | None = None,
        device_map: Any = None,
        offload_folder: str | os.PathLike[str] | None = None,
        max_memory: Any = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        subfolder: str = "",
        variant: str | None = None,
        generator: bool = False,
        from_tf: bool = False,
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
        state_dict: Mapping[str, Tensor] | None = None,
        key_mapping: Mapping[str, str] | None = None,
        device_map: Any = None,
        offload_folder: str | os.PathLike[str] | None = None,
        max_memory: Any = None,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        subfolder: str = "",
        variant: str | None = None,
        generator: bool = False,
        from_tf: bool = False,
        use_safetensors: bool | None = None,
        ignore_mismatched_sizes: bool = False,
        output_loading_info: bool = False,
        prepare: bool = False,
        **overrides: Any,
    ) -> Any:
        """A model with the weights of a checkpoint, in evaluation mode.

        Args:
            path: folder with ``config.json`` and weights of any format: safetensors, bin or h5, sharded or not;
                or a name on the hub, such as ``microsoft/deberta-v3-base``; or a folder that is open already. Also as
                ``pretrained_model_name_or_path``.
            *model_args: further arguments of a class of your own; keywords of its ``__init__`` are handed on, too.
            config: instead of the folder's: an object, ours or transformers', or where to load one from.
            state_dict: weights by name, instead of the folder's.
            key_mapping: patterns and what takes their place in the file's names, as of ``re.sub``. One prefix that a
                wrapper puts before all names (``module.``, ``_orig_mod.``) is taken off without.
            device_map: where the weights go: a device, ``"auto"``, or devices by module, for several of which the
                package accelerate is needed.
            offload_folder: for modules whose device is ``"disk"``.
            max_memory: by device, for ``"auto"`` and its like to keep to; needs accelerate.
            dtype: of the weights; default float32 whatever the file holds; ``"auto"``: that of the file.
            torch_dtype: older name of ``dtype``.
            subfolder: folder below ``path``.
            variant: take ``model.<variant>.safetensors`` and the like.
            generator: take the generator beside a discriminator: ``pytorch_model.generator.bin`` (or
                ``model.generator.safetensors``) and ``generator_config.json``.
            from_tf: take ``tf_model.h5`` even if there are others.
            use_safetensors: take only (``True``) or never (``False``) safetensors.
            ignore_mismatched_sizes: start a head afresh where its shape differs from the file's.
            output_loading_info: also return what was missing, unexpected, mismatched and renamed, as a dict of lists,
                and the prefix that was ``taken_off``.
            prepare: give the model as ``optimize_for_inference`` makes it, which holds its weights once.
            **overrides: config fields to change; for the hub, the fields of ``HubOptions``; for layers that other
                libraries quantise ``quantization_config`` (``BitsAndBytesConfig``, or a config of torchao),
                ``load_in_8bit`` or ``load_in_4bit``.

        Returns:
            The model, or the model and the loading info.

        Raises:
            FileNotFoundError: if config or weights are not there.
            ImportError: if a library that is to quantise is not installed.
            TypeError: for an unknown keyword.
            ValueError: if the file is damaged, lacks weights of the encoder, or does not fit the config.
        """
        options = {**overrides, "config": config, "subfolder": subfolder or "", "generator": generator}
        options |= {"from_tf": from_tf, "use_safetensors": use_safetensors, "variant": variant}
        path = take_keywords(path, options, quantises=True)
        small = {name: given for name in QUANTISED if (given := options.pop(name, None))}
        if small and prepare:
            raise ValueError(f"prepare=True fuses layers, which {next(iter(small))} wants whole; leave one of them out")
        own = cls._own_arguments(options)
        if path is None and (state_dict is None or options["config"] is None):
            raise TypeError(f"{cls.__name__}.from_pretrained takes a folder or a name, or a config and a state_dict")
        in_memory = None if state_dict is None else NamedTensors(_tensors(state_dict))
        opening = partial(open_in_memory, weights=in_memory) if in_memory else partial(open_folder, known=FORMATS)
        with opening(path, options, head=cls.head) as folder:
            folder.weights = file = widened(with_plain_names(folder.weights, key_mapping))
            config = read_config(cls, folder, options)
            checked: dict[str, Any] = {"name": cls.__name__, "ignore_mismatched": ignore_mismatched_sizes}
            if cls._has_own_layers():
                with filled_later():
                    model = cls(config, *model_args, **own)
                wanted = model.weight_rows()
                file = with_side_file(file, folder.path, wanted)
                report = plan_load(file, config, wanted, **checked)
            else:  # all is known before anything is built
                report = plan_load(file, config, weights(config, cls.head), **checked)
                with torch.device("meta"):
                    model = cls(config)
            model.load_file(file, report, dtype if dtype is not None else torch_dtype)
        model = optimize_for_inference(model) if prepare else model.eval()
        if small:
            model = quantised_by_others(model, small, device_map)
        elif device_map is not None:
            model = place(model, device_map, max_memory, offload_folder)
        return (model, loading_info(report)) if output_loading_info else model

    @classmethod
    def _has_own_layers(cls) -> bool:
        """Whether a user wrote its ``__init__``: nobody knows its weights before it is built."""
        return not cls.__init__.__module__.startswith("deberta_pt.")

    @classmethod
    def _own_arguments(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Take out of the keywords those of a user's ``__init__``."""
        if not cls._has_own_layers():
            return {}
        known = cls.config_class._named_fields()
        names = [name for name in inspect.signature(cls.__init__).parameters if name not in ("self", "config")]
        return {name: options.pop(name) for name in names if name in options and name not in known}

    def load_file(self, file: TensorFile, report: LoadReport, dtype: torch.dtype | str | None) -> None:
        """Fill a model whose weights have no memory from an open checkpoint, one tensor at a time.

        Args:
            file: the checkpoint.
            report: what ``plan_load`` found in it.
            dtype: as ``from_pretrained``.
        """
        target = read_dtype(dtype, {file.tensors[n].dtype for n in report.sources.values()})
        if self._has_own_layers():
            self.to(target)
        filling = Filling(self, target)
        started = filling.start([self.own_key(key) for key in report.fresh])
        if started:  # has no effect on what is still without memory
            for module in started if self._has_own_layers() else self.modules():
                self._init_weights(module)
        for key, name in report.sources.items():
            if key not in report.fresh:
                filling.put(self.own_key(key), torch.from_numpy(np.array(read_tensor(file, name), order="C")))
        self.unused_tensors = unused_tensors(file, report, self.config.model_type)
        self.integers = integers_of(file, report.sources)
        self.tie_weights()

    def _later(self, key: str, unused: UnusedTensor | HeldTensor) -> tuple[TensorInfo, Any]:
        """What an unused tensor is written from: in the model's dtype if it is one of floats."""
        dtype = str(self.dtype).removeprefix("torch.") if "float" in unused.dtype else unused.dtype

        def read() -> np.ndarray[Any, Any]:
            tensor = torch.from_numpy(np.array(unused.read()))
            return np.asarray(_reader(tensor.to(self.dtype) if tensor.is_floating_point() else tensor)())

        return TensorInfo(key, unused.shape, dtype), read

    def kept_integers(self, state_dict: Mapping[str, Tensor] | None = None) -> dict[str, Integers]:
        """The integers of weights that are still what those stand for, by full key.

        Args:
            state_dict: weights instead of the model's own.
        """
        state = (self.state_dict() if state_dict is None else state_dict) if self.integers else {}
        found = {}
        for key, held in self.integers.items():
            weight = state.get(self.own_key(key))
            if weight is None or weight.shape != held.values.shape:
                continue
            if torch.equal(weight.detach().cpu(), torch.from_numpy(held.widened()).to(weight.dtype)):
                found[key] = held
        return found

    def weight_rows(self) -> dict[str, Weight]:
        """The model's weights by full published key, those of a user's layers by their names in the ``state_dict``."""
        known = weights(self.config, self.head or "Model")
        if not self._has_own_layers():
            return known
        before = self._encoder_name() + "."
        found: dict[int, tuple[str, Tensor]] = {}
        for name, tensor in self.state_dict(keep_vars=True).items():
            if isinstance(tensor, Tensor):
                found.setdefault(id(tensor), (name, tensor))  # a shared one once
        rows = {}
        for name, tensor in found.values():
            key = "deberta." + (name if self.head == "Model" else name.removeprefix(before))
            inside = key in known if self.head == "Model" else name.startswith(before)
            key = key if inside else name
            row = known.get(key) or Weight(key, (), tf_name_of(key, self.config)[0], key)
            rows[key] = replace(row, shape=tuple(tensor.shape))
        return rows

    def _encoder_name(self) -> str:
        """Attribute that holds the encoder, under whatever name; empty for the encoder itself and where there are
        several.
        """
        if self.base_model_prefix in self._modules or self.head == "Model":
            return "" if self.head == "Model" else self.base_model_prefix
        inside = [name for name, module in self.named_modules() if getattr(module, "head", None) == "Model"]
        return inside[0] if len(inside) == 1 else ""

    def own_key(self, key: str) -> str:
        """A full published key as this model's ``state_dict`` spells it: the encoder alone has no prefix."""
        name = self._encoder_name() if key.startswith("deberta.") else "deberta"
        return key if name == "deberta" else f"{name}.{key.removeprefix('deberta.')}".removeprefix(".")

    def save_pretrained(
        self,
        path: str | os.PathLike[str],
        *,
        safe_serialization: bool = True,
        max_shard_size: int | str = "5GB",
        state_dict: Mapping[str, Tensor] | None = None,
        is_main_process: bool = True,
        save_function: Any = None,
        variant: str | None = None,
        push_to_hub: bool = False,
        **hub: Any,
    ) -> None:
        """Write ``config.json``, the weights and, where there is none, a model card; a reader meets the old
        state or the new one.

        Tensors of the loaded file that this class has no use for (heads of pretraining, say) are written back, in
        the model's dtype.

        Args:
            path: folder, made if needed.
            safe_serialization: ``model.safetensors`` (default) or ``pytorch_model.bin``;
                ``model.safetensors``, which is read first, does not stay beside the other.
            max_shard_size: bytes, or ``"500MB"``: larger models are written in several files.
            state_dict: weights to write instead of the model's own.
            is_main_process: of several processes that call this, only the main one writes.
            save_function: without effect: files are written whole or not at all, which a function given could not do.
            variant: put into the name of the weights: ``model.<variant>.safetensors``.
            push_to_hub: upload the files afterwards.
            **hub: keywords of ``push_to_hub``; ``repo_id`` is by default the name of the folder.

        Raises:
            OSError: if the folder cannot be written, or nothing be uploaded.
            TypeError: for an unknown keyword.
            ValueError: for a model prepared for inference.
        """
        if self.prepared:
            raise ValueError("a model prepared for inference cannot be saved; save the one it was made of")
        if self.quantization_method:
            raise ValueError(STORED.format(self.quantization_method))
        if not is_main_process:
            return
        check_push(push_to_hub, hub, self.save_pretrained)
        with Replacement(Path(path)) as files:
            self.write_into(
                files, safe_serialization=safe_serialization, max_shard_size=max_shard_size, state_dict=state_dict,
                variant=variant, name=hub.get("repo_id"),
            )  # fmt: skip
            written = files.commit()
        if push_to_hub:
            push_saved(written, hub)

    def write_into(
        self,
        files: Replacement,
        *,
        safe_serialization: bool = True,
        max_shard_size: int | str = "5GB",
        state_dict: Mapping[str, Tensor] | None = None,
        variant: str | None = None,
        name: str | None = None,
        dtypes: Mapping[str, str] | None = None,
    ) -> None:
        """Add to a commit what ``save_pretrained`` writes, of which it also has the arguments.

        Args:
            files: the commit.
            safe_serialization: ``model.safetensors`` or ``pytorch_model.bin``.
            max_shard_size: of one file.
            state_dict: weights instead of the model's own.
            variant: put into the name of the weights.
            name: where the card's examples load the model from; default the folder's name.
            dtypes: what weights are stored in, by full key, and what the model has no use for; default its own dtype.
        """
        sources = {key: self._later(key, unused) for key, unused in self.unused_tensors.items()}
        sources |= _tensors(self.state_dict() if state_dict is None else state_dict)
        integers, config = self.kept_integers(state_dict), self.saved_config()
        if dtypes:
            stored = {**dtypes, **{self.own_key(key): dtype for key, dtype in dtypes.items()}}
            sources = {key: stored_as(*pair, stored.get(key)) for key, pair in sources.items()}
            config.extra["dtype"] = dtypes.get(next(iter(self.weight_rows())), config.extra["dtype"])
        for key, held in integers.items():
            own = held.tensors(self.own_key(key))
            sources |= {tensor: (TensorInfo(tensor, a.shape, a.dtype.name), a) for tensor, a in own.items()}
        note_method(config, bool(integers))
        format = "safetensors" if safe_serialization else "bin"
        write_weights(
            files, [sources[key] for key in sorted(sources)], format=format, max_shard_size=max_shard_size,
            file_name=with_variant(weights_name(format), variant),
            instead_of=set(weights_files(FORMATS[: FORMATS.index(format)], variant).values()),
        )  # fmt: skip
        write_config_and_card(files, config, name)

    def saved_config(self) -> BaseConfig:
        """The config as written beside the weights: with class name and dtype."""
        config = self.config.copy()
        name = type(self).__name__.removeprefix("FSDP")  # fully_shard gives a model a class of that name
        config.extra.update(architectures=[name], dtype=str(self.dtype).removeprefix("torch."))
        config.extra.pop("torch_dtype", None)
        return config


def _require_grad(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
    output.requires_grad_(True)


def _tensors(state_dict: Mapping[str, Any]) -> dict[str, tuple[TensorInfo, Any]]:
    """Each tensor by name, with its shape, its type and what reads it; other entries are left out."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict is a {type(state_dict).__name__}, expected a dict of tensors by name")
    if not any(isinstance(value, Tensor) for value in state_dict.values()):
        raise ValueError(f"state_dict has {len(state_dict)} entries and no tensor of PyTorch, expected tensors by name")
    return {
        name: (TensorInfo(name, tuple(value.shape), str(value.dtype).removeprefix("torch.")), _reader(value))
        for name, value in sorted(state_dict.items())
        if isinstance(value, Tensor)
    }


def _reader(value: Tensor) -> Any:
    """The tensor as NumPy, when it is read: bfloat16 as its bits."""

    def read() -> np.ndarray[Any, Any]:
        tensor = value.detach().cpu().contiguous()
        return tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()

    return read


def _read_published_names(model: nn.Module, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let ``load_state_dict`` take any published file: prefixes, old names, tied doubles and other models' heads."""
    if prefix or not isinstance(model, PreTrainedModel):
        return
    stored, has = plain_names(state_dict), set(model.state_dict(keep_vars=True))
    report = match_names(list(stored), model.weight_rows())
    own = {model.own_key(key): state_dict[stored[name]] for key, name in report.sources.items()}
    kept = [k for k in report.unexpected_keys if k in has or k.split(".")[0] not in HEAD_MODULES]
    foreign = {k: state_dict[stored[k]] for k in kept}
    state_dict.clear()
    state_dict.update({**own, **foreign})
