"""The distribution: built from a source distribution, free of tests, at work where neither framework is installed."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from tests.conversion.helpers import small_config, write_checkpoint

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {"conversion", "deberta_core", "deberta_pt", "deberta_tasks", "deberta_tf", "tokenization"}
BUILD = "import sys; from setuptools import build_meta as b; b.build_{}(sys.argv[1])"


def test_version_and_name_are_the_same_everywhere() -> None:
    assert PROJECT["name"] == "deberta-zoo"
    assert PROJECT["optional-dependencies"]["all"][0].startswith("deberta-zoo[")
    released = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text()
    assert PROJECT["version"] == released[0] == re.findall(r"^version: (.+)$", citation, re.MULTILINE)[0]


def build(kind: str, source: Path, target: Path) -> Path:
    """The file that the build backend makes in a folder."""
    command = [sys.executable, "-c", BUILD.format(kind), str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    (made,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.mark.slow
def test_the_wheel_works_without_a_framework(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    kept = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "golden")
    shutil.copytree(ROOT, tmp_path / "checkout", ignore=kept)
    with tarfile.open(build("sdist", tmp_path / "checkout", tmp_path)) as source:
        assert not [name for name in source.getnames() if "/tests" in name or "/benchmarks" in name]
        source.extractall(tmp_path / "source", filter="data")
    (source_folder,) = (tmp_path / "source").iterdir()
    assert (source_folder / "CITATION.cff").exists()
    wheel = build("wheel", source_folder, tmp_path)

    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        metadata = message_from_string(file.read(next(n for n in names if n.endswith("METADATA"))).decode())
        site = tmp_path / "bare" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        venv.create(tmp_path / "bare", with_pip=False)
        file.extractall(site)
    information = wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"
    assert {name.split("/")[0] for name in names} == {*PACKAGES, information}
    assert not [name for name in names if "test" in name.rpartition("/")[2] and name.endswith(".py")]
    for package in PACKAGES:
        assert f"{package}/py.typed" in names
        code = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert code <= set(names)
    for path in (*ROOT.glob("deberta_tasks/data/*.*"), *ROOT.glob("deberta_core/mini/*/*")):
        assert path.relative_to(ROOT).as_posix() in names
    assert (metadata["Name"], metadata["Version"]) == ("deberta-zoo", PROJECT["version"])
    assert "Project-URL" not in metadata

    for requirement in PROJECT["dependencies"]:  # what installing it would fetch, and nothing else
        name = re.findall(r"^[\w-]+", requirement)[0]
        for top in {Path(str(path)).parts[0] for path in importlib.metadata.files(name) or ()} - {".."}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(importlib.metadata.distribution(name).locate_file(top))))
    write_checkpoint(tmp_path / "model", small_config("v3"), "ForSequenceClassification")
    for arguments in (["--help"], ["convert", "model", "made", "--to", "tf"], ["inspect", "made", "--json"]):
        command = [str(tmp_path / "bare" / "bin" / "python"), "-I", "-m", "deberta_tasks.cli", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "tf_model.h5").exists()
