"""The public classes: each head for each family, and those that read ``model_type`` and pick the family."""

from __future__ import annotations

import os
from typing import Any, ClassVar

from deberta_core.config import AutoConfig, BaseConfig, DebertaConfig, DebertaV2Config
from deberta_core.folder import open_folder
from deberta_core.general_config import build_config
from deberta_core.heads import FAMILIES
from deberta_core.loading import take_keywords
from deberta_tf import heads
from deberta_tf.pretrained import FORMATS, TFPreTrainedModel


class TFDebertaPreTrainedModel(TFPreTrainedModel):
    """Base of the DeBERTa v1 models."""

    config_class: ClassVar[type[BaseConfig]] = DebertaConfig


class TFDebertaV2PreTrainedModel(TFPreTrainedModel):
    """Base of the DeBERTa v2, v3 and mDeBERTa models."""

    config_class: ClassVar[type[BaseConfig]] = DebertaV2Config


class _Itself:
    """The main layer that a documented encoder holds as ``deberta``: the encoder itself, which has its parts.

    No property, which would refuse a class of a user's own that holds another one under this name.
    """

    def __get__(self, encoder: Any, owner: type) -> Any:
        return self if encoder is None else encoder


class TFDebertaModel(heads.TFModel, TFDebertaPreTrainedModel):
    """DeBERTa v1 encoder without head."""

    deberta = _Itself()


TFDebertaPreTrainedModel.encoder_class = TFDebertaModel
TFDebertaMainLayer = TFDebertaModel  # the documented encoder is a shell around a layer of this name


class TFDebertaForMaskedLM(heads.TFMaskedLM, TFDebertaPreTrainedModel):
    """DeBERTa v1 with the word behind each [MASK]."""


class TFDebertaForSequenceClassification(heads.TFSequenceClassification, TFDebertaPreTrainedModel):
    """DeBERTa v1 with a label, several or a number per text."""


class TFDebertaForTokenClassification(heads.TFTokenClassification, TFDebertaPreTrainedModel):
    """DeBERTa v1 with a label per token."""


class TFDebertaForQuestionAnswering(heads.TFQuestionAnswering, TFDebertaPreTrainedModel):
    """DeBERTa v1 with first and last token of an answer."""


class TFDebertaForMultipleChoice(heads.TFMultipleChoice, TFDebertaPreTrainedModel):
    """DeBERTa v1 that chooses between texts."""


class TFDebertaForReplacedTokenDetection(heads.TFReplacedTokenDetection, TFDebertaPreTrainedModel):
    """DeBERTa v1 that tells replaced tokens."""


class TFDebertaV2Model(heads.TFModel, TFDebertaV2PreTrainedModel):
    """DeBERTa v2/v3 encoder without head."""

    deberta = _Itself()


TFDebertaV2PreTrainedModel.encoder_class = TFDebertaV2Model
TFDebertaV2MainLayer = TFDebertaV2Model  # likewise


class TFDebertaV2ForMaskedLM(heads.TFMaskedLM, TFDebertaV2PreTrainedModel):
    """DeBERTa v2/v3 with the word behind each [MASK]."""


class TFDebertaV2ForSequenceClassification(heads.TFSequenceClassification, TFDebertaV2PreTrainedModel):
    """DeBERTa v2/v3 with a label, several or a number per text."""


class TFDebertaV2ForTokenClassification(heads.TFTokenClassification, TFDebertaV2PreTrainedModel):
    """DeBERTa v2/v3 with a label per token."""


class TFDebertaV2ForQuestionAnswering(heads.TFQuestionAnswering, TFDebertaV2PreTrainedModel):
    """DeBERTa v2/v3 with first and last token of an answer."""


class TFDebertaV2ForMultipleChoice(heads.TFMultipleChoice, TFDebertaV2PreTrainedModel):
    """DeBERTa v2/v3 that chooses between texts."""


class TFDebertaV2ForReplacedTokenDetection(heads.TFReplacedTokenDetection, TFDebertaV2PreTrainedModel):
    """DeBERTa v2/v3 that tells replaced tokens."""


class TFAutoModel:
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
        return globals()["TF" + FAMILIES[family.model_type] + cls.head]

    @classmethod
    def from_config(cls, config: BaseConfig, **options: Any) -> Any:
        """A model with starting weights; options as for ``from_config`` of the family's class."""
        return cls.model_class(config).from_config(config, **options)

    @classmethod
    def from_pretrained(cls, path: str | os.PathLike[str] | None = None, **options: Any) -> Any:
        """As ``from_pretrained`` of the family's class."""
        path = take_keywords(path, options)
        config = options.get("config")
        if config is not None:
            return cls.model_class(config).from_pretrained(path, **options)
        if path is None:
            raise TypeError(f"{cls.__name__}.from_pretrained takes a folder or a name, got None")
        with open_folder(path, options, FORMATS, cls.head) as folder:
            named = build_config(lambda v: AutoConfig.family(v.get("model_type")), folder.config, folder.config_file)
            return cls.model_class(named).from_pretrained(folder, **options)


class TFAutoModelForSequenceClassification(TFAutoModel):
    """``TFAutoModel`` with a label, several or a number per text."""

    head = "ForSequenceClassification"


class TFAutoModelForTokenClassification(TFAutoModel):
    """``TFAutoModel`` with a label per token."""

    head = "ForTokenClassification"


class TFAutoModelForQuestionAnswering(TFAutoModel):
    """``TFAutoModel`` with first and last token of an answer."""

    head = "ForQuestionAnswering"


class TFAutoModelForMultipleChoice(TFAutoModel):
    """``TFAutoModel`` that chooses between texts."""

    head = "ForMultipleChoice"


class TFAutoModelForMaskedLM(TFAutoModel):
    """``TFAutoModel`` with the word behind each [MASK]."""

    head = "ForMaskedLM"


class TFAutoModelForReplacedTokenDetection(TFAutoModel):
    """``TFAutoModel`` that tells replaced tokens."""

    head = "ForReplacedTokenDetection"
