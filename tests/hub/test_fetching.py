"""Fetching by name: what is asked of the hub, what goes wrong, and what the user reads then."""

import errno
import os
import sys
import traceback
from pathlib import Path

import pytest

from deberta_core.config import AutoConfig, DebertaV2Config
from deberta_core.file_names import checkpoint_files, config_files, model_files, tokenizer_files
from deberta_core.hub.fetching import HUB_KEYWORDS, HubOptions, _patiently, fetch, find, is_name
from deberta_core.hub.pushing import push_files
from tests.hub.server import GOOD_TOKEN

huggingface_hub = pytest.importorskip("huggingface_hub")

NAME = "owner/tiny"
WEIGHTS = os.urandom(20_000)
FILES = {
    "config.json": b'{"model_type": "deberta-v2"}',
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"old" * 1000,
    "tf_model.h5": b"tf" * 1000,
    "pytorch_model.generator.bin": b"generator",
    "generator_config.json": b"{}",
    "spm.model": b"words",
    "tokenizer_config.json": b"{}",
    "README.md": b"a card",
    "training.log": b"nothing that a model needs",
    "small/config.json": b"{}",
    "small/model.safetensors": b"small",
}
pytestmark = pytest.mark.usefixtures("cache")


def fetched(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("choose", "subfolder", "expected"),
    [
        (config_files, "", {"config.json"}),
        (model_files(), "", {"config.json", "model.safetensors"}),
        (model_files(("h5", "safetensors")), "", {"config.json", "tf_model.h5"}),
        (model_files(("bin",)), "", {"config.json", "pytorch_model.bin"}),
        (model_files(generator=True), "", {"generator_config.json", "pytorch_model.generator.bin"}),
        (tokenizer_files, "", {"config.json", "spm.model", "tokenizer_config.json"}),
        (model_files(), "small", {"small/config.json", "small/model.safetensors"}),
        (
            checkpoint_files, "",
            {"config.json", "model.safetensors", "spm.model", "tokenizer_config.json", "README.md"},
        ),
    ],
)  # fmt: skip
def test_only_what_is_needed_is_fetched(hub, choose, subfolder, expected):
    hub.commit(NAME, FILES)
    folder = fetch(NAME, choose, subfolder=subfolder)
    assert fetched(folder) == expected
    assert all((folder / name).read_bytes() == FILES[name] for name in expected)


def test_shards_come_with_their_index(hub):
    shards = {f"model-0000{i}-of-00002.safetensors": bytes([i]) for i in (1, 2)}
    needed = {"config.json": b"{}", "model.safetensors.index.json": b"{}", **shards}
    hub.commit(NAME, {**needed, "notes-00001-of-00002": b"", "model-00001-of-00002.bin": b""})
    assert fetched(fetch(NAME, model_files())) == set(needed)


def test_what_is_there_stays_as_it_is(hub, tmp_path):
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "a", tmp_path / "nowhere", "../x", "x", "~/x", "a/b/c", "runs/model.safetensors", ""):
        assert find(path, config_files) == Path(path)
    assert hub.requests == []
    assert is_name("microsoft/deberta-v3-base")


def test_a_second_time_nothing_is_fetched_but_changes(hub):
    hub.commit(NAME, FILES)
    first = fetch(NAME, model_files())
    hub.requests.clear()
    assert fetch(NAME, model_files()) == first
    assert hub.asked("GET", "resolve") == hub.asked("GET", "storage") == []
    hub.commit(NAME, {**FILES, "config.json": b'{"changed": 1}'})
    second = fetch(NAME, model_files())
    assert (second / "config.json").read_bytes() == b'{"changed": 1}'
    assert hub.asked("GET", "storage") == []  # the same weights, known by their etag


@pytest.mark.parametrize("revision", ["v1", "commit"])
def test_revisions(hub, revision):
    old = hub.commit(NAME, {**FILES, "model.safetensors": b"old"}, ref="v1")
    hub.commit(NAME, FILES)
    folder = fetch(NAME, model_files(), options=HubOptions(revision=old if revision == "commit" else "v1"))
    assert (folder / "model.safetensors").read_bytes() == b"old"
    assert folder.name == old


def test_a_branch_that_moves_in_between_is_not_mixed(hub, monkeypatch):
    hub.commit(NAME, FILES)
    download = huggingface_hub.hf_hub_download

    def moved(name, file, **options):
        path = download(name, file, **options)
        if file == "config.json":
            hub.commit(NAME, {**FILES, "model.safetensors": b"later"})
        return path

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", moved)
    assert (fetch(NAME, model_files()) / "model.safetensors").read_bytes() == WEIGHTS


def test_the_token_goes_to_the_hub_and_not_to_its_storage(hub):
    hub.commit(NAME, FILES, private=True)
    fetch(NAME, model_files(), options=HubOptions(token=GOOD_TOKEN))
    assert {headers.get("authorization") for headers in hub.asked("HEAD", NAME)} == {f"Bearer {GOOD_TOKEN}"}
    assert [headers.get("authorization") for headers in hub.asked("GET", "storage")] == [None]


def test_a_cut_transfer_goes_on_where_it_stopped(hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.commit(NAME, FILES)
    hub.faults.cut["model.safetensors"] = 2
    assert (fetch(NAME, model_files()) / "model.safetensors").read_bytes() == WEIGHTS
    starts = [headers.get("range") for headers in hub.asked("GET", "storage")]
    assert len(starts) == 3
    assert starts[0] is None
    first, second = (int(start.removeprefix("bytes=").split("-")[0]) for start in starts[1:])
    assert 0 < first < second < len(WEIGHTS)


def test_a_transfer_that_is_always_cut_is_given_up_and_tried_again_by_the_next_call(hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.commit(NAME, FILES)
    hub.faults.cut["model.safetensors"] = 1000
    with pytest.raises(FileNotFoundError, match="check the network and try again"):
        fetch(NAME, model_files())
    hub.faults.cut.clear()
    hub.requests.clear()
    assert (fetch(NAME, model_files()) / "model.safetensors").read_bytes() == WEIGHTS
    if int(huggingface_hub.__version__.split(".")[0]) < 1:  # later releases keep no part of a call that failed
        assert all(headers.get("range") for headers in hub.asked("GET", "storage"))


def test_what_was_fetched_in_part_is_not_there_offline(hub, monkeypatch):
    """Whoever is killed between two files leaves a model whose tokenizer has no settings."""
    hub.commit(NAME, FILES)
    get = huggingface_hub.hf_hub_download

    def killed(name, file, **options):
        if file == "tokenizer_config.json":
            raise KeyboardInterrupt
        return get(name, file, **options)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch(NAME, checkpoint_files)
    with pytest.raises(FileNotFoundError, match="was not fetched before"):
        fetch(NAME, checkpoint_files, options=HubOptions(local_files_only=True))
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", get)
    folder = fetch(NAME, checkpoint_files)
    assert fetch(NAME, checkpoint_files, options=HubOptions(local_files_only=True)) == folder
    assert "tokenizer_config.json" in fetched(folder)


def test_a_busy_or_failing_hub_is_asked_again(hub):
    hub.commit(NAME, FILES)
    hub.faults.busy, hub.faults.failing = 2, 1
    assert fetched(fetch(NAME, config_files)) == {"config.json"}


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        ({"private": True}, {}, r"no model of this name.*token=.*HF_TOKEN.*put them into a folder"),
        ({"gated": True}, {}, r"accept the conditions.*put them into a folder"),
        ({}, {"token": "hf_bad"}, r"does not accept the token"),
        ({}, {"revision": "v9"}, r"'owner/tiny' has no revision 'v9'"),
    ],
)
def test_refusals(hub, settings, options, expected):
    hub.commit(NAME, FILES, **settings)
    with pytest.raises(FileNotFoundError, match=expected) as caught:
        fetch(NAME, model_files(), options=HubOptions(**options))
    assert "\n" not in str(caught.value)


def test_a_name_that_is_none(hub):
    with pytest.raises(FileNotFoundError, match=r"no folder 'owner/nothing', and no model of this name"):
        fetch("owner/nothing", model_files())


def test_a_repository_without_what_is_needed(hub):
    hub.commit(NAME, {"notes.txt": b""})
    with pytest.raises(FileNotFoundError, match=r"does not hold the files that are needed; it has notes\.txt"):
        fetch(NAME, model_files())


@pytest.mark.parametrize(("fault", "expected"), [("busy", r"fewer requests \(429\)"), ("failing", "status 500")])
def test_a_hub_that_stays_in_trouble_gives_way_to_the_cache(hub, monkeypatch, fault, expected):
    hub.commit(NAME, FILES)
    setattr(hub.faults, fault, 1000)
    with pytest.raises(FileNotFoundError, match=expected):
        fetch(NAME, config_files)
    setattr(hub.faults, fault, 0)
    folder = fetch(NAME, config_files)
    setattr(hub.faults, fault, 1000)
    with pytest.warns(UserWarning, match=expected):
        assert fetch(NAME, config_files) == folder


def test_no_network(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError, match=r"cannot be fetched from the hub \(.*put them into a folder"):
        fetch(NAME, model_files())


@pytest.mark.parametrize("how", ["environment", "argument"])
def test_offline_asks_nobody(hub, monkeypatch, how):
    hub.commit(NAME, FILES)
    folder = fetch(NAME, model_files())
    hub.requests.clear()
    options = HubOptions(local_files_only=how == "argument")
    if how == "environment":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(NAME, model_files(), options=options) == folder
    for choose, name in ((tokenizer_files, NAME), (model_files(), "owner/other")):
        with pytest.raises(FileNotFoundError, match=r"was not fetched before.*go online once, or get its files"):
            fetch(name, choose, options=options)
    assert hub.requests == []


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match="pip install huggingface_hub, or get its files"):
        fetch(NAME, model_files())


def test_a_cache_elsewhere_and_fetching_again(hub, tmp_path):
    hub.commit(NAME, FILES)
    options = HubOptions(cache_dir=tmp_path / "mine")
    folder = fetch(NAME, model_files(), options=options)
    assert (tmp_path / "mine") in folder.parents
    hub.requests.clear()
    fetch(NAME, model_files(), options=HubOptions(cache_dir=tmp_path / "mine", force_download=True))
    assert len(hub.asked("GET", "storage")) == 1


def test_options_of_old_scripts():
    keywords = {"use_auth_token": "t", "resume_download": True, "proxies": None, "revision": "v1", "num_labels": 3}
    assert HubOptions.take(keywords) == HubOptions(revision="v1", token="t")
    assert keywords == {"num_labels": 3}
    assert "revision" in HUB_KEYWORDS


SECRETS = ["hf_" + "aB3" * 9, "hf_short\n", "a b\r\nX: y", "\u00e9\u00e8secret"]


@pytest.mark.parametrize("token", SECRETS)
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_token_stood_in_errors_and_tracebacks(hub, monkeypatch, token, way, recwarn):
    """Libraries below name the header that they refuse; a server may repeat it."""
    given = HubOptions(token=token) if way == "argument" else HubOptions()
    if way == "environment":
        monkeypatch.setenv("HF_TOKEN", token)
    said = repr(given)
    hub.commit(NAME, FILES)

    def refuse(self, *more, **options):
        try:
            raise ValueError(f"Illegal header value: 'Bearer {token}', {token!r}")
        except ValueError as error:
            inner = error
        raise type("HfHubHTTPError", (RuntimeError,), {})(f"no {token}" + "." * 180 + token) from inner

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    for call in (
        lambda: fetch(NAME, config_files, options=given),
        lambda: push_files(".", [], "me/x", token=given.token),
    ):
        with pytest.raises(OSError, match=r"\(token\)") as caught:
            call()
        said += "".join(traceback.format_exception(caught.value))
        below = [caught.value.__cause__, caught.value.__context__]
        below += [one.__context__ for one in below if one]
        assert not any(one and one.__traceback__ for one in below), "frames whose variables hold headers"
    monkeypatch.undo()
    said += "".join(str(one.message) for one in recwarn)
    for spelling in (token.strip(), repr(token)[1:-1], token.strip()[:8]):
        assert spelling not in said


def test_tokens_in_addresses_and_under_other_names(tmp_path):
    token = "hf_" + "aB3" * 9
    with pytest.raises(FileNotFoundError, match=r"https://\(token\)@hub/owner/tiny is an address, expected a folder"):
        find(f"https://user:{token}@hub/owner/tiny", config_files)
    with pytest.raises(TypeError, match=r"^'hf_token' holds a token of a hub; pass it as token=\.\.\.$"):
        HubOptions.take({"hf_token": token})
    DebertaV2Config().save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="'hf_token' holds a token of a hub"):
        AutoConfig.from_pretrained(tmp_path, hf_token=token)
    assert not hasattr(AutoConfig.from_pretrained(tmp_path, token=token), "token")


def test_a_full_disk_is_not_tried_again(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits for a disk that stays full"))
    tried = []

    def transfer():
        tried.append(True)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left"):
        _patiently(transfer, transfer=True)
    assert len(tried) == 1
