"""DeBERTa v1, v2, v3 and mDeBERTa in TensorFlow (tf-keras)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deberta_core.beside_tensorflow import keep_triton_apart
from deberta_core.config import AutoConfig, DebertaConfig, DebertaV2Config
from deberta_core.config import BaseConfig as PretrainedConfig
from deberta_core.lazy import lazy
from deberta_tf.families import (
    TFDebertaForMaskedLM,
    TFDebertaForMultipleChoice,
    TFDebertaForQuestionAnswering,
    TFDebertaForReplacedTokenDetection,
    TFDebertaForSequenceClassification,
    TFDebertaForTokenClassification,
    TFDebertaMainLayer,
    TFDebertaModel,
    TFDebertaPreTrainedModel,
    TFDebertaV2ForMaskedLM,
    TFDebertaV2ForMultipleChoice,
    TFDebertaV2ForQuestionAnswering,
    TFDebertaV2ForReplacedTokenDetection,
    TFDebertaV2ForSequenceClassification,
    TFDebertaV2ForTokenClassification,
    TFDebertaV2MainLayer,
    TFDebertaV2Model,
    TFDebertaV2PreTrainedModel,
)
from deberta_tf.fast.inference import optimize_for_inference
from deberta_tf.pretrained import TFPreTrainedModel
from deberta_tf.pretraining import TFReplacedTokenPretraining

if TYPE_CHECKING:  # a model that is loaded has the type of its head, whatever its family
    from deberta_tf.heads import TFMaskedLM as TFAutoModelForMaskedLM
    from deberta_tf.heads import TFModel as TFAutoModel
    from deberta_tf.heads import TFMultipleChoice as TFAutoModelForMultipleChoice
    from deberta_tf.heads import TFQuestionAnswering as TFAutoModelForQuestionAnswering
    from deberta_tf.heads import TFReplacedTokenDetection as TFAutoModelForReplacedTokenDetection
    from deberta_tf.heads import TFSequenceClassification as TFAutoModelForSequenceClassification
    from deberta_tf.heads import TFTokenClassification as TFAutoModelForTokenClassification
    from tokenization import (
        AutoTokenizer,
        DebertaTokenizer,
        DebertaTokenizerFast,
        DebertaV2Tokenizer,
        DebertaV2TokenizerFast,
        PreTrainedTokenizer,
        PreTrainedTokenizerBase,
        PreTrainedTokenizerFast,
    )
else:
    from deberta_tf.families import (
        TFAutoModel,
        TFAutoModelForMaskedLM,
        TFAutoModelForMultipleChoice,
        TFAutoModelForQuestionAnswering,
        TFAutoModelForReplacedTokenDetection,
        TFAutoModelForSequenceClassification,
        TFAutoModelForTokenClassification,
    )

__all__ = [
    "AutoConfig",
    "AutoTokenizer",
    "DebertaConfig",
    "DebertaTokenizer",
    "DebertaTokenizerFast",
    "DebertaV2Config",
    "DebertaV2Tokenizer",
    "DebertaV2TokenizerFast",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerBase",
    "PreTrainedTokenizerFast",
    "PretrainedConfig",
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
    "TFDebertaMainLayer",
    "TFDebertaModel",
    "TFDebertaPreTrainedModel",
    "TFDebertaV2ForMaskedLM",
    "TFDebertaV2ForMultipleChoice",
    "TFDebertaV2ForQuestionAnswering",
    "TFDebertaV2ForReplacedTokenDetection",
    "TFDebertaV2ForSequenceClassification",
    "TFDebertaV2ForTokenClassification",
    "TFDebertaV2MainLayer",
    "TFDebertaV2Model",
    "TFDebertaV2PreTrainedModel",
    "TFPreTrainedModel",
    "TFReplacedTokenPretraining",
    "optimize_for_inference",
]

keep_triton_apart()

if not TYPE_CHECKING:  # which tells names that are not there
    __getattr__, __dir__ = lazy(__name__, {"tokenization": [name for name in __all__ if "Tokenizer" in name]})
