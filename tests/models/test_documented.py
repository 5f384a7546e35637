"""Names that scripts and libraries expect of any model, and being taken for transformers' own beside it."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
import warnings

import pytest

torch = pytest.importorskip("torch")

import deberta_pt  # noqa: E402
from tests.models.helpers import class_name, pt_model, small_config  # noqa: E402

HEADS = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForMultipleChoice", "ForQuestionAnswering"]


def theirs(config, head):
    """transformers' model of the same shape, or a skip."""
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, class_name(config, head)):
        pytest.skip("transformers has no such class")
    other = getattr(transformers, class_name(config, head)[: -len(head)] + "Config").from_dict(config.to_dict())
    return getattr(transformers, class_name(config, head))(other).eval()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("base", ["v1", "v3"])
def test_the_same_figures_as_in_transformers(base, head):
    config = small_config(base, mlm_head="legacy", num_labels=2)
    model, other = pt_model(config, head), theirs(config, head)
    for options in ({}, {"exclude_embeddings": True}, {"only_trainable": True}):
        assert model.num_parameters(**options) == other.num_parameters(**options), options
    inputs = {"input_ids": torch.ones(2, 7, dtype=torch.long)}
    assert model.floating_point_ops(inputs) == other.floating_point_ops(inputs)
    assert model.get_memory_footprint(return_buffers=False) == other.get_memory_footprint(return_buffers=False)
    assert model.half().get_memory_footprint(return_buffers=False) * 2 == model.num_parameters() * 4
    names = [
        "base_model_prefix", "main_input_name", "framework", "is_parallelizable", "_supports_sdpa",
        "_supports_flash_attn", "_supports_flex_attn", "_supports_attention_backend", "_keep_in_fp32_modules",
        "model_tags", "_is_stateful",
        "_keys_to_ignore_on_load_missing", "supports_gradient_checkpointing", "warnings_issued",
        "_hf_peft_config_loaded",
    ]  # fmt: skip
    assert {n: getattr(model, n) for n in names} == {n: getattr(other, n) for n in names}
    assert model.can_generate() is other.can_generate() is False
    assert model._can_set_attn_implementation() == other._can_set_attn_implementation()
    assert type(model).config_class.__name__ == type(other).config_class.__name__


@pytest.mark.parametrize("head", HEADS)
def test_dummy_inputs_are_taken(head):
    model = pt_model(small_config("v3"), head)
    assert all(torch.isfinite(value).all() for value in model(**model.dummy_inputs).values())


def test_masks_for_layers_of_ones_own():
    config = small_config("v3")
    model, other = pt_model(config), theirs(config, "Model")
    for shape in ((2, 5), (2, 5, 5)):
        mask = torch.randint(0, 2, shape)
        want = other.get_extended_attention_mask(mask, (2, 5))
        assert torch.equal(model.get_extended_attention_mask(mask, (2, 5)), want)
        assert torch.equal(model.invert_attention_mask(mask), other.invert_attention_mask(mask))
    for given in (torch.ones(4), torch.ones(3, 4)):
        want = other.get_head_mask(given, 3)
        assert torch.equal(model.get_head_mask(given, 3), want)
    assert model.get_head_mask(None, 3) == [None] * 3
    with pytest.raises(ValueError, match=r"the mask has shape \[3\], expected \[B, L\] or \[B, L, L\]"):
        model.get_extended_attention_mask(torch.ones(3))


def test_tags_warnings_and_names(tmp_path):
    model = pt_model(small_config("v3"))
    model.add_model_tags("one")
    model.add_model_tags(["one", "two"])
    assert model.model_tags == ["one", "two"]
    assert pt_model(small_config("v3")).model_tags is None
    model.warnings_issued["x"] = True
    assert model.warnings_issued == {"x": True}
    assert model.name_or_path == ""
    model.save_pretrained(tmp_path)
    assert type(model).from_pretrained(tmp_path).name_or_path == str(tmp_path)
    key = "encoder.layer.0.attention.self.query_proj.weight"
    assert model.get_parameter_or_buffer(key) is dict(model.named_parameters())[key]
    with pytest.raises(AttributeError, match="'nothing' is neither a parameter nor a buffer"):
        model.get_parameter_or_buffer("nothing")


def test_from_config_and_its_switches():
    config = small_config("v3")
    for make in (deberta_pt.DebertaV2Model.from_config, deberta_pt.DebertaV2Model._from_config):
        model = make(config, dtype="bfloat16", attn_implementation="eager")
        assert (model.dtype, model.config._attn_implementation) == (torch.bfloat16, "eager")
        assert config.attn_implementation == "auto", "the caller's own"
        model.set_attn_implementation("sdpa")
        assert model.config.attn_implementation == "sdpa"
    model = deberta_pt.AutoModelForMaskedLM.from_config(config, torch_dtype=torch.float16, trust_remote_code=True)
    assert model.dtype == torch.float16
    with pytest.raises(ValueError, match="attn_implementation is 'flash'"):
        model.set_attn_implementation("flash")


def test_gradient_checkpointing_of_the_config():
    model = deberta_pt.DebertaV2ForMaskedLM(small_config("v3").copy(gradient_checkpointing=True))
    assert model.is_gradient_checkpointing


def test_starting_weights_by_a_rule_of_ones_own():
    class Mine(deberta_pt.DebertaV2ForSequenceClassification):
        def _init_weights(self, module):
            super()._init_weights(module)
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.constant_(module.weight, 3)

    model = Mine(small_config("v3"))
    assert (model.classifier.weight == 3).all()
    query = model.deberta.encoder.layer[0].attention.self.query_proj.weight
    assert query.std() < 0.1, "the encoder starts by its own rule"
    model.init_weights()
    assert (query == 3).all()


@pytest.mark.parametrize("head", ["Model", "ForMaskedLM", "ForSequenceClassification"])
@pytest.mark.parametrize("base", ["v1", "v3"])
def test_configs_of_transformers_make_models(base, head, tmp_path):
    config = small_config(base, mlm_head="legacy" if head == "ForMaskedLM" else "auto")
    other = theirs(config, head).config
    cls = getattr(deberta_pt, class_name(config, head))
    torch.manual_seed(0)
    want = cls(config)
    torch.manual_seed(0)
    auto = getattr(deberta_pt, "Auto" + (head if head == "Model" else "Model" + head))
    for model in (cls(other), auto.from_config(other)):
        assert isinstance(model.config, type(config))
        assert model.state_dict().keys() == want.state_dict().keys()
    want.save_pretrained(tmp_path)
    for made in (cls, auto):
        again = made.from_pretrained(tmp_path, config=other)
        assert all(
            torch.equal(a, b) for a, b in zip(again.state_dict().values(), want.state_dict().values(), strict=True)
        )


SEEN = """
import sys, deberta_pt, tokenization
from deberta_core.config import DebertaV2Config
sizes = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8}
model = deberta_pt.DebertaV2ForSequenceClassification(DebertaV2Config(vocab_size=30, **sizes))
fast = tokenization.train_from_iterator(["a b c"], vocab_size=300)
output = model(**model.dummy_inputs)
assert type(model) is model.__class__ and type(output) is output.__class__
assert "transformers" not in sys.modules
import transformers
assert isinstance(model, transformers.PreTrainedModel) and isinstance(model, torch.nn.Module)
assert isinstance(fast, transformers.PreTrainedTokenizerFast) and not isinstance(fast, transformers.PreTrainedTokenizer)
assert isinstance(output, transformers.utils.ModelOutput)
assert not isinstance(model, transformers.PretrainedConfig)
"""


def test_transformers_takes_ours_for_its_own_once_it_is_loaded():
    pytest.importorskip("transformers")
    script = "import torch\n" + SEEN
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)


def test_what_is_taken_for_another_is_copied_and_pickled_as_itself():
    transformers = pytest.importorskip("transformers")
    config = small_config("v3")
    model = pt_model(config, "ForSequenceClassification")
    assert isinstance(model, transformers.PreTrainedModel)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.__class__(config)):
        assert type(again) is type(model)
    output = model(**model.dummy_inputs)
    for again in (copy.copy(output), pickle.loads(pickle.dumps(output))):
        assert type(again) is type(output)
        assert again.keys() == output.keys()
    compiled = torch.compile(model, backend="eager", fullgraph=True)(**model.dummy_inputs)
    assert type(compiled) is type(output)


class Texts(list):
    """Rows of token ids whose first one says the label."""

    def __init__(self, count=32):
        rng = torch.Generator().manual_seed(0)
        ids = torch.randint(1, 53, (count, 9), generator=rng)
        super().__init__({"input_ids": row, "labels": int(row[0] > 26)} for row in ids)


def test_trainer_checkpoints_are_model_folders(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    model = pt_model(small_config("v3", num_labels=2), "ForSequenceClassification")
    options = {"num_train_epochs": 2, "per_device_train_batch_size": 16, "report_to": [], "use_cpu": True}
    quiet = {"disable_tqdm": True, "load_best_model_at_end": True, "metric_for_best_model": "eval_loss"}
    arguments = transformers.TrainingArguments(
        str(tmp_path), **options, **quiet, save_strategy="epoch", eval_strategy="epoch"
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=Texts(), eval_dataset=Texts(8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        trainer.train()
    trainer.save_model(str(tmp_path / "last"))
    folders = [*sorted(tmp_path.glob("checkpoint-*")), tmp_path / "last"]
    assert len(folders) == 3
    for folder in folders:
        values = json.loads((folder / "config.json").read_text())
        assert values["architectures"] == ["DebertaV2ForSequenceClassification"]
        again = deberta_pt.AutoModelForSequenceClassification.from_pretrained(folder)
        assert again.num_parameters() == model.num_parameters()
    torch.testing.assert_close(again(**model.dummy_inputs).logits, model.eval()(**model.dummy_inputs).logits)
    resumed = transformers.Trainer(
        pt_model(small_config("v3", num_labels=2), "ForSequenceClassification"), arguments, train_dataset=Texts(),
        eval_dataset=Texts(8),
    )  # fmt: skip
    resumed.train(resume_from_checkpoint=str(folders[0]))
    assert resumed.state.epoch == 2


def test_a_pipeline_reads_states(tmp_path):
    transformers = pytest.importorskip("transformers")
    from tokenization import train_from_iterator

    tokenizer = train_from_iterator(["a b c d"], vocab_size=300)
    model = pt_model(small_config("v3", vocab_size=len(tokenizer)))
    features = transformers.pipeline("feature-extraction", model=model, tokenizer=tokenizer)("a b")
    want = model(**tokenizer("a b", return_tensors="pt")).last_hidden_state
    torch.testing.assert_close(torch.tensor(features), want)
