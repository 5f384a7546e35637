"""The public classes: each head for each family."""

from __future__ import annotations

from typing import ClassVar

from deberta_core.config import BaseConfig, DebertaConfig, DebertaV2Config
from deberta_pt import heads
from deberta_pt.pretrained import PreTrainedModel


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
