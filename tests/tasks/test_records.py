"""Records of text, CSV and JSONL, and every way in which such files are wrong."""

import csv
import io
import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from deberta_core.wording import near
from deberta_tasks.records import Record, format_of, read_records


def read(folder: Path, file: str, content: str | bytes, **options: Any) -> list[Record]:
    path = folder / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_records(path, name=file, **options))


def test_lines_of_a_text_file(tmp_path: Path) -> None:
    records = read(tmp_path, "a.txt", b"\xef\xbb\xbffirst\r\n second \n\n \n")
    assert records == [{"text": "first"}, {"text": " second "}]
    assert [r.place for r in records] == ["a.txt, line 1", "a.txt, line 2"]
    assert read(tmp_path, "a.txt", "x\ny", text_column="document") == [{"document": "x"}, {"document": "y"}]


def test_rows_of_a_csv_file(tmp_path: Path) -> None:
    content = 'id,text\n1,"two\nlines, and ""quotes"""\n\n2,\n'
    records = read(tmp_path, "a.csv", content, required=["text"])
    assert records == [{"id": "1", "text": 'two\nlines, and "quotes"'}, {"id": "2", "text": ""}]
    assert [r.place for r in records] == ["a.csv, line 2", "a.csv, line 5"]
    assert read(tmp_path, "a.tsv", "id\ttext\n1\tone, two\n") == [{"id": "1", "text": "one, two"}]


def test_numbered_columns_are_also_a_list(tmp_path: Path) -> None:
    found = read(tmp_path, "a.csv", "prompt,choice0,choice1,choice2\nwho,I,you,\n", required=["choices"])
    assert found[0]["choices"] == ["I", "you"]
    assert found[0]["choice2"] == ""
    sorted_by_name = sorted(f"choice{number}" for number in range(12))
    found = read(tmp_path, "b.csv", f"{','.join(sorted_by_name)}\n{','.join(sorted_by_name)}\n")
    assert found[0]["choices"] == [f"choice{number}" for number in range(12)]


def test_objects_of_a_jsonl_file(tmp_path: Path) -> None:
    records = read(tmp_path, "a.jsonl", '{"text": "é", "n": [1]}\n\n{"text": null}\n')
    assert records == [{"text": "é", "n": [1]}, {"text": None}]
    assert records[1].place == "a.jsonl, line 3"


def test_headings_of_any_length_take_time_once(tmp_path: Path) -> None:
    """A name of millions of characters was compared with others, and looked through again in every row."""
    name, started = "x" * 3_000_000, time.process_time()
    rows = read(tmp_path, "a.csv", f"{name},label\n" + "a,b\n" * 200)
    assert len(rows) == 200
    assert near(name, ["label", "y" * 3_000_000]) == ""
    assert near("labl", [name, "label"]) == "; did you mean 'label'?"
    assert time.process_time() - started < 5
    assert read(tmp_path, "a.csv", f"text,a{'9' * 5000}\nb,c\n")[0]["text"] == "b"


def test_columns_by_another_name(tmp_path: Path) -> None:
    found = read(tmp_path, "a.csv", "review,stars\ngood,5\n", columns={"text": "review"}, required=["text"])
    assert found == [{"text": "good", "stars": "5"}]


def test_a_stream_is_read_as_it_comes() -> None:
    class Endless(io.RawIOBase):
        def __iter__(self):
            return (b"line %d\n" % n for n in itertools.count())

    records = read_records(Endless(), name="standard input")
    assert [r["text"] for r in itertools.islice(records, 3)] == ["line 0", "line 1", "line 2"]


def test_long_cells(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    assert len(read(tmp_path, "a.csv", "text\n" + "x" * 200_000 + "\n")[0]["text"]) == 200_000
    assert csv.field_size_limit() == limit


def test_format_by_name() -> None:
    assert [format_of(f"x{s}") for s in (".CSV", ".tsv", ".jsonl", ".ndjson", ".txt", ".md", "")] == [
        "csv", "tsv", "jsonl", "jsonl", "text", "text", "text",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "content", "options", "message"),
    [
        ("a.txt", "", {}, "a.txt has no records"),
        ("a.txt", "\n \n", {}, "a.txt has no records"),
        ("a.txt", "one\n\nthree\n", {}, "a.txt, line 2 is empty"),
        ("a.txt", b"ok\nbad\xff\n", {}, r"a.txt, line 2 is not UTF-8 \(byte 6 of the file\); save it as UTF-8"),
        ("a.csv", "", {}, "a.csv has no records"),
        ("a.csv", "text\n", {}, "a.csv has no records"),
        ("a.csv", "texts,stars\nx,1\n", {"required": ["text"]},
         "line 2 has no column 'text'; it has texts, stars; did you mean 'texts'"),
        ("a.csv", "text\nx\n", {"columns": {"text": "review"}}, "has no column 'review'; it has text"),
        ("a.csv", "text,n\na,1\nb\n", {}, "a.csv, line 3 has 1 cells, the heading has 2"),
        ("a.csv", "text,n\na,b,1\n", {}, "line 2 has 3 cells, the heading has 2; quote cells that hold the separator"),
        ("a.csv", 'text\n"open\nand on\n', {}, "a.csv, line 2 cannot be read as CSV"),
        ("a.csv", "text,text\na,b\n", {}, "two columns 'text'"),
        ("a.csv", "\x1b[2J\nx\n", {"required": ["text"]}, r"no column 'text'; it has \\u001b\[2J$"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', {}, "a.jsonl, line 2 is not JSON: .*expected an object a line"),
        ("a.jsonl", '["text"]\n', {}, "line 1 is a JSON array, expected an object"),
        ("a.jsonl", "null\n", {}, "is a JSON null"),
        ("a.jsonl", "[" * 100_000 + "\n", {}, "line 1 is nested too deeply"),
        ("a.jsonl", '{"a": 1}\n', {"required": ["text"]}, "a.jsonl, line 1 has no column 'text'; it has a"),
        ("a.jsonl", "{}\n", {"required": ["text"]}, "it has nothing"),
        ("a.txt", "x", {"format": "xml"}, "format is 'xml', expected one of text, csv, tsv, jsonl"),
    ],
)  # fmt: skip
def test_bad_files(tmp_path: Path, file: str, content: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, file, content, **options)


def test_rows_before_a_bad_one_are_given(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,n\na,1\nb\n")
    records = read_records(tmp_path / "a.csv")
    assert next(records) == {"text": "a", "n": "1"}
    with pytest.raises(ValueError, match="line 3"):
        next(records)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read_records(tmp_path / "nowhere.csv"))


CSV = [
    'a,b\n{},x\n', 'a,b\n"{}",x\n', 'a,b\n"{}\n{}","x""y"\n', 'a,b\r\n"x","{}"\r\n', 'a,b\n5" nail,{}\n',
    'a,b\n"{}""{}",\n', 'a,b\nx,{}', 'a,b\n1,2\n"q\nr",{}\n3,4\n5,"{}"\n',
]  # fmt: skip


@pytest.mark.parametrize("text", CSV)
def test_the_limit_of_cells_was_changed_for_the_whole_process(text: str, tmp_path: Path) -> None:
    """Cells beyond it are read by its own rules."""
    text = text.replace("{}", "w" * 40)
    (tmp_path / "a.csv").write_text(text, newline="")
    want = [dict(record) for record in read_records(tmp_path / "a.csv")]
    places = [record.place for record in read_records(tmp_path / "a.csv")]
    before = csv.field_size_limit(20)
    try:
        found = []
        for record in read_records(tmp_path / "a.csv"):
            found.append(record)
            assert csv.field_size_limit() == 20
        assert [dict(record) for record in found] == want
        assert [record.place for record in found] == places
    finally:
        csv.field_size_limit(before)


NO_CSV = [('"{}"x,1', "expected after"), ('"{}', "unexpected end"), ("{}\rx,1", "new-line")]


@pytest.mark.parametrize(("row", "says"), NO_CSV)
def test_long_cells_that_are_no_csv(row: str, says: str, tmp_path: Path) -> None:
    long = row.replace("{}", "w" * (csv.field_size_limit() + 1))
    (tmp_path / "a.csv").write_text(f"a,b\n1,2\n{long}\n", newline="")
    with pytest.raises(ValueError, match=rf"a\.csv, line 3 cannot be read as CSV: .*{says}"):
        list(read_records(tmp_path / "a.csv"))


def test_headings_took_the_square_of_their_columns(tmp_path: Path) -> None:
    names = [f"column{number:05d}" for number in range(20_000)]
    (tmp_path / "a.csv").write_text(",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    begun = time.process_time()
    (record,) = read_records(tmp_path / "a.csv")
    assert len(record) > 20_000 - 1
    with pytest.raises(ValueError, match="has no column 'text'"):
        list(read_records(tmp_path / "a.csv", required=["text"]))
    assert time.process_time() - begun < 10, "it was 28 s"
    (tmp_path / "a.csv").write_text(",".join([*names, names[-1]]) + "\n")
    with pytest.raises(ValueError, match="has two columns 'column19999'"):
        list(read_records(tmp_path / "a.csv"))
