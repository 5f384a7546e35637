"""transformers reads what a conversion wrote, and gives our numbers on rows of real tokens."""

import numpy as np
import pytest

from conversion import convert
from tests.conversion.helpers import small_config, write_checkpoint
from tests.models.helpers import class_name, random_batch

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

CASES = [
    ("v1", "Model", {}),
    ("v1", "ForSequenceClassification", {}),
    ("v1", "ForMaskedLM", {"mlm_head": "legacy"}),
    ("v2", "ForTokenClassification", {}),
    ("v3", "ForQuestionAnswering", {"num_labels": 2}),  # their class makes as many outputs as labels
    ("v3", "ForMaskedLM", {"mlm_head": "legacy"}),
]
# Their TensorFlow classes know the two projections of unshared positions under other names; ours are in the file.
TF_CASES = [*CASES, ("v2", "Model", {"share_att_key": False})]


def ours(folder, config, head, batch):
    from deberta_pt import families

    model = getattr(families, class_name(config, head)).from_pretrained(folder)
    with torch.inference_mode():
        return model(**{name: torch.tensor(value) for name, value in batch.items()})[0].numpy()


def right_padded(config):
    batch = random_batch(config, batch=2, length=13)
    assert batch["attention_mask"][1, 0] == 1
    return batch


def assert_same_on_tokens(got, expected, mask):
    rows = mask.astype(bool)
    if expected.ndim == 2 and expected.shape != mask.shape:  # one row per text
        rows = np.ones(len(mask), bool)
    assert np.abs(got[rows] - expected[rows]).max() <= 1e-5 * np.abs(expected[rows]).max()


@pytest.mark.parametrize("format", ["safetensors", "bin"])
@pytest.mark.parametrize(("base", "head", "changes"), CASES)
def test_pytorch_classes(tmp_path, base, head, changes, format):
    config = small_config(base, **changes)
    source = write_checkpoint(tmp_path / "source", config, head, ("tf", "h5"))
    convert(source, tmp_path / "made", to="pt", format=format)
    batch = right_padded(config)
    cls = getattr(transformers, class_name(config, head))
    model, info = cls.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not any(info.values()), info
    with torch.inference_mode():
        got = model.eval()(**{name: torch.tensor(value) for name, value in batch.items()})[0].numpy()
    assert_same_on_tokens(got, ours(tmp_path / "made", config, head, batch), batch["attention_mask"])


@pytest.mark.parametrize(("base", "head", "changes"), TF_CASES)
def test_tensorflow_classes(tmp_path, base, head, changes):
    tf = pytest.importorskip("tensorflow")
    tf_keras = pytest.importorskip("tf_keras")
    tf_keras.backend.reset_uids()  # they compare names of layers, and Keras numbers all that a process has made
    config = small_config(base, **changes)
    source = write_checkpoint(tmp_path / "source", config, head)
    convert(source, tmp_path / "made", to="tf")  # a folder without safetensors, which these classes cannot open
    batch = right_padded(config)
    cls = getattr(transformers, "TF" + class_name(config, head))
    model, info = cls.from_pretrained(tmp_path / "made", output_loading_info=True)
    assert not any(info.values()), info
    got = model({name: tf.constant(value) for name, value in batch.items()})[0].numpy()
    assert_same_on_tokens(got, ours(source, config, head, batch), batch["attention_mask"])
