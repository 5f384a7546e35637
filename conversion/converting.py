"""``convert``: a checkpoint in the other framework's files, or in another format, without loss."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial

from conversion import verification
from conversion.conversion_report import ConversionReport
from conversion.folder import Extra, Target, carry, find_extras
from conversion.mapping import layers_of_h5
from conversion.plan import Plan, Planner
from conversion.side_file import SIDE_FILE
from conversion.source import Source, open_source
from conversion.transfer import FLOATS, Flusher, Reader
from deberta_core.checkpoint import write_weights
from deberta_core.checkpoint.shards import parse_size
from deberta_core.file_names import CONFIG, GENERATOR_CONFIG
from deberta_core.files import Replacement

FORMATS = {"pt": ("safetensors", "bin"), "tf": ("h5", "safetensors")}
Progress = Callable[[int, int], None]


def convert(
    src: str | os.PathLike[str],
    dst: str | os.PathLike[str],
    *,
    to: str,
    format: str | None = None,
    dtype: str | None = None,
    max_shard_size: int | str | None = None,
    overwrite: bool = False,
    verify: bool = False,
    progress: Progress | None = None,
    isolate_h5: bool = False,
) -> ConversionReport:
    """Write a checkpoint as the other framework's, or in another format.

    Tensors move one at a time; neither framework is needed. Names, axes and the layers of h5 files follow the published
    files. Nothing is lost: tensors that no model of the zoo has a use for stay in the weights file where it has a place
    for them, and go to ``unused_weights.safetensors`` where it has not (``conversion.side_file``), from where the way
    back takes them; bfloat16, which h5 does not have, is widened to float32 and narrowed on the way back. What is
    brought up to date for good is the spelling of old names (``bert.``, ``module.``, ``gamma``/``beta`` of PyTorch
    files) and entries that are no tensors; the report names them. ``config.json``, tokenizer files and everything else
    in a folder are carried along, except weights of other formats.

    Args:
        src: folder, weights file, or index of shards, of any format; or a name on the hub.
        dst: folder to write, made with its parents; it is complete or as it was before.
        to: ``"pt"`` or ``"tf"``: whose names and axes.
        format: ``"safetensors"`` or ``"bin"`` for ``pt`` (default the first), ``"h5"`` or ``"safetensors"`` for ``tf``.
        dtype: store floating-point tensors in this type: ``"float32"``, ``"float16"``, ``"bfloat16"``, ``"float64"``.
        max_shard_size: bytes of tensors per file, or a text such as ``"5GB"``; None for one file.
        overwrite: write into a folder that holds something; its weights are replaced, its other files kept.
        verify: afterwards run both in every framework that is installed, and compare.
        progress: told the bytes done and the bytes in all.
        isolate_h5: read HDF5 in a process of its own, so that a damaged file cannot end this one.

    Raises:
        CheckpointError: the source is damaged, refused, or not a DeBERTa.
        FileExistsError: the target holds something.
        FileNotFoundError: there is no source.
        OSError: no space, or the target cannot be written to.
        ValueError: arguments or files that do not fit together.
    """
    started = time.monotonic()
    format = _check_arguments(to, format, dtype, max_shard_size)
    target = Target(dst, overwrite=overwrite)
    with open_source(src, isolate_h5=isolate_h5) as source:
        for path in source.file.paths:
            target.refuse_source(path)
        plan = Planner(source, to=to, format=format, dtype=dtype).plan()
        whole, weights = source.path.is_dir(), source.file.paths
        # Looked for before anything is made: the target may lie inside the source, and would be carried into itself.
        extras, left = find_extras(source.folder, whole=whole, weights=weights, skip=target.path)
        report = _describe(source, plan, os.fspath(dst), to, format)
        with Replacement(target.path) as files:
            files.check_space(plan.nbytes + sum(extra.size for extra in extras))
            tell = None if progress is None else lambda done: progress(done, plan.nbytes)
            with Reader(source) as reader, Flusher(files.stage / "new", tell) as flusher:
                _write(files, source, plan, reader, report, max_shard_size, flusher.count)
            _carry(files, source, extras, report, dtype)
            target.drop_weights(files)
            files.commit()
    report.left_behind = left
    report.not_finite, report.overflowed = reader.not_finite, reader.overflowed
    report.seconds = time.monotonic() - started
    if verify:
        report.verification = verification.verify(src, dst, isolate_h5=isolate_h5)
    return report


def _check_arguments(to: str, format: str | None, dtype: str | None, max_shard_size: int | str | None) -> str:
    if to not in FORMATS:
        raise ValueError(f"to is {to!r}, expected 'pt' or 'tf'")
    if format is not None and format not in FORMATS[to]:
        raise ValueError(f"format is {format!r}, expected {' or '.join(map(repr, FORMATS[to]))} for to={to!r}")
    if dtype is not None and dtype not in FLOATS:
        raise ValueError(f"dtype is {dtype!r}, expected one of {', '.join(FLOATS)}")
    if max_shard_size is not None:
        parse_size(max_shard_size)
    return format or FORMATS[to][0]


def _describe(source: Source, plan: Plan, target: str, to: str, format: str) -> ConversionReport:
    moves = [*plan.weights, *plan.aside]
    return ConversionReport(
        source=os.fspath(source.weights), target=target, to=to, format=format,
        read_as=f"{source.file.format}, {source.names.layout}", family=source.names.family, head=source.head,
        tensors=len(moves), nbytes=plan.nbytes, lossless=not plan.narrowed and not source.file.skipped,
        renamed=dict(source.names.renamed), aside=[move.target.name for move in plan.aside],
        restored=list(source.restored), aliases_dropped=plan.dropped_aliases,
        aliases_added={a: f for a, f in plan.aliases.items() if a not in source.file.aliases},
        not_weights=dict(source.file.skipped), widened=plan.widened, narrowed=plan.narrowed,
        notes=[*source.file.notes, *([] if source.config_file else ["no config.json: sizes are read off the shapes"])],
    )  # fmt: skip


def _write(
    files: Replacement,
    source: Source,
    plan: Plan,
    reader: Reader,
    report: ConversionReport,
    max_shard_size: int | str | None,
    count: Callable[[int], None],
) -> None:
    names = [move.target.name for move in plan.weights]
    # Texts of a safetensors header go along; those of an h5 file only say how Keras laid it out.
    texts = source.file.metadata if source.file.format == "safetensors" else {}
    layout = None
    if report.format == "h5":
        layout = layers_of_h5(source.config, source.head, set(source.names.keys.values()), names)
    written = write_weights(
        files, [(move.target, partial(reader.read, move)) for move in plan.weights],
        format=report.format, naming=report.to, metadata=texts, max_shard_size=max_shard_size, h5=layout,
        aliases=plan.aliases, progress=count,
    )  # fmt: skip
    if plan.aside or plan.record:
        written += write_weights(
            files, [(move.target, partial(reader.read, move)) for move in plan.aside], format="safetensors",
            metadata=plan.record.to_metadata(), file_name=SIDE_FILE, progress=count,
        )  # fmt: skip
    report.files = [path.name for path in written]


def _carry(
    files: Replacement, source: Source, extras: list[Extra], report: ConversionReport, dtype: str | None
) -> None:
    config = source.config_file
    own = (CONFIG, GENERATOR_CONFIG) if config is not None and config.name == GENERATOR_CONFIG else (CONFIG,)
    others = [extra for extra in extras if extra.name not in own]
    carry(others, files)
    if config is not None:
        files.write(CONFIG, _config_text(source, dtype))
    report.copied = [*([CONFIG] if config else []), *(extra.name for extra in others)]


def _config_text(source: Source, dtype: str | None) -> str | bytes:
    """The config as it is, unless the type of the weights changes."""
    if dtype is None:
        return source.config_text
    values = dict(source.config_values)
    values["torch_dtype" if "torch_dtype" in values else "dtype"] = dtype
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
