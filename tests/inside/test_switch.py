"""enable and disable: who gets our parts, who does not, and what is as before afterwards."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from transformers import AutoModel, AutoModelForSequenceClassification, DebertaV2Model
from transformers.models.deberta_v2 import modeling_deberta_v2 as v2

from deberta_pt.transformers import disable, enable
from deberta_pt.transformers.__main__ import main
from tests.inside.helpers import (
    assert_same,
    is_ours,
    padded_on,
    randomise,
    some_ids,
    their_class,
    their_config,
    theirs_and_ours,
    torch,
    transformers,
)

ROOT = Path(__file__).parents[2]
PATCHED = [v2.DebertaV2Encoder, v2.DebertaV2Embeddings, v2.DebertaV2Model]


@pytest.fixture(autouse=True)
def _off():
    yield
    disable()


def made():
    return {cls: (cls.__init__, cls.forward) for cls in PATCHED} | {v2.DebertaV2ForMaskedLM: "from_pretrained" in vars(
        v2.DebertaV2ForMaskedLM)}  # fmt: skip


def test_on_and_off():
    before = made()
    enable()
    model = DebertaV2Model(their_config())
    assert is_ours(model)
    assert type(model) is DebertaV2Model
    for part, cls in ((model.encoder, v2.DebertaV2Encoder), (model.embeddings, v2.DebertaV2Embeddings)):
        assert isinstance(part, cls)
    disable()
    disable()
    assert made() == before
    assert not is_ours(DebertaV2Model(their_config()))
    states = model.eval()(some_ids(2, 9), output_hidden_states=True)  # goes on working
    assert len(states.hidden_states) == 3


def test_as_a_block():
    before = made()
    with enable():
        assert is_ours(DebertaV2Model(their_config()))
        with enable(masked_rows="uniform"):
            assert DebertaV2Model(their_config()).encoder.config.masked_rows == "uniform"
        assert DebertaV2Model(their_config()).encoder.config.masked_rows == "zero"
    assert made() == before
    with pytest.raises(KeyError), enable():
        raise KeyError
    assert made() == before


def test_whoever_wrapped_it_again_keeps_his_wrapper():
    enable()
    ours = v2.DebertaV2Encoder.__init__

    def wrapper(self, *args):
        ours(self, *args)

    try:
        v2.DebertaV2Encoder.__init__ = wrapper
        disable()
        assert v2.DebertaV2Encoder.__init__ is wrapper
        assert not is_ours(DebertaV2Model(their_config()))
    finally:
        v2.DebertaV2Encoder.__init__ = ours.__wrapped__


def test_all_ways_to_build_a_model(tmp_path):
    class Mine(transformers.DebertaV2PreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.deberta = DebertaV2Model(config)
            self.extra = torch.nn.Linear(config.hidden_size, 2)
            self.post_init()

        def forward(self, input_ids, attention_mask=None):
            return self.extra(self.deberta(input_ids, attention_mask=attention_mask)[0][:, 0])

    config = their_config()
    their_class("v3", "ForSequenceClassification")(config).save_pretrained(tmp_path)
    with enable():
        built = [
            AutoModel.from_config(config),
            AutoModel.from_pretrained(tmp_path),
            AutoModelForSequenceClassification.from_pretrained(tmp_path),
            transformers.DebertaV2ForTokenClassification.from_pretrained(tmp_path),
            Mine.from_pretrained(tmp_path),
            Mine(config),
            AutoModel.from_pretrained(tmp_path, device_map={"": "cpu"}),
            AutoModel.from_pretrained(tmp_path, low_cpu_mem_usage=True, torch_dtype=torch.bfloat16),
        ]
        with torch.device("meta"):
            built.append(DebertaV2Model(config))
    assert all(is_ours(model) for model in built)
    assert built[4](some_ids(2, 5)).shape == (2, 2)


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_layers_are_found_by_the_name_of_their_class(family):
    """As sharding by Accelerate looks for them."""
    theirs, ours = theirs_and_ours(family)
    names = {type(layer).__name__ for model in (theirs, ours) for layer in model.encoder.layer}
    assert len(names) == 1


def test_a_part_of_a_user_stays_his():
    class Encoder(v2.DebertaV2Encoder):
        pass

    class Model(DebertaV2Model):
        def __init__(self, config):
            super().__init__(config)
            self.encoder = Encoder(config)

    with enable():
        model = Model(their_config())
        ids = some_ids(2, 7)
        assert model(ids).last_hidden_state.shape == (2, 7, 24)
    assert type(model.encoder) is Encoder
    assert isinstance(model.encoder.layer[0], v2.DebertaV2Layer)


@pytest.mark.parametrize("changes", [{"pos_att_type": ["c2p", "p2p"]}, {"hidden_dropout_prob": 1.0}])
def test_what_ours_cannot_build_stays_theirs_with_a_warning(changes):
    with enable(), pytest.warns(UserWarning, match="transformers' encoder stays"):
        model = DebertaV2Model(their_config(**changes))
    assert isinstance(model.encoder.layer[0], v2.DebertaV2Layer)
    assert model(some_ids(2, 7)).last_hidden_state.shape == (2, 7, 24)


def test_the_signature_stays():
    before = inspect.signature(DebertaV2Model.forward)
    with enable():
        assert inspect.signature(DebertaV2Model.forward) == before


@pytest.mark.parametrize("family", ["v1", "v2", "v3"])
def test_what_ours_saves_theirs_loads_bit_by_bit(tmp_path, family):
    cls = their_class(family, "ForMaskedLM")
    with enable():
        ours = cls(their_config(family))
        randomise(ours)
        ours.save_pretrained(tmp_path)
    theirs, info = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert not is_ours(theirs)
    assert theirs.config.architectures == [cls.__name__]
    one, two = ours.state_dict(), theirs.state_dict()
    assert list(one) == list(two)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert "deberta_pt" not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_weights_that_a_file_lacks_are_started(tmp_path, family):
    cls = their_class(family, "Model")
    model = cls(their_config(family))
    randomise(model)
    whole = model.state_dict()
    lost = [name for name in whole if name.endswith(("q_bias", "v_bias", "layer.0.output.LayerNorm.weight"))]
    model.save_pretrained(tmp_path, state_dict={k: v for k, v in whole.items() if k not in lost})
    loaded = []
    for on in (False, True):
        if on:
            enable()
        loaded.append(cls.from_pretrained(tmp_path).state_dict())
    assert all(torch.equal(loaded[0][name], loaded[1][name]) for name in whole)
    assert all(float(loaded[1][name].min()) in (0.0, 1.0) for name in lost)


def test_copies_and_pickles():
    _, ours = theirs_and_ours("v1")
    ids = some_ids(2, 9)
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert is_ours(again)
        assert torch.equal(again(ids)[0], ours(ids)[0])
        assert not {id(p) for p in again.parameters()} & {id(p) for p in ours.parameters()}


def test_more_words_and_fewer_layers():
    theirs, ours = theirs_and_ours("v3", "ForMaskedLM")
    for model in (theirs, ours):
        model.resize_token_embeddings(60, mean_resizing=False)
        model.deberta.encoder.layer = model.deberta.encoder.layer[:1]
    ours.load_state_dict(theirs.state_dict())
    ids = some_ids(2, 9)
    assert ours(ids).logits.shape == (2, 9, 60)
    assert_same(ours(ids), theirs(ids))


def test_bad_input():
    _, ours = theirs_and_ours("v3")
    ids = some_ids(2, 9)
    for mask in (torch.ones(2, 8), torch.ones(3, 9), torch.ones(2, 3, 9, 9), torch.ones(2, 9, 8), torch.ones(9)):
        with pytest.raises(ValueError, match="attention_mask has shape"):
            ours(ids, attention_mask=mask)
    with pytest.raises(ValueError, match="negative value"):
        ours(ids, attention_mask=torch.zeros(2, 9).index_fill(1, torch.tensor([8]), float("-inf")))
    with pytest.raises(ValueError, match="neither input_ids and inputs_embeds"), enable():
        ours()
    with pytest.raises(ValueError, match="query_states and relative_pos are not taken"):
        ours.encoder(torch.zeros(2, 9, 24), torch.ones(2, 9), query_states=torch.zeros(2, 9, 24))
    with pytest.raises(ValueError, match="masked_rows is 'none', expected one of zero, uniform"):
        enable(masked_rows="none")
    with pytest.raises(TypeError, match="masked_row"):
        enable(masked_row="zero")


@pytest.mark.parametrize("version", ["4.40.2", "4.56.0", "4.58.0.dev0", "6.0.0", "3.5.1"])
def test_other_versions_are_refused(monkeypatch, version):
    monkeypatch.setattr(sys.modules["transformers"], "__version__", version)
    with pytest.raises(ImportError, match=rf"works with transformers 4\.57 and 5\.x, found {version}"):
        enable()
    assert not is_ours(DebertaV2Model(their_config()))


@pytest.mark.parametrize("version", ["4.57.0", "5.0.0rc1", "5.99.0"])
def test_these_versions_are_taken(monkeypatch, version):
    monkeypatch.setattr(sys.modules["transformers"], "__version__", version)
    with enable():
        assert is_ours(DebertaV2Model(their_config()))


SCRIPT = """
import sys
import beside
from transformers import DebertaV2Config, DebertaV2Model
model = DebertaV2Model(DebertaV2Config(vocab_size=9, hidden_size=6, num_hidden_layers=1, num_attention_heads=2,
                                       intermediate_size=5))
if __name__ == "__main__":
    print(type(model.encoder).__module__, model.encoder.config.masked_rows, sys.argv[1:])
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "beside.py").write_text("")
    return tmp_path


def test_an_unchanged_script(folder, tmp_path_factory):
    words = [sys.executable, "-m", "deberta_pt.transformers", "--masked-rows", "uniform", str(folder / "script.py")]
    done = subprocess.run(
        [*words, "--masked-rows", "x", "-m", "y"], capture_output=True, text=True, cwd=tmp_path_factory.mktemp("other"),
        env={**os.environ, "PYTHONPATH": str(ROOT), "USE_TF": "0"},
    )  # fmt: skip
    assert done.stdout.split("\n")[0] == "deberta_pt.transformers.parts uniform ['--masked-rows', 'x', '-m', 'y']", done


def test_an_unchanged_module(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setattr(sys, "argv", ["", "--tokenizers", "-m", "script", "--help"])
    main()
    assert capsys.readouterr().out == "deberta_pt.transformers.parts zero ['--help']\n"


@pytest.mark.parametrize(
    ("words", "what"), [([], "no script is named"), (["none.py"], "no script 'none.py'"), (["-m"], "no script")]
)
def test_no_script(words, what, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert what in capsys.readouterr().err


def test_nothing_is_said_on_the_way():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with enable():
            model = DebertaV2Model(their_config()).eval()
            model(some_ids(2, 9), attention_mask=padded_on("right", 2, 9))
