"""Checkpoints that the reference implementations wrote: there and back bit for bit, and both formats alike."""

import os
from pathlib import Path

import pytest

from conversion import convert, inspect
from tests.conversion.helpers import FORMATS, contents

HERE = Path(__file__).parents[1] / "golden"
MORE = Path(os.environ.get("DEBERTA_GOLDEN", Path(__file__).parents[3] / "shared" / "golden"))
OURS = {path.parent.name for path in HERE.glob("*/config.json")}
CASES = {path.parent.name: path.parent for folder in (HERE, MORE) for path in sorted(folder.glob("*/config.json"))}
PARAMETERS = [
    pytest.param(case, id=name, marks=[] if name in OURS else [pytest.mark.slow]) for name, case in CASES.items()
]


def weights_files(case):
    names = ("model.safetensors", "pytorch_model.bin", "tf_model.h5")
    return [case / name for name in names if (case / name).is_file()]


@pytest.mark.parametrize("case", PARAMETERS)
def test_there_and_back(tmp_path, case):
    files = weights_files(case)
    if not files:
        pytest.skip("this case keeps no weights: they are made by a formula")
    for file in files:
        home, away = ("tf", "pt") if file.suffix == ".h5" else ("pt", "tf")
        format = {".h5": "h5", ".bin": "bin", ".safetensors": "safetensors"}[file.suffix]
        for away_format in [name for naming, name in FORMATS if naming == away]:
            there, back = tmp_path / f"{file.name}-{away_format}", tmp_path / f"{file.name}-{away_format}-back"
            report = convert(file, there, to=away, format=away_format)
            assert report.lossless
            convert(there, back, to=home, format=format)
            assert contents(back) == contents(file)


@pytest.mark.parametrize("case", PARAMETERS)
def test_all_formats_of_a_case_hold_the_same(tmp_path, case):
    files = weights_files(case)
    if len(files) < 2:
        pytest.skip("this case has one format or none")
    for file in files:
        convert(file, tmp_path / file.name.replace(".", "-"), to="pt")
    made = [contents(path) for path in tmp_path.iterdir()]
    assert all(tensors == contents(case / "model.safetensors") for tensors in made)


@pytest.mark.parametrize("case", PARAMETERS)
def test_its_own_class_finds_everything(case):
    if not weights_files(case):
        pytest.skip("this case keeps no weights: they are made by a formula")
    heads = {
        "base": "Model", "mlm_legacy": "ForMaskedLM", "emd": "ForMaskedLM", "rtd": "ForReplacedTokenDetection",
        "qa": "ForQuestionAnswering", "tokcls": "ForTokenClassification", "choice": "ForMultipleChoice",
    }  # fmt: skip
    found = inspect(case)
    head = heads.get(case.name.partition("__")[2], "ForSequenceClassification")
    assert found.head == head
    own = next(fit for fit in found.classes if fit.name.endswith(head))
    assert (own.missing, own.mismatched) == ([], {})
