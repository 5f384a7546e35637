"""Names wherever a folder may stand: models, configs and tokenizers of both frameworks, the command line; uploads."""

import json
import warnings

import numpy as np
import pytest

pytest.importorskip("huggingface_hub")

from deberta_core.config import AutoConfig, DebertaV2Config
from deberta_core.hub.card import model_card
from deberta_core.presets import preset
from deberta_core.pretraining import has_generator
from deberta_tasks.cli import main
from tests.hub.server import GOOD_TOKEN
from tests.pretraining.pairs import pair
from tokenization import AutoTokenizer, DebertaV2Tokenizer, train_from_iterator

NAME = "owner/tiny"
IDS = np.array([[1, 7, 8, 2]])
pytestmark = pytest.mark.usefixtures("cache")


def tiny_config() -> DebertaV2Config:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return preset("deberta-v3-small", vocab_size=310, num_labels=3, **sizes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("torch")
    from deberta_pt import DebertaV2ForSequenceClassification

    path = tmp_path_factory.mktemp("tiny")
    DebertaV2ForSequenceClassification(tiny_config()).save_pretrained(path)
    train_from_iterator(["A fine day at last.", "Rain again."], 300).save_pretrained(path)
    return path


def test_models_of_both_frameworks_tokenizers_and_configs(hub, folder):
    pytest.importorskip("tensorflow")
    import torch

    from deberta_pt import AutoModelForSequenceClassification, DebertaV2ForSequenceClassification
    from deberta_tf import TFAutoModelForSequenceClassification

    hub.add(NAME, folder, inside="best/", private=True)
    options = {"subfolder": "best", "token": GOOD_TOKEN, "revision": "main"}
    local = DebertaV2ForSequenceClassification.from_pretrained(folder)
    logits = local(torch.tensor(IDS)).logits.detach().numpy()
    for cls in (DebertaV2ForSequenceClassification, AutoModelForSequenceClassification):
        model = cls.from_pretrained(NAME, **options)
        assert np.array_equal(model(torch.tensor(IDS)).logits.detach().numpy(), logits)
        assert (model.name_or_path, len(model.config._commit_hash)) == (NAME, 40)
    in_tf = TFAutoModelForSequenceClassification.from_pretrained(NAME, **options)
    np.testing.assert_allclose(in_tf(IDS).logits.numpy(), logits, atol=1e-5)
    assert AutoConfig.from_pretrained(NAME, **options) == AutoConfig.from_pretrained(folder)
    for cls in (AutoTokenizer, DebertaV2Tokenizer):
        assert cls.from_pretrained(NAME, **options)("rain").input_ids == cls.from_pretrained(folder)("rain").input_ids
    assert AutoTokenizer.from_pretrained(NAME, **options).name_or_path == NAME
    assert {headers["authorization"] for headers in hub.asked("HEAD", NAME)} == {f"Bearer {GOOD_TOKEN}"}


def test_the_generator_beside_a_discriminator(hub, folder, tmp_path):
    from deberta_pt import DebertaV2ForMaskedLM

    DebertaV2ForMaskedLM(tiny_config()).save_pretrained(tmp_path, safe_serialization=False)
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "pytorch_model.generator.bin")
    (tmp_path / "config.json").rename(tmp_path / "generator_config.json")
    hub.add(NAME, tmp_path)
    model = DebertaV2ForMaskedLM.from_pretrained(NAME, generator=True)
    assert model.num_parameters() == DebertaV2ForMaskedLM.from_pretrained(tmp_path, generator=True).num_parameters()


@pytest.mark.parametrize("inside", ["", "best"])
def test_a_pair_goes_on_with_its_generator(hub, tmp_path, inside):
    """By name as from a folder; where the repository has none, a new one is made and said to be."""
    pytest.importorskip("torch")
    from deberta_pt import ReplacedTokenPretraining

    pair("pt").save_pretrained(tmp_path / "pair")
    hub.add(NAME, tmp_path / "pair", inside=f"{inside}/" if inside else "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_name = ReplacedTokenPretraining.from_pretrained(NAME, subfolder=inside)
    wanted = ReplacedTokenPretraining.from_pretrained(tmp_path / "pair").generator.state_dict()
    found = by_name.generator.state_dict()
    assert found.keys() == wanted.keys()
    assert all(bool((found[key] == value).all()) for key, value in wanted.items())
    for file in (tmp_path / "pair").glob("*generator*"):
        file.unlink()
    hub.add("owner/alone", tmp_path / "pair", inside=f"{inside}/" if inside else "")
    with pytest.warns(UserWarning, match="no generator was given: a new one starts"):
        ReplacedTokenPretraining.from_pretrained("owner/alone", subfolder=inside)
    with pytest.raises(FileNotFoundError, match="no model of this name on the hub"):
        has_generator("owner/nothing")


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_a_private_pair_at_a_revision(hub, tmp_path, framework):
    """Both models are asked for as the call says; the revision is that of the pair, and not of another's generator."""
    pytest.importorskip("torch")
    module = pytest.importorskip({"pt": "deberta_pt", "tf": "deberta_tf"}[framework])
    cls = module.ReplacedTokenPretraining if framework == "pt" else module.TFReplacedTokenPretraining
    pair("pt").save_pretrained(tmp_path / "pair")
    pair("pt").generator.save_pretrained(tmp_path / "writer")
    commit = hub.add("owner/hidden", tmp_path / "pair", private=True)
    hub.add("owner/writer", tmp_path / "writer", private=True)
    options = {"token": GOOD_TOKEN, "revision": commit, "cache_dir": tmp_path / "cache"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # of a generator that is made anew
        found = cls.from_pretrained("owner/hidden", **options, seed=3)
    wanted = cls.from_pretrained(tmp_path / "pair").generator
    assert found.generator.num_parameters() == wanted.num_parameters()
    assert int(found.sampling_state[0]) == 3
    with pytest.raises(FileNotFoundError, match="has no revision 'gone'"):
        cls.from_pretrained("owner/hidden", **{**options, "revision": "gone"})
    apart = cls.from_pretrained("owner/hidden", generator="owner/writer", **options)
    assert apart.generator.name_or_path == "owner/writer"


def test_a_model_that_is_not_there(hub):
    from deberta_pt import DebertaV2Model

    with pytest.raises(FileNotFoundError, match=r"no model of this name on the hub.*put them into a folder"):
        DebertaV2Model.from_pretrained("owner/nothing")
    with pytest.raises(FileNotFoundError, match=r"no model of this name on the hub.*put them into a folder"):
        AutoTokenizer.from_pretrained("owner/nothing")


def test_the_command_line(hub, folder, tmp_path, capsys):
    hub.add(NAME, folder)
    assert main(["inspect", NAME, "--revision", "main", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["head"] == "ForSequenceClassification"
    assert main(["convert", NAME, str(tmp_path / "made"), "--to", "tf", "--json"]) == 0
    made = {path.name for path in (tmp_path / "made").iterdir()}
    assert {"tf_model.h5", "config.json", "spm.model", "tokenizer_config.json", "README.md"} <= made
    capsys.readouterr()
    assert main(["inspect", "owner/nothing"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there is no folder 'owner/nothing'")
    assert error.count("\n") == 1
    assert main(["inspect", str(folder), "--revision", "main"]) == 2
    assert "is for models given by name" in capsys.readouterr().err


@pytest.mark.parametrize("framework", ["pt", "tf"])
def test_a_pushed_model_comes_back(hub, tmp_path, framework):
    if framework == "pt":
        pytest.importorskip("torch")
        from deberta_pt import DebertaV2ForTokenClassification as Model
    else:
        pytest.importorskip("tensorflow")
        from deberta_tf import TFDebertaV2ForTokenClassification as Model
    model = Model(tiny_config())
    address = model.push_to_hub("me/pushed", token=GOOD_TOKEN, private=True)
    repository = hub.repositories["me/pushed"]
    assert address.endswith("me/pushed/commit/" + repository.refs["main"])
    assert repository.private
    weights = "model.safetensors" if framework == "pt" else "tf_model.h5"
    files = repository.commits[repository.refs["main"]]
    assert set(files) == {"config.json", "README.md", weights}
    card = files["README.md"].decode()
    assert "from_pretrained('me/pushed')" in card
    back = Model.from_pretrained("me/pushed", token=GOOD_TOKEN)
    assert back.num_parameters() == model.num_parameters()
    model.save_pretrained(tmp_path / "pushed", push_to_hub=True, repo_id="me/other", token=GOOD_TOKEN, revision="draft")
    assert set(hub.repositories["me/other"].refs) == {"main", "draft"}
    assert (tmp_path / "pushed" / weights).is_file()


def test_a_tokenizer_is_pushed_and_a_card_that_is_there_stays(hub, folder, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    hub.commit("me/words", {"README.md": b"by hand"})
    tokenizer.save_pretrained(tmp_path / "words", push_to_hub=True, token=GOOD_TOKEN)
    assert "spm.model" in hub.repositories["me/words"].commits[hub.repositories["me/words"].refs["main"]]
    from deberta_pt import DebertaV2Model

    DebertaV2Model(tiny_config()).push_to_hub("me/words", token=GOOD_TOKEN)
    files = hub.repositories["me/words"].commits[hub.repositories["me/words"].refs["main"]]
    assert files["README.md"] == b"by hand"
    assert "model.safetensors" in files


def test_uploads_that_cannot_be(hub, tmp_path, monkeypatch):
    from deberta_pt import DebertaV2Model

    model = DebertaV2Model(tiny_config())
    with pytest.raises(OSError, match=r"nothing was uploaded to 'me/x': the hub does not let you write.*hf auth login"):
        model.push_to_hub("me/x", token="hf_bad")
    with pytest.raises(TypeError, match=r"no keyword 'pivate'"):
        model.save_pretrained(tmp_path / "a", push_to_hub=True, pivate=True)
    with pytest.raises(TypeError, match=r"'repo_id' is for uploads; pass push_to_hub=True"):
        model.save_pretrained(tmp_path / "a", repo_id="me/x")
    assert not (tmp_path / "a").exists()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OSError, match=r"nothing was uploaded to 'me/x'"):
        model.push_to_hub("me/x", token=GOOD_TOKEN)


def test_the_card_runs_and_is_never_replaced(folder, tmp_path, monkeypatch):
    card = (folder / "README.md").read_text()
    monkeypatch.chdir(folder.parent)
    code = card.split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(code, names)
    assert type(names["model"]).__name__ == "DebertaV2ForSequenceClassification"
    assert "pipeline_tag: text-classification" in card
    assert "`LABEL_0`, `LABEL_1`, `LABEL_2`" in card
    (tmp_path / "README.md").write_text("by hand")
    names["model"].save_pretrained(tmp_path)  # type: ignore[attr-defined]
    assert (tmp_path / "README.md").read_text() == "by hand"


def test_a_card_of_many_labels_is_short():
    config = preset("deberta-v3-small", num_labels=1000)
    config.extra["architectures"] = ["DebertaV2ForTokenClassification"]
    card = model_card(config, "me/model")
    assert "`LABEL_29` and 970 more" in card
    assert len(card) < 2000


def test_shards_in_a_cache_of_links(hub, tmp_path):
    from deberta_pt import DebertaV2Model

    model = DebertaV2Model(tiny_config())
    model.save_pretrained(tmp_path / "shards", max_shard_size=8000)
    hub.add(NAME, tmp_path / "shards")
    back = DebertaV2Model.from_pretrained(NAME)
    assert len(hub.asked("GET", "storage")) > 1
    assert all(bool((value == back.state_dict()[key]).all()) for key, value in model.state_dict().items())


def test_a_pipeline(hub, folder):
    from deberta_tasks import pipeline

    hub.add(NAME, folder)
    answer = pipeline("text-classification", NAME, revision="main")("A fine day.")
    assert answer == pipeline("text-classification", str(folder))("A fine day.")
