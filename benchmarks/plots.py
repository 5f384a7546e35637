"""Time and memory by length and by batch, ours and theirs, as two small images."""

from __future__ import annotations

from pathlib import Path

from benchmarks.timing import Record


def draw(records: list[Record], folder: Path) -> list[Path]:
    """Write ``time.png`` and ``memory.png`` from the records of growth and return their paths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    paths = []
    for file, unit, value in (
        ("time.png", "seconds", lambda record: record.seconds),
        ("memory.png", "MB above the model", lambda record: record.megabytes),
    ):
        figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
        for axis, (title, part) in zip(axes, (("tokens, one text", 1), ("texts of 128 tokens", 0)), strict=True):
            for side in dict.fromkeys(record.side for record in records if record.case):
                points = sorted((place(record, part), value(record)) for record in records if record.side == side)
                points = [(x, y) for x, y in points if x and y]
                if points:
                    axis.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=side)
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:.0f}")
            axis.set_xlabel(title)
            axis.grid(True, alpha=0.3)
        axes[0].set_ylabel(unit)
        axes[0].legend()
        paths.append(folder / file)
        figure.savefig(paths[-1], dpi=90)
        pyplot.close(figure)
    return paths


def place(record: Record, part: int) -> int:
    """Where a record stands: tokens of a single text, or texts of 128 tokens; 0: on the other axis."""
    texts, tokens = (int(word) for word in record.case.split(" x "))
    on_axis = texts == 1 if part else tokens == 128
    return (tokens if part else texts) if on_axis else 0
