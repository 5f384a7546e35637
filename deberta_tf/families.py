"""The public classes: each head for each family."""

from __future__ import annotations

from typing import ClassVar

from deberta_core.config import BaseConfig, DebertaConfig, DebertaV2Config
from deberta_tf import heads
from deberta_tf.pretrained import TFPreTrainedModel


class TFDebertaPreTrainedModel(TFPreTrainedModel):
    """Base of the DeBERTa v1 models."""

    config_class: ClassVar[type[BaseConfig]] = DebertaConfig


class TFDebertaV2PreTrainedModel(TFPreTrainedModel):
    """Base of the DeBERTa v2, v3 and mDeBERTa models."""

    config_class: ClassVar[type[BaseConfig]] = DebertaV2Config


class TFDebertaModel(heads.TFModel, TFDebertaPreTrainedModel):
    """DeBERTa v1 encoder without head."""


TFDebertaPreTrainedModel.encoder_class = TFDebertaModel


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


TFDebertaV2PreTrainedModel.encoder_class = TFDebertaV2Model


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
