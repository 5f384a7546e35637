"""Speed of the tokenizers side by side with transformers, sentencepiece and tokenizers, in one run.

usage: python benchmarks/tokenizers.py DATA [--text FILE] [--rounds N] [--threads N] [--write RESULTS.md]

DATA holds deberta-v3/spm.model, deberta-v1/vocab.json and deberta-v1/merges.txt; a missing family is left out. The
contenders take turns in every round, so that a busy machine slows all of them, and the median of the rounds counts.
With one thread the time is that of the processor, which other programs on the machine disturb least. The
garbage collector is on, but does not look at what was loaded before the rounds.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

Contender = Callable[[list[str]], Any]
PEER = "transformers fast"


def read_corpora(path: Path) -> dict[str, list[str]]:
    """Lines of a text file, and documents of eight lines."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    documents = [" ".join(lines[i : i + 8]) for i in range(0, len(lines), 8)]
    return {"documents": documents, "lines": lines}


def ours(tokenizer: Any, **arguments: Any) -> Contender:
    """A call of this package."""
    return lambda texts: tokenizer(texts, **arguments)


def cold(make: Callable[[], Any]) -> Contender:
    """A call of a tokenizer whose cache is empty; building it is not measured."""
    fresh: list[Any] = []

    def run(texts: list[str]) -> Any:
        return fresh.pop()(texts)

    run.prepare = lambda: fresh.append(make())  # type: ignore[attr-defined]
    return run


def v3_contenders(data: Path, threads: int) -> dict[str, dict[str, Contender]]:
    """Everything that reads the v3 vocabulary, for ids and for spans."""
    import sentencepiece
    from transformers import DebertaV2Tokenizer as PeerSlow
    from transformers import DebertaV2TokenizerFast as PeerFast

    import tokenization

    path = str(data / "deberta-v3/spm.model")
    slow, fast = tokenization.DebertaV2Tokenizer(path), tokenization.DebertaV2TokenizerFast(path)
    peer, raw = PeerFast(path), sentencepiece.SentencePieceProcessor(model_file=path)
    peer_slow = PeerSlow(path)
    ids = {
        "ours slow": ours(slow, num_threads=threads),
        "ours fast": ours(fast, num_threads=threads),
        PEER: lambda texts: peer(texts),
        "transformers slow": lambda texts: peer_slow(texts),
        "raw sentencepiece": lambda texts: raw.encode(texts, num_threads=threads),
        "raw tokenizers": lambda texts: peer.backend_tokenizer.encode_batch(texts),
    }
    spans = {
        "ours slow": ours(slow, num_threads=threads, return_offsets_mapping=True),
        PEER: lambda texts: peer(texts, return_offsets_mapping=True),
    }
    return {"ids and masks": ids, "with spans": spans}


def v1_contenders(data: Path, threads: int) -> dict[str, dict[str, Contender]]:
    """Everything that reads the v1 vocabulary, for ids and for spans."""
    from transformers import DebertaTokenizer as PeerSlow
    from transformers import DebertaTokenizerFast as PeerFast

    import tokenization

    files = str(data / "deberta-v1/vocab.json"), str(data / "deberta-v1/merges.txt")
    slow, fast = tokenization.DebertaTokenizer(*files), tokenization.DebertaTokenizerFast(*files)
    peer, peer_slow = PeerFast(*files), PeerSlow(*files)
    ids = {
        "ours slow": ours(slow, num_threads=threads),
        "ours fast": ours(fast, num_threads=threads),
        "ours cold": cold(lambda: tokenization.DebertaTokenizer(*files)),
        PEER: lambda texts: peer(texts),
        "transformers fast cold": cold(lambda: PeerFast(*files)),
        "transformers slow": lambda texts: peer_slow(texts),
        "raw tokenizers": lambda texts: peer.backend_tokenizer.encode_batch(texts),
    }
    spans = {
        "ours slow": ours(slow, num_threads=threads, return_offsets_mapping=True),
        PEER: lambda texts: peer(texts, return_offsets_mapping=True),
    }
    return {"ids and masks": ids, "with spans": spans}


def measure(
    contenders: dict[str, Contender], texts: list[str], rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Median seconds of each contender."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    gc.collect()
    gc.freeze()  # else a turn pays for walks through the libraries loaded for the others
    for number in range(rounds + 1):
        for name, run in contenders.items():
            getattr(run, "prepare", lambda: None)()
            begin = clock()
            run(texts)
            if number:  # the first round fills caches
                seconds[name].append(clock() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def long_word_rows(data: Path) -> list[str]:
    """Time for one string without a space, of a tenth and of the whole of a megabyte."""
    import random

    import tokenization

    letters = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=1_000_000))
    rows = []
    for name, tokenizer in {
        "v3": tokenization.DebertaV2Tokenizer(str(data / "deberta-v3/spm.model")),
        "v1": tokenization.DebertaTokenizer(str(data / "deberta-v1/vocab.json"), str(data / "deberta-v1/merges.txt")),
    }.items():
        times = []
        for size in (100_000, 1_000_000):
            begin = time.perf_counter()
            tokenizer(letters[:size])
            times.append(time.perf_counter() - begin)
        rows.append(f"| {name} | {times[0]:.2f} s | {times[1]:.2f} s | {times[1] / times[0]:.1f} |")
    return ["", "| one word of random letters | 100 kB | 1 MB | ratio |", "|---|---|---|---|", *rows]


def import_seconds() -> float:
    """Best time of three for ``import tokenization`` in a fresh interpreter, without the interpreter's own start."""
    import subprocess

    code = "import time; t = time.perf_counter(); import tokenization; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    return min(float(run.stdout) for run in runs)


def report(data: Path, text: Path, rounds: int, threads: int) -> list[str]:
    """The table as lines of Markdown."""
    corpora = read_corpora(text)
    rows = []
    for family, make in {"v3": v3_contenders, "v1": v1_contenders}.items():
        if not (data / f"deberta-{family}").is_dir():
            continue
        for task, contenders in make(data, threads).items():
            for corpus, texts in corpora.items():
                times = measure(contenders, texts, rounds, time.process_time if threads == 1 else time.perf_counter)
                tokens = sum(len(row) for row in next(iter(contenders.values()))(texts)["input_ids"])
                for name, seconds in times.items():
                    peer = times["transformers fast cold" if name == "ours cold" else PEER]
                    rows.append(
                        f"| {family} | {task} | {corpus}, {tokens / len(texts):.0f} tokens | {name} "
                        f"| {tokens / seconds / 1e6:.2f} | {peer / seconds:.1f} |"
                    )
                    print(rows[-1], file=sys.stderr)
    head = [
        f"Text: {text.name}, {len(corpora['documents'])} documents, {len(corpora['lines'])} lines; "
        f"{threads} thread(s), median of {rounds} rounds. Speed is relative to {PEER} in the same rounds; that of "
        "`ours cold` to the same, cold.",
        "",
        "| family | task | texts | tokenizer | million tokens/s | speed |",
        "|---|---|---|---|---|---|",
    ]
    imported = f"`import tokenization`: {import_seconds() * 1000:.0f} ms"
    return [*head, *rows, *long_word_rows(data), "", imported]


def main() -> None:
    """Runs the comparison and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--text", type=Path, help="text file (default DATA/text/botchan.txt)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", type=Path, help="Markdown file to write the section into")
    parsed = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if parsed.threads > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(parsed.threads)
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    warnings.simplefilter("ignore")
    text = parsed.text or parsed.data / "text/botchan.txt"
    table = report(parsed.data, text, parsed.rounds, parsed.threads)
    print("\n".join(table))
    if parsed.write:
        from benchmarks.report import replace_section  # found once this folder is off the path

        command = f"`python benchmarks/tokenizers.py {' '.join(sys.argv[1:])}`"
        replace_section(parsed.write, f"Tokenizers, {text.name}, {parsed.threads} thread(s)", [command, "", *table])


if __name__ == "__main__":
    # this folder would hide the library of the same name as this file
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    main()
