"""Texts of any size: read as a stream, kept as numbers, given back as the rows that texts in memory would be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deberta_core.packing import fit
from deberta_tasks.masking import MLM, MaskingCollator
from deberta_tasks.parts import files_of
from deberta_tasks.pretrain import corpus
from deberta_tasks.pretrain.corpus import Corpus, documents, read_texts
from deberta_tasks.training.text import MaskedStream, blocks
from tests.pretraining.helpers import sentences, tokenizer

LENGTH = 24


@pytest.fixture(scope="module")
def texts() -> list[str]:
    some = sentences()[0][:150]
    return [*some[:100], " ".join(some[100:140]), *some[140:]]  # one is longer than a row


@pytest.fixture
def file(texts: list[str], tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"body": text, "n": 1}) + "\n" for text in texts), encoding="utf-8")
    return path


def made(file: Path, rows: str) -> Corpus:
    folder = read_texts([str(file)], "body", tokenizer(), file.parent / "made")
    return Corpus(folder, tokenizer(), LENGTH, rows)


def test_joined_rows_are_those_of_texts_in_memory(texts: list[str], file: Path) -> None:
    """Ids and words, so that the same tokens are hidden."""
    found, want = made(file, "joined"), blocks(tokenizer(), texts, LENGTH)
    assert len(found) == len(want) > 20
    assert [found[i]["input_ids"] for i in range(len(found))] == [row["input_ids"] for row in want]
    batches = [
        MaskedStream(rows, MaskingCollator(tokenizer(), MLM, max_length=LENGTH), 4, seed=3).batch(9)
        for rows in (found, want)
    ]
    for name, array in batches[0].items():
        np.testing.assert_array_equal(array, batches[1][name])


@pytest.mark.parametrize("rows", ["packed", "single"])
def test_documents_stay_apart(rows: str, texts: list[str], file: Path) -> None:
    """Each once, in pieces that fit; packed rows are full but for a little, and their tokens see their own text."""
    found = made(file, rows)
    encoded = tokenizer()(texts, add_special_tokens=False)["input_ids"]
    room = LENGTH - 2
    want = [ids[i : i + room] for ids in encoded for i in range(0, len(ids), room)]
    got = []
    for number in range(len(found)):
        row = found[number]
        ids = np.array(row["input_ids"])
        assert len(ids) == found.length_of(number) <= LENGTH
        segments = np.array(row.get("segment_ids", [0] * len(ids)))
        for segment in range(segments.max() + 1):
            piece = ids[segments == segment].tolist()
            assert (piece[0], piece[-1]) == (tokenizer().cls_token_id, tokenizer().sep_token_id)
            got.append(piece[1:-1])
    assert sorted(got) == sorted(want)
    if rows == "single":
        assert got == want
        return
    assert len(found) <= 1.1 * sum(len(piece) + 2 for piece in want) / LENGTH
    several = next(found[i] for i in range(len(found)) if found[i]["segment_ids"][-1] > 0)
    batch = MaskingCollator(tokenizer(), MLM, max_length=LENGTH)([several, found[0]])
    mask, positions = batch["attention_mask"], batch["position_ids"]
    assert mask.dtype == bool
    assert mask.shape == (2, *batch["input_ids"].shape[1:] * 2)
    segments = np.array(several["segment_ids"])
    np.testing.assert_array_equal(mask[0][: len(segments), : len(segments)], segments[:, None] == segments)
    assert (positions[0][: len(segments)][np.diff(segments, prepend=-1) != 0] == 0).all()


def test_rows_of_similar_lengths_come_together(file: Path) -> None:
    found = made(file, "single")
    collator = MaskingCollator(tokenizer(), MLM, max_length=LENGTH)
    shares = []
    for by_length in (False, True):
        stream = MaskedStream(found, collator, 8, by_length=by_length)
        masks = [stream.batch(step)["attention_mask"] for step in range(1, 12)]
        shares.append(sum(m.sum() for m in masks) / sum(m.size for m in masks))
    assert shares[1] > shares[0] + 0.03


def test_read_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second time nothing is read; a file that has changed is."""
    first = made(file, "joined")
    read = corpus.documents
    monkeypatch.setattr(corpus, "documents", lambda *_: pytest.fail("read again"))
    assert made(file, "packed").checksum == first.checksum
    monkeypatch.setattr(corpus, "documents", read)
    with file.open("a", encoding="utf-8") as stream:
        stream.write('{"body": "More of it."}\n')
    assert made(file, "joined").checksum != first.checksum


def test_what_the_rows_depend_on(file: Path, tmp_path: Path) -> None:
    """The same words in other documents are other texts; files that were cut are made again."""
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("A fine day.\nRain again.\nA fine day.\n")
    two.write_text("A fine day.\nRain again. A fine day.\n")
    sums = [json.loads((read_texts([str(path)], "text", tokenizer(), tmp_path / path.stem) / corpus.ABOUT).read_text())
            for path in (one, two)]  # fmt: skip
    assert sums[0]["tokens"] == sums[1]["tokens"]
    assert sums[0]["checksum"] != sums[1]["checksum"]
    first = [row["input_ids"] for row in map(made(file, "packed").__getitem__, range(3))]
    tokens = file.parent / "made" / corpus.TOKENS
    whole = tokens.read_bytes()
    tokens.write_bytes(whole[: len(whole) // 2])
    assert [row["input_ids"] for row in map(made(file, "packed").__getitem__, range(3))] == first
    assert tokens.read_bytes() == whole


def test_texts_without_a_token(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("\u200b\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"makes no token of the texts in .*blank\.txt; expected text in"):
        read_texts([str(tmp_path / "blank.txt")], "text", tokenizer(), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_parquet(texts: list[str], file: Path) -> None:
    """The same rows from a column of Parquet."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'deberta-zoo[ray]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = file.with_suffix(".parquet")
    parquet.write_table(pyarrow.table({"n": [1] * (len(texts) + 1), "body": [*texts, None]}), path, row_group_size=40)
    with pytest.warns(UserWarning, match=r"1 of \d+ documents are empty and left out"):
        assert list(documents([str(path)], "body")) == list(documents([str(file)], "body")) == texts
    with pytest.raises(ValueError, match=r"has no column 'bodi'; it has n, body; did you mean 'body'\?"):
        list(documents([str(path)], "bodi"))
    path.write_bytes(b"PAR1 torn")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        list(documents([str(path)], "body"))


def test_what_cannot_be_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence each."""

    def error(name: str, content: bytes, column: str = "text") -> str:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name) as caught:
            list(documents([str(tmp_path / name)], column))
        return str(caught.value).removeprefix(str(tmp_path) + "/")

    assert error("a.txt", b"good\n\xff\n").startswith("a.txt, line 2 is not UTF-8 (byte 0 of it); save it as UTF-8")
    assert error("b.txt", b" \n\n").startswith("b.txt has no text; expected a document a line or row")
    assert "b.jsonl has no text" in error("b.jsonl", b'{"text": ""}\n{"text": null}\n')
    assert "c.jsonl, line 1 has no column 'body'; it has text" in error("c.jsonl", b'{"text": "a"}\n', "body")
    assert "d.jsonl, line 1: text is 3, expected a text" in error("d.jsonl", b'{"text": 3}\n')
    monkeypatch.setattr(corpus, "LINE", 1 << 20)
    assert "e.txt, line 2 is longer than 1 MiB; expected a sentence" in error("e.txt", b"a\n" + b"x " * (1 << 20))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        files_of([str(tmp_path / "none.txt")])
    (tmp_path / "f.jsonl").write_bytes(b'{"text": " "}\n{"text": "a"}\n')
    with pytest.warns(UserWarning, match="1 of 2 documents are empty and left out"):
        assert list(documents([str(tmp_path / "f.jsonl")])) == ["a"]
    (tmp_path / "g").mkdir()
    for name in ("one.txt", "two.jsonl", "_SUCCESS"):
        (tmp_path / "g" / name).write_text("x")
    assert [Path(path).name for path in files_of([str(tmp_path / "g")])] == ["one.txt", "two.jsonl"]


def test_fit() -> None:
    assert fit([5, 3, 8, 2, 4], 10) == [[2, 3], [0, 4], [1]]
    assert fit([], 10) == []
