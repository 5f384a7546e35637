"""DeBERTa v1, v2, v3 and mDeBERTa in TensorFlow (tf-keras)."""

from deberta_core.config import AutoConfig, DebertaConfig, DebertaV2Config
from deberta_tf.auto import TFAutoModel, TFAutoModelForMultipleChoice, TFAutoModelForQuestionAnswering
from deberta_tf.auto import TFAutoModelForSequenceClassification, TFAutoModelForTokenClassification
from deberta_tf.families import (
    TFDebertaForMultipleChoice,
    TFDebertaForQuestionAnswering,
    TFDebertaForSequenceClassification,
    TFDebertaForTokenClassification,
    TFDebertaModel,
    TFDebertaPreTrainedModel,
    TFDebertaV2ForMultipleChoice,
    TFDebertaV2ForQuestionAnswering,
    TFDebertaV2ForSequenceClassification,
    TFDebertaV2ForTokenClassification,
    TFDebertaV2Model,
    TFDebertaV2PreTrainedModel,
)

__all__ = [
    "AutoConfig",
    "TFAutoModel",
    "TFAutoModelForMultipleChoice",
    "TFAutoModelForQuestionAnswering",
    "TFAutoModelForSequenceClassification",
    "TFAutoModelForTokenClassification",
    "DebertaConfig",
    "TFDebertaForMultipleChoice",
    "TFDebertaForQuestionAnswering",
    "TFDebertaForSequenceClassification",
    "TFDebertaForTokenClassification",
    "TFDebertaModel",
    "TFDebertaPreTrainedModel",
    "DebertaV2Config",
    "TFDebertaV2ForMultipleChoice",
    "TFDebertaV2ForQuestionAnswering",
    "TFDebertaV2ForSequenceClassification",
    "TFDebertaV2ForTokenClassification",
    "TFDebertaV2Model",
    "TFDebertaV2PreTrainedModel",
]
