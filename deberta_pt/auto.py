"""Classes that read ``model_type`` and pick the family."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from deberta_core.config import AutoConfig, BaseConfig
from deberta_core.folder import open_folder
from deberta_pt import families
from deberta_pt.pretrained import FORMATS

FAMILIES = {"deberta": "Deberta", "deberta-v2": "DebertaV2"}


class AutoModel:
    """The encoder of the family that the config names."""

    head: ClassVar[str] = "Model"

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__} is not a model; use its from_pretrained or from_config")

    @classmethod
    def model_class(cls, config: BaseConfig | type[BaseConfig]) -> Any:
        """The class for a config."""
        return getattr(families, FAMILIES[config.model_type] + cls.head)

    @classmethod
    def from_config(cls, config: BaseConfig) -> Any:
        """A model with starting weights."""
        return cls.model_class(config)(config)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str], **options: Any) -> Any:
        """As ``from_pretrained`` of the family's class."""
        with open_folder(path, options, FORMATS) as folder:
            config = options.get("config") or AutoConfig.family(folder.config.get("model_type"))
            return cls.model_class(config).from_pretrained(folder, **options)


class AutoModelForSequenceClassification(AutoModel):
    """``AutoModel`` with a label, several or a number per text."""

    head = "ForSequenceClassification"


class AutoModelForTokenClassification(AutoModel):
    """``AutoModel`` with a label per token."""

    head = "ForTokenClassification"


class AutoModelForQuestionAnswering(AutoModel):
    """``AutoModel`` with first and last token of an answer."""

    head = "ForQuestionAnswering"


class AutoModelForMultipleChoice(AutoModel):
    """``AutoModel`` that chooses between texts."""

    head = "ForMultipleChoice"


class AutoModelForMaskedLM(AutoModel):
    """``AutoModel`` with the word behind each [MASK]."""

    head = "ForMaskedLM"


class AutoModelForReplacedTokenDetection(AutoModel):
    """``AutoModel`` that tells replaced tokens."""

    head = "ForReplacedTokenDetection"
