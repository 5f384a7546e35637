"""What is asked of a pretraining run, and what it makes of options and sizes, whatever the framework."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deberta_core.config import BaseConfig
from deberta_core.presets import preset
from deberta_core.pretraining import generator_config
from deberta_tasks.distill.lessons import Lessons
from deberta_tasks.masking import MLM, RTD, Masking
from deberta_tasks.training.options import Options

OBJECTIVES = {"mlm": MLM, "rtd": RTD}
NEW = "new"  # a generator made anew, whatever the folder holds
OWN = "its own"  # the generator in the folder
LOSSES = ("mlm_loss", "rtd_loss")
NO_LIMIT = 1e30


@dataclass(frozen=True)
class Request:
    """What is to be trained, on what.

    Attributes:
        objective: ``mlm`` or ``rtd``.
        text: UTF-8 file, a sentence or paragraph a line; held in memory.
        output: folder of the run.
        framework: ``pt`` or ``tf``.
        model: checkpoint to go on from; ``None`` for a new vocabulary and a DeBERTa v3 from scratch.
        generator: for ``mlm``, not empty: train the generator in the folder. For ``rtd``: folder of a masked-LM model,
            ``new`` for one made anew; empty: the one in the folder, or else one made anew.
        vocab_size: tokens of a new vocabulary.
        hidden_size: width of a new model, 64 for each head.
        layers: of a new model; a generator beside it has half.
        sharing: of the tables of generator and discriminator: ``gdes``, ``es`` or ``none``.
        rtd_lambda: weight of the discriminator's loss.
        parallel: ``ddp`` or ``fsdp``, for several processes of PyTorch.
        devices: of this host, for TensorFlow; 0 for all GPUs, or one CPU.
        lessons: for ``mlm``: of a teacher, that the model learns from beside the words.
        note: further Markdown for the card.
        texts: instead of ``text``: files, folders or patterns, read as a stream into the folder of the run.
        column: of ``texts``, where files have columns.
        rows: of ``texts``: ``joined``, ``packed`` or ``single``, see ``Corpus``.
        masked: share of the tokens that are hidden.
        span: most neighbouring words that are hidden together; 0 as usual for the objective, 3 for ``mlm``, 1 for
            ``rtd``.
        pieces: hide pieces of words by themselves, and not all of a word or none.

    Raises:
        ValueError: for a share or a number of words that cannot be, or what would be passed over.
    """

    objective: str
    text: Path | None
    output: Path
    framework: str = "pt"
    model: str | None = None
    generator: str = ""
    vocab_size: int = 8000
    hidden_size: int = 256
    layers: int = 6
    sharing: str = "gdes"
    rtd_lambda: float = 10.0
    parallel: str = "ddp"
    devices: int = 0
    lessons: Lessons | None = None
    note: str = ""
    texts: tuple[str, ...] = ()
    column: str = "text"
    rows: str = "joined"
    masked: float = 0.15
    span: int = 0
    pieces: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.masked <= 1:
            raise ValueError(f"masked is {self.masked}, expected a share of the tokens, 0 to 1")
        if self.span < 0:
            raise ValueError(f"span is {self.span}, expected at least 1 word, or 0 for what is usual")
        for name, usual in (("column", "text"), ("rows", "joined")):
            value = getattr(self, name)
            if value != usual and not self.texts:
                raise ValueError(f"{name} is {value!r}, which is for --texts; give the file by that and not by --text")
        if self.objective == "mlm" and self.generator not in ("", OWN):
            raise ValueError(
                f"generator is {self.generator!r}, but with masked tokens the one in the model's folder is trained; "
                "give --generator without a name, or go on with another model (--continue)"
            )
        if self.model is None and self.generator not in ("", OWN, NEW):
            raise ValueError(
                f"generator is {self.generator!r}, but a model from scratch has a new one; leave it out, or give a "
                "model to go on from (--continue)"
            )

    def masking(self) -> Masking:
        """How tokens are hidden."""
        usual = OBJECTIVES[self.objective]
        return replace(
            usual, probability=self.masked, max_ngram=self.span or usual.max_ngram, whole_words=not self.pieces
        )

    def settings(self) -> dict[str, Any]:
        """What the weights depend on; what has its default is left out, so that runs of earlier versions go on."""
        names = ["objective", "framework", "model"]
        names += ["vocab_size", "hidden_size", "layers"] if self.model is None else []
        names += ["sharing", "rtd_lambda"] if self.objective == "rtd" else []
        newer = {"texts": (), "column": "text", "rows": "joined", "masked": 0.15, "span": 0, "pieces": False}
        names += [name for name, usual in newer.items() if getattr(self, name) != usual]
        found = {name: getattr(self, name) for name in names}
        if self.objective == "mlm":
            return {**found, "generator": bool(self.generator)}
        return {**found, "generator": self.generator} if self.generator not in ("", OWN) else found


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
