"""Texts that packages bring: each kind of file read, cleaned, held back, and a model made of them by one command."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from dataclasses import replace

import pytest

from deberta_tasks.pretrain import texts
from deberta_tasks.pretrain.words import Counted, Hidden, hide_words, share_right

SYNSET = (
    "00039297 04 n 02 eye_contact 0 meeting(a) 1 001 @ 00039021 n 0000 | close interaction; "
    '"they kept in daily contact"; "was it you?"  \n'
)
ENTRY = """\
Affect \\Af*fect"\\, v. t. [L. affectus.
   See {Fact}.]
   1. To act upon; to produce a change upon. [Obs.]
      [1913 Webster]

            The climate affected their health
            and spirits.               --Macaulay.
      [1913 Webster]

   2. To love, as in ?ffecten; to be fond of somebody.

Affear \\Af*fear"\\, v. t.
   To frighten somebody, as ghosts do. --Spenser.
"""


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_wordnet(tmp_path):
    path = write(tmp_path / "data.noun", "  1 This software and database is provided | as is\n" + SYNSET)
    assert list(texts.read_wordnet(path)) == [
        ["eye contact, meeting: close interaction.", "They kept in daily contact.", "Was it you?"]
    ]


def test_sword(tmp_path):
    """Blocks one after the other; of their marks only those that part paragraphs count."""
    blocks = [
        '<div type="p"/>And <w lemma="H1">God</w> said,<note>Heb.</note> Let there &amp; be<div/>¶ <hi>light</hi>',
        "Second block",
    ]
    packed = [zlib.compress(block.encode()) for block in blocks]
    index = struct.pack("<III", 0, len(packed[0]), 9) + struct.pack("<III", 0, 0, 0)
    index += struct.pack("<III", len(packed[0]), len(packed[1]), 9)
    write(tmp_path / "ot.bzz", b"".join(packed))
    first, second = texts.read_sword(write(tmp_path / "ot.bzs", index))
    assert [texts.clean(f"{line} and some more of it") for line in first if line] == [
        "And God said, Let there & be and some more of it", "light and some more of it",
    ]  # fmt: skip
    assert second == ["Second block"]


def test_html(tmp_path):
    page = (
        "<h1>No</h1><nav><p>No</p></nav><p>One <code>two</code>\n<a>three</a></p>four<pre><p>No</p></pre>"
        '<div class="para">Five &eacute;</div><table><p>No</p></table><ul><li><p>Six</li></ul>No<div>No</div>'
    )
    assert list(texts.read_html(write(tmp_path / "a.html", page))) == [["One two\nthree", "Five é", "Six"]]


def test_webster(tmp_path):
    """Meanings with the word before them, what is quoted as it is, nothing with signs that the file cannot write."""
    path = write(tmp_path / "gcide.dict.dz", gzip.compress(ENTRY.encode()))
    found = [[texts.clean(text) for text in entry] for entry in texts.read_webster(path)]
    assert found == [
        ["Affect: To act upon; to produce a change upon.", "The climate affected their health and spirits."],
        ["Affear: To frighten somebody, as ghosts do."],
    ]


@pytest.mark.parametrize(
    ("paragraph", "expected"),
    [
        ("  A line\n with  e\u0301 and some words ", "A line with é and some words"),
        ("Too short", ""),
        ("x = [1, 2, 3, 4, 5]; y = (7 ** 2) / 100", ""),
        ("word " * 5000, ""),
    ],
    ids=["white space", "short", "program", "long"],
)
def test_clean(paragraph, expected):
    assert texts.clean(paragraph) == expected


def source(name, count, **fields):
    """A package whose documents are made up, one a file."""

    def read(path):
        yield [f"Document {path.stem} of the package says this.", "A paragraph that all of them have in common."]

    return texts.Source(name, f"{name}/*", read, "none", "made up", **fields), count


def gathered(root, *packages):
    for made, count in packages:
        for number in range(count):
            write(root / made.package / f"{made.package}{number}", "")
    learn, held = io.StringIO(), io.StringIO()
    return texts.write_texts([made for made, _ in packages], root, learn, held), learn.getvalue(), held.getvalue()


def test_held_back(tmp_path):
    """About one in a hundred, the same ones in any company; what is repeated is there once."""
    counts, learn, held = gathered(tmp_path / "a", source("one", 900), source("two", 300))
    assert 4 <= counts["one"].held_documents <= 18
    assert counts["one"].held_documents + counts["one"].documents == 900
    assert (learn + held).count("in common") == 1
    assert counts["one"].repeated == 899
    lines = {line for line in held.splitlines() if line.startswith("Document")}
    assert lines
    assert not lines & set(learn.splitlines())
    alone = gathered(tmp_path / "b", source("two", 300))[2].splitlines()
    assert {line for line in alone if line.startswith("Document")} == {line for line in lines if "two" in line}


def test_most(tmp_path):
    """Documents are left out so that about as many characters as wanted stay."""
    counts, learn, _ = gathered(tmp_path, source("one", 1000, most=40_000))
    assert 0.8 * 40_000 < 2 * len(learn) < 1.2 * 40_000  # the common paragraph is half of the size, and there once
    assert counts["one"].documents < 700


def test_package_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="wordnet-base brings; install it"):
        texts.write_texts(texts.SOURCES, tmp_path, io.StringIO(), io.StringIO())


@pytest.mark.parametrize(
    ("package", "content", "said"),
    [
        ("wordnet-base", b"caf\xe9 | b", "codec can't decode byte 0xe9"),
        ("wordnet-base", b"1 2 | b", "list index out of range"),
        ("dict-devil", b"no gzip", "Not a gzipped file"),
        ("dict-devil", gzip.compress(b"text " * 99)[:-9], "end-of-stream"),
        ("sword-text-kjv", b"12345", "iterative unpacking"),
        ("debian-handbook", b"<p>\xff", "codec can't decode byte 0xff"),
    ],
    ids=["not UTF-8", "other columns", "no gzip", "cut gzip", "cut index", "page not UTF-8"],
)
def test_damaged_files(tmp_path, monkeypatch, capsys, package, content, said):
    """One sentence that names the file and what to do, and no folder of texts."""
    pytest.importorskip("torch")
    from deberta_tasks.pretrain import mini

    [made] = [each for each in texts.SOURCES if each.package == package]
    path = write(tmp_path / made.files.replace("*", "ot.b"), content)
    write(path.with_name("ot.bzz"), b"")
    monkeypatch.setattr(mini, "SOURCES", (made,))
    with pytest.raises(SystemExit, match="2"):
        mini.main(["--output", str(tmp_path / "run"), "--root", str(tmp_path)])
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path} is damaged (")
    assert said in error
    assert error.endswith(f"install the package {package} again\n")
    assert not list((tmp_path / "run").iterdir())


def test_pages_without_text(tmp_path, monkeypatch, capsys):
    """Empty documents are no documents, and nothing but these is no text."""
    pytest.importorskip("torch")
    from deberta_tasks.pretrain import mini

    write(tmp_path / "a.html", "")
    write(tmp_path / "b.html", "<p></p><p> </p>")
    monkeypatch.setattr(mini, "SOURCES", (texts.Source("some", "*.html", texts.read_html, "CC0", "Nothing"),))
    with pytest.raises(SystemExit, match="2"):
        mini.main(["--output", str(tmp_path / "run"), "--root", str(tmp_path)])
    assert "learn.txt has no text; expected a plain text file" in capsys.readouterr().err


def test_a_loss_that_is_no_number(tmp_path, monkeypatch, capsys):
    """One sentence, as for what is wrong with texts."""
    pytest.importorskip("torch")
    from deberta_tasks.pretrain import mini

    def make(*_):
        raise FloatingPointError("the mlm_loss of step 3 is nan")

    monkeypatch.setattr(mini, "make", make)
    with pytest.raises(SystemExit, match="2"):
        mini.main(["--output", str(tmp_path)])
    assert capsys.readouterr().err == "error: the mlm_loss of step 3 is nan\n"


def test_words():
    """Guesses by counting, and how often they are right."""
    counted = Counted(["the cat and the dog and the cow", "the cat sat"])
    assert counted.unigram(Hidden("", "x", ""))[:3] == ["the", "cat", "and"]
    assert counted.bigram(Hidden("Was it the ", "cow", "?"))[0] == "cat"
    assert counted.bigram(Hidden("", "cow", "?")) == counted.frequent
    hidden = hide_words(["One two 3 three.", "4", "five"])
    assert [each.before + each.word + each.after for each in hidden] == ["One two 3 three.", "five"]
    assert share_right(hidden, lambda each: ["?", each.word] if each.word == "five" else []) == 0.5


@pytest.mark.slow
def test_model_by_one_command(tmp_path, monkeypatch):
    """Texts, vocabulary, training, both models in half precision and their card; broken off, it goes on."""
    pytest.importorskip("torch")
    from deberta_pt import AutoModel, AutoModelForMaskedLM
    from deberta_tasks.pretrain import mini
    from tests.pretraining.helpers import sentences

    def read(path):
        yield from ([text] for text in path.read_text(encoding="utf-8").splitlines())

    write(tmp_path / "root" / "some.txt", "\n".join(text for part in sentences() for text in part))
    monkeypatch.setattr(mini, "SOURCES", (texts.Source("some", "*.txt", read, "CC0", "Bundled sentences"),))
    monkeypatch.setattr(texts, "HELD_BACK", 10)
    monkeypatch.setattr(mini, "SIZE", mini.Size(vocab_size=600, hidden_size=64, layers=2))
    few = replace(mini.OPTIONS, steps=4, evaluate_every=2, max_length=32, precision="float32")
    monkeypatch.setattr(mini, "OPTIONS", few)
    command = ["--output", str(tmp_path / "run"), "--root", str(tmp_path / "root")]
    step, steps = mini.TorchPairLearner.step, []

    def breaks_off(self, batch, rate, number):
        steps.append(number)
        if steps == [1, 2, 3]:
            raise KeyboardInterrupt
        return step(self, batch, rate, number)

    monkeypatch.setattr(mini.TorchPairLearner, "step", breaks_off)
    with pytest.raises(KeyboardInterrupt):
        mini.main(command)
    mini.main(command)
    assert steps == [1, 2, 3, 3, 4]
    folder = tmp_path / "run" / "model"
    generator = AutoModelForMaskedLM.from_pretrained(folder / "generator", dtype="auto")
    discriminator = AutoModel.from_pretrained(folder / "discriminator", dtype="auto")
    assert [model.config.num_hidden_layers for model in (generator, discriminator)] == [1, 2]
    for model in (generator, discriminator):
        assert str(model.dtype) == "torch.float16"
        assert model.config.hidden_dropout_prob == 0.1
        assert all(weight.isfinite().all() for weight in model.parameters())
    cards = [(folder / half / "README.md").read_text(encoding="utf-8") for half in ("generator", "discriminator")]
    assert [f"| layers | {count} |" in card for card, count in zip(cards, (1, 2), strict=True)] == [True, True]
    assert len({card.partition("\nA small DeBERTa v3 ")[2] for card in cards}) == 1
    card = cards[0]
    assert "license: apache-2.0" in card
    assert "| Bundled sentences | `some` | CC0 | 0.0" in card
    log = [json.loads(line) for line in (tmp_path / "run" / "training" / "losses.jsonl").read_text().splitlines()]
    scores = [line for line in log if "held_mlm_loss" in line]
    assert [line["step"] for line in scores] == [2, 4]
    assert f"| 4 | {scores[-1]['held_mlm_loss']:.3f} |" in card
    assert scores[1]["held_mlm_loss"] < scores[0]["held_mlm_loss"]
