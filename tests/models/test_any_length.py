"""One graph for all batches and lengths from 1: exported, traced and compiled, plain and prepared.

Graphs are made of one length and run at others, below and above it, at a single token, and beyond the distances that
have rows of their own.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import deberta_pt  # noqa: E402 - needs PyTorch
from tests.models.helpers import BASES, HEADS, assert_close, pt_inputs, pt_model, random_batch, small_config  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:a text begins with hidden tokens")
MADE_OF, RUN_AT = (2, 5), ((1, 1), (1, 2), (2, 2), (3, 33), (4, 70))


class Outputs(torch.nn.Module):
    """A model of two inputs that gives its outputs as a tuple."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        return tuple(torch.utils._pytree.tree_leaves(tuple(self.model(input_ids, attention_mask).values())))


def given(config: Any, head: str, size: tuple[int, int], pairs: bool = False) -> tuple[Any, Any]:
    inputs = pt_inputs(random_batch(config, batch=size[0], length=size[1]))
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    if pairs:
        draws = torch.rand(*size, size[1], generator=torch.Generator().manual_seed(3))
        mask = (draws > 0.4).long()
    if head == "ForMultipleChoice":
        ids, mask = (torch.stack([x, x.flip(-1)], 1) for x in (ids, mask))
    return ids, mask


def models(config: Any, head: str, prepared: bool) -> tuple[Any, Any]:
    """The model, and what a graph is made of: itself, or what is prepared for inference."""
    plain = pt_model(config, head).requires_grad_(False)
    return plain, deberta_pt.optimize_for_inference(plain) if prepared else plain


def export(model: Any, inputs: tuple[Any, Any]) -> Any:
    length = inputs[0].ndim - 1
    most = {length: model.model.config.max_position_embeddings} if model.model.config.position_biased_input else {}
    dims = {axis: torch.export.Dim(f"size{axis}", min=1, max=most.get(axis)) for axis in range(length + 1)}
    masks = {**dims, 2: dims[1]} if inputs[1].ndim > inputs[0].ndim else dims
    program = torch.export.export(model, inputs, dynamic_shapes=(dims, masks))
    assert all(known.lower <= 1 for known in program.range_constraints.values())
    return program.module()


def trace(model: Any, inputs: tuple[Any, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of comparisons of sizes that inputs are checked by
        return torch.jit.trace(model, inputs, check_trace=False)


def check(graph: Any, plain: Any, config: Any, head: str, pairs: bool = False) -> None:
    for size in RUN_AT:
        inputs = given(config, head, size, pairs)
        for number, (found, wanted) in enumerate(zip(graph(*inputs), Outputs(plain)(*inputs), strict=True)):
            assert_close(found.numpy(), wanted.numpy(), f"output {number} of {size}")


@pytest.mark.parametrize("prepared", [False, True], ids=["plain", "prepared"])
@pytest.mark.parametrize("pairs", [False, True], ids=["tokens", "pairs"])
@pytest.mark.parametrize("base", BASES)
def test_exported(base, pairs, prepared):
    config = small_config(base, num_hidden_layers=1)
    plain, model = models(config, "Model", prepared)
    graph = export(Outputs(model), given(config, "Model", MADE_OF, pairs))
    check(graph, plain, config, "Model", pairs)


@pytest.mark.parametrize(
    ("head", "base", "prepared"),
    [(head, list(BASES)[i % 3], bool(i % 2)) for i, head in enumerate(h for h in HEADS if h != "Model")],
)
def test_every_head_is_exported(head, base, prepared):
    config = small_config(base, num_hidden_layers=1)
    plain, model = models(config, head, prepared)
    check(export(Outputs(model), given(config, head, MADE_OF)), plain, config, head)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("base", BASES)
def test_traced(base, head):
    config = small_config(base, num_hidden_layers=1)
    for prepared, pairs in ((False, False), (True, False), *([(True, True)] if head == "Model" else [])):
        plain, model = models(config, head, prepared)
        check(trace(Outputs(model), given(config, head, MADE_OF, pairs)), plain, config, head, pairs)


SWITCHES: dict[str, dict[str, Any]] = {
    "terms": {"pos_att_type": "p2c"},
    "one term": {"pos_att_type": "c2p"},
    "none": {"relative_attention": False, "pos_att_type": "none"},
    "uniform": {"masked_rows": "uniform"},
    "talking heads": {"talking_head": True},
    "first visible": {"pooled_row": "first_visible"},
    "narrow": {"embedding_size": 10},
    "types": {"type_vocab_size": 2},
    "eager": {"attn_implementation": "eager"},
    "absolute": {"position_biased_input": True, "max_position_embeddings": 80},
    "decoder": {"mlm_head": "emd", "max_position_embeddings": 80},
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_switches(switch):
    base, head = ("v1" if switch == "talking heads" else "v3"), "ForSequenceClassification"
    head = "ForMaskedLM" if switch == "decoder" else head
    config = small_config(base, num_hidden_layers=1, **SWITCHES[switch])
    plain, model = models(config, head, True)
    check(trace(Outputs(model), given(config, head, MADE_OF)), plain, config, head)
    if switch in ("uniform", "absolute"):
        check(export(Outputs(plain), given(config, head, MADE_OF)), plain, config, head)


@pytest.mark.parametrize(("base", "prepared"), [("v1", True), ("v2", False), ("v3", True)])
def test_compiled_once(base, prepared):
    """A single token or text apart, which PyTorch itself compiles again."""
    config = small_config(base, num_hidden_layers=1)
    plain, model = models(config, "Model", prepared)
    graphs = []

    def count(graph, _inputs):
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=count)
    for size in ((3, 5), (2, 2), (3, 3), (4, 33), (2, 70)):
        inputs = given(config, "Model", size)
        wanted = plain(*inputs).last_hidden_state.numpy()
        assert_close(compiled(*inputs).last_hidden_state.numpy(), wanted, str(size))
    assert len(graphs) == 1


def test_attentions_and_states_of_a_graph():
    config = small_config("v2", output_attentions=True, output_hidden_states=True)
    plain, model = models(config, "Model", True)
    check(trace(Outputs(model), given(config, "Model", MADE_OF)), plain, config, "Model")


def test_half_precision_keeps_its_range():
    """Scores are taken to float32 before the softmax, so that masks have a value and large scores an order."""
    config = small_config("v3", num_hidden_layers=1)
    plain, model = models(config, "Model", True)
    inputs = given(config, "Model", (3, 33))
    half = trace(Outputs(model.to(torch.bfloat16)), given(config, "Model", MADE_OF))
    found = half(*inputs)[0]
    assert found.dtype == torch.bfloat16
    wanted = plain(*inputs).last_hidden_state
    assert (found.float() - wanted).abs().max() < 0.05 * wanted.abs().max()
