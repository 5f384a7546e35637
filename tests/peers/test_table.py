"""The page of names says what the classes have."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("tensorflow")
transformers = pytest.importorskip("transformers")


def test_the_page_of_names_is_what_the_classes_have():
    if transformers.__version__ != "4.57.6":
        pytest.skip("the page is about 4.57.6")
    from tests.peers.table import page

    docs = Path(__file__).parents[2] / "docs" / "transformers_names.md"
    assert docs.read_text(encoding="utf-8") == page(), "run: python -m tests.peers.table > docs/transformers_names.md"
