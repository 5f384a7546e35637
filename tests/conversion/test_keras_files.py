"""The files that Keras writes for our TensorFlow models, against what ``save_pretrained`` writes."""

import os
import zipfile

import h5py
import pytest

from conversion import convert
from deberta_core.checkpoint import CheckpointError
from deberta_core.heads import HEADS
from tests.conversion.helpers import contents, random_weights, small_config

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tf_keras")

from deberta_tf import families  # noqa: E402

SLOW = pytest.mark.slow
CASES = [
    *(pytest.param("v1", head, {"mlm_head": "legacy"}, marks=SLOW) for head in HEADS),
    ("v2", "Model", {"share_att_key": False, "type_vocab_size": 2, "position_biased_input": True, "embedding_size": 6}),
    ("v1", "ForMultipleChoice", {"talking_head": True}),
    pytest.param("v3", "ForMaskedLM", {"mlm_head": "emd"}, marks=SLOW),
    pytest.param("v3", "ForMaskedLM", {"mlm_head": "legacy", "tie_word_embeddings": False}, marks=SLOW),
    pytest.param("v3", "ForReplacedTokenDetection", {}, marks=SLOW),
    pytest.param("v3", "Model", {"num_hidden_layers": 12}, marks=SLOW),
]


def build(base, head, changes):
    """A compiled model, so that its files also hold an optimizer, with random weights."""
    config = small_config(base, **changes)
    name = "Deberta" if config.model_type == "deberta" else "DebertaV2"
    model = getattr(families, f"TF{name}{head}")(config)
    for key, value in random_weights(config, head).items():
        weight = model.weight_rows()[key]
        model.variable(weight).assign(value.T if weight.transposed else value)
    model.compile("adam")
    return model


@pytest.mark.parametrize(("base", "head", "changes"), CASES, ids=lambda value: str(value)[:40])
def test_every_kind_gives_the_same_weights(tmp_path, base, head, changes):
    model = build(base, head, changes)
    model.save_pretrained(tmp_path / "expected")
    for kind, name in (("keras", "m.weights.h5"), ("checkpoint", "ckpt"), ("old", "weights.h5")):
        folder = tmp_path / kind
        folder.mkdir()
        model.saved_config().save_pretrained(folder)
        model.save_weights(str(folder / name))
        source = folder / name if kind == "old" else folder
        report = convert(source, tmp_path / f"{kind}-tf", to="tf")
        assert contents(tmp_path / f"{kind}-tf") == contents(tmp_path / "expected")
        assert report.head == head
        convert(source, tmp_path / f"{kind}-pt", to="pt", isolate_h5=True)
        convert(tmp_path / "expected", tmp_path / f"{kind}-expected", to="pt")
        there = contents(tmp_path / f"{kind}-pt")
        assert there == contents(tmp_path / f"{kind}-expected")


def test_a_weights_file_from_when_the_encoder_had_another_class(tmp_path):
    model = build("v3", "ForQuestionAnswering", {})
    model.saved_config().save_pretrained(tmp_path / "old")
    model.save_weights(str(tmp_path / "old" / "m.weights.h5"))
    with h5py.File(tmp_path / "old" / "m.weights.h5", "r+") as file:
        file.move("layers/tf_deberta_v2_model", "layers/tf_model")
    model.save_pretrained(tmp_path / "expected")
    convert(tmp_path / "old", tmp_path / "made", to="tf")
    assert contents(tmp_path / "made") == contents(tmp_path / "expected")


def test_whole_models_of_keras_were_taken_for_broken_files_of_pytorch(tmp_path):
    model = build("v1", "ForTokenClassification", {})
    model.save(str(tmp_path / "m.keras"))
    model.save_pretrained(tmp_path / "expected")
    with pytest.raises(CheckpointError, match=r"is a whole model of Keras.*load_model and save_pretrained, or"):
        convert(tmp_path / "m.keras", tmp_path / "made", to="pt")
    model.saved_config().save_pretrained(tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        archive.extract("model.weights.h5", tmp_path / "out")
    convert(tmp_path / "out", tmp_path / "made", to="tf")
    assert contents(tmp_path / "made") == contents(tmp_path / "expected")


@pytest.mark.parametrize("spelling", ["folder", "folder/ckpt", "folder/ckpt.index"])
def test_a_checkpoint_is_found_by_folder_prefix_and_index(tmp_path, spelling):
    model = build("v3", "Model", {})
    (tmp_path / "folder").mkdir()
    model.saved_config().save_pretrained(tmp_path / "folder")
    model.save_weights(str(tmp_path / "folder" / "ckpt"))
    model.save_pretrained(tmp_path / "expected")
    convert(tmp_path / spelling, tmp_path / "made", to="tf")
    assert contents(tmp_path / "made") == contents(tmp_path / "expected")


def test_of_several_checkpoints_the_latest_is_read(tmp_path):
    model = build("v3", "Model", {})
    (tmp_path / "folder").mkdir()
    model.saved_config().save_pretrained(tmp_path / "folder")
    for number in (1, 2):
        model.base_model.encoder.rel_embeddings.embeddings.assign_add(tf.ones((8, 24)))
        model.save_weights(str(tmp_path / "folder" / f"step-{number}"))
    model.save_pretrained(tmp_path / "expected")
    convert(tmp_path / "folder", tmp_path / "made", to="tf")
    assert contents(tmp_path / "made") == contents(tmp_path / "expected")


def test_a_checkpoint_with_the_model_further_down(tmp_path):
    model = build("v1", "ForSequenceClassification", {})
    tf.train.Checkpoint(step=tf.Variable(3), net=model, optimizer=model.optimizer).write(str(tmp_path / "ckpt"))
    model.saved_config().save_pretrained(tmp_path)
    model.save_pretrained(tmp_path / "expected")
    report = convert(tmp_path / "ckpt", tmp_path / "made", to="tf")
    assert contents(tmp_path / "made") == contents(tmp_path / "expected")
    assert report.not_weights["step"] == "state of training"


def test_other_models_are_refused(tmp_path):
    tf.train.Checkpoint(a=tf.Variable(1.0)).write(str(tmp_path / "ckpt"))
    with pytest.raises(CheckpointError, match="holds no DeBERTa encoder"):
        convert(tmp_path / "ckpt", tmp_path / "made", to="pt")
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = [1.0]
    with pytest.raises(CheckpointError, match="holds no DeBERTa encoder in Keras's layout"):
        convert(tmp_path / "m.weights.h5", tmp_path / "made", to="pt")
    assert not os.path.exists(tmp_path / "made")


def test_damaged_files_are_refused(tmp_path):
    model = build("v3", "Model", {})
    model.saved_config().save_pretrained(tmp_path)
    model.save_weights(str(tmp_path / "ckpt"))
    index = tmp_path / "ckpt.index"
    index.write_bytes(index.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="is not a readable TensorFlow checkpoint"):
        convert(tmp_path / "ckpt", tmp_path / "made", to="pt")
