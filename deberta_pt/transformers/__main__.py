"""``python -m deberta_pt.transformers script.py ...``: run a script, unchanged, after ``enable()``."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

from deberta_pt.transformers.switch import MASKED_ROWS, enable


def main() -> None:
    """Switch on, then run what follows as Python would."""
    parser = argparse.ArgumentParser(prog="python -m deberta_pt.transformers", description=__doc__)
    parser.add_argument("--masked-rows", choices=MASKED_ROWS, default="zero", help="as of enable(); default zero")
    parser.add_argument("--published-mlm-head", action="store_true", help="as of enable()")
    parser.add_argument("--tokenizers", action="store_true", help="as of enable()")
    parser.add_argument("-m", dest="module", metavar="module", nargs=argparse.REMAINDER, help="run a module instead")
    parser.add_argument("script", nargs=argparse.REMAINDER, help="the script and its arguments")
    given = parser.parse_args()
    words = given.module or given.script
    if not words:
        parser.error("no script is named, expected one: python -m deberta_pt.transformers script.py ...")
    if not given.module and not Path(words[0]).exists():
        parser.error(f"there is no script {words[0]!r}")
    enable(
        masked_rows=given.masked_rows, published_mlm_head=given.published_mlm_head, tokenizers=given.tokenizers
    )  # fmt: skip
    sys.argv = words
    if given.module:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
