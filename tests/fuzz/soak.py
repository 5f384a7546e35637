"""``python -m tests.fuzz.soak``: a pipeline serves 8 threads, texts of 1 to 4,096 tokens mixed, and memory stays flat.

The last quarter of the time may hold 3 % more memory than the second. And tokenizers are called from threads and from
forked processes: every answer is that of a single thread.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.update(
    OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1"
)

THREADS = 8
LONGEST = 4096  # tokens
GROWTH = 0.03
SENTENCES = ["The quick brown fox jumps over the lazy dog.", "Wie läuft das? Où est la gare?", "price: $5.00 - 4,50 €"]


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make(folder: Path, framework: str) -> Any:
    """A pipeline of a small model that takes long texts."""
    from deberta_tasks.pipelines import pipeline
    from tests.models.helpers import pt_model, small_config, tf_model
    from tokenization import train_from_iterator

    tokenizer = train_from_iterator(SENTENCES * 3, 340, family="v2")
    tokenizer.model_max_length = LONGEST
    config = small_config("v3", vocab_size=len(tokenizer), num_hidden_layers=1, position_buckets=32,
                          max_position_embeddings=LONGEST)  # fmt: skip
    model = (pt_model if framework == "pt" else tf_model)(config, "ForSequenceClassification")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return pipeline("text-classification", str(folder), framework)


def serve(framework: str, seconds: float) -> str:
    """What is wrong with a pipeline that serves for so long; empty for nothing."""
    with tempfile.TemporaryDirectory() as top:
        classify = make(Path(top), framework)
        word = "fox "
        longest = LONGEST - 8
        while len(classify.tokenizer(word * longest)["input_ids"]) > LONGEST - 8:
            longest = longest * 9 // 10
        wanted = {count: classify(word * count)[0] for count in (1, 7, longest // 30, longest // 2, longest)}
        with ThreadPoolExecutor(THREADS) as pool:  # all threads at their largest, which is what memory is kept for
            list(pool.map(lambda _: [classify(word * longest) for _ in range(2)], range(THREADS)))
        begun, errors, calls, held = time.monotonic(), [], [0] * THREADS, []

        def measure() -> None:
            """Between two calls of all threads: what a call takes is given back."""
            held.append(((time.monotonic() - begun) / seconds, resident()))

        together = threading.Barrier(THREADS, measure)

        def work(number: int) -> None:
            draw = random.Random(number)
            try:
                while not (held and held[-1][0] >= 1):
                    round_ends = time.monotonic() + 0.5
                    while time.monotonic() < round_ends:
                        answer(draw)
                        calls[number] += 1
                    together.wait()
            except BaseException as error:
                errors.append(error)
                together.abort()

        def answer(draw: random.Random) -> None:
            """As many short texts as long ones; one in ten is compared."""
            if draw.random() < 0.9:
                classify(word * round(math.exp(draw.uniform(0, math.log(longest)))))
                return
            count = draw.choice(list(wanted))
            (found,) = classify(word * count)
            same = found["label"] == wanted[count]["label"] and abs(found["score"] - wanted[count]["score"]) < 1e-4
            assert same, f"{found} where it was {wanted[count]}"

        threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        return f"{type(errors[0]).__name__}: {errors[0]}"
    second = [size for at, size in held if 0.25 <= at < 0.5]
    last = [size for at, size in held if at >= 0.75]
    growth = (sum(last) / len(last)) / (sum(second) / len(second)) - 1
    text = (
        f"{sum(calls)} calls, {sum(second) / len(second) / 1e6:.0f} MB in the second quarter, {growth:+.1%} in the last"
    )
    print(f"{framework}: {text}", flush=True)
    return f"memory grows: {text}" if growth > GROWTH else ""


def tokenize(calls: int) -> str:
    """What is wrong with a tokenizer that threads and forked processes call; empty for nothing."""
    from tokenization import train_from_iterator

    draw = random.Random(0)
    words = [*" ".join(SENTENCES).split(), "[MASK]", "\u200b", "猫", "e\u0301", "\n"]
    texts = [" ".join(draw.choices(words, k=draw.choice((1, 5, 40)))) for _ in range(200)]
    for family in ("v1", "v2"):
        for fast in (False, True):
            tokenizer = train_from_iterator(SENTENCES * 3, 340, family=family, fast=fast)
            wanted = [tokenizer(text)["input_ids"] for text in texts]

            def ask(number: int, tokenizer: Any = tokenizer, wanted: list[Any] = wanted) -> bool:
                at = number % len(texts)
                return tokenizer(texts[at])["input_ids"] == wanted[at] and bool(tokenizer.decode(wanted[at]) or True)

            with ThreadPoolExecutor(THREADS) as pool:
                wrong = list(pool.map(ask, range(calls // 8), chunksize=64)).count(False)
                children = []
                for _ in range(4):  # while the threads are there
                    child = os.fork()
                    if child == 0:
                        os._exit(0 if all(ask(number) for number in range(calls // 32)) else 1)
                    children.append(child)
                codes = [os.waitpid(child, 0)[1] for child in children]
            if wrong or any(codes):
                return f"{family} fast={fast}: {wrong} answers of threads differ; processes ended with {codes}"
    print(f"tokenizers: {calls} calls from {THREADS} threads and 4 forked processes, all alike", flush=True)
    return ""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="of serving, in each framework")
    parser.add_argument("--calls", type=int, default=20_000, help="of tokenizers")
    parser.add_argument("--frameworks", nargs="*", default=["pt", "tf"])
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    wrong = [tokenize(given.calls)] + [serve(framework, given.seconds) for framework in given.frameworks]
    for text in filter(None, wrong):
        print(text)
    return 1 if any(wrong) else 0


if __name__ == "__main__":
    sys.exit(main())
