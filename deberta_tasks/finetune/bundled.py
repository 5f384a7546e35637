"""The sets in ``deberta_tasks/data``: where each is, and the seeded generator that wrote those made from phrases.

    python -m deberta_tasks.finetune.bundled deberta_tasks/data

writes them again. ``topics.csv`` was written by hand. Every example occurs once; what a model has to learn is how
words decide, since the phrases themselves come up in examples to train on and to judge by.
"""

from __future__ import annotations

import csv
import io
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deberta_core.files import write_text
from deberta_tasks.finetune import phrases as p

FOLDER = Path(__file__).parents[1] / "data"
Example = dict[str, Any]


def stays(rng: random.Random) -> Example:
    """A review of a stay, and its stars from 0 to 5."""
    clauses, values = [], []
    for aspect in rng.sample(p.ASPECTS, rng.randint(1, 3)):
        degree, (opinion, value) = rng.choice(list(p.DEGREES)), rng.choice(list(p.OPINIONS.items()))
        clauses.append(f"the {aspect} was {degree} {opinion}".replace("  ", " "))
        values.append(value * p.DEGREES[degree])
    text = ", and ".join(clauses)
    return {"text": f"{text[0].upper()}{text[1:]}.", "label": round(2.5 + sum(values) / len(values), 1)}


def names(rng: random.Random) -> Example:
    """A sentence in words, and which of them name people, places and organisations."""
    tokens: list[str] = []
    tags: list[str] = []
    for word in rng.choice(p.NAMED).split():
        kind = word.strip("{}").upper() if word.startswith("{") else ""
        parts = _name(kind, rng) if kind else [word]
        tokens += parts
        tags += [f"{'I' if i else 'B'}-{kind}" if kind else "O" for i in range(len(parts))]
    return {"tokens": tokens, "tags": tags}


def _name(kind: str, rng: random.Random) -> list[str]:
    if kind == "LOC":
        return [rng.choice(p.PLACES)]
    if kind == "ORG":
        return [rng.choice(p.FIRMS_FIRST), rng.choice(p.FIRMS_LAST)]
    return [rng.choice(p.PEOPLE), rng.choice(p.SURNAMES)][: rng.choice((1, 2, 2))]


def answers(rng: random.Random) -> Example:
    """A report of an event, a question and the answer in the report's words."""
    event = rng.choice(p.EVENTS)
    values = {
        "place": rng.choice(p.VENUES), "time": f"{rng.choice(p.DAYS)} {rng.choice(p.PARTS)}",
        "opener": " ".join(_name("PER", rng)), "payer": " ".join(_name("ORG", rng)), "count": str(rng.randint(12, 990)),
    }  # fmt: skip
    kinds = rng.sample(list(p.FACTS), rng.randint(2, 4))
    context, starts = "", {}
    for kind in kinds:
        before, _, after = rng.choice(p.FACTS[kind][0]).format(event=event, value="|").partition("|")
        starts[kind] = len(context) + len(before)
        context += f"{before}{values[kind]}{after} "
    asked = kinds[rng.randrange(len(kinds))]
    question = rng.choice(p.FACTS[asked][1]).format(event=event)
    return {"question": question, "context": context.strip(), "answer": values[asked], "answer_start": starts[asked]}


def endings(rng: random.Random) -> Example:
    """The beginning of a scene and three ways to go on, one of which belongs to it."""
    scene, *others = rng.sample(list(p.SCENES), 3)
    befores, afters = p.SCENES[scene]
    who = rng.choice(p.PEOPLE)
    choices = [rng.choice(afters), *(rng.choice(p.SCENES[other][1]) for other in others)]
    right = choices[0]
    rng.shuffle(choices)
    context = f"{who} {rng.choice(befores)}."
    return {"prompt": context, "choices": [f"{c[0].upper()}{c[1:]}." for c in choices], "label": choices.index(right)}


def pairs(rng: random.Random) -> Example:
    """A premise, a hypothesis, and whether the first entails or contradicts the second."""
    who, site = rng.choice(p.GROUPS), rng.choice(list(p.SITES))
    action, implied = rng.choice(list(p.ACTIONS.items()))
    verb = "is" if who.startswith("A") else "are"
    premise = f"{who} {verb} {action} {site}."
    label = rng.choice(("entailment", "neutral", "contradiction"))
    wrong_site = rng.choice([s for s, kind in p.SITES.items() if kind != p.SITES[site]])
    wrong = rng.choice([a for a, other in p.ACTIONS.items() if other != implied])
    rest = {
        "entailment": (f"{implied}", f"{action}", f"{p.SITES[site]}", f"{implied} {site}"),
        "neutral": (f"{action} {rng.choice(p.ADDED)}", f"{implied} {rng.choice(p.ADDED)}"),
        "contradiction": (f"{wrong}", f"{p.SITES[wrong_site]}", f"{p.ACTIONS[wrong]}", f"not {action}"),
    }[label]
    return {"premise": premise, "hypothesis": f"{who} {verb} {rng.choice(rest)}.", "label": label}


SETS: dict[str, tuple[Callable[[random.Random], Example], int]] = {
    "stays.csv": (stays, 900), "names.jsonl": (names, 800), "answers.jsonl": (answers, 1200),
    "endings.jsonl": (endings, 1000), "pairs.csv": (pairs, 1200),
}  # fmt: skip


def examples(name: str) -> Iterator[Example]:
    """The examples of a set, each another; labels of pairs occur equally often."""
    make, count = SETS[name]
    rng = random.Random(name)
    seen: set[str] = set()
    labels: Counter[str] = Counter()
    while len(seen) < count:
        example = make(rng)
        key = json.dumps({k: v for k, v in example.items() if k != "label"})
        if key not in seen and (make is not pairs or labels[example["label"]] < count // 3):
            seen.add(key)
            labels[str(example.get("label"))] += 1
            yield example


def text_of(name: str) -> str:
    """A set as the file holds it."""
    found = list(examples(name))
    if name.endswith(".jsonl"):
        return "".join(json.dumps(example) + "\n" for example in found)
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return file.getvalue()


def main() -> None:
    """Write all sets into a folder."""
    for name in SETS:
        write_text(Path(sys.argv[1]) / name, text_of(name))


if __name__ == "__main__":
    main()
