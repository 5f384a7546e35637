"""Which files of a repository are needed: functions from the names that there are to those that are wanted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

Choose = Callable[[Collection[str]], list[str]]

TOKENIZER_FILES = (
    "spm.model", "vocab.json", "merges.txt", "bpe_encoder.bin", "vocab.txt", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip
VOCABULARIES = TOKENIZER_FILES[:6]
GENERATOR = ("generator_config.json", "model.generator.safetensors", "pytorch_model.generator.bin")
BESIDE = ("generation_config.json", "README.md", "LICENSE")


def config_files(names: Collection[str]) -> list[str]:
    """The config."""
    return [name for name in ("config.json",) if name in names]


def tokenizer_files(names: Collection[str]) -> list[str]:
    """What a tokenizer is made of, and the config, which says how many ids the model knows; nothing without words."""
    if not any(name in names for name in VOCABULARIES):
        return []
    return config_files(names) + [name for name in TOKENIZER_FILES if name in names]


def model_files(prefer: Sequence[str] = ("safetensors", "bin", "h5"), *, generator: bool = False) -> Choose:
    """The config and the weights of the best format that is there, in one file or in shards.

    Args:
        prefer: formats, best first; others are not taken.
        generator: those of the generator beside a discriminator instead.
    """

    def choose(names: Collection[str]) -> list[str]:
        if generator:
            config, *weights = GENERATOR
            found = [name for name in weights if name in names][:1]
            return [config, *found] if found and config in names else []
        return config_files(names) + weights_files(names, prefer) if weights_files(names, prefer) else []

    return choose


def weights_files(names: Collection[str], prefer: Sequence[str]) -> list[str]:
    """The weights of the first format that is there, as ``find_weights`` would choose."""
    from deberta_core.checkpoint.locate import index_name, weights_name  # not above: tokenizers do without NumPy
    from deberta_core.checkpoint.plan import is_shard_of

    for format in prefer:
        single = weights_name(format)
        if single in names:
            return [single]
        if index_name(single) in names:
            return [index_name(single), *sorted(name for name in names if is_shard_of(name, single))]
    return []


def checkpoint_files(names: Collection[str]) -> list[str]:
    """All that a conversion carries: config, weights in the best format, tokenizer, and what describes the model."""
    found = model_files()(names)
    beside = [*tokenizer_files(names), *(name for name in BESIDE if name in names)]
    return list(dict.fromkeys(found + beside)) if found else []
