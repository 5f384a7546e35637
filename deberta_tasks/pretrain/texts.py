"""English texts that packages of Debian bring to a machine, cleaned, and with a part held back.

Documents are what is held back whole: a page, a chapter, an entry of a dictionary. Which ones depends on what they say
and on nothing else, so that a text is held back on every machine, in whatever order and company it is read.
"""

from __future__ import annotations

import gzip
import hashlib
import html
import re
import struct
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TextIO

HELD_BACK = 100  # one document in so many
TOGETHER = 20  # paragraphs that are held back together: a whole book would be too much
LEAST, MOST = 24, 20_000  # characters of a paragraph
DAMAGE = (zlib.error, struct.error, EOFError, gzip.BadGzipFile)  # what readers raise beside errors of values
Document = list[str]


@dataclass(frozen=True)
class Source:
    """Texts of one package.

    Attributes:
        package: of Debian 12.
        files: where they are, a pattern below the root.
        read: the documents of one of the files, each a list of paragraphs.
        licence: of the texts, as the package's ``copyright`` has it.
        title: what they are, and by whom.
        most: characters that are taken; documents beyond, chosen by what they say, are left out.
    """

    package: str
    files: str
    read: Callable[[Path], Iterator[Document]]
    licence: str
    title: str
    most: int = 10**9


@dataclass
class Count:
    """What came of a source: documents and characters to learn from, held back, left out as said before."""

    documents: int = 0
    characters: int = 0
    held_documents: int = 0
    held_characters: int = 0
    repeated: int = 0


def read_wordnet(path: Path) -> Iterator[Document]:
    """Synsets of a ``data.*`` file: the words and what they mean, then sentences that use them."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("  ") or " | " not in line:  # the licence, which stands at the top
            continue
        entry, gloss = line.split(" | ", 1)
        fields = entry.split()
        words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
        names = [re.sub(r"\(.*\)$", "", word).replace("_", " ") for word in words]
        meaning = re.split(r';? *"', gloss)[0].strip(" ;")
        yield [f"{', '.join(names)}: {meaning}.", *(sentence(text) for text in re.findall(r'"([^"]+)"', gloss))]


def sentence(text: str) -> str:
    """With a capital and a full stop, as sentences elsewhere have them."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def read_sword(path: Path) -> Iterator[Document]:
    """Blocks of a compressed module: its index (``.bzs``, ``.czs``) holds place, size, and size when unpacked.

    Source: the SWORD project's description of zText.
    """
    packed = path.with_suffix(path.suffix[:-1] + "z").read_bytes()
    for place, size, _ in struct.iter_unpack("<III", path.read_bytes()):
        if size:
            text = zlib.decompress(packed[place : place + size]).decode("utf-8")
            text = re.sub(r"<note.*?</note>|<title.*?</title>|<table.*?</table>", " ", text, flags=re.DOTALL)
            text = re.sub(r"</?(div|chapter|lg|l|p|lb)\b[^>]*>", "\n", text)
            yield html.unescape(re.sub(r"<[^>]*>", "", text)).replace("¶", "").split("\n")


def read_html(path: Path) -> Iterator[Document]:
    """The running text of a page; without headings, tables, programs and what leads to other pages."""
    page = _Paragraphs()
    page.feed(path.read_text(encoding="utf-8"))
    yield page.found


class _Paragraphs(HTMLParser):
    SKIPPED = ("pre", "table", "script", "style", "nav", "h1", "h2", "h3", "h4", "h5", "h6")

    def __init__(self) -> None:
        super().__init__()
        self.found: Document = []
        self.skipped, self.open = 0, False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.skipped += tag in self.SKIPPED
        if (tag == "p" or (tag == "div" and ("class", "para") in attrs)) and not self.skipped:
            self.open = True
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        self.skipped = max(0, self.skipped - (tag in self.SKIPPED))
        self.open &= tag not in ("p", "li", "dd", "div")

    def handle_data(self, data: str) -> None:
        if self.open and not self.skipped:
            self.found[-1] += data


def read_dictionary(path: Path, errors: str = "strict") -> Iterator[Document]:
    """Entries of a ``.dict.dz`` file: those begin at the margin, their paragraphs are indented."""
    entry: Document = []
    for paragraph in re.split(r"\n[ \t]*\n", gzip.decompress(path.read_bytes()).decode("utf-8", errors)):
        if not paragraph.startswith(" ") and entry:
            yield entry
            entry = []
        entry.append(re.sub(r"[{}]", "", paragraph))
    yield entry


def read_webster(path: Path) -> Iterator[Document]:
    r"""Entries of Webster's, ``Word \pronunciation\, grammar [origin]`` and then meanings: those, and quoted texts."""
    for entry in read_dictionary(path, "replace"):  # the file has single bytes of other encodings
        head, *rest = "\n\n".join(entry).split("\n", 1)
        word = head.split("\\")[0].strip()
        found = []
        for part in re.split(r"\n[ \t]*\n|\n(?=   \d+\. )", rest[0] if rest else ""):
            quoted = part.startswith(" " * 9)
            text = re.sub(r"\[[^\]]*\]|\s--[A-Z].*$", " ", part, flags=re.DOTALL).strip()
            if "\\" in text or "?" in text or "]" in text or "[" in text:  # signs that the file has no letter for
                continue
            text = re.sub(r"^\d+\. |^\([a-z]\) |^\(.*?\) ", "", text)
            if text and text[0].isupper():
                found.append(text if quoted else f"{word}: {text}")
        yield found


SOURCES = (
    Source("wordnet-base", "usr/share/wordnet/data.*", read_wordnet, "WordNet 3.0",
           "WordNet 3.0, glosses and examples; Princeton University"),
    Source("dict-gcide", "usr/share/dictd/gcide.dict.dz", read_webster, "GPL-2+, made from a text in the public domain",
           "The Collaborative International Dictionary of English; Webster 1913, P. Cassidy", 6_000_000),
    Source("sword-text-kjv", "usr/share/sword/modules/texts/ztext/engKJV2006eb/*zs", read_sword, "public domain",
           "The Bible, King James Version, 1611"),
    Source("sword-comm-mhcc", "usr/share/sword/modules/comments/zcom/mhcc/*zs", read_sword, "public domain",
           "M. Henry, Concise Commentary, 1706", 2_000_000),
    Source("sword-comm-tdavid", "usr/share/sword/modules/comments/zcom/tdavid/*zs", read_sword, "public domain",
           "C. H. Spurgeon, The Treasury of David, 1885", 2_500_000),
    Source("dict-jargon", "usr/share/dictd/jargon.dict.dz", read_dictionary, "public domain", "The Jargon File"),
    Source("dict-devil", "usr/share/dictd/devil.dict.dz", read_dictionary, "public domain",
           "A. Bierce, The Devil's Dictionary, 1911"),
    Source("debian-handbook", "usr/share/doc/debian-handbook/html/en-US/*.html", read_html,
           "CC-BY-SA-3.0 or GPL-2+", "R. Hertzog, R. Mas, The Debian Administrator's Handbook"),
    Source("debian-reference-en", "usr/share/debian-reference/*.en.html", read_html, "GPL-2+",
           "O. Aoki, Debian Reference"),
    Source("postgresql-doc-15", "usr/share/doc/postgresql-doc-15/html/*.html", read_html, "PostgreSQL",
           "PostgreSQL 15 Documentation; The PostgreSQL Global Development Group", 2_000_000),
    Source("python3.11-doc", "usr/share/doc/python3.11/html/*/*.html", read_html, "Python-2.0",
           "Python 3.11 Documentation; Python Software Foundation", 2_000_000),
)  # fmt: skip


def clean(paragraph: str) -> str:
    """In one line, composed characters; empty for what is too short, too long, or has more signs than letters."""
    text = " ".join(unicodedata.normalize("NFC", paragraph).split())
    letters = sum(character.isalpha() or character == " " for character in text)
    return text if LEAST <= len(text) <= MOST and letters >= 0.8 * len(text) else ""


def number(text: str) -> int:
    """What a text says, as a number that is spread evenly below 2**64."""
    return int.from_bytes(hashlib.blake2b(text.casefold().encode("utf-8", "replace"), digest_size=8).digest(), "big")


def documents(source: Source, root: Path) -> Iterator[Document]:
    """The clean documents of a source that have any text.

    Raises:
        FileNotFoundError: if the package is not there.
        ValueError: if one of its files is damaged, or not UTF-8.
    """
    paths = sorted(root.glob(source.files))
    if not paths:
        raise FileNotFoundError(
            f"no {root / source.files}, which the package {source.package} brings; install it (apt-get install "
            f"{source.package})"
        )
    for path in paths:
        try:
            for paragraphs in source.read(path):
                found = [text for text in map(clean, paragraphs) if text]
                yield from (found[i : i + TOGETHER] for i in range(0, len(found), TOGETHER))
        except (*DAMAGE, ValueError, IndexError) as error:
            raise ValueError(f"{path} is damaged ({error}); install the package {source.package} again") from None


def write_texts(sources: Iterable[Source], root: Path, learn: TextIO, held: TextIO) -> dict[str, Count]:
    """Write the paragraphs of all sources, one a line, in documents with an empty line between.

    Args:
        sources: which.
        root: below which their files are.
        learn: takes what to learn from.
        held: takes what is held back.

    Returns:
        For each package what came of it.

    Raises:
        FileNotFoundError: if a package is not there.
        ValueError: if a file is damaged.
    """
    seen: set[int] = set()
    counts = {}
    for source in sources:
        count = counts[source.package] = Count()
        found = list(documents(source, root))
        size = sum(len(text) for document in found for text in document)
        for document in found:
            chance = number(document[0])
            if chance // HELD_BACK % 10_000 * size >= source.most * 10_000:
                continue
            new = [text for text in document if number(text) not in seen]
            seen.update(map(number, document))
            count.repeated += len(document) - len(new)
            characters = sum(map(len, new))
            if not new:
                continue
            if chance % HELD_BACK:
                count.documents += 1
                count.characters += characters
            else:
                count.held_documents += 1
                count.held_characters += characters
            (learn if chance % HELD_BACK else held).write("".join(f"{text}\n" for text in new) + "\n")
    return counts
