"""The model that comes with the package: by name, everywhere, in both frameworks, and no hub is asked."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import pytest

from conversion import convert, inspect
from deberta_core import packaged
from deberta_core.config import AutoConfig
from deberta_core.hub import fetching
from deberta_tasks.cli import main
from tests.models.helpers import small_config
from tests.pretraining.helpers import tokenizer
from tests.pretraining.pairs import pair

NAMES = (packaged.NAME, packaged.GENERATOR, packaged.DISCRIMINATOR)
LAYERS = {"generator": 2, "discriminator": 4}
TEXT = "Fry the onion slowly."
SAID = {"And it came [MASK] pass.": "to", "The function returns a [MASK] of strings.": "list"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small pair in the place of the one that is shipped; whoever asks a hub fails."""
    pytest.importorskip("torch")
    from deberta_tasks.pretrain.mini import save_apart

    made = tmp_path / "made"
    sizes = {"vocab_size": len(tokenizer()), "num_hidden_layers": 4, "max_position_embeddings": 32}
    save_apart(pair("pt", changes=sizes).half(), tokenizer(), made)
    monkeypatch.setattr(packaged, "FOLDER", made)

    def refuse(name, *_, **__):
        raise AssertionError(f"the hub was asked for {name}")

    monkeypatch.setattr(fetching, "fetch", refuse)
    monkeypatch.chdir(tmp_path)
    return made


def classes(framework, head):
    """The class of the family and the one that finds the family."""
    if framework == "pt":
        pytest.importorskip("torch")
        import deberta_pt as tree

        prefix = ""
    else:
        pytest.importorskip("tensorflow")
        import deberta_tf as tree

        prefix = "TF"
    return getattr(tree, f"{prefix}DebertaV2{head}"), getattr(tree, f"{prefix}AutoModel{head.removeprefix('Model')}")


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:.*newly initialised", "ignore:.*not used")
def test_models(framework, folder):
    """Who predicts words gets the generator, others the discriminator; each can be named."""
    for head in ("Model", "ForMaskedLM", "ForSequenceClassification", "ForReplacedTokenDetection"):
        words = head == "ForMaskedLM"
        for cls in classes(framework, head):
            layers = {name: cls.from_pretrained(name).config.num_hidden_layers for name in NAMES[: 2 if words else 3]}
            assert layers[packaged.NAME] == LAYERS["generator" if words else "discriminator"]
            assert layers[packaged.GENERATOR] == LAYERS["generator"]
            assert words or layers[packaged.DISCRIMINATOR] == LAYERS["discriminator"]
            if words:
                with pytest.raises(ValueError, match=r"mini-discriminator .* predicts no words; deberta-zoo/mini-gen"):
                    cls.from_pretrained(packaged.DISCRIMINATOR)
    lm = classes(framework, "ForMaskedLM")[0].from_pretrained(packaged.NAME, generator=True)
    assert lm.config.num_hidden_layers == LAYERS["generator"]


def test_weights_that_are_given_get_the_config_of_their_half(folder):
    for cls in classes("pt", "ForMaskedLM"):
        model = cls.from_pretrained(packaged.NAME)
        again = cls.from_pretrained(packaged.NAME, state_dict=model.state_dict())
        assert again.config.num_hidden_layers == LAYERS["generator"]


def test_a_config_of_the_other_half_is_refused(folder):
    """As programs give it that read the config by the same name first."""
    for cls in classes("pt", "ForMaskedLM"):
        with pytest.raises(ValueError, match=r"given has 4 layers.* which has 2; give .*mini-generator"):
            cls.from_pretrained(packaged.NAME, config=AutoConfig.from_pretrained(packaged.NAME))
        model = cls.from_pretrained(packaged.NAME, config=AutoConfig.from_pretrained(packaged.GENERATOR))
        assert model.config.num_hidden_layers == LAYERS["generator"]


def test_configs_and_tokenizers(folder):
    from tokenization import AutoTokenizer, DebertaV2Tokenizer

    for name in NAMES:
        which = "generator" if name == packaged.GENERATOR else "discriminator"
        for given in (name, Path(name)):
            assert AutoConfig.from_pretrained(given).num_hidden_layers == LAYERS[which]
        for cls in (AutoTokenizer, DebertaV2Tokenizer):
            assert cls.from_pretrained(name).get_vocab() == tokenizer().get_vocab()


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
def test_pipelines(framework, folder):
    from deberta_tasks import pipeline

    classes(framework, "Model")
    words = pipeline("fill-mask", packaged.NAME, framework)("Fry the [MASK] slowly.")
    assert len(words) == 5
    assert words == pipeline("fill-mask", packaged.GENERATOR, framework)("Fry the [MASK] slowly.")
    with pytest.raises(ValueError, match="predicts no words"):
        pipeline("fill-mask", packaged.DISCRIMINATOR, framework)
    features = pipeline("feature-extraction", packaged.NAME, framework)(TEXT)
    other = pipeline("feature-extraction", str(folder / "discriminator"), framework)(TEXT)
    assert (features == other).all() if hasattr(features, "all") else features == other


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
def test_training_goes_on_with_both(framework, folder):
    """No generator is made anew, but where one of the two alone is named."""
    classes(framework, "Model")
    if framework == "pt":
        from deberta_pt import ReplacedTokenPretraining as Pair
    else:
        from deberta_tf import TFReplacedTokenPretraining as Pair

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        both = Pair.from_pretrained(packaged.NAME)
    with pytest.warns(UserWarning, match="no generator was given"):
        other = Pair.from_pretrained(packaged.DISCRIMINATOR)
    for pair_of_models in (both, other):
        halves = (pair_of_models.generator, pair_of_models.discriminator)
        assert [half.config.num_hidden_layers for half in halves] == list(LAYERS.values())


def test_conversion(folder, tmp_path):
    """Each half can be inspected and converted by its name."""
    for name, layers in ((packaged.NAME, 4), (packaged.GENERATOR, 2), (packaged.DISCRIMINATOR, 4)):
        found = inspect(name)
        assert found.layers == layers
        assert found.head == ("ForMaskedLM" if layers == 2 else "ForReplacedTokenDetection")
        report = convert(name, tmp_path / str(layers) / name, to="tf")
        assert report.lossless
        assert (tmp_path / str(layers) / name / "spm.model").is_file()


COMMANDS = {
    "inspect": ["inspect", "MODEL"],
    "convert": ["convert", "MODEL", "out", "--to", "pt", "--format", "bin"],
    "trim": ["trim", "MODEL", "out", "--texts", "texts.txt"],
    "prune": ["prune", "MODEL", "out", "--texts", "texts.txt", "--intermediate", "0.5"],
    "quantize": ["quantize", "MODEL", "out", "--texts", "texts.txt"],
    "attention": ["attention", "--model", "MODEL", "--text", TEXT, "--out", "out.html"],
    "run": ["run", "--task", "feature-extraction", "--model", "MODEL", "--input", "texts.txt", "--output", "out.jsonl"],
    "compare-tokenizers": ["compare-tokenizers", "MODEL", "MODEL", "texts.txt"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", [packaged.NAME, packaged.GENERATOR])
def test_commands(command, name, folder, tmp_path, capsys):
    (tmp_path / "texts.txt").write_text(f"{TEXT}\n" * 9, encoding="utf-8")
    code = main([name if word == "MODEL" else word for word in COMMANDS[command]])
    assert code == 0, capsys.readouterr().err


def test_commands_that_train(folder, tmp_path, capsys):
    """Starting and going on from it, and a student that is made of it."""
    (tmp_path / "texts.txt").write_text("\n".join([TEXT] * 40), encoding="utf-8")
    (tmp_path / "train.csv").write_text("label,text\n" + f"a,{TEXT}\nb,It rains.\n" * 16, encoding="utf-8")
    short = ["--batch-size", "4", "--max-length", "16"]
    task = ["--task", "text-classification", "--train", "train.csv", "--epochs", "1", *short]
    text = ["--text", "texts.txt", "--steps", "1", *short]
    commands = [
        ["finetune", "--model", packaged.NAME, "--output", "1", *task],
        ["pretrain", "--objective", "mlm", "--model", packaged.NAME, "--output", "2", *text],
        ["pretrain", "--objective", "rtd", "--model", packaged.NAME, "--output", "3", *text],
        ["distill", "--mlm", "--teacher", packaged.NAME, "--layers", "1", "--output", "4", *text],
    ]
    for command, expected in zip(commands, [4, 2, 4, 1], strict=True):
        assert main(command) == 0, capsys.readouterr().err
        config = json.loads((tmp_path / command[command.index("--output") + 1] / "model" / "config.json").read_text())
        assert config["num_hidden_layers"] == expected
    assert (tmp_path / "3" / "model" / "generator_config.json").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_that_path_wins(name, folder, tmp_path):
    os.makedirs(name)
    small_config("v3", num_hidden_layers=3).save_pretrained(name)
    assert packaged.packaged(name) is None
    assert AutoConfig.from_pretrained(name).num_hidden_layers == 3


def test_a_folder_of_the_other_name_changes_nothing(folder):
    """Words are asked of the generator in the package, though a folder has the name of its own."""
    os.makedirs(packaged.GENERATOR)
    model = classes("pt", "ForMaskedLM")[0].from_pretrained(packaged.NAME)
    assert model.config.num_hidden_layers == LAYERS["generator"]


@pytest.mark.parametrize("path", [f"./{packaged.NAME}", f"{packaged.NAME}/", os.path.abspath(packaged.NAME)])
def test_paths_are_no_names(path, folder):
    for load in (AutoConfig.from_pretrained, inspect):
        with pytest.raises(FileNotFoundError):
            load(path)


@pytest.mark.parametrize("path", [f"./{packaged.NAME}", f"{packaged.NAME}/", "./deberta-zoo/other"])
def test_commands_take_paths_for_paths(path, folder, tmp_path, capsys):
    """Also where they look twice: a path once found has no ``./`` before it."""
    assert main(["inspect", path]) == 2
    assert f"no weights at {tmp_path / path}: there is no such file or folder" in capsys.readouterr().err
    assert main(["convert", path, "out", "--to", "tf"]) == 2
    assert f"no weights at {tmp_path / path}: there is no such file or folder" in capsys.readouterr().err


@pytest.mark.parametrize("option", [{"revision": "v2"}, {"subfolder": "generator"}])
def test_what_a_package_does_not_have_is_not_passed_over(option, folder):
    from tokenization import AutoTokenizer

    (name,) = option
    for load in (AutoConfig.from_pretrained, AutoTokenizer.from_pretrained, classes("pt", "Model")[1].from_pretrained):
        with pytest.raises(ValueError, match=f"{packaged.NAME} comes with this package, as it is; leave {name}='"):
            load(packaged.NAME, **option)
    assert main(["inspect", packaged.NAME, f"--{name}", option[name]]) == 2


def test_an_installation_without_it_says_so(folder, monkeypatch):
    from tokenization import AutoTokenizer

    monkeypatch.setattr(packaged, "FOLDER", folder / "gone")
    for load in (AutoConfig.from_pretrained, AutoTokenizer.from_pretrained, inspect):
        with pytest.raises(FileNotFoundError, match=f"this installation lacks {packaged.NAME}, which belongs in "):
            load(packaged.NAME)


def test_other_names_are_asked_for(folder):
    with pytest.raises(AssertionError, match="deberta-zoo/other"):
        AutoConfig.from_pretrained("deberta-zoo/other")


@pytest.mark.parametrize("name", ["deberta-zoo/minii", "DeBERTa-zoo/Mini"])
def test_names_like_them_say_what_there_is(name, folder, monkeypatch):
    def missing(name, *_, **__):
        raise FileNotFoundError(f"there is no {name}")

    monkeypatch.setattr(fetching, "fetch", missing)
    with pytest.raises(FileNotFoundError, match=f"no {name}; with this package come {', '.join(NAMES)}"):
        AutoConfig.from_pretrained(name)
    with pytest.raises(FileNotFoundError, match=r"there is no someone/else$"):
        AutoConfig.from_pretrained("someone/else")


def test_what_is_shipped():
    """Half precision, a card in both folders, and no more than 18 MB in all."""
    from deberta_core.checkpoint import open_weights

    files = [path for path in packaged.FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 18e6
    cards = [(packaged.FOLDER / half / "README.md").read_text(encoding="utf-8") for half in LAYERS]
    assert len({card.partition("\nA small DeBERTa v3 ")[2] for card in cards}) == 1
    for card, half in zip(cards, ("DebertaV2ForMaskedLM", "DebertaV2Model"), strict=True):
        assert f"\nmodel = {half}.from_pretrained(" in card
        for said in ("license: apache-2.0", "## Texts", "## Training", "## Known limits", "| fill-mask | ", *NAMES):
            assert said in card
    for card, layers, task in zip(cards, (3, 6), ("fill-mask", "feature-extraction"), strict=True):
        assert f"\npipeline_tag: {task}\n" in card
        assert f"\n| layers | {layers} |\n" in card
    for half in LAYERS:
        with open_weights(packaged.FOLDER / half) as weights:
            assert {info.dtype for info in weights.tensors.values()} == {"float16"}


def test_the_page_says_what_the_card_says():
    """How good it is, and how it got there."""
    page, card = (
        path.read_text(encoding="utf-8")
        for path in (Path(__file__).parents[2] / "docs" / "mini.md", packaged.FOLDER / "generator" / "README.md")
    )
    rows = [line for line in page.splitlines() if line.startswith(("| fill-mask |", "| most frequent")) or (
        line.startswith("| ") and line[2:].split(" ")[0].isdigit()
    )]  # fmt: skip
    assert len(rows) >= 13
    assert all(row in card.splitlines() for row in rows)


@pytest.mark.parametrize("framework", ["pt", pytest.param("tf", marks=pytest.mark.slow)])
def test_what_it_says(framework):
    from deberta_tasks import pipeline

    classes(framework, "Model")
    fill = pipeline("fill-mask", packaged.NAME, framework)
    for text, word in SAID.items():
        assert word in [answer["token_str"].strip() for answer in fill(text)], text
