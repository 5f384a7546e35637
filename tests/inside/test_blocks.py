"""Texts behind each other in a row, as GLiNER packs them, are computed as texts of their own."""

from __future__ import annotations

import pytest

from deberta_core.packing import segment_mask
from deberta_pt.transformers import enable, parts, replace
from deberta_pt.transformers.blocks import find_blocks
from tests.inside.helpers import (
    assert_gradients_same,
    assert_same,
    gradients,
    randomise,
    some_ids,
    their_class,
    their_config,
    theirs_and_ours,
    torch,
)

LENGTH = 24
SEGMENTS = {
    "padded": [[0] * 7 + [1] * 9 + [-1] * 8, [0] * 5 + [1] * 3 + [2] * 16],
    "full": [[0] * 12 + [1] * 12, [0] * 8 + [1] * 8 + [2] * 8],
    "padding first": [[-1] * 6 + [0] * 9 + [1] * 9, [0] * 10 + [-1] * 14],
    "padding between": [[0] * 6 + [-1] * 9 + [1] * 9, [0] * 10 + [-1] * 14],
    "a row of padding": [[0] * 6 + [1] * 9 + [2] * 9, [-1] * 24],
    "single tokens": [list(range(24)), [0] * 23 + [1]],
}


def pairs_of(segments):
    """The mask ``[B, L, L]`` of texts that are numbered ``[B, L]``."""
    return torch.as_tensor(segment_mask(torch.tensor(segments).numpy()))


def packed(model, ids, segments):
    """As GLiNER calls a model."""
    seen = (torch.tensor(segments) >= 0).long()
    states = model.embeddings(input_ids=ids, token_type_ids=None, position_ids=None, mask=seen, inputs_embeds=None)
    return model.encoder(states, pairs_of(segments), output_hidden_states=True, output_attentions=False,
                         return_dict=True)  # fmt: skip


@pytest.mark.parametrize("family", ["v1", "v2", "v3"])
@pytest.mark.parametrize("name", SEGMENTS)
def test_packed_texts_equal_texts_alone_and_the_whole_mask(family, name, monkeypatch):
    segments = SEGMENTS[name]
    theirs, ours = theirs_and_ours(family)
    ids, numbers = some_ids(2, LENGTH), torch.tensor(segments)
    got = packed(ours, ids, segments)
    for row, number in {(r, int(n)) for r in range(2) for n in numbers[r] if n >= 0}:
        own = numbers[row] == number
        alone = theirs(ids[row, own][None], output_hidden_states=True)
        one = {"hidden_states": tuple(states[row, own][None] for states in got.hidden_states)}
        assert_same(one, {"hidden_states": alone.hidden_states})
    if family != "v2":  # whose convolution theirs does not compute under such a mask
        assert_same(got, packed(theirs, ids, segments), numbers >= 0)
    found = find_blocks(pairs_of(segments), 24)
    monkeypatch.setattr(parts, "find_blocks", lambda *_: None)
    assert_same(got, packed(ours, ids, segments))
    assert found is not None
    areas = sum(group.visible.numel() * group.visible.shape[1] for group in found.groups)
    assert areas < 2 * LENGTH * LENGTH


@pytest.mark.parametrize("prepare", [False, True])
def test_gradients_and_prepared_models(prepare):
    segments = SEGMENTS["padded"]
    theirs, ours = theirs_and_ours("v3")
    ids, seen = some_ids(2, LENGTH), torch.tensor(segments) >= 0
    if prepare:
        replace(ours, prepare=True)
        with torch.no_grad():
            assert_same(packed(ours, ids, segments), packed(theirs, ids, segments), seen)
    else:
        got, want = (
            gradients(model, packed(model, ids, segments).last_hidden_state[seen].square().sum())
            for model in (ours, theirs)
        )
        assert_gradients_same(got, want)


def cut(pairs, *where):
    pairs = pairs.clone()
    pairs[where] = ~pairs[where]
    return pairs


@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(4, LENGTH, LENGTH).tril(),
        cut(pairs_of(SEGMENTS["full"]), 0, 0, 5),
        cut(pairs_of(SEGMENTS["full"]), 1, 2, 20),
        cut(pairs_of(SEGMENTS["full"]), 0, 3, 3),
        pairs_of([[0, 1] * 12, [0] * 12 + [1] * 12]),
        torch.ones(2, LENGTH),
        torch.ones(2, 1, 1, LENGTH),
        torch.ones(2, LENGTH, LENGTH),
    ],
)
def test_other_masks_are_computed_as_they_are(mask):
    assert find_blocks(mask, 24) is None
    if mask.ndim == 3 and mask.shape[0] == 2:
        theirs, ours = theirs_and_ours("v1")
        states = torch.randn(2, LENGTH, 24)
        assert_same(ours.encoder(states, mask), theirs.encoder(states, mask), mask.bool().any(-1))


def test_uniform_rows_are_computed_whole():
    model = their_class("v3", "Model")(their_config())
    randomise(model)
    ids, segments = some_ids(2, LENGTH), SEGMENTS["padded"]
    want = packed(model.eval(), ids, segments)
    replace(model, masked_rows="uniform")
    assert_same(packed(model, ids, segments), want)


def test_packed_texts_with_attentions():
    theirs, ours = theirs_and_ours("v3")
    states, mask = torch.randn(2, LENGTH, 24), pairs_of(SEGMENTS["full"])
    want = theirs.encoder(states, mask, output_attentions=True)
    assert_same(ours.encoder(states, mask, output_attentions=True), want)


def test_an_encoder_of_its_own():
    """As GLiNER's context encoder builds it, over states that are not zero where padded."""
    from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Encoder

    config = their_config(num_hidden_layers=1)
    theirs = DebertaV2Encoder(config)
    randomise(theirs)
    with enable():
        ours = DebertaV2Encoder(config)
    ours.load_state_dict(theirs.state_dict())
    assert type(ours).__module__.startswith("deberta_pt.")
    assert isinstance(ours, DebertaV2Encoder)
    states, mask = torch.randn(3, LENGTH, 24), torch.ones(3, LENGTH)
    mask[1, 9:] = 0
    want = theirs.eval()(states, attention_mask=mask, return_dict=True)
    assert_same(ours.eval()(states, attention_mask=mask, return_dict=True), want, mask)
