"""What PyTorch and TensorFlow share: configs, outputs, published shapes, weight names, files; NumPy, no framework.

``config`` holds every field that a model reads, ``presets`` the published shapes, ``heads`` one row per model class,
``weight_names`` the name of each weight in either framework, ``relative_position`` the one index of distances that
both terms of the attention read, ``checkpoint`` and ``hub`` the files. The trees and the tokenizers build on these
modules and import nothing of each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deberta_core.lazy import lazy

if TYPE_CHECKING:
    from deberta_core.config import AutoConfig, DebertaConfig, DebertaV2Config
    from deberta_core.outputs import (
        BaseModelOutput,
        MaskedLMOutput,
        ModelOutput,
        MultipleChoiceModelOutput,
        QuestionAnsweringModelOutput,
        ReplacedTokenOutput,
        SequenceClassifierOutput,
        TokenClassifierOutput,
    )
    from deberta_core.presets import preset

__all__ = [
    "AutoConfig",
    "BaseModelOutput",
    "DebertaConfig",
    "DebertaV2Config",
    "MaskedLMOutput",
    "ModelOutput",
    "MultipleChoiceModelOutput",
    "QuestionAnsweringModelOutput",
    "ReplacedTokenOutput",
    "SequenceClassifierOutput",
    "TokenClassifierOutput",
    "preset",
]

if not TYPE_CHECKING:  # which tells names that are not there
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "deberta_core.config": [name for name in __all__ if name.endswith("Config")],
            "deberta_core.presets": ("preset",),
            "deberta_core.outputs": [name for name in __all__ if name.endswith("Output")],
        },
    )
