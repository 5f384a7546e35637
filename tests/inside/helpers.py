"""Pairs of transformers' models with the same weights, one with its own parts and one with ours; and comparisons."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.deberta import modeling_deberta as v1  # noqa: E402
from transformers.models.deberta_v2 import modeling_deberta_v2 as v2  # noqa: E402

from deberta_pt.transformers import enable  # noqa: E402
from tests.models.helpers import SMALL, V3, assert_close  # noqa: E402

LIMIT = 1e-5
PARTS = (v1.DebertaEncoder, v1.DebertaEmbeddings, v2.DebertaV2Encoder, v2.DebertaV2Embeddings)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "v1": ("Deberta", {}),
    "v1 absolute": ("Deberta", {"position_biased_input": True, "max_position_embeddings": 40, "type_vocab_size": 2}),
    "v1 talking": ("Deberta", {"talking_head": True}),
    "v1 narrow": ("Deberta", {"embedding_size": 12, "pos_att_type": "c2p"}),
    "v2": ("DebertaV2", {**V3, "conv_kernel_size": 3, "conv_act": "gelu"}),
    "v2 unshared": ("DebertaV2", {**V3, "share_att_key": False, "pos_att_type": "p2c|c2p"}),
    "v2 absolute": ("DebertaV2", {"relative_attention": False, "position_biased_input": True, "pos_att_type": None,
                                  "max_position_embeddings": 40}),
    "v3": ("DebertaV2", V3),
}  # fmt: skip
HEADS = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering",
         "ForMultipleChoice"]  # fmt: skip


def their_config(family: str = "v3", **changes: Any) -> Any:
    """A config of transformers, of a few thousand weights."""
    prefix, fields = FAMILIES[family]
    return getattr(transformers, prefix + "Config")(**{**SMALL, **fields, **changes})


def their_class(family: str, head: str) -> Any:
    """A model class of transformers; skips the heads that a family has not there."""
    name = FAMILIES[family][0] + head
    return getattr(transformers, name, None) or pytest.skip(f"transformers has no {name}")


def randomise(model: Any) -> None:
    """Draw all weights so wide that none goes unseen."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(0.0, 0.2, generator=draw).add_(float(name.endswith("LayerNorm.weight")))


def theirs_and_ours(family: str = "v3", head: str = "Model", *, options: Any = (), **changes: Any) -> tuple[Any, Any]:
    """Two models with the same weights, in evaluation mode; the second was built after ``enable(**options)``."""
    cls, config = their_class(family, head), their_config(family, **changes)
    theirs = cls(config)
    randomise(theirs)
    with enable(**dict(options)):
        ours = cls(copy.deepcopy(config))
    ours.load_state_dict(theirs.state_dict())
    assert is_ours(ours)
    assert not is_ours(theirs)
    return theirs.eval(), ours.eval()


def is_ours(model: Any) -> bool:
    """Whether all encoders and embeddings inside are of this package."""
    parts = [m for m in model.modules() if isinstance(m, PARTS)]
    found = {type(part).__module__.startswith("deberta_pt.") for part in parts}
    assert len(found) == 1, f"some of {[type(part) for part in parts]} are ours, some not"
    return found.pop()


def some_ids(*shape: int, seed: int = 1) -> Any:
    """Random ids that are no padding."""
    return torch.randint(1, SMALL["vocab_size"], shape, generator=torch.Generator().manual_seed(seed))


def padded_on(side: str, *shape: int) -> Any:
    """A mask ``[B, L]`` whose first text is whole."""
    mask = torch.ones(shape, dtype=torch.long)
    for text, row in enumerate(mask.view(-1, shape[-1])):
        if text:
            row[-5 * text :] = 0
    return mask if side == "right" else mask.flip(-1)


def labels_for(head: str, config: Any, mask: Any) -> dict[str, Any]:
    """Labels that no padded token has."""
    batch = mask.shape[0]
    if head in ("ForMaskedLM", "ForTokenClassification"):
        classes = config.vocab_size if head == "ForMaskedLM" else config.num_labels
        return {"labels": torch.where(mask.bool(), some_ids(*mask.shape, seed=2) % classes, -100)}
    if head == "ForQuestionAnswering":
        return {"start_positions": torch.arange(batch), "end_positions": torch.arange(batch) + 2}
    if head == "ForMultipleChoice":
        return {"labels": torch.arange(batch) % mask.shape[1]}
    return {"labels": torch.arange(batch) % config.num_labels} if head == "ForSequenceClassification" else {}


def assert_same(got: Any, want: Any, mask: Any = None, *, tolerance: float = LIMIT) -> None:
    """Two outputs are equal, where a mask ``[B, L]`` is given at the visible tokens of what is per token."""
    assert got.keys() == want.keys()
    for name in want:
        pairs = zip(*(x if isinstance(x, tuple) else (x,) for x in (got[name], want[name])), strict=True)
        for number, (one, two) in enumerate(pairs):
            if mask is not None and name == "attentions":
                one, two = (x.transpose(1, 2)[mask.bool()] for x in (one, two))
            elif mask is not None and one.shape[:2] == mask.shape:
                one, two = one[mask.bool()], two[mask.bool()]
            assert_close(one.detach().float(), two.detach().float(), f"{name} {number}", tolerance=tolerance)


def gradients(model: Any, loss: Any) -> dict[str, Any]:
    """Gradients of all parameters that get one."""
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_gradients_same(got: dict[str, Any], want: dict[str, Any], *, tolerance: float = LIMIT) -> None:
    """Equal, small ones measured against a tenth of the largest: sums that cancel leave rounding."""
    assert got.keys() == want.keys()
    floor = 0.1 * max(float(g.abs().max()) for g in want.values())
    assert floor > 0
    for name in want:
        assert_close(got[name], want[name], f"gradient of {name}", tolerance=tolerance, floor=floor)
