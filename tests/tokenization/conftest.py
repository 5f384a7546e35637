"""Small vocabularies, trained here, in all four classes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tokenization import (
    DebertaTokenizer,
    DebertaTokenizerFast,
    DebertaV2Tokenizer,
    DebertaV2TokenizerFast,
    train_from_iterator,
)

settings.register_profile("tokenizers", deadline=None, max_examples=150, derandomize=bool(os.environ.get("CI")))
settings.load_profile("tokenizers")

DATA = Path(__file__).resolve().parents[3] / "shared/tokdata"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the published vocabularies are not in {DATA}")

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "She doesn't think they'll arrive before 12 o'clock; we've waited since 9:30!",
    "A small model learns a small vocabulary from a small number of sentences.",
    "Der schnelle Fuchs läuft über die Straße und sieht den Hund.",
    "Où est la gare? Elle est près de l'église, à côté du marché.",
    "Быстрая лиса прыгает через ленивую собаку.",
    "吾輩は猫である。名前はまだ無い。",
    "def encode(text):\n    return [ord(char) for char in text]",
    "price: $5.00 (about 4,50 €) - see https://example.org/shop?id=42",
]


@pytest.fixture(scope="session")
def v2_model() -> bytes:
    trained = train_from_iterator(SENTENCES * 3, 600, family="v2", fast=False)
    return trained._vocabulary_files()["spm.model"]


@pytest.fixture(scope="session")
def v2_model_without_bytes() -> bytes:
    trained = train_from_iterator(SENTENCES[:3] * 3, 120, family="v2", fast=False, byte_fallback=False)
    return trained._vocabulary_files()["spm.model"]


@pytest.fixture(scope="session")
def v1_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("v1")
    train_from_iterator(SENTENCES * 3, 700, family="v1", fast=False).save_vocabulary(folder)
    return folder / "vocab.json", folder / "merges.txt"


@pytest.fixture(scope="session")
def build(v2_model, v1_files):
    """Makes a tokenizer of a class by its short name."""

    def make(kind: str, **settings):
        if kind.startswith("v1"):
            return (DebertaTokenizerFast if kind.endswith("fast") else DebertaTokenizer)(*v1_files, **settings)
        return (DebertaV2TokenizerFast if kind.endswith("fast") else DebertaV2Tokenizer)(v2_model, **settings)

    return make


KINDS = ("v1 slow", "v1 fast", "v2 slow", "v2 fast")


@pytest.fixture(scope="session")
def all_tokenizers(build):
    return {kind: build(kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def tokenizer(all_tokenizers, kind):
    return all_tokenizers[kind]
