"""The sides on a GPU: forward pass and forward with backward, in bfloat16, 8192 tokens a batch at every length.

Dropout is 0, since not every side's kernel has it. ``plain sdpa`` is the same model without position terms: what a
model without disentangled attention would cost. First it is said how far each of ours is from the plain formula, then
cases come in the order in which they matter: what does not fit into the time is named. TensorFlow comes last, once
PyTorch has let go of the memory, and as what ends the process there ends nothing else.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import deberta_pt
from benchmarks.models_pt import batch, our_model, peer_model
from benchmarks.settings import Settings, Shape, filled, label, model_values, uneven
from benchmarks.timing import Record, Recorder, Side, alternate

TOKENS, SHORTEST = 8192, 32
IN_ORDER = (512, 128, 2048, 32, 8192, 4096, 1024, 256, 64)  # lengths, those that say most first
PADDED: Shape = (16, 512)  # uneven texts, a little more than half of the places
COMPARED: Shape = (2, 700)  # the first text whole, the second half as long
LIMITS = {"PyTorch": 320.0, "TensorFlow": 400.0}  # seconds after which nothing new is begun
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
PLAIN = {"relative_attention": False, "pos_att_type": None, "norm_rel_ebd": "none"}
OURS = ("eager", "sdpa", "flex", "blocked", "triton")
PEER, PREPARED, XLA = "transformers", "ours optimized", "ours TensorFlow XLA"
XLA_SHAPES: tuple[Shape, ...] = ((16, 512), (64, 128), (4, 2048))
FLASH = {"DisentangledFlash": False, "DisentangledFlash, training": True}
ONLY = {PREPARED: False, **FLASH}  # sides of one of the two passes: whether it is training
DEVICE = "cuda"


class Case(NamedTuple):
    """What all sides compute: texts and tokens, with the backward pass or not, padded or not."""

    shape: Shape
    train: bool
    padded: bool = False

    def __str__(self) -> str:
        padded = ", padded" if self.padded else ""
        return f"{'forward + backward' if self.train else 'forward'}, {label(self.shape)}{padded}"


def gpu(settings: Settings, record: Recorder) -> None:
    """All sides where there is a GPU; a remark where there is none."""
    if not torch.cuda.is_available():
        record.note("unmeasured: this machine has no GPU that PyTorch can use")
        return
    begun = time.monotonic()

    def late(framework: str, what: object) -> bool:
        over = time.monotonic() - begun > LIMITS[framework]
        if over:
            record.note(f"{what}: not measured, the time was over")
        return over

    major, minor = torch.cuda.get_device_capability()
    record.note(f"GPU: {torch.cuda.get_device_name()}, compute capability {major}.{minor}, CUDA {torch.version.cuda}")
    compare(record)
    layers = settings.layers or 12
    models = all_models(record, layers)
    longest = settings.longest.bit_length()
    lengths = sorted((1 << i for i in range(SHORTEST.bit_length() - 1, longest)), key=IN_ORDER.index)
    shapes = settings.shapes or [(max(1, TOKENS // length), length) for length in lengths]
    cases = [Case(shape, train) for shape in shapes for train in (False, True)]
    padded = [] if settings.shapes else [Case(PADDED, train, padded=True) for train in (False, True)]
    for case in [*cases[:6], *padded, *cases[6:]]:
        if not late("PyTorch", case):
            measure(record, models, case, settings.rounds, functools.partial(late, "PyTorch"))
    if padded:
        record.note(f"padded: {filled(PADDED)}; ours is given the mask on the CPU, as deberta finetune does")
    models.clear()
    torch.cuda.empty_cache()
    with record.peer(XLA):
        tensorflow = tensorflow_model(layers)
        for case in [Case(shape, train) for shape in settings.shapes or XLA_SHAPES for train in (False, True)]:
            if late("TensorFlow", f"{case}, {XLA}"):
                continue
            with record.peer(f"{case}, {XLA}"):
                side = tensorflow_side(tensorflow, case)
                side()
                keep(record, case, {XLA: side}, settings.rounds, {})


def compare(record: Recorder) -> None:
    """Note how far each of ours is from the plain formula, in states and gradients, relative to the largest of them."""
    inputs = {name: tensor.to(DEVICE) for name, tensor in batch(COMPARED, [COMPARED[1], COMPARED[1] // 2]).items()}

    def results(name: str, dtype: torch.dtype) -> list[Tensor]:
        model = our_model(2, **NO_DROPOUT, attn_implementation=name).to(DEVICE, dtype).train()
        states = model(**inputs).last_hidden_state
        direction = torch.randn(states.shape, generator=torch.Generator().manual_seed(1)).to(states)
        (states * direction).sum().backward()
        return [x.float() for x in (states.detach(), *(p.grad for p in model.parameters() if p.grad is not None))]

    with record.peer("comparison"):
        expected = results("eager", torch.float32)
        largest = max(float(gradient.abs().max()) for gradient in expected[1:])
        for name in OURS:
            for dtype in (torch.float32, torch.bfloat16):
                with record.peer(f"comparison, {name}, {dtype}"):
                    states, *gradients = results(name, dtype)
                    far = float((states - expected[0]).abs().max() / expected[0].abs().max())
                    pairs = zip(gradients, expected[1:], strict=True)
                    off = max(float((one - other).abs().max()) for one, other in pairs) / largest
                    record.note(f"{name}, {dtype}: {far:.1e} from eager in float32, gradients {off:.1e}")


def all_models(record: Recorder, layers: int) -> dict[str, Any]:
    """Models of every side, on the GPU in bfloat16."""
    models: dict[str, Any] = {}
    with record.peer(PEER):
        models[PEER] = peer_model(layers, **NO_DROPOUT)
    models["ours"] = our_model(layers, **NO_DROPOUT)
    for name in OURS:
        models[f"ours {name}"] = our_model(layers, **NO_DROPOUT, attn_implementation=name)
    models["ours compiled"] = our_model(layers, **NO_DROPOUT)
    for layer in models["ours compiled"].encoder.layer:
        layer.compile(dynamic=True)
    with record.peer("FlashDeBERTa"):
        from flashdeberta import FlashDebertaV2Model
        from transformers import DebertaV2Config

        models["FlashDeBERTa"] = FlashDebertaV2Model(DebertaV2Config(**model_values(layers), **NO_DROPOUT))
    for name, training in FLASH.items():
        with record.peer(name):
            models[name] = flash_model(layers, training)
    models["plain sdpa"] = our_model(layers, **NO_DROPOUT, **PLAIN, attn_implementation="sdpa")
    models = {name: model.to(DEVICE, torch.bfloat16) for name, model in models.items()}
    models[PREPARED] = deberta_pt.optimize_for_inference(models["ours"])
    return models


def flash_model(layers: int, training: bool) -> Any:
    """Transformers' model with the kernels of DisentangledFlash, of which those that learn are others."""
    import disentangled_flash

    model = peer_model(layers, **NO_DROPOUT).to(DEVICE, torch.bfloat16).train(training)
    (disentangled_flash.optimize_deberta_training if training else disentangled_flash.optimize_deberta)(model)
    return model


def tensorflow_model(layers: int) -> Any:
    """Ours in TensorFlow, in mixed bfloat16; it takes of the GPU's memory what it needs, not all.

    Raises:
        RuntimeError: if TensorFlow finds no GPU.
    """
    import tensorflow as tf

    import deberta_tf
    from deberta_tf.layers import policy

    found = tf.config.list_physical_devices("GPU")
    if not found:
        raise RuntimeError("TensorFlow finds no GPU")
    for one in found:
        tf.config.experimental.set_memory_growth(one, True)
    with policy("mixed_bfloat16"):
        return deberta_tf.TFDebertaV2Model(deberta_tf.DebertaV2Config(**{**model_values(layers), **NO_DROPOUT}))


def tensorflow_side(model: Any, case: Case) -> Side:
    """Forward pass, or gradients of the sum of the states, by XLA; waits for the device."""
    import tensorflow as tf

    from benchmarks import models_tf

    def learn(inputs: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(inputs, training=True).last_hidden_state)
        # The gradients themselves: of sums of them XLA would compute no products.
        return [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables) if g is not None]

    def read(inputs: Any) -> Any:
        return [models_tf.states(model, inputs)]

    run = tf.function(learn if case.train else read, jit_compile=True, autograph=False)
    inputs = models_tf.batch(case.shape)

    def side() -> None:
        found = run(inputs)
        tf.cast(tf.reshape(found[-1], [-1])[:1], tf.float32).numpy()

    return side


def measure(
    record: Recorder, models: dict[str, Any], case: Case, rounds: int, late: Callable[[object], bool] = lambda _: False
) -> None:
    """One case: the peak memory of each side's second call, then the times in turns.

    Args:
        record: takes the figures.
        models: by side.
        case: what they compute.
        rounds: turns that count.
        late: whether the time is over, of which it takes note.
    """
    given = batch(case.shape, uneven(case.shape) if case.padded else None)
    inputs = {name: tensor.to(DEVICE) for name, tensor in given.items()}
    here = {**inputs, "attention_mask": given["attention_mask"]} if case.padded else inputs
    sides: dict[str, Side] = {}
    peaks: dict[str, float] = {}
    for name, model in models.items():
        if ONLY.get(name, case.train) != case.train or late(f"{case}, {name}"):
            continue
        ours = isinstance(model, deberta_pt.PreTrainedModel)
        side = functools.partial(step, model.train(case.train), here if ours else inputs, case.train)
        with record.peer(f"{case}, {name}"):
            side()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            side()
            peaks[name] = (torch.cuda.max_memory_allocated() - before) / 1e6
            sides[name] = side
        if name not in sides:  # nothing of what did not fit stays
            model.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
    with record.peer(str(case)):
        keep(record, case, sides, rounds, peaks)


def keep(record: Recorder, case: Case, sides: dict[str, Side], rounds: int, peaks: dict[str, float]) -> None:
    """The times of all sides of a case, in turns."""
    for name, seconds in alternate(sides, rounds, pause=0.0).items():
        record(Record(str(case), name, statistics.median(seconds), (min(seconds), max(seconds)), peaks.get(name)))


def step(model: Any, inputs: dict[str, Tensor], train: bool) -> None:
    """One call, and its end."""
    if train:
        model(**inputs).last_hidden_state.sum().backward()
        model.zero_grad(set_to_none=True)
    else:
        with torch.inference_mode():
            model(**inputs)
    torch.cuda.synchronize()
