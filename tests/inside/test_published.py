"""Files that carry the published masked-LM head: read by transformers' classes after ``published_mlm_head=True``."""

from __future__ import annotations

import json

import pytest

from deberta_pt.transformers import enable
from tests.inside.helpers import FAMILIES, assert_same, is_ours, some_ids, torch, transformers
from tests.models.helpers import pt_model, small_config

HEAD = "lm_predictions.lm_head.dense.weight"


@pytest.fixture(params=["v1", "v3"])
def ours(request):
    """A model of this package with the published head, and the transformers class for it."""
    model = pt_model(small_config(request.param, mlm_head="plain"), "ForMaskedLM")
    return model, getattr(transformers, FAMILIES[request.param][0] + "ForMaskedLM")


def saved(model, folder, **options):
    model.save_pretrained(folder, **options)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "legacy": True}))  # as published
    return folder


@pytest.mark.parametrize("options", [{}, {"safe_serialization": False}, {"max_shard_size": "10KB"}])
@pytest.mark.parametrize("by", ["class", "auto", "config"])
def test_the_head_is_read(tmp_path, ours, options, by):
    model, cls = ours
    folder = saved(model, tmp_path / "published", **options)
    with enable(published_mlm_head=True):
        if by == "config":
            loaded = cls.from_pretrained(folder, config=cls.config_class.from_pretrained(folder))
        else:
            loaded = (transformers.AutoModelForMaskedLM if by == "auto" else cls).from_pretrained(folder)
    assert type(loaded) is cls
    assert is_ours(loaded)
    ids = some_ids(2, 21)
    assert_same({"logits": loaded.eval()(ids).logits}, {"logits": model(ids).logits})
    assert loaded.config.legacy is False
    loaded.save_pretrained(tmp_path / "again")
    again, info = cls.from_pretrained(tmp_path / "again", output_loading_info=True)  # without us
    assert not info["missing_keys"]
    assert torch.equal(again.state_dict()[HEAD], loaded.state_dict()[HEAD])


def test_other_files_are_read_as_ever(tmp_path, ours):
    model, cls = ours
    folder = saved(model, tmp_path / "published")
    with enable():
        assert HEAD not in cls.from_pretrained(folder).state_dict()  # not asked for
    cls(cls.config_class.from_pretrained(folder)).save_pretrained(tmp_path / "legacy")
    with enable(published_mlm_head=True):
        loaded, info = cls.from_pretrained(tmp_path / "legacy", output_loading_info=True)
        assert HEAD not in loaded.state_dict()
        assert not info["missing_keys"]
        with pytest.raises((OSError, ValueError), match="none"):
            cls.from_pretrained(tmp_path / "none")
        sub = cls.from_pretrained(tmp_path, subfolder="published")
        assert HEAD in sub.state_dict()
    assert "from_pretrained" not in vars(cls)
