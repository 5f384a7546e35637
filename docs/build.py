"""Builds the site: home, guides and ideas of this folder, and a page for each public class, function and command.

Usage: ``python docs/build.py [FOLDER]`` (``make docs``); needs the extra ``docs`` and no framework: signatures and
docstrings are read from the source. A link that leads nowhere, a name that is not there, a docstring that cannot be
read is an error. Settings and navigation stand in ``zensical.toml``.
"""

from __future__ import annotations

import argparse
import ast
import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ROOT / "zensical.toml"
# Sections of the reference, and the packages in them whose ``__all__`` is public; a name that several hand out has its
# page with the one that is first in ``HOMES``.
REFERENCE = {
    "PyTorch": "deberta_pt",
    "TensorFlow": "deberta_tf",
    "Tokenizers": "tokenization",
    "Configs and outputs": "deberta_core",
    "Conversion": "conversion",
    "Tasks": "deberta_tasks",
}
HOMES = ("tokenization", "deberta_core", "conversion", "deberta_pt", "deberta_tf", "deberta_tasks")
# Modules without ``__all__`` that guides use.
FURTHER = ("deberta_core.batching", "deberta_core.packing", "deberta_tasks.masking", "deberta_tasks.training.trainer")
# What the page of a class shows of a long base, which has a page of its own.
MODEL = ("forward", "call", "from_pretrained", "save_pretrained")
BASES = {
    "PreTrainedModel": MODEL,
    "TFPreTrainedModel": MODEL,
    "PreTrainedTokenizerBase": ("__call__", "from_pretrained", "save_pretrained", "decode"),
}
LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\(([^)\s#]*)(#[^)\s]*)?\)")
CODE = re.compile(r"^<!-- code: (\S+) (\S+) -->$", re.MULTILINE)
INLINE = re.compile(r"(?<![\\$`\w])\$([^$`\n]+?)\$(?![$\w])")
FORMULA = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"^!\[([^\]]*)\]\(([^)]+\.svg)\)$", re.MULTILINE)
FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)


def build(target: Path) -> int:
    """Write the site.

    Args:
        target: folder; made if needed, replaced if there.

    Returns:
        The number of pages.

    Raises:
        RuntimeError: a link, a name or a docstring is wrong; what is wrong was printed.
        ValueError: a page asks for code that is not there.
    """
    with tempfile.TemporaryDirectory() as place:
        stage = Path(place)
        navigation = lay_out(stage / "pages")
        settings = SETTINGS.read_text(encoding="utf-8")
        start = settings.index("[sections]")
        head = f"[project]\nnav = {as_toml(navigation)}\n"
        handler = f"[project.plugins.mkdocstrings.handlers.python]\npaths = {json.dumps([str(ROOT)])}\n"
        text = settings[:start].replace("[project]\n", head, 1) + handler
        (stage / "zensical.toml").write_text(text, encoding="utf-8")
        program = [sys.executable, "-m", "zensical", "build", "--strict"]
        done = subprocess.run(program, cwd=stage, text=True, capture_output=True, env={**os.environ, "NO_COLOR": "1"})
        said = done.stdout + done.stderr
        if done.returncode or "No issues found" not in said or "griffe: " in said:  # what it only warns of, too
            sys.stderr.write(said)
            raise RuntimeError("the site was not built: see above")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(stage / "site", target)
    return sum(1 for _ in target.rglob("*.html"))


def lay_out(pages: Path) -> list[Any]:
    """Write all pages as Markdown for the generator, and return the navigation."""
    sections = tomllib.loads(SETTINGS.read_text(encoding="utf-8"))["sections"]
    sources = site_pages()
    for source, page in sources.items():
        write(pages / page, read_page(source, sources))
    for source in sorted([*ROOT.glob("docs/**/*"), *ROOT.glob("benchmarks/*.png")]):
        if source.suffix in (".png", ".css", ".js"):
            copy = pages / source.relative_to(ROOT / "docs" if "docs" in source.parts else ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
    examples = [page for source, page in sources.items() if source.startswith("examples/")]
    named = {page for pages_of in sections.values() for page in pages_of} | {"index.md", *examples}
    rest = [page for page in sources.values() if page not in named]
    reference = [*commands(pages), *classes(pages)]
    write(pages / "reference/index.md", overview(reference))
    guides = [*sections.pop("Guides"), *rest, {"Examples": sorted(examples, key=lambda page: "index" not in page)}]
    return [
        {"Home": ["index.md"]},
        {"Start here": sections.pop("Start here")},
        {"Guides": guides},
        {"Ideas": sections.pop("Ideas")},
        {"Reference": ["reference/index.md", *({title: links(rows)} for title, rows in reference)]},
        *({title: own} for title, own in sections.items()),
    ]


# Pages that people wrote.


def site_pages() -> dict[str, str]:
    """Place on the site of each page, by its path in the repository."""
    guides = {f"docs/{path.relative_to(ROOT / 'docs')}": path for path in sorted(ROOT.glob("docs/**/*.md"))}
    found = {source: source.removeprefix("docs/") for source in guides}
    found |= {name: name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")}
    found |= {f"benchmarks/{path.name}": f"benchmarks/{path.name}" for path in sorted(ROOT.glob("benchmarks/*.md"))}
    shown = [path.relative_to(ROOT) for path in (*ROOT.glob("examples/*.py"), *ROOT.glob("examples/notebooks/*.ipynb"))]
    return found | {"examples/README.md": "examples/index.md"} | {
        path.as_posix(): path.with_suffix(".md").as_posix() for path in sorted(shown)
    }  # fmt: skip


def read_page(source: str, pages: dict[str, str]) -> str:
    """The Markdown of a page: links lead to pages of the site, formulas are MathML, code and pictures stand in it."""
    text = (ROOT / source).read_text(encoding="utf-8")
    if source.endswith(".py"):
        return f"# {Path(source).stem}\n\n`{source}`\n\n```python\n{text}```\n"
    if source.endswith(".ipynb"):
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
        text = "\n\n".join(code if kind == "markdown" else f"```python\n{code}\n```" for kind, code in cells)
        text = text.replace("\n\n", f"\n\n`{source}`\n\n", 1) + "\n"

    def lead(link: re.Match[str]) -> str:
        label, address, anchor = link[1], link[2], link[3] or ""
        if not address or re.match(r"[a-z]+:", address):
            return link[0]
        path = os.path.normpath(os.path.join(os.path.dirname(source), address))
        if path == "README.md":
            path = "docs/index.md"
        there = pages.get(path) or (path.removeprefix("docs/") if path.endswith(".png") else None)
        if there is None and (ROOT / path).exists():  # a file of the repository that is no page
            return f"{label[1:-1]} (`{path}`)" if label[1:-1].strip("`") != path else f"`{path}`"
        there = os.path.relpath(there or path, os.path.dirname(pages[source]) or ".")
        return f"{label}({there}{anchor})"

    def picture(found: re.Match[str]) -> str:
        drawing = (ROOT / source).parent / found[2]
        svg = re.sub(r"\s*\n\s*", " ", drawing.read_text(encoding="utf-8").strip())
        return svg.replace("<svg ", f'<svg class="drawing" role="img" aria-label="{html.escape(found[1])}" ', 1)

    def block(found: re.Match[str]) -> str:
        return f'<div class="formula">{mathml(found[1], "block")}</div>'

    has_formulas = FORMULA.search(text) is not None
    parts = FENCE.split(text)
    for number in range(0, len(parts), 2):  # what is no code
        parts[number] = CODE.sub(lambda found: definition(found[1], found[2]), parts[number])
        parts[number] = FORMULA.sub(block, PICTURE.sub(picture, parts[number]))
        if has_formulas:
            # Markdown takes a line that begins with <math> for a block, and breaks its sentence into pieces.
            parts[number] = INLINE.sub(lambda found: f"<span>{mathml(found[1], 'inline')}</span>", parts[number])
        parts[number] = LINK.sub(lead, parts[number])
    return "".join(parts)


def definition(path: str, name: str) -> str:
    """The source of a function or class, as a block of code.

    Raises:
        ValueError: it is not in the file.
    """
    source = (ROOT / path).read_text(encoding="utf-8")
    body: list[Any] = ast.parse(source).body
    node = None
    for part in name.split("."):
        node = next((found for found in body if getattr(found, "name", None) == part), None)
        if node is None:
            raise ValueError(f"{path} has no {name}")
        body = node.body
    assert node is not None
    lines = source.splitlines()[node.lineno - 1 : node.end_lineno]
    code = "\n".join(line[node.col_offset :] for line in lines)
    return f'```python title="{path}"\n{code}\n```'


def mathml(text: str, display: str) -> str:
    """TeX as MathML, which browsers set by themselves."""
    from latex2mathml.converter import convert

    return str(convert(" ".join(text.split()), display=display))


# The reference.


def classes(pages: Path) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Write a page for each public class and function; title, page and first line of each, by section."""
    import griffe

    found: dict[str, dict[str, str]] = {package: {} for package in HOMES}
    seen: set[str] = set()
    loader = griffe.GriffeLoader(search_paths=[str(ROOT)])
    for package in HOMES:
        loader.load(package)
    loader.resolve_aliases(implicit=True, external=False)
    modules: Callable[[str], Any] = loader.modules_collection.__getitem__
    for package in HOMES:
        for module in public_modules(package):
            own = modules(module)
            names = own.exports or [n for n, m in own.members.items() if not m.is_alias and is_shown(n, m)]
            for name in sorted(map(str, names)):
                target = own[name].final_target if own[name].is_alias else own[name]
                if target.path not in seen:
                    seen.add(target.path)
                    found[package][f"{module}.{name}"] = page_of(pages, f"{module}.{name}", target, modules)
    for title, package in REFERENCE.items():
        rows = [(path.rpartition(".")[2], f"reference/{path}.md", line) for path, line in found[package].items()]
        yield title, rows


def is_shown(name: str, member: Any) -> bool:
    """Whether a name of a module without ``__all__`` is a public class or function."""
    return not name.startswith("_") and (member.is_class or member.is_function)


def public_modules(package: str) -> Iterator[str]:
    """The package, the packages below it with an ``__all__``, and further modules that guides use."""
    for path in sorted((ROOT / package).rglob("__init__.py")):
        if "\n__all__ = " in path.read_text(encoding="utf-8"):
            yield ".".join(path.parent.relative_to(ROOT).parts)
    yield from (name for name in FURTHER if name.split(".")[0] == package)


def page_of(pages: Path, path: str, target: Any, modules: Callable[[str], Any]) -> str:
    """Write the page of a class or function; returns the first line of its docstring."""
    text = target.docstring.value if target.docstring else ""
    line = " ".join(text.split("\n\n")[0].split())
    body, rest = f"::: {path}\n", ""
    if target.is_class:
        above = [base for base in target.mro() if base.docstring]
        base = next((base.name for base in above if base.name in BASES), None)
        if base is not None:
            home = next(f"{p}.{base}" for p in HOMES if p in ("tokenization", "deberta_pt", "deberta_tf")
                        and base in modules(p).members)  # fmt: skip
            body += f"    options:\n      members: {json.dumps(BASES[base])}\n"
            rest = f"\nAll else is inherited from [`{base}`]({home}.md).\n"
            if above[0].name not in BASES:  # what its head or engine is
                rest += f"\n{above[0].docstring.value}\n"
    write(pages / f"reference/{path}.md", f"---\ntitle: {path.rpartition('.')[2]}\n---\n\n{body}{rest}")
    return line


def commands(pages: Path) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Write a page for each command."""
    sys.path.insert(0, str(ROOT))
    from conversion.command_line import GROUPS, declare
    from deberta_tasks.cli import COMMANDS

    rows = []
    for command in sorted(COMMANDS, key=lambda command: list(GROUPS).index(command.group)):
        parser = argparse.ArgumentParser(prog=f"deberta {command.name}")
        declare(command, parser)
        page = f"reference/deberta-{command.name}.md"
        write(pages / page, command_page(command.name, parser, command.example))
        rows.append((f"deberta {command.name}", page, command.help))
    yield "Commands", rows


def command_page(name: str, parser: argparse.ArgumentParser, example: str) -> str:
    """Arguments of a command as a list."""
    formatter = parser.formatter_class(prog=parser.prog, width=100)
    lines = [f"# deberta {name}", "", parser.description or "", "", "```sh", example, "```", ""]
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        shown = [action for action in shown if action.dest != "help"]
        if not shown:
            continue
        title = {"positional arguments": "Arguments", "options": "Options"}.get(group.title or "", group.title or "")
        lines += [f"## {title[0].upper()}{title[1:]}", "", *([group.description, ""] if group.description else [])]
        for action in shown:
            what = html.escape(formatter._expand_help(action)) if action.help else "&nbsp;"
            lines += [f"`{formatter._format_action_invocation(action)}`", f":   {what}", ""]
    return "\n".join(lines)


def overview(reference: list[tuple[str, list[tuple[str, str, str]]]]) -> str:
    """The first page of the reference: everything in one line each."""
    lines = ["# Reference", "", "What is public, a page each, made from the code.", ""]
    for title, rows in reference:
        lines += [f"## {title}", "", "| | |", "|---|---|"]
        for name, page, line in rows:
            lines.append(f"| [`{name}`]({page.removeprefix('reference/')}) | {line.replace('|', '&#124;')} |")
        lines.append("")
    return "\n".join(lines)


def links(rows: list[tuple[str, str, str]]) -> list[dict[str, str]]:
    """Rows of a section for the navigation."""
    return [{name: page} for name, page, _ in rows]


def write(path: Path, text: str) -> None:
    """A text in a file, its folder made if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def as_toml(value: Any) -> str:
    """Lists, texts and tables of one entry as TOML has them in a line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {as_toml(entry)}" for key, entry in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value)


if __name__ == "__main__":
    where = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"
    print(f"{build(where)} pages in {where}")
