"""DeBERTa v1, v2, v3 and mDeBERTa in TensorFlow (tf-keras)."""

from deberta_core.config import AutoConfig, DebertaConfig, DebertaV2Config
from deberta_tf.auto import (
    TFAutoModel,
    TFAutoModelForMaskedLM,
    TFAutoModelForMultipleChoice,
    TFAutoModelForQuestionAnswering,
    TFAutoModelForReplacedTokenDetection,
    TFAutoModelForSequenceClassification,
    TFAutoModelForTokenClassification,
)
from deberta_tf.families import (
    TFDebertaForMaskedLM,
    TFDebertaForMultipleChoice,
    TFDebertaForQuestionAnswering,
    TFDebertaForReplacedTokenDetection,
    TFDebertaForSequenceClassification,
    TFDebertaForTokenClassification,
    TFDebertaModel,
    TFDebertaPreTrainedModel,
    TFDebertaV2ForMaskedLM,
    TFDebertaV2ForMultipleChoice,
    TFDebertaV2ForQuestionAnswering,
    TFDebertaV2ForReplacedTokenDetection,
    TFDebertaV2ForSequenceClassification,
    TFDebertaV2ForTokenClassification,
    TFDebertaV2Model,
    TFDebertaV2PreTrainedModel,
)
from deberta_tf.inference import optimize_for_inference
from deberta_tf.pretraining import TFReplacedTokenPretraining

__all__ = [
    "AutoConfig",
    "DebertaConfig",
    "DebertaV2Config",
    "TFAutoModel",
    "TFAutoModelForMaskedLM",
    "TFAutoModelForMultipleChoice",
    "TFAutoModelForQuestionAnswering",
    "TFAutoModelForReplacedTokenDetection",
    "TFAutoModelForSequenceClassification",
    "TFAutoModelForTokenClassification",
    "TFDebertaForMaskedLM",
    "TFDebertaForMultipleChoice",
    "TFDebertaForQuestionAnswering",
    "TFDebertaForReplacedTokenDetection",
    "TFDebertaForSequenceClassification",
    "TFDebertaForTokenClassification",
    "TFDebertaModel",
    "TFDebertaPreTrainedModel",
    "TFDebertaV2ForMaskedLM",
    "TFDebertaV2ForMultipleChoice",
    "TFDebertaV2ForQuestionAnswering",
    "TFDebertaV2ForReplacedTokenDetection",
    "TFDebertaV2ForSequenceClassification",
    "TFDebertaV2ForTokenClassification",
    "TFDebertaV2Model",
    "TFDebertaV2PreTrainedModel",
    "TFReplacedTokenPretraining",
    "optimize_for_inference",
]
