"""transformers' models with our encoder inside give its numbers: families, masks, heads, losses, gradients."""

from __future__ import annotations

import pytest

from deberta_pt.transformers import enable
from tests.inside.helpers import (
    FAMILIES,
    HEADS,
    assert_gradients_same,
    assert_same,
    gradients,
    is_ours,
    labels_for,
    padded_on,
    some_ids,
    their_class,
    their_config,
    theirs_and_ours,
    torch,
)

BATCH, LENGTH = 3, 21


def shape_for(head):
    return (2, 2, LENGTH) if head == "ForMultipleChoice" else (BATCH, LENGTH)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_heads_give_the_same_numbers_losses_and_gradients(family, head):
    theirs, ours = theirs_and_ours(family, head, num_labels=2 if head == "ForQuestionAnswering" else 3)
    ids, mask = some_ids(*shape_for(head)), padded_on("right", *shape_for(head))
    if head == "ForQuestionAnswering":
        mask = torch.ones_like(mask)  # its loss reads the logits of padded tokens as well
    inputs = {"input_ids": ids, "attention_mask": mask, **labels_for(head, theirs.config, mask)}
    if theirs.config.type_vocab_size:
        inputs["token_type_ids"] = ids % 2
    if head != "ForMultipleChoice":
        inputs |= {"output_hidden_states": True, "output_attentions": True}
    want, got = theirs(**inputs), ours(**inputs)
    assert_same(got, want, mask)
    if head != "Model":
        assert_gradients_same(gradients(ours, got.loss), gradients(theirs, want.loss))
    plain = {**inputs, "output_hidden_states": False, "output_attentions": False}
    assert_same(ours(**plain), theirs(**plain), mask)


def causal(batch, length):
    return torch.ones(length, length).tril().expand(batch, length, length)


MASKS = {
    "none": None,
    "all": torch.ones(BATCH, LENGTH),
    "right": padded_on("right", BATCH, LENGTH),
    "left": padded_on("left", BATCH, LENGTH),
    "float": padded_on("right", BATCH, LENGTH).float(),
    "gaps": padded_on("right", BATCH, LENGTH) * (torch.arange(LENGTH) % 4 > 0),
    "one for all": padded_on("right", BATCH, LENGTH)[1:2],
}


@pytest.mark.parametrize("rows", ["zero", "uniform"])
@pytest.mark.parametrize("family", ["v1", "v2", "v3"])
@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_tokens(family, kind, rows):
    theirs, ours = theirs_and_ours(family, options={"masked_rows": rows})
    mask, ids = MASKS[kind], some_ids(BATCH, LENGTH)
    inputs = {"input_ids": ids, "attention_mask": mask, "output_hidden_states": True}
    visible = None if rows == "uniform" or mask is None else mask.expand(BATCH, LENGTH)
    assert_same(ours(**inputs), theirs(**inputs), visible)


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_masks_of_keys(family):
    theirs, ours = theirs_and_ours(family)
    mask = padded_on("right", BATCH, LENGTH)[:, None, None]
    inputs = {"input_ids": some_ids(BATCH, LENGTH), "attention_mask": mask, "output_attentions": True}
    assert_same(ours(**inputs), theirs(**inputs))


@pytest.mark.parametrize("kind", ["bool", "pairs", "pairs of one head"])
@pytest.mark.parametrize("family", ["v1", "v2", "v3"])
def test_masks_that_theirs_cannot_read(family, kind):
    theirs, ours = theirs_and_ours(family)
    ids, mask = some_ids(BATCH, LENGTH), padded_on("right", BATCH, LENGTH)
    pairs = mask[:, :, None] * mask[:, None, :]
    given = {"bool": mask.bool(), "pairs": pairs, "pairs of one head": pairs[:, None].bool()}[kind]
    assert_same(ours(ids, attention_mask=given), theirs(ids, attention_mask=mask), mask)


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_a_mask_of_pairs_at_the_encoder(family):
    theirs, ours = theirs_and_ours(family)
    states, mask = torch.randn(BATCH, LENGTH, 24), causal(BATCH, LENGTH)
    for given in (mask, mask.bool(), mask[:, None]):
        want = theirs.encoder(states, given, output_attentions=True)
        assert_same(ours.encoder(states, given, output_attentions=True), want)


@pytest.mark.parametrize("family", ["v1", "v2", "v3"])
def test_calls_on_the_inside(family):
    theirs, ours = theirs_and_ours(family)
    ids, mask = some_ids(BATCH, LENGTH), padded_on("right", BATCH, LENGTH)
    states = [
        model.embeddings(input_ids=ids, token_type_ids=None, position_ids=None, mask=mask, inputs_embeds=None)
        for model in (theirs, ours)
    ]
    assert torch.equal(*states)
    calls = [{}, {"output_hidden_states": False}, {"output_attentions": True}, {"output_hidden_states": True}]
    for call in calls:
        want = theirs.encoder(states[0], mask, **call)
        assert_same(ours.encoder(states[0], attention_mask=mask, return_dict=True, **call), want, mask)
        as_tuple = ours.encoder(states[0], mask, return_dict=False, **call)
        assert len(as_tuple) == len(theirs.encoder(states[0], mask, return_dict=False, **call))
    embeds = {"inputs_embeds": ours.get_input_embeddings()(ids), "attention_mask": mask}
    assert_same(ours(**embeds), theirs(**embeds), mask)
    table = [model.encoder.get_rel_embedding() for model in (theirs, ours)]
    assert torch.equal(*table)
    assert ours.z_steps == 0
    for name in ("relative_attention", "max_relative_positions", "position_buckets", "norm_rel_ebd"):
        assert getattr(ours.encoder, name, None) == getattr(theirs.encoder, name, None)


def test_answers_as_tuples():
    theirs, ours = theirs_and_ours("v3", "ForTokenClassification")
    ids, mask = some_ids(BATCH, LENGTH), torch.ones(BATCH, LENGTH)
    for wanted in ({}, {"output_hidden_states": True}, {"output_attentions": True, "output_hidden_states": True}):
        want = theirs(ids, attention_mask=mask, return_dict=False, **wanted)
        got = ours(ids, attention_mask=mask, return_dict=False, **wanted)
        assert [type(x) for x in got] == [type(x) for x in want]
        assert_same(dict(enumerate(got)), dict(enumerate(want)))
    for model in (theirs, ours):
        model.config.output_hidden_states = True
        model.config.return_dict = False
    assert len(ours(ids)) == len(theirs(ids)) == 2


def test_half_precision():
    theirs, ours = (model.bfloat16() for model in theirs_and_ours("v1"))
    inputs = {"input_ids": some_ids(BATCH, LENGTH), "attention_mask": padded_on("right", BATCH, LENGTH)}
    got = ours(**inputs)
    assert got.last_hidden_state.dtype == torch.bfloat16
    assert_same(got, theirs(**inputs), inputs["attention_mask"], tolerance=0.03)


def test_a_fresh_model_starts_with_the_same_weights():
    for family in FAMILIES:
        cls, config = their_class(family, "ForMaskedLM"), their_config(family)
        torch.manual_seed(5)
        theirs = cls(config)
        torch.manual_seed(5)
        with enable():
            ours = cls(config)
        assert is_ours(ours)
        one, two = theirs.state_dict(), ours.state_dict()
        assert list(one) == list(two)
        assert all(torch.equal(one[name], two[name]) for name in one), family
