"""Outputs are read by attribute, key, number and slice, and rebuilt by the tools of both frameworks."""

from __future__ import annotations

import copy
import pickle

import pytest

from deberta_core.heads import HEADS
from deberta_core.outputs import OUTPUTS, ModelOutput, SequenceClassifierOutput

FULL = {"loss": 1, "logits": 2, "hidden_states": (3, 4), "attentions": (5,)}


def test_reading():
    output = SequenceClassifierOutput(attentions=(5,), logits=2, loss=1, hidden_states=(3, 4))
    assert (output.loss, output["logits"], output[2], output[-1]) == (1, 2, (3, 4), (5,))
    assert output[:2] == (1, 2)
    assert list(output) == list(FULL), "in the order of the class, not of the call"
    assert output.to_tuple() == tuple(FULL.values())
    assert dict(output) == FULL
    assert "loss" in output


def test_absent_entries_are_skipped():
    output = SequenceClassifierOutput(loss=None, logits=2)
    assert output.loss is None
    assert output[0] == 2
    assert (len(output), output.to_tuple(), "loss" in output) == (1, (2,), False)
    with pytest.raises(KeyError):
        output["loss"]
    with pytest.raises(IndexError):
        output[1]
    with pytest.raises(AttributeError, match="has no entry 'logit', expected one of loss, logits"):
        output.logit  # noqa: B018


def test_an_entry_that_is_set_is_one_by_all_its_names():
    output = SequenceClassifierOutput(logits=2)
    output.loss = 1
    assert (output["loss"], output[0], output[1]) == (1, 1, 2)
    output.logits = 3
    assert (output.logits, output["logits"], output.to_tuple()) == (3, 3, (1, 3))
    output.loss = None
    assert (output.loss, output[0], "loss" in output) == (None, 3, False)
    output.remark = "mine"
    assert (output.remark, dict(output)) == ("mine", {"logits": 3})


@pytest.mark.parametrize("cls", OUTPUTS)
def test_copies(cls):
    output = cls({name: i for i, name in enumerate(cls.names)})
    for again in (pickle.loads(pickle.dumps(output)), copy.copy(output), copy.deepcopy(output), cls(output)):
        assert type(again) is cls
        assert again == output
        assert again.to_tuple() == output.to_tuple()


def test_every_head_has_an_output():
    assert {head.output for head in HEADS.values()} <= set(OUTPUTS)
    assert all(issubclass(cls, ModelOutput) for cls in OUTPUTS)
    assert all("hidden_states" in cls.names for cls in OUTPUTS)


def test_torch_pytree():
    torch = pytest.importorskip("torch")
    from torch.utils import _pytree

    import deberta_pt  # noqa: F401 - registers the classes

    output = SequenceClassifierOutput(logits=torch.ones(2), hidden_states=(torch.zeros(1), torch.ones(1)))
    leaves, spec = _pytree.tree_flatten(output)
    assert len(leaves) == 3
    doubled = _pytree.tree_unflatten([2 * x for x in leaves], spec)
    assert type(doubled) is SequenceClassifierOutput
    assert doubled.logits.tolist() == [2, 2]
    assert doubled.loss is None


def test_tf_nest():
    tf = pytest.importorskip("tensorflow")
    output = SequenceClassifierOutput(logits=tf.ones(2), hidden_states=(tf.zeros(1), tf.ones(1)))
    doubled = tf.nest.map_structure(lambda x: 2 * x, output)
    assert type(doubled) is SequenceClassifierOutput
    assert doubled.logits.numpy().tolist() == [2, 2]
    inside = tf.function(lambda x: SequenceClassifierOutput(logits=x, hidden_states=(x, x)))(tf.ones(3))
    assert type(inside) is SequenceClassifierOutput
    assert inside[0].shape == (3,)
