"""What is asked of a pretraining run, and what it makes of options and sizes, whatever the framework."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deberta_core.config import BaseConfig
from deberta_core.presets import preset
from deberta_core.pretraining import generator_config
from deberta_tasks.distill.lessons import Lessons
from deberta_tasks.training.options import Options

LOSSES = ("mlm_loss", "rtd_loss")
NO_LIMIT = 1e30


@dataclass(frozen=True)
class Request:
    """What is to be trained, on what.

    Attributes:
        objective: ``mlm`` or ``rtd``.
        text: UTF-8 file, a sentence or paragraph a line.
        output: folder of the run.
        framework: ``pt`` or ``tf``.
        model: checkpoint to go on from; ``None`` for a new vocabulary and a DeBERTa v3 from scratch.
        generator: for ``mlm``: train the generator in the folder.
        vocab_size: tokens of a new vocabulary.
        hidden_size: width of a new model, 64 for each head.
        layers: of a new model; a generator beside it has half.
        sharing: of the tables of generator and discriminator: ``gdes``, ``es`` or ``none``.
        rtd_lambda: weight of the discriminator's loss.
        parallel: ``ddp`` or ``fsdp``, for several processes of PyTorch.
        devices: of this host, for TensorFlow; 0 for all GPUs, or one CPU.
        lessons: for ``mlm``: of a teacher, that the model learns from beside the words.
        note: further Markdown for the card.
    """

    objective: str
    text: Path
    output: Path
    framework: str = "pt"
    model: str | None = None
    generator: bool = False
    vocab_size: int = 8000
    hidden_size: int = 256
    layers: int = 6
    sharing: str = "gdes"
    rtd_lambda: float = 10.0
    parallel: str = "ddp"
    devices: int = 0
    lessons: Lessons | None = None
    note: str = ""


def new_config(request: Request, vocab_size: int, max_length: int) -> BaseConfig:
    """DeBERTa v3, as small as is asked for; of the model that predicts words with the enhanced mask decoder."""
    config = preset(
        "deberta-v3-small", vocab_size=vocab_size, hidden_size=request.hidden_size, num_hidden_layers=request.layers,
        num_attention_heads=max(1, request.hidden_size // 64), intermediate_size=4 * request.hidden_size,
        max_position_embeddings=max_length, position_buckets=max(4, max_length // 2),
    )  # fmt: skip
    return config if request.objective == "rtd" else generator_config(config, layers=request.layers)


def check_options(options: Options, processes: int, precisions: tuple[str, ...] = ("float32",)) -> None:
    """Refuse what two models that train in turn cannot do.

    Args:
        options: of the training.
        processes: how many train.
        precisions: those that the framework's learner knows.

    Raises:
        ValueError: for parts of a step, several processes, another precision, or rates by layer.
    """
    possible: dict[str, tuple[Any, ...]] = {
        "accumulate": (1,), "layer_decay": (1.0,), "precision": precisions, "checkpointing": (False,),
    }  # fmt: skip
    given = {name: getattr(options, name) for name in possible}
    for name, value in {**given, "processes": processes}.items():
        if value not in (known := possible.get(name, (1,))):
            raise ValueError(
                f"{name} is {value}, expected {' or '.join(map(str, known))}: replaced tokens are trained in whole "
                "steps on one device"
            )
