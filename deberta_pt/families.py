"""The public classes: each head for each family, and those that read ``model_type`` and pick the family."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from deberta_core.config import AutoConfig, BaseConfig, DebertaConfig, DebertaV2Config
from deberta_core.folder import open_folder
from deberta_core.general_config import build_config
from deberta_core.heads import FAMILIES
from deberta_core.loading import take_keywords
from deberta_pt import heads
from deberta_pt.pretrained import FORMATS, PreTrainedModel


class DebertaPreTrainedModel(PreTrainedModel):
    """Base of the DeBERTa v1 models."""

    config_class: ClassVar[type[BaseConfig]] = DebertaConfig


class DebertaV2PreTrainedModel(PreTrainedModel):
    """Base of the DeBERTa v2, v3 and mDeBERTa models."""

    config_class: ClassVar[type[BaseConfig]] = DebertaV2Config


class DebertaModel(heads.Model, DebertaPreTrainedModel):
    """DeBERTa v1 encoder without head."""


DebertaPreTrainedModel.encoder_class = DebertaModel


class DebertaForMaskedLM(heads.MaskedLM, DebertaPreTrainedModel):
    """DeBERTa v1 with the word behind each [MASK]."""


class DebertaForSequenceClassification(heads.SequenceClassification, DebertaPreTrainedModel):
    """DeBERTa v1 with a label, several or a number per text."""


class DebertaForTokenClassification(heads.TokenClassification, DebertaPreTrainedModel):
    """DeBERTa v1 with a label per token."""


class DebertaForQuestionAnswering(heads.QuestionAnswering, DebertaPreTrainedModel):
    """DeBERTa v1 with first and last token of an answer."""


class DebertaForMultipleChoice(heads.MultipleChoice, DebertaPreTrainedModel):
    """DeBERTa v1 that chooses between texts."""


class DebertaForReplacedTokenDetection(heads.ReplacedTokenDetection, DebertaPreTrainedModel):
    """DeBERTa v1 that tells replaced tokens."""


class DebertaV2Model(heads.Model, DebertaV2PreTrainedModel):
    """DeBERTa v2/v3 encoder without head."""


DebertaV2PreTrainedModel.encoder_class = DebertaV2Model


class DebertaV2ForMaskedLM(heads.MaskedLM, DebertaV2PreTrainedModel):
    """DeBERTa v2/v3 with the word behind each [MASK]."""


class DebertaV2ForSequenceClassification(heads.SequenceClassification, DebertaV2PreTrainedModel):
    """DeBERTa v2/v3 with a label, several or a number per text."""


class DebertaV2ForTokenClassification(heads.TokenClassification, DebertaV2PreTrainedModel):
    """DeBERTa v2/v3 with a label per token."""


class DebertaV2ForQuestionAnswering(heads.QuestionAnswering, DebertaV2PreTrainedModel):
    """DeBERTa v2/v3 with first and last token of an answer."""


class DebertaV2ForMultipleChoice(heads.MultipleChoice, DebertaV2PreTrainedModel):
    """DeBERTa v2/v3 that chooses between texts."""


class DebertaV2ForReplacedTokenDetection(heads.ReplacedTokenDetection, DebertaV2PreTrainedModel):
    """DeBERTa v2/v3 that tells replaced tokens."""


class AutoModel:
    """The encoder of the family that the config names."""

    head: ClassVar[str] = "Model"

    def __init__(self) -> None:
        raise TypeError(f"{type(self).__name__} is not a model; use its from_pretrained or from_config")

    @classmethod
    def model_class(cls, config: BaseConfig | type[BaseConfig]) -> Any:
        """The class for a config.

        Raises:
            ValueError: for what is no config of a family here.
        """
        family = AutoConfig.family(getattr(config, "model_type", config))
        return globals()[FAMILIES[family.model_type] + cls.head]

    @classmethod
    def from_config(cls, config: BaseConfig, **options: Any) -> Any:
        """A model with starting weights; options as for ``from_config`` of the family's class."""
        return cls.model_class(config).from_config(config, **options)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """As ``from_pretrained`` of the family's class."""
        path = take_keywords(path, options, quantises=True)
        config = options.get("config")
        if config is not None:
            return cls.model_class(config).from_pretrained(path, **options)
        if path is None:
            raise TypeError(f"{cls.__name__}.from_pretrained takes a folder or a name, or a config and a state_dict")
        with open_folder(path, options, FORMATS, cls.head) as folder:
            named = build_config(lambda v: AutoConfig.family(v.get("model_type")), folder.config, folder.config_file)
            return cls.model_class(named).from_pretrained(folder, **options)


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
