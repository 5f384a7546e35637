"""DeBERTa v1, v2, v3 and mDeBERTa in PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.utils._pytree import register_pytree_node

from deberta_core.beside_tensorflow import keep_triton_apart
from deberta_core.config import AutoConfig, DebertaConfig, DebertaV2Config
from deberta_core.config import BaseConfig as PretrainedConfig
from deberta_core.lazy import lazy
from deberta_core.outputs import OUTPUTS, ModelOutput
from deberta_core.pretraining import ReplacedTokenPretrainingOutput
from deberta_pt.by_others import BitsAndBytesConfig
from deberta_pt.families import (
    DebertaForMaskedLM,
    DebertaForMultipleChoice,
    DebertaForQuestionAnswering,
    DebertaForReplacedTokenDetection,
    DebertaForSequenceClassification,
    DebertaForTokenClassification,
    DebertaModel,
    DebertaPreTrainedModel,
    DebertaV2ForMaskedLM,
    DebertaV2ForMultipleChoice,
    DebertaV2ForQuestionAnswering,
    DebertaV2ForReplacedTokenDetection,
    DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification,
    DebertaV2Model,
    DebertaV2PreTrainedModel,
)
from deberta_pt.fast.inference import optimize_for_inference, quantize
from deberta_pt.pretrained import PreTrainedModel
from deberta_pt.pretraining import ReplacedTokenPretraining

if TYPE_CHECKING:  # a model that is loaded has the type of its head, whatever its family
    from deberta_pt.heads import MaskedLM as AutoModelForMaskedLM
    from deberta_pt.heads import Model as AutoModel
    from deberta_pt.heads import MultipleChoice as AutoModelForMultipleChoice
    from deberta_pt.heads import QuestionAnswering as AutoModelForQuestionAnswering
    from deberta_pt.heads import ReplacedTokenDetection as AutoModelForReplacedTokenDetection
    from deberta_pt.heads import SequenceClassification as AutoModelForSequenceClassification
    from deberta_pt.heads import TokenClassification as AutoModelForTokenClassification
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
    from deberta_pt.families import (
        AutoModel,
        AutoModelForMaskedLM,
        AutoModelForMultipleChoice,
        AutoModelForQuestionAnswering,
        AutoModelForReplacedTokenDetection,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

for _output in (ModelOutput, *OUTPUTS, ReplacedTokenPretrainingOutput):  # torch rebuilds only the types it knows
    register_pytree_node(
        _output,
        lambda output: (list(output.values()), list(output)),
        lambda values, names, cls=_output: cls(zip(names, values, strict=True)),  # type: ignore[misc]
        serialized_type_name=f"{_output.__module__}.{_output.__name__}",
    )

__all__ = [
    "AutoConfig",
    "AutoModel",
    "AutoModelForMaskedLM",
    "AutoModelForMultipleChoice",
    "AutoModelForQuestionAnswering",
    "AutoModelForReplacedTokenDetection",
    "AutoModelForSequenceClassification",
    "AutoModelForTokenClassification",
    "AutoTokenizer",
    "BitsAndBytesConfig",
    "DebertaConfig",
    "DebertaForMaskedLM",
    "DebertaForMultipleChoice",
    "DebertaForQuestionAnswering",
    "DebertaForReplacedTokenDetection",
    "DebertaForSequenceClassification",
    "DebertaForTokenClassification",
    "DebertaModel",
    "DebertaPreTrainedModel",
    "DebertaTokenizer",
    "DebertaTokenizerFast",
    "DebertaV2Config",
    "DebertaV2ForMaskedLM",
    "DebertaV2ForMultipleChoice",
    "DebertaV2ForQuestionAnswering",
    "DebertaV2ForReplacedTokenDetection",
    "DebertaV2ForSequenceClassification",
    "DebertaV2ForTokenClassification",
    "DebertaV2Model",
    "DebertaV2PreTrainedModel",
    "DebertaV2Tokenizer",
    "DebertaV2TokenizerFast",
    "PreTrainedModel",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerBase",
    "PreTrainedTokenizerFast",
    "PretrainedConfig",
    "ReplacedTokenPretraining",
    "optimize_for_inference",
    "quantize",
]

keep_triton_apart()

if not TYPE_CHECKING:  # which tells names that are not there
    __getattr__, __dir__ = lazy(__name__, {"tokenization": [name for name in __all__ if "Tokenizer" in name]})
