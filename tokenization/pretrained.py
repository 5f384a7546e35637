"""Folders: a tokenizer is read from one with ``from_pretrained`` and written to one with ``save_pretrained``."""

from __future__ import annotations

import inspect
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from deberta_core.file_names import CONFIG, TOKENIZER_FILES
from deberta_core.files import Reading, read_together
from deberta_core.hub.fetching import HubOptions
from deberta_core.hub.pushing import PushToHub, check_push, push_saved

from .arguments import NO_LIMIT
from .base import Tokenizer
from .file_rules import FileRules
from .files import read_json_object, to_json, write_files
from .folder import drop_leaked, find_folder, read_special_tokens
from .vocabulary import SPECIAL_NAMES

KNOWN_ELSEWHERE = {
    "auto_map", "backend", "is_local", "name_or_path", "special_tokens_map_file", "tokenizer_class",
    "tokenizer_file", "unk_id", "vocab_file", "merges_file", "vocab_type", "vocab_size",
}  # fmt: skip


class PretrainedTokenizer(PushToHub, Tokenizer):
    """A tokenizer that lives in a folder."""

    family: ClassVar[str]
    vocab_files_names: ClassVar[dict[str, str]]
    slow_class_name: ClassVar[str]

    _rules: FileRules | None = None

    def _follow(self, rules: FileRules | None, beside: Mapping[str, bytes]) -> None:
        """Takes a tokenizer.json whose rules the family's engine has not, or says why it cannot.

        Args:
            rules: the file, if it is one.
            beside: the files of a whole vocabulary that lie beside it.

        Raises:
            ValueError: the class does without the ``tokenizers`` library and has no other vocabulary.
        """
        if rules is None:
            return
        name = type(self).__name__
        said = f"{rules.name} has rules that {name} does not know: {'; '.join(rules.own)}"
        if not beside:
            raise ValueError(f"{said}; use {name}Fast, which runs them through the tokenizers library")
        warnings.warn(
            f"{said}; {' and '.join(beside)} beside it are read instead. {name}Fast follows the rules", stacklevel=4
        )

    @abstractmethod
    def _vocabulary_files(self) -> dict[str, bytes]:
        """The files that hold the vocabulary, by name."""

    @abstractmethod
    def _family_settings(self) -> dict[str, Any]:
        """The settings that only this family has."""

    @classmethod
    def init_names(cls) -> list[str]:
        """The keywords that the class takes."""
        names = {name for base in cls.__mro__ for name in _parameters(base)}
        return sorted(names - {"self", "special_tokens", "common", "unknown"})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **settings: Any) -> Self:
        """Reads a tokenizer from a folder, a vocabulary file, or by name from the hub.

        Args:
            pretrained_model_name_or_path: a folder, a file such as spm.model, or a name such as
                ``microsoft/deberta-v3-base``, which needs the package ``huggingface_hub``.
            settings: arguments of the class, which overrule the files; ``subfolder``; for the hub the fields of
                ``HubOptions``.

        Raises:
            FileNotFoundError: there is no such folder, or it holds no vocabulary.
            ValueError: a file is damaged, the files do not belong together, or the vocabulary has more tokens than
                config.json gives the model.
            TypeError: an unknown keyword.
        """
        options, subfolder = HubOptions.take(settings), str(settings.pop("subfolder", None) or "")
        settings.pop("use_fast", None)
        path = Path(pretrained_model_name_or_path)
        if path.is_file():
            arguments: dict[str, Any] = {_file_argument(path): path, **settings}
            return cls(**arguments)
        folder = find_folder(str(pretrained_model_name_or_path), subfolder, options)

        def read(_: Reading) -> Any:
            found, kept = cls._read_settings(folder)
            tokenizer = cls(**{**cls._vocabulary_arguments(folder, settings), **found, **settings})
            tokenizer.name_or_path = str(pretrained_model_name_or_path)
            tokenizer.extra_settings = kept
            tokenizer._check_model(read_json_object(folder / CONFIG), folder)
            return tokenizer

        loaded: Self = read_together(folder, read, (*TOKENIZER_FILES, CONFIG))
        return loaded

    extra_settings: Mapping[str, Any] = {}

    @classmethod
    def _vocabulary_arguments(cls, folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments that name the vocabulary in a folder."""
        files = {name: folder / file for name, file in cls.vocab_files_names.items()}
        described = {"tokenizer_file": folder / "tokenizer.json"} if (folder / "tokenizer.json").is_file() else {}
        if all(path.is_file() for path in files.values()):
            return {**files, **described}
        if cls.family == "v1" and (folder / "bpe_encoder.bin").is_file():
            return {"vocab_file": folder / "bpe_encoder.bin", **described}
        if described:
            return described
        if (folder / "vocab.txt").is_file():
            raise FileNotFoundError(
                f"{folder} holds vocab.txt, a WordPiece vocabulary as BERT's, which {cls.__name__} does not read; use "
                "tokenization.AutoTokenizer.from_pretrained, which does"
            )
        if "vocab_file" in settings or "tokenizer_file" in settings:
            return {}
        wanted = " and ".join(cls.vocab_files_names.values())
        raise FileNotFoundError(
            f"no vocabulary in {folder}: expected {wanted}, or tokenizer.json; it holds "
            f"{', '.join(sorted(path.name for path in folder.iterdir())) or 'nothing'}"
        )

    @classmethod
    def _read_settings(cls, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments that the files give, and what they hold beside those."""
        config = drop_leaked(read_json_object(folder / "tokenizer_config.json"))
        settings = {**config, **read_special_tokens(folder, config)}
        limit = settings.get("model_max_length")
        if not isinstance(limit, (int, float)) or limit >= NO_LIMIT:
            settings["model_max_length"] = read_json_object(folder / "config.json").get("max_position_embeddings")
        known = set(cls.init_names()) - {"vocab_file", "merges_file", "tokenizer_file", "name_or_path"}
        extra = {name: value for name, value in settings.items() if name not in known | KNOWN_ELSEWHERE}
        return {name: value for name, value in settings.items() if name in known}, extra

    def _check_model(self, config: Mapping[str, Any], folder: Path) -> None:
        rows = config.get("vocab_size")
        if not isinstance(rows, int):
            return
        if self.vocab_size > rows:
            raise ValueError(
                f"the vocabulary in {folder} has {self.vocab_size} tokens, but config.json gives the model "
                f"vocab_size={rows}: they do not belong together; take both from the same model"
            )
        if self._next_id() > rows:
            warnings.warn(
                f"token ids go up to {self._next_id() - 1}, but config.json in {folder} gives the model "
                f"vocab_size={rows}; call model.resize_token_embeddings(len(tokenizer)) before using the added tokens",
                stacklevel=3,
            )

    def save_vocabulary(self, save_directory: str | Path, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Writes the files of the vocabulary alone.

        Args:
            save_directory: the folder, made where it does not exist.
            filename_prefix: put before each name, with a hyphen.

        Returns:
            The paths written.
        """
        return write_files(Path(save_directory), _prefixed(self._vocabulary_files(), filename_prefix))

    def save_pretrained(
        self,
        save_directory: str | Path,
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
        push_to_hub: bool = False,
        **hub: Any,
    ) -> tuple[str, ...]:
        """Writes vocabulary and settings, so that ``from_pretrained`` and transformers 4 read them.

        Args:
            save_directory: the folder, made where it does not exist. Files appear in it only when all are complete.
            legacy_format: ``False`` writes tokenizer.json without the files it makes unnecessary to fast tokenizers of
                other libraries, ``True`` writes no tokenizer.json; default: all that the class has.
            filename_prefix: put before each name, with a hyphen.
            push_to_hub: upload the files afterwards.
            **hub: keywords of ``push_to_hub``; ``repo_id`` is by default the name of the folder.

        Returns:
            The paths written.

        Raises:
            ValueError: ``save_directory`` is a file, or tokenizer.json is left out where nothing else has the rules.
            OSError: nothing could be uploaded.
            TypeError: an unknown keyword.
        """
        check_push(push_to_hub, hub)
        if legacy_format is True and "tokenizer.json" in self._vocabulary_files():
            raise ValueError(
                "legacy_format=True leaves tokenizer.json out, but this tokenizer's rules stand in no other file; use "
                "legacy_format=False"
            )
        files = {
            **self._vocabulary_files(),
            "tokenizer_config.json": to_json(self._config()),
            "special_tokens_map.json": to_json(self._special_tokens_file()),
        }
        added = {token: number for token, number in self.get_added_vocab().items() if number >= self.vocab_size}
        if added:
            files["added_tokens.json"] = to_json(added)
        if legacy_format is not True:
            files |= self._fast_files()
        written = write_files(Path(save_directory), _prefixed(files, filename_prefix))
        if push_to_hub:
            push_saved([Path(path) for path in written], hub)
        return written

    def _fast_files(self) -> dict[str, bytes]:
        """tokenizer.json, for the classes that have one."""
        return {}

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            **self.extra_settings,
            **self._family_settings(),
            **{name: token for name, token in self._special.items() if token is not None},
            "added_tokens_decoder": {str(i): token.to_dict() for i, token in self.added_tokens_decoder.items()},
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "extra_special_tokens": self._extra,
            "model_max_length": self.model_max_length,
            "tokenizer_class": self.slow_class_name,
        }
        if self._additional:
            config["additional_special_tokens"] = self._additional
        defaults = {
            "padding_side": "right",
            "truncation_side": "right",
            "split_special_tokens": False,
            "trim_offsets": True,
        }
        changed = {name: getattr(self, name) for name, value in defaults.items() if getattr(self, name) != value}
        if list(self.model_input_names) != list(type(self).model_input_names):
            changed["model_input_names"] = list(self.model_input_names)
        return config | changed

    def _special_tokens_file(self) -> dict[str, Any]:
        tokens: dict[str, Any] = {}
        for name, content in {**{name: self._special[name] for name in SPECIAL_NAMES}, **self._extra}.items():
            if content is not None:
                token = self._added.by_id[self._added.ids[content]].to_dict()
                del token["special"]
                tokens[name] = token
        if self._additional:
            tokens["additional_special_tokens"] = self._additional
        return tokens

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, len={len(self)}, "
            f"model_max_length={self.model_max_length}, special_tokens={self.special_tokens_map})"
        )


def _parameters(base: type) -> list[str]:
    init = base.__dict__.get("__init__")
    return list(inspect.signature(init).parameters) if inspect.isfunction(init) else []


def _file_argument(path: Path) -> str:
    return "tokenizer_file" if path.suffix == ".json" and path.name != "vocab.json" else "vocab_file"


def _prefixed(files: Mapping[str, bytes], prefix: str | None) -> dict[str, bytes]:
    return {f"{prefix}-{name}" if prefix else name: content for name, content in files.items()}
