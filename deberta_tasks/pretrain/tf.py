"""The learner of replaced-token pretraining in TensorFlow."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
import tf_keras

from deberta_core.config import BaseConfig
from deberta_core.pretraining import generator_config
from deberta_tasks.distill.teaching import make_lesson
from deberta_tasks.pretrain.request import LOSSES, NEW, NO_LIMIT, OWN, Request, check_options
from deberta_tasks.training.loop import Learner
from deberta_tasks.training.options import Options
from deberta_tasks.training.stream import Batch
from deberta_tasks.training.tf import KerasLearner, adamw, load_state, refuse_compile, save_state, set_rate
from deberta_tasks.training.tf_parallel import start_strategy
from deberta_tf import TFAutoModelForMaskedLM, TFAutoModelForReplacedTokenDetection, TFReplacedTokenPretraining
from deberta_tf.pretraining import new_generator


def new_learner(request: Request, options: Options, config: BaseConfig | None) -> Learner:
    """A model with starting weights, or with those of the checkpoint where there is no config.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if checkpoint or options do not fit.
    """
    strategy = start_strategy(request.devices)  # before anything else of TensorFlow
    tf_keras.utils.set_random_seed(options.seed)
    folder = request.model or ""
    if request.objective == "mlm":
        lessons = request.lessons
        lesson = partial(make_lesson, lessons, "ForMaskedLM", "tf") if lessons else None

        def make() -> Any:
            if config is None:
                fields = lessons.student_fields() if lessons else {}
                return TFAutoModelForMaskedLM.from_pretrained(folder, generator=bool(request.generator), **fields)
            return TFAutoModelForMaskedLM.from_config(config)

        # Only the masked places are decoded, which is what makes a large vocabulary affordable.
        return KerasLearner(make, options, strategy, lesson=lesson, only_masked=True)
    how: dict[str, Any] = {"embedding_sharing": request.sharing, "rtd_lambda": request.rtd_lambda, "seed": options.seed}
    if config is None and request.generator == NEW:
        discriminator = TFAutoModelForReplacedTokenDetection.from_pretrained(folder)
        how["keep_discriminator"] = True
        generator = new_generator(discriminator)
    elif config is None:
        given = request.generator if request.generator != OWN else None
        pair = TFReplacedTokenPretraining.from_pretrained(folder, generator=given or None, **how)
        return KerasPairLearner(pair, options, strategy)
    else:
        generator = TFAutoModelForMaskedLM.from_config(generator_config(config))
        discriminator = TFAutoModelForReplacedTokenDetection.from_config(config)
    return KerasPairLearner(TFReplacedTokenPretraining(generator, discriminator, **how), options, strategy)


class KerasPairLearner:
    """A generator and a discriminator, each with its optimiser; see ``loop.Learner``.

    Args:
        model: both, in ``TFReplacedTokenPretraining``.
        options: how they are trained.
        strategy: of TensorFlow.

    Raises:
        ValueError: for options that two models that train in turn cannot have.
    """

    first, processes = True, 1

    def __init__(self, model: Any, options: Options, strategy: tf.distribute.Strategy) -> None:
        check_options(options, strategy.num_replicas_in_sync)
        refuse_compile(options)
        self.model, self.options = model, options
        halves = (model.generator_parameters(), model.discriminator_parameters())
        self.optimizers = [adamw(half, weight_decay=options.weight_decay) for half in halves]
        self._graph: Any = None

    def step(self, batch: Batch, rate: float, step: int) -> dict[str, float]:
        """A step of the generator, then one of the discriminator on what the generator had written, as one graph."""
        set_rate(self.optimizers, rate)
        tensors = {name: tf.constant(array) for name, array in batch.items()}
        if self._graph is None:  # one for all lengths
            signature = {name: tf.TensorSpec([None] * x.shape.rank, x.dtype) for name, x in tensors.items()}
            self._graph = tf.function(self._losses, input_signature=[signature], autograph=False)
        losses = self._graph(tensors)
        return {name: float(loss) for name, loss in losses.items()}

    def _losses(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        output = self.model.decoupled_step(*self.optimizers, batch, clip=self.options.clip or NO_LIMIT)
        return {name: output[name] for name in LOSSES}

    def save_state(self, folder: Path | None) -> None:
        """Both models, both optimisers, and how often was drawn from the generator and by dropout."""
        save_state(folder, self.model, self.optimizers)

    def load_state(self, folder: Path) -> None:
        """Into the models as they are."""
        load_state(folder, self.model, self.optimizers)

    def save_model(self, folder: Path | None) -> None:
        """The discriminator as an ordinary checkpoint, the generator beside it."""
        self.model.save_pretrained(folder)

    def wait(self) -> None:
        """There are no others."""

    def stop(self) -> None:
        """Nothing to part from."""
