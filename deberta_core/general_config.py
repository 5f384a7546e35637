"""What any config does, whichever fields it declares: names of a user's own, names of labels, files.

Scripts treat a config as a bag of attributes: they set names that no model reads, ask for settings that every config of
the public documentation answers for, and expect all of it back from the file. Here such names are kept, beside the
declared fields, in ``extra``; a name that looks like a field misspelt gets a warning, once.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import os
import re
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from deberta_core.file_names import CONFIG
from deberta_core.files import write_text
from deberta_core.folder import read_config
from deberta_core.hub.fetching import HUB_KEYWORDS
from deberta_core.hub.pushing import PushToHub, check_push, push_saved
from deberta_core.wording import near, some

# Settings that scripts and libraries ask any config for, whatever the model, with their value where nobody set them. No
# model of this zoo reads them, but for ``torchscript`` (see ``use_return_dict``) and ``gradient_checkpointing``.
GENERAL: dict[str, Any] = {
    "torchscript": False, "gradient_checkpointing": False, "dtype": None, "torch_dtype": None,
    "chunk_size_feed_forward": 0, "is_decoder": False, "is_encoder_decoder": False,
    "cross_attention_hidden_size": None, "add_cross_attention": False,
    "tie_encoder_decoder": False, "architectures": None, "finetuning_task": None, "task_specific_params": None,
    "tokenizer_class": None, "prefix": None, "bos_token_id": None, "eos_token_id": None, "sep_token_id": None,
    "decoder_start_token_id": None, "transformers_version": None, "tf_legacy_loss": False, "use_bfloat16": False,
    "max_length": 20, "min_length": 0, "do_sample": False, "early_stopping": False, "num_beams": 1,
    "num_beam_groups": 1, "diversity_penalty": 0.0, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0,
    "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None, "num_return_sequences": 1, "output_scores": False, "return_dict_in_generate": False,
    "forced_bos_token_id": None, "forced_eos_token_id": None, "remove_invalid_values": False,
    "exponential_decay_length_penalty": None, "suppress_tokens": None, "begin_suppress_tokens": None,
}  # fmt: skip
# Fields that say how a model is used and not what it is: a short form of a config leaves them out where they are unset.
USAGE = (
    "num_labels", "id2label", "label2id", "problem_type", "pruned_heads", "tie_word_embeddings", "output_attentions",
    "output_hidden_states", "return_dict",
)  # fmt: skip
# Keys that other software writes, and the numbers of layers that were cut out: kept and written back without a word,
# and absent where the file has none.
FOREIGN_KEYS = frozenset(GENERAL) | frozenset(
    """
    auto_map decoder discriminator embedding_sharing generator padding_idx pooling
    summary_activation summary_last_dropout summary_type summary_use_proj use_cache z_steps output_past
    _name_or_path _attn_implementation_autoset quantization_config pruned_layers
    """.split()  # noqa: SIM905 - a column of quotes says no more
)
LABELS = ("num_labels", "id2label", "label2id")
MOST_LABELS = 1 << 17  # whose names are made up
# Where a config came from: known while it lives, and no entry of its file.
ORIGIN: dict[str, Any] = {"_name_or_path": "", "_commit_hash": None, "_auto_class": None}
PRIVATE_KEYWORDS = ("_from_auto", "_from_pipeline", "_commit_hash")  # that other libraries pass along


def meant(name: str, fields: Iterable[str]) -> str | None:
    """The field that a name looks like a misspelling of, or a shorter form of (``num_layers``); ``None`` if of none.

    Stricter than ``near``: it judges names that may well be a user's own, such as ``rms_norm_eps``.
    """
    fields, words = list(fields), name.split("_")

    def holds(field: str) -> bool:
        rest = iter(field.split("_"))
        return all(word in rest for word in words)  # in this order

    shortened = [field for field in fields if len(words) > 1 and holds(field)]
    return next(iter(shortened or difflib.get_close_matches(name, fields, n=1, cutoff=0.8)), None)


def warn_user(text: str) -> None:
    """A warning that points at the line outside this package that caused it."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(__package__):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


class Check(NamedTuple):
    """What a value must be.

    Attributes:
        holds: whether a value is so.
        expected: the same in words.
    """

    holds: Callable[[Any], bool]
    expected: str


class Declared(NamedTuple):
    """One field of a config.

    Attributes:
        hint: its annotation.
        kinds: types that a value may be an instance of.
        make_default: gives the value of a config that says nothing.
        check: what a value must be, beside its type.
    """

    hint: Any
    kinds: tuple[type, ...]
    make_default: Callable[[], Any]
    check: Check | None

    @classmethod
    def of(cls, field: dataclasses.Field[Any], hint: Any) -> Declared:
        """That of a dataclass."""
        members = typing.get_args(hint) if typing.get_origin(hint) is types.UnionType else (hint,)
        make = (lambda: field.default) if field.default_factory is dataclasses.MISSING else field.default_factory
        return cls(hint, tuple(typing.get_origin(t) or t for t in members), make, field.metadata.get("check"))


@dataclasses.dataclass(init=False)
class GeneralConfig(PushToHub):
    """Base of configs: a subclass declares fields, each with a default, a meaning and perhaps a check."""

    model_type: ClassVar[str] = ""
    attribute_map: ClassVar[dict[str, str]] = {}  # other names of fields, for subclasses
    sub_configs: ClassVar[dict[str, Any]] = {}  # of models made of several; these are not
    keys_to_ignore_at_inference: ClassVar[list[str]] = []
    has_no_defaults_at_init: ClassVar[bool] = False
    base_config_key: ClassVar[str] = ""
    is_composition: ClassVar[bool] = False

    def __new__(cls, *_: Any, **_values: Any) -> Self:
        """A config with ``extra``: entries that no field declares, a user's own and other software's, for the file.

        It is there before any ``__init__``, as subclasses may set attributes before they call ours.
        """
        made = super().__new__(cls)
        made.__dict__["extra"] = {}
        return made

    def __init__(self, **values: Any) -> None:
        kind = values.pop("model_type", self.model_type)
        if not isinstance(kind, str) or kind not in self._kinds():
            raise ValueError(f"model_type is {kind!r}, {type(self).__name__} expects {self.model_type!r}")
        for name, own in self.attribute_map.items():
            if name in values:
                values[own] = values.pop(name)
        labels = {name: values.pop(name, None) for name in LABELS}
        for name, declared in self._named_fields().items():
            default = declared.make_default()
            value = values.pop(name, default)
            if name not in LABELS:
                value = default if value is None and name == "pruned_heads" else value
                self._check_field(name, value)
                object.__setattr__(self, name, value)
        self._start_labels(**labels)
        self._check_together()
        for name, value in values.items():
            setattr(self, name, value)

    # Names.

    @classmethod
    def _named_fields(cls) -> dict[str, Declared]:
        """The declared fields by name; read off the class once, as resolving its annotations takes time."""
        if "_fields_by_name" not in cls.__dict__:
            hints = typing.get_type_hints(cls)
            cls._fields_by_name = {f.name: Declared.of(f, hints[f.name]) for f in dataclasses.fields(cls)}  # type: ignore[attr-defined]
        return typing.cast(dict[str, Declared], cls.__dict__["_fields_by_name"])

    @classmethod
    def _kinds(cls) -> set[str]:
        """Every ``model_type`` that this class reads: its own, and those of the classes that it extends."""
        return {cls.model_type, *(c.__dict__.get("model_type", cls.model_type) for c in cls.__mro__)}

    def __setattr__(self, name: str, value: Any) -> None:
        name = self.attribute_map.get(name, name)
        own = getattr(type(self), name, None)
        if name in LABELS:
            self._set_labels(name, value)
        elif name in self._named_fields():
            self._check_field(name, value)
            object.__setattr__(self, name, value)
        elif name in ORIGIN or (isinstance(own, property) and own.fset is not None):
            object.__setattr__(self, name, value)
        else:
            if name not in self.extra:
                self._judge(name)
            if name in ("dtype", "torch_dtype"):  # two names of one setting
                self.extra.pop("torch_dtype" if name == "dtype" else "dtype", None)
            self.extra[name] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        name = self.attribute_map.get(name, name)
        extra = self.extra
        if name in ("dtype", "torch_dtype"):
            return _as_dtype(extra.get("dtype", extra.get("torch_dtype")))
        for known in (self.__dict__ if name in self.attribute_map.values() else {}, extra, ORIGIN, GENERAL):
            if name in known:
                return known[name]
        raise AttributeError(f"{type(self).__name__} has no field {name!r}{near(name, self._named_fields())}")

    def __delattr__(self, name: str) -> None:
        if name in self.extra:
            del self.extra[name]
        else:
            object.__delattr__(self, name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({**state, "extra": dict(state["extra"])})  # a copy's names are its own

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def _judge(self, name: str) -> None:
        """Warn of a name that will not be read though it looks as if it should be."""
        if name in FOREIGN_KEYS:
            return
        cls = type(self).__name__
        if hasattr(type(self), name):
            warn_user(f"{cls} works {name!r} out itself: what is given is kept and written back, and not read")
            return
        other = next((c for c in _families() if name in c._named_fields()), None)
        if other is not None:
            warn_user(f"{name!r} is a field of {other.__name__}: {cls} keeps it and writes it back, no model reads it")
            return
        field = meant(name, self._named_fields())
        if field is not None:
            warn_user(f"{cls} has no field {name!r}: it is kept and written back, {field!r} is the one that is read")

    def _check_field(self, name: str, value: Any) -> None:
        hint, kinds, _, check = self._named_fields()[name]
        number = float in kinds and isinstance(value, int)  # a whole number where a fraction may be
        # Python counts true and false among the integers; a config does not.
        if not (isinstance(value, kinds) or number) or (isinstance(value, bool) and bool not in kinds):
            spelt = str(hint) if typing.get_args(hint) else hint.__name__
            raise TypeError(f"{name} is {value!r} of type {type(value).__name__}, expected {spelt}")
        if check and value is not None and not check.holds(value):
            raise ValueError(f"{name} is {value!r}, expected {check.expected}")

    def _check_together(self) -> None:
        """Refuse values that do not go together."""

    @property
    def _attn_implementation(self) -> str:
        return str(self.attn_implementation)

    @_attn_implementation.setter
    def _attn_implementation(self, value: str | None) -> None:
        self.attn_implementation = "auto" if value is None else value

    @property
    def name_or_path(self) -> str:
        """What it was loaded from; empty for a config made by hand."""
        return str(self._name_or_path)

    @name_or_path.setter
    def name_or_path(self, value: str | os.PathLike[str]) -> None:
        self._name_or_path = str(value)

    @property
    def use_return_dict(self) -> bool:
        """Whether models return an output object by default; ``torchscript`` asks for tuples."""
        return bool(self.return_dict and not self.extra.get("torchscript"))

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> Self:
        """The config itself: of models that also see or hear it would be the part for text."""
        return self

    # Labels: two maps, each the inverse of the other, and their number.

    def _start_labels(self, num_labels: Any, id2label: Any, label2id: Any) -> None:
        for name, value in (("num_labels", num_labels), ("id2label", id2label), ("label2id", label2id)):
            self._check_field(name, 2 if value is None and name == "num_labels" else value)
        by_id = by_number(id2label or {})
        numbers = {label: whole("label2id", number) for label, number in (label2id or {}).items()}
        by_label = dict(sorted(numbers.items(), key=itemgetter(1)))
        if not by_id:
            for label, number in sorted(by_label.items(), key=lambda item: item[1]):
                by_id.setdefault(number, label)  # the first of several names
        if num_labels is not None and by_id and len(by_id) != num_labels:
            warn_user(f"num_labels is {num_labels}, but {len(by_id)} labels have names: {some(by_id.values())}")
        if by_id and by_label and set(by_label.values()) != set(by_id):
            warn_user(f"label2id {by_label} does not fit id2label {by_id}: its inverse is taken instead")
            by_label = {}
        by_id = by_id or default_labels(2 if num_labels is None else num_labels)
        object.__setattr__(self, "id2label", by_id)
        object.__setattr__(self, "label2id", by_label or {label: number for number, label in by_id.items()})

    def _set_labels(self, name: str, value: Any) -> None:
        """Set one of the three, and bring the others in step where they disagree."""
        if value is None:
            value = self.num_labels
            name = "num_labels"
            object.__setattr__(self, "id2label", {})
        self._check_field(name, value)
        by_id, by_label = dict(self.__dict__.get("id2label") or {}), dict(self.__dict__.get("label2id") or {})
        if name == "num_labels":
            if len(by_id) == value:
                return
            warn_lost(by_id, value)
            by_id, by_label = default_labels(value), {}
        elif name == "id2label":
            by_id = by_number(value)
        else:
            by_label = {label: whole("label2id", number) for label, number in value.items()}
            if set(by_label.values()) != set(by_id) or any(by_label.get(by_id[i]) != i for i in by_id):
                by_id = {}
                for label, number in sorted(by_label.items(), key=lambda item: item[1]):
                    by_id.setdefault(number, label)
        if set(by_label.values()) != set(by_id) or any(by_label.get(by_id[i]) != i for i in by_id):
            by_label = {label: number for number, label in by_id.items()}
        object.__setattr__(self, "id2label", by_id)
        object.__setattr__(self, "label2id", by_label)

    # Files.

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, warn: bool = True, return_unused_kwargs: bool = False, **overrides: Any
    ) -> Any:
        """A config from the entries of a ``config.json``.

        Args:
            values: entries of the file; unknown ones are kept and written back.
            warn: name the unknown entries in one warning.
            return_unused_kwargs: also return, as a dict, those of the ``overrides`` that are neither fields nor in the
                file, instead of keeping them as attributes.
            **overrides: fields that replace those of the file, and attributes of your own.

        Raises:
            TypeError: for a value of the wrong type.
            ValueError: for a value out of range, or a ``model_type`` of another family.
        """
        values = dict(values)
        kind = values.pop("model_type", cls.model_type)
        if not cls.model_type:
            family = next((c for c in cls.__subclasses__() if c.model_type == kind), None)
            if family is not None:
                cls = family
            else:
                kind = cls.model_type
        if not isinstance(kind, str) or kind not in cls._kinds():
            raise ValueError(f"model_type is {kind!r}, {cls.__name__} expects {cls.model_type!r}; use AutoConfig")
        declared = cls._named_fields()
        named = set(inspect.signature(cls.__init__).parameters)  # of a subclass with an __init__ of its own
        unused = {}
        if return_unused_kwargs:
            known = {*declared, *FOREIGN_KEYS, *values, *named, *cls.attribute_map, *ORIGIN, *dir(cls)}
            unused = {name: overrides.pop(name) for name in list(overrides) if name not in known}
        _choose_labels(values, overrides)
        cls._complete(values, overrides)
        given = {
            k: v for k, v in values.items()
            if k in named or k in cls.attribute_map
            or (k in declared and (v is not None or types.NoneType in declared[k].kinds))
        }  # fmt: skip
        config = cls(**{**given, **overrides})
        rest = {k: v for k, v in values.items() if not (k in declared or k in given or k in overrides)}
        config.extra.update(rest)
        if warn:
            texts = [f"{name!r}{near(name, declared)}" for name in sorted(rest.keys() - FOREIGN_KEYS - ORIGIN.keys())]
            if texts:
                names = ", ".join(texts)
                warn_user(f"unknown config key {names} in the file: kept, but no model reads it")
        return (config, unused) if return_unused_kwargs else config

    @classmethod
    def _complete(cls, values: dict[str, Any], overrides: Mapping[str, Any]) -> None:
        """Change entries of a file before they are read."""

    @classmethod
    def of(cls, config: Any, owner: str = "this") -> Self:
        """A config as it is, or one with the same entries as transformers' object.

        Args:
            config: of this family.
            owner: who takes it, for the message.

        Raises:
            TypeError: for anything else, and for a config of another family.
        """
        if isinstance(config, cls):
            return config
        kind = getattr(config, "model_type", None)
        foreign = not isinstance(config, GeneralConfig) and hasattr(config, "to_dict")
        if not foreign or (kind not in cls._kinds() and cls.model_type):
            raise TypeError(f"{owner} takes a {cls.__name__}, got a {type(config).__name__}")
        # Its short form: the long one holds every setting of generation, for the file to carry on.
        entries = config.to_diff_dict() if hasattr(config, "to_diff_dict") else config.to_dict()
        ours: Self = cls.from_dict(entries, warn=False)
        ours.name_or_path = getattr(config, "_name_or_path", "") or ""
        return ours

    def _entries(self) -> dict[str, Any]:
        """What the file holds: as ``to_dict``, without what is not set."""
        return {k: v for k, v in self.to_dict().items() if v is not None or k not in USAGE}

    def to_dict(self) -> dict[str, Any]:
        """All fields, ``model_type``, and what no field declares, as a copy.

        An optional field of the model that is not set is left out: other readers take a null for a value.
        """
        unset = {name for name, f in self._named_fields().items() if f.make_default() is None and name not in USAGE}
        values = {name: getattr(self, name) for name in self._named_fields()}
        values = {k: v for k, v in values.items() if v is not None or k not in unset}
        values.pop("attn_implementation", None)  # a choice of the run, not of the model
        return typing.cast(dict[str, Any], _plain({**self.extra, **values, "model_type": self.model_type}))

    def to_diff_dict(self) -> dict[str, Any]:
        """As the file has it, without what says how a model is used (``USAGE``) where that is as always."""
        values, default = self._entries(), type(self)()._entries()
        return {k: v for k, v in values.items() if k not in USAGE or v != default.get(k)}

    def to_json_string(self, use_diff: bool = True) -> str:
        """The config as json: in the short form of ``to_diff_dict``, or whole."""
        return as_json(self.to_diff_dict() if use_diff else self.to_dict())

    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Write ``to_json_string`` into a file."""
        write_text(Path(json_file_path), self.to_json_string(use_diff))

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike[str]) -> Self:
        """The config in a json file.

        Raises:
            FileNotFoundError: if it is not there.
            ValueError: if it is not json, or a value does not fit.
        """
        config: Self = cls.from_dict(read_config(json_file, {})[0])
        return config

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], *, subfolder: str = "", **options: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The entries of a checkpoint's ``config.json``, and those of the keywords that do not say where to find it."""
        for name in PRIVATE_KEYWORDS:
            options.pop(name, None)
        return read_config(pretrained_model_name_or_path, options, subfolder or "")[0], options

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        subfolder: str = "",
        return_unused_kwargs: bool = False,
        **overrides: Any,
    ) -> Any:
        """The config of a checkpoint folder (or a json file).

        Args:
            pretrained_model_name_or_path: folder with a ``config.json``, the file itself, or a name on the hub; also
                as ``path``.
            subfolder: folder below it.
            return_unused_kwargs: as for ``from_dict``.
            **overrides: fields that replace those of the file, and attributes of your own; for the hub, the fields of
                ``HubOptions``.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not json, or a value does not fit.
        """
        options = {"subfolder": subfolder, "return_unused_kwargs": return_unused_kwargs, **overrides}
        return load_config(cls.from_dict, pretrained_model_name_or_path, **options)

    def save_pretrained(self, path: str | os.PathLike[str], push_to_hub: bool = False, **hub: Any) -> Path:
        """Write ``config.json`` into folder ``path`` and return its path.

        Args:
            path: folder, made if needed.
            push_to_hub: upload the file afterwards.
            **hub: keywords of ``push_to_hub``; ``repo_id`` is by default the name of the folder.
        """
        check_push(push_to_hub, hub, self.save_pretrained)
        target = Path(path) / CONFIG
        write_text(target, self.file_text())
        if push_to_hub:
            push_saved([target], hub)
        return target

    def file_text(self) -> str:
        """The text of a ``config.json``."""
        return as_json(self._entries())

    def remember(self, path: str | os.PathLike[str], file: str | os.PathLike[str] = "") -> None:
        """Note where the config came from: the path as given, and the file that was found there."""
        commit = re.search(r"snapshots[\\/]([0-9a-f]{40})(?:[\\/]|$)", os.fspath(file or path))  # of the hub's cache
        self.__dict__.update(_name_or_path=str(path), _commit_hash=commit.group(1) if commit else None)

    def copy(self, **changes: Any) -> Any:
        """The same config with some fields changed; ``return_unused_kwargs`` as for ``from_dict``."""
        values = self.to_dict()
        if "attn_implementation" in self._named_fields():
            values["attn_implementation"] = self.attn_implementation
        found = type(self).from_dict(values, warn=False, **changes)
        (found[0] if isinstance(found, tuple) else found).__dict__.update(
            {name: self.__dict__[name] for name in ORIGIN if name in self.__dict__}
        )
        return found

    def update(self, config_dict: Mapping[str, Any]) -> None:
        """Set attributes from a dict; names of labels before their number, which they decide."""
        for name in sorted(config_dict, key=lambda name: name == "num_labels"):
            setattr(self, name, config_dict[name])

    def update_from_string(self, update_str: str) -> None:
        """Set attributes from text such as ``hidden_size=64,relative_attention=true``.

        Raises:
            ValueError: for a name that the config does not have, or a value that is not of its kind.
        """
        for part in update_str.split(","):
            name, _, text = part.partition("=")
            if not hasattr(self, name):
                raise ValueError(f"{type(self).__name__} has no field {name!r}{near(name, self._named_fields())}")
            setattr(self, name, _read_as(getattr(self, name), name, text))


def default_labels(count: int) -> dict[int, str]:
    """The names of labels that nobody named.

    Raises:
        ValueError: for a number that no model has.
    """
    if count > MOST_LABELS:
        raise ValueError(f"num_labels is {count}, expected at most {MOST_LABELS} where id2label does not name them")
    return {i: f"LABEL_{i}" for i in range(count)}


def warn_lost(by_id: Mapping[int, Any], count: int) -> None:
    """Say which names of labels a new number of them drops."""
    if by_id and dict(by_id) != default_labels(len(by_id)):
        warn_user(
            f"num_labels becomes {count}: the names of {len(by_id)} labels are dropped ({some(by_id.values())}); "
            "pass id2label to name the new ones"
        )


def by_number(id2label: Mapping[Any, Any]) -> dict[int, Any]:
    """Names of labels in the order of their numbers: a file has them in that of its keys, 10 before 2."""
    if not isinstance(id2label, Mapping):
        raise TypeError(f"id2label is {id2label!r} of type {type(id2label).__name__}, expected names by number")
    return dict(sorted(((whole("id2label", number), label) for number, label in id2label.items()), key=itemgetter(0)))


def whole(name: str, value: Any) -> int:
    """A whole number that a file may have as a text, as JSON's keys are.

    Args:
        name: of the entry that it is from.
        value: the number.

    Raises:
        ValueError: it is none.
    """
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} holds {value!r} where a whole number is expected") from None


def _choose_labels(values: dict[str, Any], overrides: Mapping[str, Any]) -> None:
    """Take out of a file's entries what is replaced of its labels.

    Raises:
        ValueError: for a number and names in the overrides that disagree.
    """
    count = overrides.get("num_labels")
    by_id = by_number(values.get("id2label") or {})
    named = by_id or values.get("label2id") or {}
    if overrides.get("id2label") is not None or overrides.get("label2id") is not None:
        new = overrides.get("id2label") or overrides.get("label2id")
        if count is not None and isinstance(new, Mapping) and len(new) != count:
            raise ValueError(f"num_labels is {count}, but there are names of {len(new)} labels: {dict(new)}")
        replaced: tuple[str, ...] = LABELS
    elif count is not None and len(named) != count:
        warn_lost(by_id or {i: label for label, i in named.items()}, count)
        replaced = LABELS
    else:  # the names say how many: old files disagree with themselves
        replaced = ("num_labels",) if named else ()
    for name in replaced:
        values.pop(name, None)


def refuse_unused(unused: Iterable[str], cls: type, keywords: Iterable[str]) -> None:
    """Refuse keywords of a model's ``from_pretrained`` that are neither its own nor fields of its config.

    Raises:
        TypeError: for the first of them; the text names the near spelling.
    """
    known = {*keywords, *cls.config_class._named_fields(), *HUB_KEYWORDS} - {"overrides"}  # type: ignore[attr-defined]
    for name in unused:
        text = f"{cls.__name__}.from_pretrained has no keyword and its config no field {name!r}"
        raise TypeError(text + near(name, known))


def load_config(
    build: Callable[..., Any],
    path: str | os.PathLike[str] | None,
    *,
    subfolder: str,
    return_unused_kwargs: bool,
    **overrides: Any,
) -> Any:
    """What ``build`` (a ``from_dict``) makes of a checkpoint's config; see ``from_pretrained``."""
    path = overrides.pop("path", path)
    if path is None:
        raise TypeError("a config is loaded from a folder, a file or a name, got None")
    for name in PRIVATE_KEYWORDS:
        overrides.pop(name, None)
    values, file = read_config(path, overrides, subfolder or "")
    found = build_config(build, values, file, return_unused_kwargs=return_unused_kwargs, **overrides)
    (found[0] if return_unused_kwargs else found).remember(path, file)
    return found


class ConfigError(ValueError, TypeError):
    """A value in a config's file that does not fit: out of range, or of the wrong type; the text names the file."""


def build_config(build: Callable[..., Any], values: Mapping[str, Any], file: Path, **options: Any) -> Any:
    """What ``build`` (a ``from_dict``) makes of the entries of a file.

    Args:
        build: of a class.
        values: entries of the file.
        file: where they are from.
        **options: of ``build``, fields that replace those of the file among them.

    Raises:
        ConfigError: a value of the file does not fit.
        TypeError: one of the options does not, by its type.
        ValueError: one of the options does not.
    """
    try:
        return build(values, **options)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        found: Exception = error
    if options.keys() - {"warn", "return_unused_kwargs"}:
        try:
            build(values, warn=False)
        except Exception as error:
            found = error
        else:
            raise found  # of an option: the file has no part in it
    raise ConfigError(f"{file}: {found}") from None


def as_json(values: Mapping[str, Any]) -> str:
    """The text of a config file."""

    def named(value: Any) -> Any:  # json has no numbers for keys, and does not sort them among texts
        return {str(k): named(v) for k, v in value.items()} if isinstance(value, Mapping) else value

    text = json.dumps(named(values), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    whole_text = not any("\ud800" <= sign <= "\udfff" for sign in text)  # a file can spell halves of characters
    return text if whole_text else json.dumps(named(values), indent=2, sort_keys=True) + "\n"


def _plain(value: Any) -> Any:
    """A copy for writing, a dtype of either framework by its name."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if type(value).__module__.partition(".")[0] in ("torch", "tensorflow") and "type" in type(value).__name__.lower():
        return getattr(value, "name", None) or str(value).removeprefix("torch.")
    if isinstance(value, GeneralConfig) or (hasattr(value, "to_dict") and not isinstance(value, type)):
        return value.to_dict()  # a config within a config
    return value


def _as_dtype(value: Any) -> Any:
    """A dtype by its name: PyTorch's object where PyTorch is in use, as scripts expect, the name itself elsewhere."""
    torch = sys.modules.get("torch")
    return getattr(torch, value.removeprefix("torch."), value) if torch and isinstance(value, str) else value


def _read_as(old: Any, name: str, text: str) -> Any:
    if isinstance(old, bool):
        if text.lower() not in ("true", "false", "1", "0", "y", "n", "yes", "no"):
            raise ValueError(f"{name} is {text!r}, expected true or false")
        return text.lower() in ("true", "1", "y", "yes")
    if isinstance(old, (int, float)):
        return type(old)(text)
    if not isinstance(old, str):
        raise TypeError(f"{name} is {old!r}: only numbers, texts and switches can be given as text")
    return text


def _families() -> list[type[GeneralConfig]]:
    """The classes of configs that name a family."""
    return [c for base in GeneralConfig.__subclasses__() for c in base.__subclasses__()]
