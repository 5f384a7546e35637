"""What the public documentation lists on every model, and scripts and libraries call, beside running and training it.

``docs/peers.md`` says how it is held against them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from deberta_core.beside import Beside
from deberta_core.heads import HEADS
from deberta_pt.starting import read_dtype


class Documented(Beside):
    """Names that any model answers for; mixed into ``PreTrainedModel``."""

    config: Any
    config_class: ClassVar[Any]
    head: ClassVar[str]
    taken_for = ("transformers.modeling_utils", "PreTrainedModel")

    framework: ClassVar[str] = "pt"
    is_parallelizable: ClassVar[bool] = False
    # Whether attention goes through transformers' own table of functions. Here ``config.attn_implementation`` chooses.
    _supports_sdpa: ClassVar[bool] = False
    _supports_flash_attn: ClassVar[bool] = False
    _supports_flex_attn: ClassVar[bool] = False
    _supports_attention_backend: ClassVar[bool] = False
    _can_compile_fullgraph: ClassVar[bool] = True
    _is_stateful: ClassVar[bool] = False
    _hf_peft_config_loaded: ClassVar[bool] = False
    _auto_class: ClassVar[str | None] = None
    # No weight must stay float32 in half precision, none goes under two names, none may be missing in silence.
    _keep_in_fp32_modules: ClassVar[list[str] | None] = None
    _keep_in_fp32_modules_strict: ClassVar[list[str] | None] = None
    _tied_weights_keys: ClassVar[list[str] | None] = None
    _keys_to_ignore_on_load_missing: ClassVar[list[str] | None] = None
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str] | None] = None
    _keys_to_ignore_on_save: ClassVar[list[str] | None] = None
    _skip_keys_device_placement: ClassVar[list[str] | None] = None
    # Modules that stay whole on one device, for accelerate.
    _no_split_modules: ClassVar[list[str] | None] = ["Embeddings", "Layer", "Convolution"]
    model_tags: list[str] | None = None

    @classmethod
    def can_generate(cls) -> bool:
        """An encoder does not generate text."""
        return False

    @classmethod
    def is_backend_compatible(cls) -> bool:
        """Whether attention goes through transformers' table of functions: no, see ``set_attn_implementation``."""
        return cls._supports_attention_backend

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        return False  # not by transformers' way of doing it; see ``set_attn_implementation``

    def set_attn_implementation(self, attn_implementation: str) -> None:
        """Choose how attention is computed from now on: see ``attn_implementation`` of the config.

        Raises:
            ValueError: for a name that is none of them.
        """
        self.config.attn_implementation = attn_implementation

    @property
    def warnings_issued(self) -> dict[str, bool]:
        """Warnings that other libraries have given about this model, so as to give them once."""
        found: dict[str, bool] = self.__dict__.setdefault("_warnings_issued", {})
        return found

    @property
    def name_or_path(self) -> str:
        """What the model was loaded from; empty for a new one."""
        return str(self.config.name_or_path)

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """A small batch that the model takes: ids ``[2, 5]``, or ``[2, 3, 5]`` where it chooses between texts."""
        shape = (2, 3, 5) if HEADS[self.head].by_choice else (2, 5)
        ids = torch.arange(torch.Size(shape).numel(), device=self.device) % self.config.vocab_size  # type: ignore[attr-defined]
        return {"input_ids": ids.reshape(shape)}

    def add_model_tags(self, tags: Iterable[str] | str) -> None:
        """Remember tags for the model's card."""
        known = self.model_tags or []
        new = [tags] if isinstance(tags, str) else list(tags)
        self.model_tags = known + [tag for tag in new if tag not in known]

    # Starting.

    def post_init(self) -> None:
        """Give a class of your own its starting weights; call it at the end of ``__init__``.

        A ``tie_weights`` of your own is called, too.
        """
        self.initialise()  # type: ignore[attr-defined]
        self.tie_weights()  # type: ignore[attr-defined]

    def init_weights(self) -> None:
        """Start all weights afresh, the encoder's too."""
        for module in self.modules():  # type: ignore[attr-defined]
            self._init_weights(module)

    initialize_weights = init_weights

    def _init_weights(self, module: nn.Module) -> None:
        """Starting values of one module's own weights; override it for layers of your own.

        Normal matrices, zero biases and pad row, unit norms. A convolution keeps PyTorch's default, as in the
        reference, and so do layers of other kinds.
        """
        with torch.no_grad():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0.0, self.config.initializer_range)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, self.config.initializer_range)
                if module.padding_idx is not None:
                    module.weight[module.padding_idx].zero_()
            elif isinstance(module, nn.LayerNorm):
                if module.elementwise_affine:
                    module.weight.fill_(1.0)
                if module.bias is not None:
                    module.bias.zero_()
            elif type(module).__module__.startswith("deberta_pt."):  # biases of no layer; a user's own start themselves
                for parameter in module.parameters(recurse=False):
                    parameter.zero_()

    @classmethod
    def _from_config(cls, config: Any, **options: Any) -> Self:
        return cls.from_config(config, **options)

    @classmethod
    def from_config(
        cls,
        config: Any,
        *,
        dtype: torch.dtype | str | None = None,
        torch_dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        trust_remote_code: bool = False,
    ) -> Self:
        """A model with starting weights.

        Args:
            config: of the family, or transformers' object.
            dtype: of the weights; default float32.
            torch_dtype: older name of ``dtype``.
            attn_implementation: instead of the config's.
            trust_remote_code: of old scripts; without effect.
        """
        if attn_implementation is not None:  # in a copy: the caller's config may be that of other models
            config = cls.config_class.of(config, cls.__name__).copy(attn_implementation=attn_implementation)
        model = cls(config)  # type: ignore[call-arg]
        return model.to(read_dtype(dtype if dtype is not None else torch_dtype, set()))  # type: ignore[attr-defined]

    # Memory.

    def add_memory_hooks(self) -> None:
        """Note for each module by how many bytes the process has grown during its calls: ``module.mem_rss_diff``.

        Raises:
            ImportError: without the package psutil.
        """
        for module in self.modules():  # type: ignore[attr-defined]
            module.register_forward_pre_hook(_before_call)
            module.register_forward_hook(_after_call)
        self.reset_memory_hooks_state()

    def reset_memory_hooks_state(self) -> None:
        """Begin to count at 0 again."""
        for module in self.modules():  # type: ignore[attr-defined]
            module.mem_rss_diff = module.mem_rss_pre_forward = module.mem_rss_post_forward = 0

    # Masks.

    def get_extended_attention_mask(
        self, attention_mask: Tensor, input_shape: Iterable[int] = (), device: Any = None, dtype: Any = None
    ) -> Tensor:
        """An additive mask for layers of your own: 0 where the mask is 1, the lowest number where it is 0.

        The models here take masks as they are, and no additive ones.

        Args:
            attention_mask: ``[B, L]`` or ``[B, L, L]``.
            input_shape: of the ids; not needed.
            device: not needed.
            dtype: of the result; default that of the model.

        Returns:
            ``[B, 1, 1, L]`` or ``[B, 1, L, L]``.

        Raises:
            ValueError: for a mask of another rank.
        """
        if attention_mask.dim() == 2:
            attention_mask = attention_mask[:, None, :]
        if attention_mask.dim() != 3:
            raise ValueError(f"the mask has shape {list(attention_mask.shape)}, expected [B, L] or [B, L, L]")
        return _additive(attention_mask[:, None], self.dtype if dtype is None else dtype)  # type: ignore[attr-defined]

    def invert_attention_mask(self, encoder_attention_mask: Tensor) -> Tensor:
        """As ``get_extended_attention_mask``."""
        return self.get_extended_attention_mask(encoder_attention_mask)

    def get_head_mask(
        self, head_mask: Tensor | None, num_hidden_layers: int, is_attention_chunked: bool = False
    ) -> Tensor | list[None]:
        """A mask of heads for layers of your own: ``[N]`` or ``[layers, N]`` as ``[layers, 1, N, 1, 1]``.

        Without a mask a list of ``None``, one for each layer.
        """
        if head_mask is None:
            return [None] * num_hidden_layers
        mask = head_mask if head_mask.dim() == 2 else head_mask.expand(num_hidden_layers, -1)
        mask = mask[:, None, :, None, None].to(self.dtype)  # type: ignore[attr-defined]
        return mask.unsqueeze(-1) if is_attention_chunked else mask

    # Sizes.

    def num_parameters(self, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Number of scalars in the weights.

        Args:
            only_trainable: leave out those without a gradient.
            exclude_embeddings: leave out all tables.
        """
        tables = [m.weight for m in self.modules() if isinstance(m, nn.Embedding)]  # type: ignore[attr-defined]
        left_out = {id(table) for table in tables} if exclude_embeddings else set()
        weights = [p for p in self.parameters() if id(p) not in left_out]  # type: ignore[attr-defined]
        return sum(p.numel() for p in weights if p.requires_grad or not only_trainable)

    def get_memory_footprint(self, return_buffers: bool = True) -> int:
        """Bytes that the weights take, with buffers by default."""
        tensors = [*self.parameters(), *(self.buffers() if return_buffers else ())]  # type: ignore[attr-defined]
        return sum(tensor.nelement() * tensor.element_size() for tensor in tensors)

    def estimate_tokens(self, input_dict: Mapping[str, Any]) -> int:
        """How many tokens a batch holds, padding included; 0 for one without ids."""
        main = input_dict.get(self.main_input_name)  # type: ignore[attr-defined]
        return 0 if main is None else int(main.numel())

    def floating_point_ops(self, input_dict: Mapping[str, Any], exclude_embeddings: bool = True) -> int:
        """About how many operations a step of training takes: six for each token and weight.

        Two of the forward pass, four of the backward one, as in the usual estimate; attention itself is not counted.

        Source: Kaplan et al. 2020 (arXiv 2001.08361), section 2.1.
        """
        return 6 * self.estimate_tokens(input_dict) * self.num_parameters(exclude_embeddings=exclude_embeddings)

    def get_parameter_or_buffer(self, target: str) -> Tensor:
        """A weight or buffer by its full name.

        Raises:
            AttributeError: if there is none of this name.
        """
        for found in (dict(self.named_parameters()), dict(self.named_buffers())):  # type: ignore[attr-defined]
            if target in found:
                return found[target]
        raise AttributeError(f"{target!r} is neither a parameter nor a buffer of {type(self).__name__}")


def _resident_bytes() -> int:
    try:
        import psutil
    except ImportError:
        raise ImportError("add_memory_hooks needs a package: pip install psutil") from None
    return int(psutil.Process().memory_info().rss)


def _before_call(module: Any, *_: Any) -> None:
    module.mem_rss_pre_forward = _resident_bytes()


def _after_call(module: Any, *_: Any) -> None:
    module.mem_rss_post_forward = _resident_bytes()
    module.mem_rss_diff += module.mem_rss_post_forward - module.mem_rss_pre_forward


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return (1.0 - mask.to(dtype)) * torch.finfo(dtype).min
