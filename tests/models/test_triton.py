"""The Triton kernels: as interpreted Python against the reference, and compiled ahead of time for GPUs.

Run where the package triton is, with ``TRITON_INTERPRET=1``, which Triton and this zoo read when they are imported:
``make test-slow`` does so in an environment of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

import deberta_pt.fast.triton as face
from deberta_pt.attention import HAS_TRITON, INTERPRETED, Heads, eager
from deberta_pt.encoder import Encoder, read_mask
from tests.models.helpers import (
    assert_all_close,
    assert_close,
    assert_gradients_close,
    flatten,
    pt_gradients,
    pt_inputs,
    pt_model,
    random_inputs,
    small_config,
    steady,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*FP_FUSION:UserWarning")
here = pytest.mark.skipif(
    not (HAS_TRITON and INTERPRETED), reason="wants the package triton and TRITON_INTERPRET=1: see the Makefile"
)
compiles = pytest.mark.skipif(not HAS_TRITON, reason="wants the package triton: see the Makefile")
MASKS = ("none", "right", "left", "holes", "causal", "packed")
BORDERS = (1, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 130, 519)
HEAD = "ForTokenClassification"
FLASHDEBERTA = 1506  # instructions of the loop of its forward kernel, 0.0.8, as ``benchmarks.kernels`` counts them
matrix = pytest.mark.everything
ROOT = Path(__file__).parents[2]


def mask_of(kind: str, queries: int, keys: int) -> Any:
    """A mask of two texts, float: of the last three some queries see nothing."""
    seen = torch.ones(2, keys)
    if kind == "right":
        seen[1, keys // 2 :] = 0
    elif kind == "left":
        seen[0, : keys // 3] = 0
    elif kind == "holes":
        seen = (torch.rand(2, keys) > 0.4).float()
        seen[0] = 0
    elif kind == "causal":
        seen = torch.tril(torch.ones(2, queries, keys))
        seen[1, :, :3] = 0
    elif kind == "packed":
        text = torch.arange(keys) * 3 // keys
        seen = (text[:, None] == text[None]).float()[None].repeat(2, 1, 1)[:, :queries]
        seen[1, queries // 2] = 0
    return None if kind == "none" else seen


class Reference:
    """What ``eager`` reads of a module, with the dropout of the kernels."""

    training = True

    def __init__(self, config: Any, rate: float, factors: Any) -> None:
        self.config, self.rate, self.factors = config, rate, factors
        self.dropout = self

    @property
    def p(self) -> float:
        return self.rate

    def __call__(self, probs: Any) -> Any:
        return probs if self.factors is None else probs * self.factors.to(probs.dtype)

    def mix_logits(self, scores: Any) -> Any:
        return scores

    mix_probs = mix_logits


def keep_factors(seed: int, heads: int, queries: int, keys: int, rate: float) -> Any:
    """The factors of dropout ``[heads, Q, K]``: Philox of seven rounds, in NumPy.

    Source: Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3, section 3.3.
    """
    shape, word = (heads, queries, -(-keys // 8)), np.uint64(0xFFFFFFFF)
    head, row, eight = np.meshgrid(*(np.arange(n, dtype=np.uint64) for n in shape), indexing="ij")
    a, b, c, d = eight, row, head, np.zeros(shape, np.uint64)
    low, high = np.uint64(seed) & word, np.uint64(seed) >> np.uint64(32)
    for _ in range(7):
        first, second = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, c = (second >> np.uint64(32)) ^ b ^ low, (first >> np.uint64(32)) ^ d ^ high
        b, d = second & word, first & word
        low, high = (low + np.uint64(0x9E3779B9)) & word, (high + np.uint64(0xBB67AE85)) & word
    # A word decides over two keys, and the words of eight are in the order in which they are interleaved.
    halves = [half for x in (a, c, b, d) for half in (x & np.uint64(0xFFFF), x >> np.uint64(16))]
    draws = np.stack(halves, -1).reshape(heads, queries, -1)[..., :keys]
    dropped = round(rate * 65536)
    return torch.from_numpy((draws >= dropped) * (65536 / (65536 - dropped)))


def compare(
    queries: int, keys: int, kind: str = "none", *, size: int = 16, terms: str = "c2p p2c", family: str = "v3",
    dropout: float = 0.0, dtype: str = "float32", tolerance: float = 1e-5, batch: int = 2, heads: int = 1,
    **config: Any,
) -> None:  # fmt: skip
    """Context and every gradient of the kernels, and of the reference."""
    settings = small_config(family, **config)
    relative = Encoder(settings).relative(queries, keys, torch.device("cpu")) if terms else None
    kinds = {"query": queries, "key": keys, "value": keys}
    shapes: dict[str, Any] = {name: (batch, length, heads, size) for name, length in kinds.items()}
    for name, term in {"pos_key": "c2p", "pos_query": "p2c"}.items():
        if term in terms and relative is not None:
            shapes[name] = (relative.rows.shape[0], heads, size)
    leaves = {name: torch.randn(shape).to(getattr(torch, dtype)) for name, shape in shapes.items()}
    mask = read_mask(mask_of(kind, queries, keys)[:batch] if kind != "none" else None, torch.device("cpu"))
    direction, results = torch.randn(batch, heads, queries, size), {}
    torch.manual_seed(steady(kind))
    seed = int(torch.randint(2**62, (1,)))
    drawn = keep_factors(seed, batch * heads, queries, keys, dropout).unflatten(0, (batch, heads))
    factors = drawn if dropout else None
    for name, attend in {"eager": eager, "triton": face.skewed}.items():
        # The reference computes in double precision: what is left is the error of the kernels.
        wide = torch.float64 if name == "eager" else getattr(torch, dtype)
        given = {key: leaf.to(wide).requires_grad_() for key, leaf in leaves.items()}
        query, key, value = (given[x].transpose(1, 2) for x in kinds)
        pos_query = given["pos_query"] * size**-0.5 if "pos_query" in given else None
        parts = Heads(query * size**-0.5, key, value, given.get("pos_key"), pos_query)
        torch.manual_seed(steady(kind))
        context, _ = attend(Reference(settings, dropout, factors), parts, relative, mask)
        (context * direction.to(wide)).sum().backward()
        results[name] = {"context": context.detach(), **{f"gradient of {key}": x.grad for key, x in given.items()}}
    floor = 0.1 * max(float(x.abs().max()) for x in results["eager"].values())  # of gradients that cancel, see helpers
    for name, want in results["eager"].items():
        assert_close(results["triton"][name].double(), want, f"{kind} {name}", tolerance=tolerance, floor=floor)


@here
@pytest.mark.parametrize("kind", MASKS)
def test_context_and_gradients_equal_the_reference(kind: str) -> None:
    compare(37, 37, kind)
    compare(130, 130, kind, batch=2, position_buckets=8, max_relative_positions=20)  # most pairs are far


@here
@pytest.mark.parametrize("length", [n if n in (1, 16, 33, 65, 130) else pytest.param(n, marks=matrix) for n in BORDERS])
def test_lengths_around_the_borders_of_tiles(length: int) -> None:
    compare(length, length, batch=1)
    compare(length, length, "packed" if length > 2 else "none", batch=1)


@here
@pytest.mark.parametrize("tile", [(16, 32), (32, 16)])
def test_tiles_need_not_be_square(tile: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "tile_of", lambda *_: face.Tile(*tile))
    compare(50, 50, "holes", position_buckets=8, max_relative_positions=12)
    compare(50, 50, "packed", batch=1, dropout=0.2, position_buckets=8, max_relative_positions=12)


@here
@pytest.mark.parametrize(("queries", "keys"), [(21, 40), (90, 18), (1, 33)])
def test_queries_of_other_tokens(queries: int, keys: int) -> None:
    compare(queries, keys)
    compare(queries, keys, "causal")


@here
@pytest.mark.parametrize("size", [8, 24, 32, 64, pytest.param(96, marks=matrix), pytest.param(128, marks=matrix)])
def test_head_sizes(size: int) -> None:
    compare(19, 19, "right", size=size, heads=2)


@here
@pytest.mark.parametrize("terms", ["c2p", "p2c", ""])
def test_models_without_a_term(terms: str) -> None:
    compare(40, 40, "left", terms=terms)


@here
def test_distances_without_buckets() -> None:
    compare(45, 45, "right", family="v1", max_relative_positions=12)


@here
@pytest.mark.parametrize("kind", [kind if kind == "holes" else pytest.param(kind, marks=matrix) for kind in MASKS])
def test_dropout_is_a_function_of_seed_and_pair(kind: str) -> None:
    """Forward and backward drop the same pairs, whatever their tiles, and those that Philox in NumPy drops."""
    compare(45, 45, kind, dropout=0.3, heads=2)


@here
@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 3e-2), ("float16", 4e-3)])
def test_half_precision(dtype: str, tolerance: float) -> None:
    compare(40, 40, "right", dtype=dtype, tolerance=tolerance, size=32)


@here
def test_every_element_of_a_gradient_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is zeroed beforehand, so what the kernels leave out would stay what it was."""
    made = face._gradients

    def poisoned(*given: Any) -> tuple[Any, ...]:
        return tuple(gradient.fill_(float("nan")) for gradient in made(*given))

    monkeypatch.setattr(face, "_gradients", poisoned)
    for kind in ("none", "holes", "packed"):
        compare(49, 49, kind, position_buckets=8, max_relative_positions=10)
    compare(20, 70, "causal", batch=1)


def trained(config: Any, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Outputs and gradients of a model in training mode."""
    model = pt_model(config, HEAD).train()
    torch.manual_seed(0)
    output = model(**pt_inputs(inputs), output_hidden_states=True)
    output.loss.backward()
    return flatten(output), pt_gradients(model)


@here
@pytest.mark.parametrize("kind", ["padding", pytest.param("none", marks=matrix), "packed"])
@pytest.mark.parametrize("family", ["v3", pytest.param("v1", marks=matrix), pytest.param("v2", marks=matrix)])
def test_whole_models_train(family: str, kind: str) -> None:
    config = small_config(family)
    inputs = random_inputs(config, HEAD)
    batch, length = inputs["input_ids"].shape
    if kind == "packed":
        text = np.arange(length) // 9
        inputs["attention_mask"] = np.repeat((text[:, None] == text[None])[None], batch, 0).astype(np.int64)
    elif kind == "none":
        del inputs["attention_mask"]
    want = trained(small_config(family, attn_implementation="eager"), inputs)
    got = trained(small_config(family, attn_implementation="triton"), inputs)
    assert_all_close(got[0], want[0], "triton")
    assert_gradients_close(got[1], want[1], "triton gradient")


@here
def test_decoding_with_other_queries_and_the_same_steps_in_every_run() -> None:
    """The masked-LM head of the published files asks with other queries; all runs give the same bits."""
    config = small_config(
        "v3", attn_implementation="triton", mlm_head="emd", max_position_embeddings=64, attention_probs_dropout_prob=0.2
    )
    inputs = pt_inputs(random_inputs(config, "ForMaskedLM"))
    runs = []
    for _ in range(2):
        model = pt_model(config, "ForMaskedLM").train()
        torch.manual_seed(3)
        model(**inputs).loss.backward()
        runs.append(pt_gradients(model))
    assert all(np.array_equal(runs[0][name], runs[1][name]) for name in runs[0])
    plain = {}
    for name in ("eager", "triton"):
        config = small_config("v3", attn_implementation=name, mlm_head="emd", max_position_embeddings=64)
        plain[name] = flatten(pt_model(config, "ForMaskedLM")(**inputs))
    assert_all_close(plain["triton"], plain["eager"], "triton")


@here
def test_compilers_take_it_as_one_operator() -> None:
    config = small_config("v3", attn_implementation="triton")
    inputs = pt_inputs(random_inputs(config, HEAD))
    results = []
    for compiled in (False, True):
        model = pt_model(config, HEAD).train()
        call = torch.compile(model, backend="aot_eager", fullgraph=True) if compiled else model
        output = call(**inputs)
        output.loss.backward()
        results.append((flatten(output), pt_gradients(model)))
    assert_all_close(results[1][0], results[0][0], "compiled")
    assert_gradients_close(results[1][1], results[0][1], "compiled gradient")


@here
@pytest.mark.parametrize("family", ["v3", pytest.param("v1", marks=matrix)])
def test_prepared_layers_take_it_off_the_cpu(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which they compute at once, all texts of a batch."""
    import deberta_pt.fast.inference as inference

    model = pt_model(small_config(family))
    prepared = inference.optimize_for_inference(model)
    mask = read_mask(mask_of("left", 21, 21), torch.device("cpu"))
    hidden, relative = torch.randn(2, 21, 24), model.encoder.relative(21, 21, torch.device("cpu"))
    results = []
    for wanted in (False, True):
        monkeypatch.setattr(inference, "wants_triton", lambda *_, wanted=wanted: wanted)
        with torch.no_grad():
            results.append(prepared.encoder.layer[0].at_once(hidden, None, relative, mask, False)[0])
    assert_close(results[1], results[0], "triton")


@here
def test_the_operator_keeps_its_promises_to_pytorch() -> None:
    query, key, value = (torch.randn(1, 1, 16, 16, requires_grad=True) for _ in range(3))
    given = (query, key, value, None, None, None, None, None, None, 4, 0.0)
    what = ("test_schema", "test_faketensor", "test_autograd_registration")
    torch.library.opcheck(face.attention, given, test_utils=what)


@pytest.mark.parametrize(
    ("device", "reason"), [("cpu", "TRITON_INTERPRET=1"), ("meta", "on 'meta'"), ("cuda", "deberta-zoo.triton")]
)
def test_without_it_one_warning_and_the_default(device: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import deberta_pt.attention

    monkeypatch.setattr(deberta_pt.attention, "INTERPRETED", False)
    monkeypatch.setattr(deberta_pt.attention, "HAS_TRITON", False)
    deberta_pt.attention._warn.cache_clear()
    plain, module = (
        pt_model(small_config(attn_implementation=name)).encoder.layer[0].attention.self for name in ("auto", "triton")
    )
    with pytest.warns(UserWarning, match=reason) as seen:
        chosen = [module.choose(False, 8, torch.device(device)) for _ in range(3)]
    assert len(seen) == 1
    assert chosen == [plain.choose(False, 8, torch.device(device))] * 3


def test_the_default_takes_it_where_it_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    import deberta_pt.attention

    gpu = torch.device("cuda")
    module = pt_model(small_config()).encoder.layer[0].attention.self
    monkeypatch.setattr(deberta_pt.attention, "_capability", lambda device: (9, 0))
    monkeypatch.setattr(deberta_pt.attention, "HAS_TRITON", True)
    assert module.choose(False, 128, gpu) == "sdpa"
    monkeypatch.setattr(deberta_pt.attention, "CHECKED", frozenset({(9, 0)}))
    assert module.choose(False, 128, gpu) == "triton"
    assert module.choose(True, 128, gpu) == "eager"
    monkeypatch.setattr(deberta_pt.attention, "_capability", lambda device: (8, 0))
    assert module.choose(False, 128, gpu) == "sdpa"


def counted(*arguments: str) -> list[str]:
    """What the counting script prints, compiled, not interpreted."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "benchmarks.kernels", *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()


BOTH = """
import sys
for name in sys.argv[1:]:
    __import__(name)
import tensorflow as tf
import torch
from benchmarks.kernels import compiled
assert sys.argv[1] == "triton" or "triton" not in sys.modules, "importing either takes a second more"
torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))])
assert "triton" in sys.modules, "PyTorch no longer imports it here"
assert compiled("forward", 80).spilled == 0
assert tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(1)).numpy() == 2
print("whole")
"""


@compiles
@pytest.mark.slow
@pytest.mark.parametrize(
    "order", [("deberta_tf", "deberta_pt"), ("deberta_pt", "deberta_tf"), ("triton", "deberta_pt", "deberta_tf")]
)
def test_both_frameworks_and_triton_in_one_process(order: tuple[str, str], tmp_path: Path) -> None:
    """As with PyTorch's builds for CUDA, which bring Triton: in the environment of both, and the package from here."""
    import triton

    python = ROOT / ".venv" / "bin" / "python"
    if not python.exists():
        pytest.skip("wants the environment that make installs")
    packages = Path(triton.__file__).parents[1]
    for part in (packages / "triton", *packages.glob("triton-*.dist-info")):  # which names what compiles for whom
        (tmp_path / part.name).symlink_to(part)
    paths = os.pathsep.join((str(ROOT), str(tmp_path)))
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [python, "-c", BOTH, *order], env={**environment, "PYTHONPATH": paths}, capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout.strip()) == (0, "whole"), done.stderr[-2000:]


@compiles
@pytest.mark.parametrize("which", ["some", pytest.param("all", marks=matrix)])
def test_every_configuration_compiles_without_spilling(which: str) -> None:
    rows = [line.split() for line in counted("--check", which)]
    assert len(rows) >= 12
    assert {row[1] for row in rows} == {"sm_80", "sm_90", "sm_100"}
    assert [row for row in rows if row[-1] != "spilled=0"] == []
    forward = next(row for row in rows if row[:6] == ["forward", "sm_80", "bfloat16", "64", "1", "False"])
    _, near, _ = (int(count) for count in re.findall(r"(\d+)\(", forward[-2]))
    assert near <= 0.6 * FLASHDEBERTA
