"""Every public name of transformers' classes, and what it is here: prints docs/transformers_names.md.

    python -m tests.peers.table > docs/transformers_names.md

A name that is on both sides and not listed below is the same; one that is missing here and not listed is an error.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

HEAD = """# Names of transformers' classes

What each public name of transformers' classes is here, for scripts whose import line changes. Made by
`python -m tests.peers.table` from the classes of transformers 4.57.6 and ours; names of `torch.nn.Module` and
of `tf_keras.Model` are inherited by both. **Same** is the same meaning; what is stricter here is said under **other**.
"""
SIZES = {"vocab_size": 30, "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}


@dataclass(frozen=True)
class Kind:
    """Classes to compare.

    Attributes:
        title: in the page.
        name: of the class on both sides.
        package: where ours is.
        base: module and name of what both inherit from, whose names are not listed.
        other: what differs, by name.
        left_out: why a name is not here.
        note: on a name of the base.
    """

    title: str
    name: str
    package: str
    base: tuple[str, str] = ("builtins", "object")
    other: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def names(self) -> tuple[set[str], set[str]]:
        """Public names there and here, those of the base left out."""
        base = set(dir(getattr(importlib.import_module(self.base[0]), self.base[1])))
        theirs, ours = (getattr(importlib.import_module(p), self.name) for p in ("transformers", self.package))
        there = {name for name in dir(theirs) if not name.startswith("_")} - base
        instance = ours(**SIZES) if self.name.endswith("Config") else ours
        return there, {name for name in there if hasattr(instance, name)}


ADAPTERS = "`peft.get_peft_model(model, ...)` does it, with our models as with theirs"
PLANS = "plans for transformers' own tensor parallelism; FSDP and `device_map` work"
LOADING = "a step of their loading"
DECODER = "an encoder has no decoder"
REMOTE = "classes from a repository's own code are never run"
CHATS = "no DeBERTa chats"

MODELS = Kind(
    "Models in PyTorch", "DebertaV2ForSequenceClassification", "deberta_pt", ("torch.nn", "Module"),
    other={
        "from_pretrained": "missing weights of the encoder and misfits are errors; an unknown keyword is a "
        "TypeError that names the near spelling; pickles are read as data, never run",
        "save_pretrained": "tensors that the class has no use for are written back; `save_function` has no effect: a "
        "folder is written whole or not at all",
        "set_attn_implementation": "the names of `attn_implementation` of our config; no nested dict",
        "can_generate": "always false",
        "get_output_embeddings": "of a tied model a layer that shares the word table, which is held once",
        "tie_weights": "a tied model holds the word table once; yours is called after building and loading",
        "is_backend_compatible": "false: attention is computed by ours, see `attn_implementation`",
        "invert_attention_mask": "for layers of your own; our models take masks as they are, and no additive ones",
        "estimate_tokens": "0 without a warning where a batch has no ids",
        "resize_token_embeddings": "refuses to cut off the pad token's row; a multiple below 1 is an error",
        "prune_heads": "all versions; refuses heads that do not exist, and models with talking heads",
        "gradient_checkpointing_enable": "keeps the random state of dropout in all modes",
        "push_to_hub": "also writes a model card where there is none",
    },
    left_out={
        **dict.fromkeys(("active_adapters", "add_adapter", "delete_adapter", "disable_adapters", "enable_adapters",
                         "get_adapter_state_dict", "load_adapter", "set_adapter"), ADAPTERS),
        **dict.fromkeys(("tp_plan", "tp_size", "pp_plan", "supports_tp_plan", "supports_pp_plan"), PLANS),
        **dict.fromkeys(("get_init_context", "retrieve_modules_from_names",
                         "get_correct_attn_implementation"), LOADING),
        **dict.fromkeys(("get_decoder", "set_decoder", "create_extended_attention_mask_for_decoder",
                         "tie_embeddings_and_encoder_decoder"), DECODER),
        **dict.fromkeys(("get_position_embeddings", "resize_position_embeddings"), "not for DeBERTa there either"),
        **dict.fromkeys(("to_bettertransformer", "reverse_bettertransformer"), "`optimize_for_inference` is faster"),
        **dict.fromkeys(("kernelize", "use_kernels"), "kernels of the hub; ours are chosen by `attn_implementation`"),
        "can_record_outputs": "how their classes collect states; ours return them",
        "dequantize": "layers that a library quantised on loading stay so; the folder has the floats",
        "get_compiled_call": "of generation",
        "loss_function": "`deberta_pt.losses` has the losses of the heads",
        "register_for_auto_class": REMOTE,
        "warn_if_padding_and_no_attention_mask": "a nag of each call",
    },
)  # fmt: skip
GENERATION = "an encoder does not generate text"
TENSORFLOW = Kind(
    "Models in TensorFlow", "TFDebertaV2ForSequenceClassification", "deberta_tf", ("tf_keras", "Model"),
    other={
        "from_pretrained": MODELS.other["from_pretrained"],
        "save_pretrained": "tensors that the class has no use for are written back; a SavedModel holds signatures, no "
        "traces of single layers",
        "can_generate": "always false",
        "build_in_name_scope": "makes the weights of layers of your own; all others exist from construction on",
        "create_model_card": "says what the config does; facts about a training are left out",
        "hf_compute_loss": "a scalar by PyTorch's rules, as all losses here; there one number a text",
        "prepare_tf_dataset": "a data set without rows, or without inputs of the model, is an error",
        "resize_token_embeddings": MODELS.other["resize_token_embeddings"],
        "prune_heads": MODELS.other["prune_heads"],
        "set_bias": "a model that predicts no words refuses",
        "push_to_hub": MODELS.other["push_to_hub"],
    },
    left_out={
        **dict.fromkeys(("beam_search", "compute_transition_scores", "contrastive_search", "generate", "greedy_search",
                         "prepare_inputs_for_generation", "sample", "seed_generator"), GENERATION),
        "register_for_auto_class": REMOTE,
    },
    note="`layers` of an encoder without a head are its parts, `embeddings` and `encoder`; there the first is the main "
    "layer, which here is the model itself (`model.deberta`, on both sides). A model in its own list would make every "
    "walk through `layers` endless, such as `summary(expand_nested=True)`; a shell around it would give the groups in "
    "Keras' weight files other names, and files that exist would not load. So `model.deberta.trainable = False`, not "
    "`model.layers[0].trainable = False`; with a head `layers[0]` is the encoder, as there.",
)  # fmt: skip
TOKENIZER_OTHER = {
    "from_pretrained": "an unknown keyword is a TypeError that names the near spelling; settings of other tokenizers "
    "without effect here (`from_slow`, `keep_accents`, ...) are kept and written back",
    "encode": "ids are those of SentencePiece itself (v2, v3) and of GPT-2's BPE (v1): see docs/tokenizers.md",
    "decode": "an id beyond the vocabulary, up to the model's table, is the unknown token; beyond that an error",
    "pad": "no warning for fast tokenizers",
    "truncate_sequences": "cutting more than a text has is an error",
    "add_special_tokens": "`additional_special_tokens` must be a list",
    "sanitize_special_tokens": "nothing to do",
    "num_special_tokens_to_add": "also by the template of a tokenizer.json",
    "save_pretrained": "files appear when all are complete",
}
TOKENIZER_LEFT_OUT = {
    **dict.fromkeys(("apply_chat_template", "encode_message_with_chat_template", "get_chat_template",
                     "save_chat_templates"), CHATS),
    "as_target_tokenizer": "`text_target=...` in the call",
    "convert_added_tokens": LOADING,
    "pretrained_vocab_files_map": "no list of names on the hub",
    "register_for_auto_class": REMOTE,
}  # fmt: skip
FAST = Kind(
    "Fast tokenizers", "DebertaV2TokenizerFast", "tokenization",
    other=TOKENIZER_OTHER | {
        "backend_tokenizer": "made of the present state; changing it changes nothing",
        "train_new_from_iterator": "special tokens get the ids of the published models; bytes are never left out",
    },
    left_out=TOKENIZER_LEFT_OUT | {
        "decoder": "`backend_tokenizer.decoder`",
        "set_truncation_and_padding": "a call changes no settings",
    },
)  # fmt: skip
SLOW = Kind(
    "Slow tokenizers", "DebertaV2Tokenizer", "tokenization",
    other=TOKENIZER_OTHER | {"tokenize": "words and punctuation as the engine cuts them; no hook in between"},
    left_out=TOKENIZER_LEFT_OUT | {"prepare_for_tokenization": "a hook for subclasses there; texts go to the engine"},
)  # fmt: skip
CONFIGS = Kind(
    "Configs", "DebertaV2Config", "deberta_core.config",
    other={
        "from_pretrained": "values of the wrong type or out of range are errors that name field, value and what was "
        "expected; a name that looks like a field misspelt gets a warning",
        "num_labels": "names of labels are never dropped in silence",
        "to_diff_dict": "all fields of the model, and of its use those that are set",
        "update_from_string": "texts, numbers and switches; an unknown name is an error with the near spelling",
    },
    left_out={
        **dict.fromkeys(("base_model_tp_plan", "base_model_pp_plan", "base_model_ep_plan"), PLANS),
        "dict_dtype_to_str": LOADING,
        "from_text_audio_configs": "of models for sound", "from_text_vision_configs": "of models for pictures",
        "register_for_auto_class": REMOTE,
    },
)  # fmt: skip
KINDS = (MODELS, TENSORFLOW, FAST, SLOW, CONFIGS)


def section(kind: Kind) -> str:
    """A class's part of the page.

    Raises:
        ValueError: a name has no entry, or an entry no name.
    """
    there, here = kind.names()
    if unsaid := sorted(there - here - kind.left_out.keys()):
        raise ValueError(f"{kind.title}: {', '.join(unsaid)} are not here: say why in left_out")
    if stale := sorted((kind.left_out.keys() - (there - here)) | (kind.other.keys() - here)):
        raise ValueError(f"{kind.title}: {', '.join(stale)} are listed, but are the same or not there")
    rows = [f"| `{name}` | other | {why} |" for name, why in sorted(kind.other.items())]
    reasons: dict[str, list[str]] = {}
    for name, why in sorted(kind.left_out.items()):
        reasons.setdefault(why, []).append(f"`{name}`")
    rows += [f"| {', '.join(names)} | left out | {why} |" for why, names in reasons.items()]
    same = ", ".join(f"`{name}`" for name in sorted(here - kind.other.keys()))
    table = ["| name | here | why |", "|---|---|---|", *rows]
    notes = [kind.note, ""] if kind.note else []
    return "\n".join([f"## {kind.title}", "", *table, "", f"Same: {same}.", "", *notes])


def page(kinds: tuple[Any, ...] = KINDS) -> str:
    """The whole page."""
    return "\n".join([HEAD, *map(section, kinds)])


if __name__ == "__main__":
    print(page(), end="")
