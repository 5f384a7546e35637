"""What a caller can do wrong, and files that are broken or hostile."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
import zipfile

import pytest

from tokenization import AutoTokenizer, DebertaTokenizer, DebertaV2Tokenizer, DebertaV2TokenizerFast
from tokenization.backend import add_special_parts
from tokenization.spm_proto import check_charsmap, read_model

LONG = "The quick brown fox jumps over the lazy dog"

CALLS = [
    ({"text": None}, TypeError, "text is None"),
    ({"text": 3}, TypeError, "not 3"),
    ({"text": [1, 2]}, TypeError, "entry 0 is 1"),
    ({"text": ["dog", None]}, TypeError, "entry 1 is None"),
    ({"text": b"dog"}, TypeError, "decode bytes"),
    ({"text": ["a"], "text_pair": "b"}, TypeError, "text is a batch"),
    ({"text": "a", "text_pair": ["b"]}, TypeError, "batch of 1"),
    ({"text": ["a", "b"], "text_pair": ["c"]}, ValueError, "2 entries"),
    ({"text": [["a", "b", "c"]]}, TypeError, "is_split_into_words"),
    ({"text": "dog \ud800"}, ValueError, "lone surrogate"),
    ({"text": ["dog", "x\udfff"], "return_offsets_mapping": True}, ValueError, "text 1"),
    ({"text": "dog", "padding": "widest"}, ValueError, "padding='widest'"),
    ({"text": "dog", "truncation": "both"}, ValueError, "truncation='both'"),
    ({"text": "dog", "return_tensors": "jax"}, ValueError, "'jax'"),
    ({"text": "dog", "padding_side": "top"}, ValueError, "'top'"),
    ({"text": "dog", "truncation": True, "max_length": 1}, ValueError, "at least 3"),
    ({"text": "", "truncation": True, "max_length": 0}, ValueError, "too small"),
    ({"text": "dog", "text_pair": "fox", "truncation": True, "max_length": 2}, ValueError, "take 3"),
    ({"text": "dog", "truncation": True, "max_length": -3}, ValueError, "max_length=-3"),
    ({"text": "dog", "truncation": True, "max_length": 2.5}, TypeError, "max_length=2.5"),
    ({"text": "dog", "truncation": True, "max_length": 6, "stride": 4}, ValueError, "stride=4"),
    ({"text": "dog", "truncation": True, "max_length": 6, "stride": -1}, ValueError, "stride=-1"),
    ({"text": LONG, "truncation": "only_second", "max_length": 5}, ValueError, "no second text"),
    ({"text": "dog", "text_pair": LONG, "truncation": "only_first", "max_length": 6}, ValueError, "cannot bring"),
    (
        {"text": LONG, "text_pair": LONG, "truncation": True, "max_length": 9, "return_overflowing_tokens": True},
        ValueError,
        "slide",
    ),
    ({"text": LONG, "truncation": True, "max_length": 2, "return_overflowing_tokens": True}, ValueError, "no room"),
    ({"text": ["dog", LONG], "return_tensors": "np"}, ValueError, "padding=True"),
    ({"text": ["dog", LONG], "return_tensors": "pt"}, ValueError, "padding=True"),
    ({"text": "dog", "pad_to_multiple_of": 0, "padding": True}, ValueError, "pad_to_multiple_of=0"),
    ({"text": "dog", "maxlength": 5}, TypeError, "maxlength"),
    ({"text": ["dog"], "is_split_into_words": True, "word_separator": "-"}, ValueError, "word_separator='-'"),
    ({"text": ["dog"], "word_separator": ""}, ValueError, "is_split_into_words=True"),
    (
        {"text": LONG * 3, "truncation": True, "max_length": 12, "pad_to_multiple_of": 8, "padding": True},
        ValueError,
        "rows of 16 tokens.*within 12.*change max_length to 8 or 16, or leave out pad_to_multiple_of",
    ),
    (
        {"text": "dog", "truncation": True, "max_length": 4, "pad_to_multiple_of": 8, "padding": "max_length"},
        ValueError,
        "within 4 .*change max_length to 8, or",
    ),
]


@pytest.mark.parametrize(
    ("call", "error", "words"), CALLS, ids=[str(row[0])[:60].encode("ascii", "replace") for row in CALLS]
)
def test_calls(tokenizer, call, error, words):
    with pytest.raises(error, match=words):
        tokenizer(**call)


def test_unlimited_truncation_is_refused(build, kind):
    tokenizer = build(kind, model_max_length=int(1e30))
    with pytest.raises(ValueError, match="model_max_length"):
        tokenizer(LONG, truncation=True)


def test_one_token_where_a_list_is_expected(build, kind):
    """Its characters would be added one by one."""
    tokenizer = build(kind)
    size = len(tokenizer)
    with pytest.raises(TypeError, match=r"is '<ent>', expected a list of tokens"):
        tokenizer.add_special_tokens({"additional_special_tokens": "<ent>"})
    with pytest.raises(TypeError, match="are a list"):
        tokenizer.additional_special_tokens = "<ent>"
    assert len(tokenizer) == size
    for name in ("additional_special_tokens", "extra_special_tokens"):
        with pytest.raises(TypeError, match="are a list"):
            build(kind, **{name: "<ent>"})


def test_ids(tokenizer):
    for bad in (len(tokenizer), -1, -100):
        for skip in (False, True):
            with pytest.raises(ValueError, match=f"{bad} is out of range"):
                tokenizer.decode([bad], skip_special_tokens=skip)
        with pytest.raises(ValueError, match="out of range"):
            tokenizer.convert_ids_to_tokens(bad)
    with pytest.raises(TypeError, match="batch_decode"):
        tokenizer.decode([[1, 2], [3, 4]])
    with pytest.raises(TypeError, match="integer"):
        tokenizer.decode(["dog"])
    with pytest.raises(TypeError, match="string"):
        tokenizer.convert_tokens_to_ids([5])


def test_settings(build, kind):
    with pytest.raises(TypeError, match=r"'padding_sid'.*did you mean 'padding_side'"):
        build(kind, padding_sid="left")
    with pytest.raises(ValueError, match="padding_side"):
        build(kind, padding_side="up")
    with pytest.raises(ValueError, match="belong to another vocabulary"):
        build(kind, added_tokens_decoder={"7": {"content": "[PAD]"}})
    with pytest.raises(ValueError, match="unknown special token name"):
        build(kind).add_special_tokens({"masktoken": "x"})
    if kind.startswith("v2"):
        with pytest.raises(ValueError, match="add_bos"):
            build(kind, sp_model_kwargs={"add_bos": True})
        with pytest.raises(ValueError, match="nbest_size"):
            build(kind, sp_model_kwargs={"enable_sampling": True, "nbest_size": 1})


def test_folders(tmp_path, v2_model, v1_files):
    with pytest.raises(FileNotFoundError, match="check the path"):
        DebertaV2Tokenizer.from_pretrained(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"spm\.model"):
        DebertaV2Tokenizer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not say"):
        AutoTokenizer.from_pretrained(tmp_path)
    (tmp_path / "spm.model").write_bytes(v2_model)
    (tmp_path / "config.json").write_text('{"vocab_size": 100, "model_type": "deberta-v2"}')
    with pytest.raises(ValueError, match="vocab_size=100"):
        AutoTokenizer.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="JSON"):
        AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a file"):
        DebertaV2Tokenizer(v2_model).save_pretrained(tmp_path / "spm.model")


def test_broken_vocabularies(tmp_path, v1_files):
    with pytest.raises(ValueError, match=r"needs merges_file"):
        DebertaTokenizer({"a": 0})
    vocab, merges = v1_files
    broken = tmp_path / "vocab.json"
    broken.write_text(vocab.read_text(encoding="utf-8")[:500], encoding="utf-8")
    with pytest.raises(ValueError, match="JSON"):
        DebertaTokenizer(broken, merges)
    broken.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ValueError, match="deeply"):
        DebertaTokenizer(broken, merges)
    broken.write_text('{"a": 0, "b": 2}', encoding="utf-8")
    with pytest.raises(ValueError, match="place 1 has id 2"):
        DebertaTokenizer(broken, merges)
    broken.write_text('{"a": "0"}', encoding="utf-8")
    with pytest.raises(ValueError, match="whole numbers"):
        DebertaTokenizer(broken, merges)
    broken.write_text('{"a": 0, "b": 1}', encoding="utf-8")
    with pytest.raises(ValueError, match="do not belong together"):
        DebertaTokenizer(broken, merges)
    lines = tmp_path / "merges.txt"
    lines.write_text("#version: 0.2\na b c\n", encoding="utf-8")
    with pytest.raises(ValueError, match="'a b c'"):
        DebertaTokenizer(vocab, lines)
    with pytest.raises(FileNotFoundError, match="none"):
        DebertaTokenizer(tmp_path / "none", lines)


class Exploit:
    def __reduce__(self):
        return (print, ("executed",))


def test_bpe_encoder_that_holds_more_than_data(tmp_path, capsys):
    path = tmp_path / "bpe_encoder.bin"
    hostile = [pickle.dumps(Exploit()), b"\x80\x02r\xff\xff\xff\x7f.", b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x00.",
               b"(" * 1_000_000, b"\x80\x02}.", pickle.dumps({"encoder": {}, "dict_map": 3, "vocab": []})]  # fmt: skip
    for data in hostile:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"bpe_encoder\.bin"):
            DebertaTokenizer(path)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("bpe_encoder/data.pkl", data)
        with pytest.raises(ValueError, match=r"bpe_encoder\.bin"):
            DebertaTokenizer(path)
    assert capsys.readouterr().out == ""


def test_models_cut_short(v2_model):
    for length in (1, 10, 500, len(v2_model) // 2, len(v2_model) - 3):
        with pytest.raises(ValueError, match=r"complete|damaged|pieces|cut short"):
            DebertaV2Tokenizer(v2_model[:length])
    with pytest.raises(ValueError, match="SentencePiece"):
        DebertaV2Tokenizer(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n")


def test_character_map_that_points_outside(v2_model):
    charsmap = read_model(v2_model).charsmap
    check_charsmap(charsmap, "m")
    size = int.from_bytes(charsmap[:4], "little")
    for place, bytes_ in ((4, b"\xff\xff\xff\x7f"), (4 + 4 * 200, b"\xff\xff\xff\xff"), (0, b"\xff\xff\xff\x7f")):
        damaged = charsmap[:place] + bytes_ + charsmap[place + 4 :]
        with pytest.raises(ValueError, match="character map"):
            check_charsmap(damaged, "m")
    with pytest.raises(ValueError, match="character map"):
        check_charsmap(charsmap[: size + 4] + b"abc", "m")


FUZZ = """
import random, sys, warnings
from tokenization import DebertaV2Tokenizer
data = bytearray(open(sys.argv[1], "rb").read())
draw = random.Random(int(sys.argv[2]))
refused = 0
for _ in range(60):
    broken = bytearray(data)
    for _ in range(draw.choice((1, 3, 30))):
        broken[draw.randrange(len(broken))] = draw.randrange(256)
    try:
        DebertaV2Tokenizer(bytes(broken))("a \\u0323\\ufdfa \\U0001fae0 \\u00bd word", return_offsets_mapping=True)
    except (ValueError, TypeError):
        refused += 1
print("alive", refused)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_models_never_end_the_process(tmp_path, v2_model, seed):
    path = tmp_path / "spm.model"
    path.write_bytes(v2_model)
    run = subprocess.run(
        [sys.executable, "-c", FUZZ, str(path), str(seed)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout.split()[-1]) > 0


def test_damaged_tokenizer_json(tmp_path, build):
    build("v2 fast").save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    good = json.loads(path.read_text(encoding="utf-8"))
    for file in ("spm.model",):
        (tmp_path / file).unlink()
    DebertaV2TokenizerFast.from_pretrained(tmp_path)
    text = path.read_text(encoding="utf-8")
    for broken in (text[: len(text) // 2], "[" * 100_000, "[]", "{}", '{"model": {}}', ""):
        path.write_text(broken, encoding="utf-8")
        with pytest.raises(ValueError, match=r"tokenizer\.json"):
            DebertaV2TokenizerFast.from_pretrained(tmp_path)
    wrong = [
        ("vocab", 5),
        ("vocab", []),
        ("vocab", [["a", "b"]]),
        ("vocab", [["a", 1e300]]),
        ("vocab", [["a", 0.0]] * 9),
        ("unk_id", 10**9),
        ("type", "WordPiece"),
    ]
    for key, value in wrong:
        path.write_text(json.dumps({**good, "model": {**good["model"], key: value}}), encoding="utf-8")
        with pytest.raises(ValueError, match=r"tokenizer\.json"):
            DebertaV2TokenizerFast.from_pretrained(tmp_path)
    draw = random.Random(3)
    good["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "".join(draw.choices("ABCDabcd", k=4000))}
    path.write_text(json.dumps(good), encoding="utf-8")
    for legacy in (False, True):
        with pytest.raises(ValueError, match=r"tokenizer\.json"):
            DebertaV2TokenizerFast.from_pretrained(tmp_path, legacy_ids=legacy)("dog")


def test_a_long_added_token_took_minutes_to_save(tmp_path, build):
    """In settings and by a call: the library's search for it takes time with the square of its length."""
    for kind in ("v1 fast", "v2 fast"):
        tokenizer = build(kind)
        with pytest.raises(ValueError, match=r"token 'x{40}'\.\.\. has 1025 characters, expected at most 1024"):
            tokenizer.add_tokens("x" * 1025)
        tokenizer.add_tokens("x" * 1024)
        tokenizer.save_pretrained(tmp_path)
        path = tmp_path / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "mask_token": "y" * 70_000}))
        with pytest.raises(ValueError, match=r"tokenizer.*has 70000 characters, expected at most 1024"):
            AutoTokenizer.from_pretrained(tmp_path)


def test_thousands_of_added_tokens_are_given_to_the_library_together(build):
    """One call each went through all that were there: half a minute for 3,000."""
    from tokenizers import Tokenizer, models

    class Counting:
        def __init__(self):
            self.backend, self.calls = Tokenizer(models.BPE(build("v1 fast").get_vocab(), [])), []

        def add(self, tokens):
            self.calls.append(len(tokens))
            return self.backend.add_tokens(tokens)

        add_tokens = add_special_tokens = add

        def token_to_id(self, token):
            return self.backend.token_to_id(token)

    tokenizer, counting = build("v1 fast"), Counting()
    tokenizer.add_tokens([f"<{number}>" for number in range(2000)])
    add_special_parts(counting, tokenizer)
    assert counting.calls[-1] == 2000
    assert len(counting.calls) < 10


@pytest.mark.parametrize("part", ["normalizer", "pre_tokenizer", "post_processor", "decoder", "model"])
def test_escape_sequences_in_names_of_rules(tmp_path, build, part):
    build("v2 fast").save_pretrained(tmp_path)
    (tmp_path / "spm.model").unlink()
    path = tmp_path / "tokenizer.json"
    good = json.loads(path.read_text(encoding="utf-8"))
    others = good[part] if part == "model" else {}
    path.write_text(json.dumps({**good, part: {**others, "type": "\x1b[31mred"}}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json") as caught:
        DebertaV2TokenizerFast.from_pretrained(tmp_path)
    assert "\x1b" not in str(caught.value)
