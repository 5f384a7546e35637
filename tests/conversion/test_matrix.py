"""Every format into every other, for every head, there and back: the same bits under the right names."""

import pytest

from conversion import convert
from tests.conversion.helpers import CASES, FORMATS, IDS, contents, small_config, write_checkpoint

PAIRS = [(source, target) for source in FORMATS for target in FORMATS]


def convert_to(kind, source, target, **options):
    return convert(source, target, to=kind[0], format=kind[1], **options)


@pytest.mark.parametrize(("base", "head", "changes"), CASES, ids=IDS)
def test_every_format_becomes_every_other(tmp_path, base, head, changes):
    config = small_config(base, **changes)
    expected = {}
    for kind in FORMATS:
        write_checkpoint(tmp_path / "-".join(kind), config, head, kind)
        expected[kind] = contents(tmp_path / "-".join(kind))
    for source, target in PAIRS:
        made = tmp_path / f"{'-'.join(source)}-to-{'-'.join(target)}"
        report = convert_to(target, tmp_path / "-".join(source), made)
        assert contents(made) == with_tied_names(expected[target], source, target, config, head)
        assert report.lossless
        assert (report.head, report.family) == (head, config.model_type)
        assert sorted(path.name for path in made.iterdir()) == sorted(["config.json", *report.files])


def with_tied_names(tensors, source, target, config, head):
    """PyTorch's own .bin files give tied weights of the older masked-LM head a second name."""
    if target != ("pt", "bin") or source == target or head != "ForMaskedLM" or config.mlm_head != "legacy":
        return tensors
    tied = {"cls.predictions.decoder.bias": tensors["cls.predictions.bias"]}
    if config.tie_word_embeddings:
        tied["cls.predictions.decoder.weight"] = tensors["deberta.embeddings.word_embeddings.weight"]
    return {**tensors, **tied}


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=lambda kind: "-".join(kind))
def test_shards_become_shards(tmp_path, source, target):
    config = small_config("v2")
    write_checkpoint(tmp_path / "whole", config, "ForSequenceClassification", target)
    write_checkpoint(tmp_path / "source", config, "ForSequenceClassification", source, shards=6000)
    report = convert_to(target, tmp_path / "source", tmp_path / "made", max_shard_size="5kB")
    assert len(report.files) > 2
    assert report.files[-1].endswith(".index.json")
    assert contents(tmp_path / "made") == contents(tmp_path / "whole")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: "-".join(kind))
def test_every_type_goes_there_and_back(tmp_path, kind, dtype):
    config = small_config("v2")
    source = write_checkpoint(tmp_path / "source", config, "ForMultipleChoice", dtype=dtype)
    report = convert_to(kind, source, tmp_path / "there")
    convert(tmp_path / "there", tmp_path / "back", to="pt")
    assert contents(tmp_path / "back") == contents(source)
    stored = {dtype for _, dtype, _ in contents(tmp_path / "there").values()}
    assert stored == ({"float32"} if (kind[1], dtype) == ("h5", "bfloat16") else {dtype})
    assert bool(report.widened) == ((kind[1], dtype) == ("h5", "bfloat16"))
    assert report.lossless
