"""Reading and writing the small files of a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deberta_core.files import Replacement


def read_bytes(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is a folder or empty.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a file; use from_pretrained for a folder")
    if not path.exists():
        raise FileNotFoundError(f"no file {path}; check the path, or use from_pretrained with the folder")
    data = path.read_bytes()
    if not data:
        raise ValueError(f"{path} is empty; fetch or copy it again")
    return data


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is cut short, no JSON, or nested beyond what Python reads.
    """
    try:
        text = read_bytes(path).decode("utf-8")
        content = json.loads(text)
        if "\\ud" in text.lower():  # halves of characters, which no other file can hold
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except UnicodeEncodeError as error:
        raise ValueError(f"{path} holds half of a character ({error.object[error.start]!r}); correct it") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply to be the settings of a tokenizer") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error}; fetch or copy it again") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no complete JSON: {error}; fetch or copy it again") from None
    except ValueError:  # of Python's limit on digits
        raise ValueError(f"{path} holds a number of thousands of digits; fetch or copy it again") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file.

    Raises:
        ValueError: the file is damaged or holds something else.
    """
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected an object with names and values")
    return content


def to_json(content: Any) -> bytes:
    """JSON as the files of tokenizers have it: indented by two, in UTF-8."""
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def write_files(folder: Path, files: Mapping[str, bytes], gone: Sequence[str] = ()) -> tuple[str, ...]:
    """Writes files that all appear together, when they are complete.

    Args:
        folder: made where it does not exist.
        files: content by name.
        gone: names of older files that would be read beside the new ones; they are removed.

    Returns:
        The paths.

    Raises:
        ValueError: ``folder`` is a file.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file, expected a folder to save into")
    with Replacement(folder) as commit:
        commit.drop(gone)
        for name, content in files.items():
            commit.write(name, content)
        return tuple(str(path) for path in commit.commit())
