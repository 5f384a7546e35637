"""Other people's code on this zoo: transformers' own tests of DeBERTa and its example scripts, and how many pass.

``make peers TRANSFORMERS=<checkout>`` runs it; see docs/peers.md for the checkouts. Nothing of theirs is kept here.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.peers import scripts, suites

ROOT = Path(__file__).resolve().parents[2]
INSIDE = "inside"  # unchanged scripts, with our encoder inside transformers' models
SIDES = ("control", "ours", INSIDE)
PARTS = ("pytorch", "tensorflow", "tokenizers", "examples", "examples-tf")


def main() -> int:
    """Run what there is a checkout for, print counts, and keep the outcome of each test."""
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description=__doc__)
    parser.add_argument("--transformers", type=Path, help="checkout of the 4.57 line")
    parser.add_argument("--transformers-tf", type=Path, help="checkout that has the TensorFlow tests")
    parser.add_argument("--examples-tf", type=Path, help="checkout that has examples/tensorflow")
    parser.add_argument("--only", default="", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--control", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--sides", default=",".join(SIDES), help="some of %(default)s")
    parser.add_argument("--script", default="", help="of the example scripts those whose path has this in it")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "peers.json")
    parser.add_argument("pytest", nargs="*", help="more arguments for pytest, after --")
    given = parser.parse_args()
    for option, known in (("only", PARTS), ("sides", SIDES)):
        if unknown := [name for name in getattr(given, option).split(",") if name and name not in known]:
            parser.error(f"--{option} has {unknown[0]!r}, expected some of {','.join(known)}")
    work = Path(tempfile.mkdtemp(prefix="peers-"))
    small = work / "checkpoints"
    wanted = given.only.split(",") if given.only else []
    results: dict[str, dict] = json.loads(given.output.read_text()) if given.output.exists() else {}
    for key, what, checkout in (
        ("pytorch", suites.PYTORCH, given.transformers),
        ("tensorflow", suites.TENSORFLOW, given.transformers_tf),
        ("tokenizers", suites.TOKENIZERS, given.transformers),
        ("examples", "pt", given.transformers),
        ("examples-tf", "tf", given.examples_tf),
    ):
        if checkout is None or (wanted and key not in wanted):
            continue
        framework = what if isinstance(what, str) else what.weights
        if not (small / framework).exists():
            model = checkout.resolve() / "tests" / "fixtures" / "test_sentencepiece.model"
            script = [sys.executable, "-m", "tests.peers.checkpoints", str(small / framework), str(model), framework]
            subprocess.run(script, cwd=ROOT, check=True, capture_output=True)
        inside = (INSIDE,) if key == "examples" else ()
        sides = (*(("control",) if given.control else ()), "ours", *inside)
        for who in (side for side in sides if side in given.sides.split(",")):
            place, ours = work / f"{key}-{who}", who == "ours"
            if isinstance(what, str):
                door = "deberta_pt.transformers" if who == INSIDE else ""
                found = scripts.run(
                    checkout.resolve(), place, small, framework=framework, ours=ours, door=door, only=given.script
                )
            else:
                found = suites.run(checkout.resolve(), place, what, small, ours=ours, extra=given.pytest)
            results.setdefault(key, {}).setdefault(who, {}).update(found)
            print(f"{key:12} {who:8} {suites.count(found)}   passed / failed / skipped   {place}", flush=True)
            given.output.parent.mkdir(parents=True, exist_ok=True)
            given.output.write_text(json.dumps(results, indent=1), encoding="utf-8")  # a run takes long: parts add up
    worse = 0
    for key, sides in results.items():
        control = sides.get("control", {})
        for who in ("ours", INSIDE):
            for name, (outcome, text) in sides.get(who, {}).items():
                if outcome == "failed" and control.get(name, ("passed", ""))[0] != "failed":
                    worse += 1
                    print(f"{key} {who}: {name}: {text.splitlines()[0][:160] if text else ''}")
    return 1 if worse else 0


if __name__ == "__main__":
    raise SystemExit(main())
