"""Folders: what is written, what is read, here and by transformers."""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

import tokenization
from tokenization import AutoTokenizer, DebertaTokenizer, DebertaV2Tokenizer, DebertaV2TokenizerFast
from tokenization.spm_proto import read_model

from .conftest import DATA, SENTENCES, needs_data

TEXTS = [*SENTENCES, "a [MASK] <new>b [UNK]", " \u200bx\u0323\u0302 🫠 ½…", "<0x41>", ""]


def ids(tokenizer, texts=TEXTS):
    return [list(row) for row in tokenizer(texts)["input_ids"]]


def test_round_trip(build, kind, tmp_path):
    tokenizer = build(
        kind, padding_side="left", additional_special_tokens=["<ent>"], extra_special_tokens={"eot": "<eot>"}
    )
    tokenizer.add_tokens(["<new>"])
    paths = tokenizer.save_pretrained(tmp_path / "saved")
    assert {path.rsplit("/", 1)[1] for path in paths} == {path.name for path in (tmp_path / "saved").iterdir()}
    assert ("tokenizer.json" in {path.name for path in (tmp_path / "saved").iterdir()}) == kind.endswith("fast")
    for loaded in (
        type(tokenizer).from_pretrained(tmp_path / "saved"),
        AutoTokenizer.from_pretrained(tmp_path, subfolder="saved", use_fast=kind.endswith("fast")),
        pickle.loads(pickle.dumps(tokenizer)),
    ):
        assert type(loaded) is type(tokenizer)
        assert ids(loaded) == ids(tokenizer)
        assert loaded.get_vocab() == tokenizer.get_vocab()
        assert loaded.added_tokens_decoder == tokenizer.added_tokens_decoder
        assert loaded.padding_side == "left"
        assert (loaded.eot, loaded.eot_id) == ("<eot>", tokenizer.convert_tokens_to_ids("<eot>"))
        assert loaded.additional_special_tokens == ["<ent>"]
        assert loaded._config() == tokenizer._config()


def test_settings_of_the_family_survive(build, tmp_path):
    for kind, settings in {
        "v1 slow": {"add_prefix_space": True, "errors": "ignore"},
        "v1 fast": {"add_prefix_space": True},
        "v2 slow": {"do_lower_case": True, "sp_model_kwargs": {"alpha": 0.2}},
        "v2 fast": {"split_by_punct": True, "add_prefix_space": False, "trim_offsets": False},
    }.items():
        folder = tmp_path / kind.replace(" ", "-")
        build(kind, **settings).save_pretrained(folder)
        loaded = AutoTokenizer.from_pretrained(folder, use_fast=kind.endswith("fast"))
        assert {name: getattr(loaded, name) for name in settings} == settings


def test_limit_comes_from_the_files(build, kind, tmp_path):
    build(kind).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 77, "vocab_size": 9999}')
    for limit, expected in ((int(1e30), 77), (None, 77), (33, 33)):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": limit}))
        loaded = AutoTokenizer.from_pretrained(tmp_path)
        assert loaded.model_max_length == expected
        assert len(loaded(" ".join(SENTENCES * 3), truncation=True)["input_ids"]) == expected
    assert AutoTokenizer.from_pretrained(tmp_path, model_max_length=5).model_max_length == 5


def test_arguments_of_a_call_in_the_files_are_ignored(build, kind, tmp_path):
    tokenizer = build(kind)
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    leaked = {"max_length": 3, "stride": 1, "truncation_strategy": "longest_first", "pad_to_multiple_of": 8}
    path.write_text(json.dumps({**config, **leaked, "processor_class": "kept"}), encoding="utf-8")
    if kind.endswith("fast"):
        fast = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
        fast["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
        fast["padding"] = {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
                           "pad_type_id": 0, "pad_token": "[PAD]"}  # fmt: skip
        (tmp_path / "tokenizer.json").write_text(json.dumps(fast), encoding="utf-8")
    for settings in ({}, {"legacy_ids": True} if kind.endswith("fast") else {}):
        loaded = type(tokenizer).from_pretrained(tmp_path, **settings)
        assert ids(loaded, SENTENCES[:1]) == ids(tokenizer, SENTENCES[:1])
    loaded.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again/tokenizer_config.json").read_text(encoding="utf-8"))
    assert not leaked.keys() & again.keys()
    assert again["processor_class"] == "kept"


def test_a_call_leaves_no_trace_in_the_files(tokenizer, tmp_path):
    def saved(name):
        return {Path(path).name: Path(path).read_bytes() for path in tokenizer.save_pretrained(tmp_path / name)}

    before = saved("before")
    tokenizer(SENTENCES, truncation=True, max_length=5, padding="max_length", stride=1, return_overflowing_tokens=True,
              padding_side="left", add_prefix_space=True, split_special_tokens=True, num_threads=2)  # fmt: skip
    assert saved("after") == before


def test_only_tokenizer_json(build, tmp_path):
    for kind in ("v1 fast", "v2 fast"):
        tokenizer = build(kind)
        tokenizer.add_tokens("<new>")
        folder = tmp_path / kind
        tokenizer.save_pretrained(folder)
        for path in folder.iterdir():
            if path.name != "tokenizer.json":
                path.unlink()
        for use_fast in (True, False):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                loaded = AutoTokenizer.from_pretrained(folder, use_fast=use_fast)
            assert ids(loaded) == ids(tokenizer)
            assert loaded.get_vocab() == tokenizer.get_vocab()
            assert loaded.save_vocabulary(tmp_path / "vocabulary")


def test_tokenizer_json_without_a_character_map(build, tmp_path):
    build("v2 fast").save_pretrained(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    content["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "NFC"}]}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "spm.model").unlink()
    with pytest.warns(UserWarning, match=r"no character map.*full-width.*legacy_ids=True"):
        loaded = DebertaV2TokenizerFast.from_pretrained(tmp_path)
    assert ids(loaded) == ids(build("v2 slow"))
    with pytest.warns(UserWarning, match="no character map"):
        legacy = DebertaV2TokenizerFast.from_pretrained(tmp_path, legacy_ids=True)
    assert legacy("…")["input_ids"] != loaded("…")["input_ids"]


def test_extra_special_tokens_as_list_or_dictionary(build, kind, tmp_path):
    build(kind).save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for value in (["<ent>"], {"ent_token": "<ent>"}, {}, []):
        path.write_text(json.dumps({**config, "extra_special_tokens": value}), encoding="utf-8")
        loaded = AutoTokenizer.from_pretrained(tmp_path)
        assert ("<ent>" in loaded.all_special_tokens) == bool(value)
        assert len(loaded) == len(build(kind)) + bool(value)


def test_older_files_without_a_list_by_id(build, kind, tmp_path):
    tokenizer = build(kind, additional_special_tokens=["<ent>"])
    tokenizer.add_tokens("<new>")
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink(missing_ok=True)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    del config["added_tokens_decoder"], config["additional_special_tokens"], config["mask_token"]
    path.write_text(json.dumps(config), encoding="utf-8")
    loaded = type(tokenizer).from_pretrained(tmp_path)
    assert ids(loaded) == ids(tokenizer)
    assert loaded.all_special_tokens == tokenizer.all_special_tokens


def test_microsoft_settings_alone(build, kind, tmp_path):
    build(kind).save_vocabulary(tmp_path)
    vocab_type = "gpt2" if kind.startswith("v1") else "spm"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False, "vocab_type": vocab_type}))
    assert ids(AutoTokenizer.from_pretrained(tmp_path)) == ids(build(kind))


def test_model_rebuilt_from_tokenizer_json_is_the_model(build, v2_model, tmp_path):
    build("v2 fast").save_pretrained(tmp_path)
    (tmp_path / "spm.model").unlink()
    rebuilt = read_model(DebertaV2Tokenizer.from_pretrained(tmp_path)._engine.proto)
    assert rebuilt == read_model(v2_model)


def test_bpe_encoder_in_both_containers(tmp_path, v1_files):
    torch = pytest.importorskip("torch")
    vocab = json.loads(v1_files[0].read_text(encoding="utf-8"))
    tokens = [token for token in sorted(vocab, key=vocab.get) if not token.startswith("[") or token == "["]
    merges = [tuple(line.split(" ")) for line in v1_files[1].read_text(encoding="utf-8").split("\n")[1:-1]]
    content = {
        "encoder": {token: i for i, token in enumerate(reversed(tokens))},
        "dict_map": [[str(len(tokens) - 1 - i), 7] for i in range(len(tokens))],
        "vocab": merges,
    }
    expected = DebertaTokenizer(*v1_files)
    for zipped in (True, False):
        torch.save(content, tmp_path / "bpe_encoder.bin", _use_new_zipfile_serialization=zipped)
        loaded = AutoTokenizer.from_pretrained(tmp_path)
        assert loaded.get_vocab() == expected.get_vocab()
        assert ids(loaded) == ids(expected)


def test_loads_beside_a_save(v1_files, tmp_path):
    """Settings and vocabularies of two tokenizers take turns; a reader has those of one, or waits."""
    vocab = json.loads(v1_files[0].read_text(encoding="utf-8"))
    longer = {**vocab, "zebra crossing": len(vocab)}
    tokenizers = [DebertaTokenizer(*v1_files, model_max_length=11)]
    tokenizers.append(DebertaTokenizer(longer, v1_files[1], model_max_length=22))
    tokenizers[0].save_pretrained(tmp_path)
    ended = threading.Event()

    def work():
        while not ended.is_set():
            for tokenizer in reversed(tokenizers):
                tokenizer.save_pretrained(tmp_path)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        found = [AutoTokenizer.from_pretrained(tmp_path, use_fast=False) for _ in range(30)]
    finally:
        ended.set()
        writer.join()
    pairs = {(one.model_max_length, one.vocab_size) for one in found}
    assert pairs <= {(11, len(vocab)), (22, len(longer))}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_failed_save_leaves_the_old_state(tokenizer, tmp_path, monkeypatch):
    tokenizer.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        tokenizer.save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_added_token_beyond_the_model_is_named(build, kind, tmp_path):
    tokenizer = build(kind)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": len(tokenizer)}))
    tokenizer.add_tokens("<new>")
    tokenizer.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="resize_token_embeddings"):
        AutoTokenizer.from_pretrained(tmp_path)


PEERS = [("v1 slow", "DebertaTokenizer"), ("v1 fast", "DebertaTokenizerFast"), ("v2 slow", "DebertaV2Tokenizer"),
         ("v2 fast", "DebertaV2TokenizerFast")]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), PEERS)
def test_transformers_reads_what_is_written(build, kind, name, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = build(kind, additional_special_tokens=["<ent>"])
    tokenizer.add_tokens("<new>")
    tokenizer.save_pretrained(tmp_path)
    peer = getattr(transformers, name).from_pretrained(tmp_path)
    texts = [text for text in TEXTS if "\u0323" not in text]
    assert ids(peer, texts) == ids(tokenizer, texts)
    assert len(peer) == len(tokenizer)
    assert peer.all_special_ids == tokenizer.all_special_ids
    assert (
        transformers.AutoTokenizer.from_pretrained(tmp_path)(TEXTS[0])["input_ids"] == tokenizer(TEXTS[0])["input_ids"]
    )


@pytest.mark.parametrize(("kind", "name"), PEERS)
def test_what_transformers_writes_is_read(build, kind, name, tmp_path):
    transformers = pytest.importorskip("transformers")
    build(kind).save_vocabulary(tmp_path / "vocabulary")
    cls = getattr(transformers, name)
    peer = cls.from_pretrained(tmp_path / "vocabulary", additional_special_tokens=["<ent>"])
    peer.add_tokens("<new>")
    peer.save_pretrained(tmp_path / "saved")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "saved", use_fast=kind.endswith("fast"))
    texts = SENTENCES if kind == "v2 fast" else TEXTS
    texts = [text for text in texts if all(ord(char) < 0x3000 for char in text)]
    assert ids(loaded, texts) == ids(peer, texts)
    assert loaded.get_vocab() == peer.get_vocab()
    assert loaded.special_tokens_map == peer.special_tokens_map
    for text in texts:
        row = loaded(text)["input_ids"]
        for skip in (False, True):
            if kind != "v2 fast" and "<new>" not in text:
                assert loaded.decode(row, skip_special_tokens=skip) == peer.decode(row, skip_special_tokens=skip)


def test_legacy_ids_are_those_of_transformers(build, tmp_path):
    transformers = pytest.importorskip("transformers")
    build("v2 slow").save_vocabulary(tmp_path)
    texts = [*TEXTS, "\x85a\x85", "a [UNK]", "ab\u200b"]
    for settings in ({}, {"do_lower_case": True}, {"split_by_punct": True}):
        peer = transformers.DebertaV2TokenizerFast.from_pretrained(tmp_path, **settings)
        legacy = DebertaV2TokenizerFast.from_pretrained(tmp_path, legacy_ids=True, **settings)
        assert ids(legacy, texts) == ids(peer, texts)
        exact = DebertaV2TokenizerFast.from_pretrained(tmp_path, **settings)
        assert ids(legacy, texts) != ids(exact, texts)
        for text in texts:
            spans = legacy(text, return_offsets_mapping=True, trim_offsets=False)["offset_mapping"]
            assert spans == peer(text, return_offsets_mapping=True)["offset_mapping"]
        peer.save_pretrained(tmp_path / "saved")
        again = AutoTokenizer.from_pretrained(tmp_path / "saved", legacy_ids=True)
        assert ids(again, texts) == ids(peer, texts)


def test_backend_comes_near_the_engine(build):
    for settings in ({}, {"do_lower_case": True}, {"split_by_punct": True}, {"add_prefix_space": False}):
        tokenizer = build("v2 fast", **settings)
        backend = tokenizer.backend_tokenizer
        for text in [*SENTENCES, " \u200bx\u0323\u0302 🫠 ½", "<0x41>", "", "  ", "a $5 !", "[MASK] a"]:
            assert backend.encode(text).ids == tokenizer(text)["input_ids"], (settings, text)
        if not settings:
            assert backend.decode(tokenizer(SENTENCES[0])["input_ids"]) == SENTENCES[0]


@needs_data
def test_published_bpe_encoder_is_the_published_vocabulary():
    encoder = DebertaTokenizer(DATA / "deberta-v1/bpe_encoder.bin")
    files = DebertaTokenizer(DATA / "deberta-v1/vocab.json", DATA / "deberta-v1/merges.txt")
    assert encoder.get_vocab() == files.get_vocab()
    assert encoder._engine.ranks == files._engine.ranks
    assert (len(files), files.vocab_size, files.mask_token_id) == (50265, 50265, 50264)


@needs_data
def test_published_v3_sizes(tmp_path):
    tokenizer = DebertaV2TokenizerFast(DATA / "deberta-v3/spm.model")
    assert (tokenizer.vocab_size, len(tokenizer), tokenizer.mask_token_id) == (128000, 128001, 128000)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "spm.model").unlink()
    texts = [*SENTENCES, "🫠 ½ ﷺ", "Ầ"]
    assert ids(DebertaV2Tokenizer.from_pretrained(tmp_path), texts) == ids(tokenizer, texts)


def test_importing_costs_little_and_brings_no_framework():
    code = (
        "import sys, time; t = time.process_time(); import tokenization; spent = time.process_time() - t;"
        "from tokenization import AutoTokenizer, DebertaV2TokenizerFast, train_from_iterator;"
        "print(spent < 0.2, sorted({'torch', 'tensorflow', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[0] == "True []"


def test_the_map_of_an_spm_is_the_one_in_tokenizer_json(build, v2_model):
    content = json.loads(build("v2 fast").backend_tokenizer.to_str())
    maps = [step for step in content["normalizer"]["normalizers"] if step["type"] == "Precompiled"]
    assert base64.b64decode(maps[0]["precompiled_charsmap"]) == read_model(v2_model).charsmap


def test_public_names():
    for name in tokenization.__all__:
        assert getattr(tokenization, name).__module__.startswith("tokenization.")
    with pytest.raises(AttributeError, match="nothing"):
        tokenization.nothing  # noqa: B018
