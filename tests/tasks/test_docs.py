"""The documentation site: every public name and command has its page, and no page asks another host for anything."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from deberta_tasks.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PACKAGES = ("deberta_core", "tokenization", "conversion", "deberta_pt", "deberta_tf", "deberta_tasks")
# What a browser fetches by itself: scripts, styles, pictures, frames.
FETCHED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=\"?([^\s\">]+)|<link\b([^>]*)>")


def builder() -> ModuleType:
    """The script ``docs/build.py``."""
    spec = importlib.util.spec_from_file_location("build_site", ROOT / "docs" / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_of_a_section_is_there_and_shows_code_that_is_there() -> None:
    pytest.importorskip("latex2mathml")
    site = builder()
    pages = site.site_pages()
    sections = site.tomllib.loads(site.SETTINGS.read_text(encoding="utf-8"))["sections"]
    named = [page for section in sections.values() for page in section]
    assert len(named) == len(set(named))
    assert set(named) <= set(pages.values())
    shown = [name for name, page in pages.items() if "```python title=" in site.read_page(name, pages) and page]
    assert len(shown) >= 6  # the ideas
    with pytest.raises(ValueError, match="has no nothing"):
        site.definition("deberta_pt/attention.py", "nothing")


@pytest.mark.slow
def test_the_site(tmp_path: Path) -> None:
    pytest.importorskip("zensical")
    pytest.importorskip("mkdocstrings")
    site = builder()
    target = tmp_path / "site"
    assert site.build(target) == sum(1 for _ in target.rglob("*.html")) > 150

    pages = {path.stem for path in (target / "reference").glob("*.html")}
    for command in COMMANDS:
        assert f"deberta-{command.name}" in pages
    for package in PACKAGES:
        for name in importlib.import_module(package).__all__:
            assert any(page.rpartition(".")[2] == name for page in pages), f"{package}.{name}"
    page = (target / "reference" / "deberta_pt.DebertaV2ForTokenClassification.html").read_text(encoding="utf-8")
    assert "token_type_ids" in page
    assert "ignore_mismatched_sizes" in page

    sift = (target / "ideas" / "sift.html").read_text(encoding="utf-8")
    # A sentence that begins with a formula is one paragraph.
    assert len(re.findall(r"<span><math[^>]*display=\"inline", sift)) == len(re.findall("display=\"inline", sift)) > 5

    assert (target / "search.js").stat().st_size > 100_000  # found without a server, too
    for path in target.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for source, link in FETCHED.findall(text):
            if link and not re.search(r"rel=\"?(?:stylesheet|icon|preload|preconnect|modulepreload)", link):
                continue
            address = source or link
            assert not re.search(r"(?:https?:)?//(?!www\.w3\.org)", address), (path.name, address)


@pytest.mark.slow
def test_a_link_that_leads_nowhere_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("zensical")
    site = builder()
    real = site.read_page
    monkeypatch.setattr(site, "classes", lambda pages: iter(()))
    monkeypatch.setattr(site, "commands", lambda pages: iter(()))
    for wrong in ("[gone](gone.md)", "[gone](training.md#gone)"):
        monkeypatch.setattr(site, "read_page", lambda name, pages, wrong=wrong: f"{real(name, pages)}\n{wrong}\n")
        with pytest.raises(RuntimeError, match="not built"):
            site.build(tmp_path / "site")
