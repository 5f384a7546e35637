"""transformers' public tests of DeBERTa, run against its classes (the control) and against ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tests.peers.names import changed

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("deberta", "deberta_v2")
# Tools of the checkout's own tests, where those that are installed lack them: TensorFlow's are gone from the last ones.
# They ask for a package that the installed release has never heard of.
TOOLS = """
import importlib.util, sys
import transformers.testing_utils as installed
if not hasattr(installed, "require_tf"):
    transformers = sys.modules["transformers"]
    if not hasattr(transformers.utils, "is_jieba_available"):
        transformers.utils.is_jieba_available = lambda: False
    spec = importlib.util.spec_from_file_location("transformers.testing_utils", {tools!r})
    module = importlib.util.module_from_spec(spec)
    sys.modules["transformers.testing_utils"] = module
    spec.loader.exec_module(module)
"""
# Their tests of pipelines take the tokenizer from the package by its name; here it has to be ours.
CONFTEST = """
import transformers, {package} as ours
for name in ours.__all__:
    if "Tokenizer" in name and "Deberta" in name:
        setattr(transformers, name, getattr(ours, name))
"""


# Their tests give a class labels, and choices, by the head that it is registered for.
HEADS = """
for head in ("MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice"):
    snake = "".join("_" + c if c.isupper() else c for c in head).upper().replace("_L_M", "_LM")
    for family in ("Deberta", "DebertaV2"):
        mapping = getattr(transformers, f"TF_MODEL_FOR{snake}_MAPPING")
        mapping.register(getattr(ours, family + "Config"), getattr(ours, f"TF{family}For{head}"), exist_ok=True)
"""


@dataclass(frozen=True)
class Suite:
    """Some of their test files.

    Attributes:
        name: for the table.
        files: pattern below ``tests/models/<family>``.
        package: of ours.
        weights: ``pt`` or ``tf``, of the small checkpoints that pipelines are tested with.
    """

    name: str
    files: str
    package: str
    weights: str


PYTORCH = Suite("PyTorch", "test_modeling_deberta*.py", "deberta_pt", "pt")
TENSORFLOW = Suite("TensorFlow", "test_modeling_tf_deberta*.py", "deberta_tf", "tf")
TOKENIZERS = Suite("tokenizers", "test_tokenization_deberta*.py", "deberta_pt", "pt")


# Names on the hub that their tests load tokenizers by, and the small checkpoints that stand in for them.
HUB = {
    "microsoft/deberta-base": "deberta/DebertaModel",
    "microsoft/deberta-v2-xlarge": "deberta-v2/DebertaV2Model",
}


def lay_out(checkout: Path, work: Path, suite: Suite, checkpoints: Path, *, ours: bool) -> Path:
    """A tree that looks like theirs, made of links, but for the files of the suite, whose imports are changed."""
    for name, small in HUB.items():  # a folder below the working directory comes before the hub
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).symlink_to(checkpoints / suite.weights / small)
    tests = work / "tests"
    (tests / "models").mkdir(parents=True)
    (work / "utils").symlink_to(checkout / "utils")
    (work / "src").mkdir()  # from where their tests load the package once more: the installed one, not the checkout's
    (work / "src" / "transformers").symlink_to(str(find_spec("transformers").submodule_search_locations[0]))
    for path in (checkout / "tests").iterdir():
        if path.name != "models":
            (tests / path.name).symlink_to(path)
    (tests / "models" / "__init__.py").touch()
    for family in FAMILIES:
        folder = tests / "models" / family
        folder.mkdir()
        (folder / "__init__.py").touch()
        for path in (checkout / "tests" / "models" / family).glob(suite.files):
            text = path.read_text(encoding="utf-8")
            (folder / path.name).write_text(changed(text, (suite.package,)) if ours else text, encoding="utf-8")
    tools = checkout / "src" / "transformers" / "testing_utils.py"
    conftest = TOOLS.format(tools=str(tools)) if suite.weights == "tf" else ""
    conftest += CONFTEST.format(package=suite.package) if ours else ""
    conftest += HEADS if ours and suite.weights == "tf" else ""
    (work / "conftest.py").write_text(conftest, encoding="utf-8")
    return work


def run(checkout: Path, work: Path, suite: Suite, checkpoints: Path, *, ours: bool, extra: list[str]) -> dict:
    """Outcome and last message of each test by its name."""
    work.mkdir(parents=True)
    lay_out(checkout, work, suite, checkpoints, ours=ours)
    report = work / "report.json"
    env = {
        **os.environ, "PEERS_REPORT": str(report), "PYTHONPATH": os.pathsep.join([str(work), str(ROOT)]),
        "TRANSFORMERS_TINY_MODEL_PATH": str(checkpoints / suite.weights), "HF_HUB_OFFLINE": "1",
        "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1",
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests_plugin", "-p", "no:cacheprovider", *extra]
    (work / "tests_plugin.py").write_text(Path(__file__).with_name("plugin.py").read_text(encoding="utf-8"))
    with (work / "log.txt").open("w") as log:
        subprocess.run(
            [*command, *(f"tests/models/{f}" for f in FAMILIES)], cwd=work, env=env, stdout=log, stderr=log, check=False
        )
    if not report.exists():
        raise RuntimeError(f"the tests did not run: see {work / 'log.txt'}")
    return json.loads(report.read_text(encoding="utf-8"))


def count(found: dict) -> str:
    """Passed, failed, skipped."""
    outcomes = [outcome for outcome, _ in found.values()]
    return " / ".join(str(outcomes.count(kind)) for kind in ("passed", "failed", "skipped"))
