"""Classes of a user's own: an encoder with other layers, a head of ours with one more, under any name."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import deberta_pt  # noqa: E402
from tests.models.helpers import one_warning, pt_model, small_config  # noqa: E402

IDS = torch.tensor([[1, 5, 7, 2]])


class Mine(deberta_pt.DebertaV2PreTrainedModel):
    """Layers of many kinds: some start by the config's rule, others by their own."""

    def __init__(self, config, width=7):
        super().__init__(config)
        self.deberta = deberta_pt.DebertaV2Model(config)
        self.lstm = nn.LSTM(config.hidden_size, width, batch_first=True)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.out = nn.Linear(width, 500)
        self.scale = nn.Parameter(torch.full((3,), 5.0))
        self.register_buffer("ids", torch.arange(4), persistent=False)
        self.register_buffer("seen", torch.tensor(3))
        self.deberta.embeddings.requires_grad_(False)
        self.post_init()

    def forward(self, input_ids, attention_mask=None):
        states = self.deberta(input_ids, attention_mask).last_hidden_state
        return self.out(self.norm(self.lstm(states)[0])) * self.scale[0]


class Tied(deberta_pt.DebertaV2PreTrainedModel):
    """The encoder under another name, and a layer that shares its word table."""

    def __init__(self, config):
        super().__init__(config)
        self.backbone = deberta_pt.DebertaV2Model(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def tie_weights(self):
        self.decoder.weight = self.get_input_embeddings().weight

    def forward(self, input_ids, attention_mask=None):
        return self.decoder(self.backbone(input_ids, attention_mask).last_hidden_state)


class More(deberta_pt.DebertaV2ForSequenceClassification):
    """A head of ours with one more layer."""

    def __init__(self, config):
        super().__init__(config)
        self.more = nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()

    def predict_from(self, hidden, mask):
        return super().predict_from(self.more(hidden), mask)


class Encoder(deberta_pt.DebertaModel):
    """An encoder with one more layer, of v1."""

    def __init__(self, config):
        super().__init__(config)
        self.proj = nn.Linear(config.hidden_size, 3)
        self.post_init()


class Two(deberta_pt.DebertaV2PreTrainedModel):
    """Two encoders."""

    def __init__(self, config):
        super().__init__(config)
        self.student, self.teacher = deberta_pt.DebertaV2Model(config), deberta_pt.DebertaV2Model(config)
        self.post_init()


FRESH = {
    Mine: ["scale", "seen", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0",
           "out.weight", "out.bias"],
    Tied: ["decoder.bias"], More: ["more.weight", "more.bias"], Encoder: ["proj.weight", "proj.bias"],
}  # fmt: skip


def source_of(cls, tmp_path):
    """A checkpoint with a head of ours, whose every weight is drawn at random."""
    source = pt_model(small_config("v1" if cls is Encoder else "v3"), "ForSequenceClassification")
    source.save_pretrained(tmp_path)
    return source


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("cls", FRESH)
def test_what_matches_is_filled_and_the_rest_begins(cls, safe, tmp_path):
    source = source_of(cls, tmp_path)
    with one_warning() as seen:
        model, info = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert sorted(info["missing_keys"]) == sorted(FRESH[cls])
    assert f"{cls.__name__}: " in str(seen[0].message)
    assert all(name in str(seen[0].message) for name in FRESH[cls])
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    want, encoder = source.deberta.state_dict(), model.base_model.state_dict()
    assert all(torch.equal(want[key], encoder[key]) for key in want)
    assert not model.training
    with torch.no_grad():
        for name in FRESH[cls]:
            if model.state_dict()[name].is_floating_point():
                model.state_dict()[name].normal_()
    model.save_pretrained(tmp_path / "own", safe_serialization=safe)
    with one_warning(0):
        again, info = cls.from_pretrained(tmp_path / "own", output_loading_info=True)
    assert same(again, model)
    assert not info["missing_keys"]
    assert same(cls.from_pretrained(tmp_path / "own", state_dict=model.state_dict()), model)
    fresh = cls(source.config)
    fresh.load_state_dict(model.state_dict())
    assert same(fresh, model)
    if cls is not Encoder:
        for other in (again, fresh.eval()):
            torch.testing.assert_close(other(IDS), model(IDS))
        half = cls.from_pretrained(tmp_path / "own", dtype=torch.bfloat16)
        assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    back = type(source).from_pretrained(tmp_path / "own")  # the head was carried along
    assert same(back, source)


def test_starting_values_and_what_is_no_file(tmp_path):
    source_of(Mine, tmp_path)
    with one_warning():
        model = Mine.from_pretrained(tmp_path, width=9)
    assert model.lstm.hidden_size == 9
    with one_warning():
        assert Mine.from_pretrained(tmp_path, 8).lstm.hidden_size == 8
    assert (model.scale == 5).all()
    assert model.ids.tolist() == [0, 1, 2, 3]
    assert model.seen == 3
    assert abs(model.out.weight.std() - model.config.initializer_range) < 2e-3
    assert not model.out.bias.any()
    assert model.lstm.weight_hh_l0.std() > 0.1, "an LSTM begins as PyTorch has it"
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert frozen
    assert all(name.startswith("deberta.embeddings.") for name in frozen)
    assert not any(weight.is_meta for weight in Mine(model.config).parameters())
    with pytest.raises(TypeError, match="no keyword and its config no field 'widht'"):
        Mine.from_pretrained(tmp_path, widht=9)


def test_a_shared_table_stays_shared(tmp_path):
    source_of(Tied, tmp_path)
    with one_warning():
        model = Tied.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path / "own")
    for one in (model, Tied.from_pretrained(tmp_path / "own")):
        assert one.decoder.weight is one.backbone.embeddings.word_embeddings.weight
        assert one.get_input_embeddings() is one.backbone.embeddings.word_embeddings
        one.gradient_checkpointing_enable()
        assert one.is_gradient_checkpointing


def test_a_pretrained_encoder_inside_is_not_started_again(tmp_path):
    source = source_of(More, tmp_path)

    class Inside(deberta_pt.DebertaV2PreTrainedModel):
        def __init__(self, config, source):
            super().__init__(config)
            self.deberta = deberta_pt.DebertaV2Model.from_pretrained(source)
            self.out = nn.Linear(config.hidden_size, 2)
            self.post_init()

    model = Inside(source.config, tmp_path)
    assert same(model.deberta, source.deberta)
    with one_warning():
        again = Inside.from_pretrained(tmp_path, source=tmp_path)
    assert same(again.deberta, source.deberta)


def test_own_shapes_and_several_encoders(tmp_path):
    class Wide(deberta_pt.DebertaV2ForSequenceClassification):
        def __init__(self, config):
            super().__init__(config)
            self.classifier = nn.Linear(config.hidden_size, 11)
            self.post_init()

    source = source_of(Wide, tmp_path)
    with pytest.raises(ValueError, match=r"classifier.weight is \[3, 24\], the config asks for \[11, 24\]"):
        Wide.from_pretrained(tmp_path)
    with one_warning():
        model = Wide.from_pretrained(tmp_path, ignore_mismatched_sizes=True)
    assert torch.equal(model.pooler.dense.weight, source.pooler.dense.weight)
    with pytest.raises(ValueError, match="holds no weight of the encoder"):
        Two.from_pretrained(tmp_path)
    two = Two(source.config)
    two.save_pretrained(tmp_path / "two")
    assert same(Two.from_pretrained(tmp_path / "two"), two)


def test_layers_go_between_frameworks(tmp_path):
    pytest.importorskip("tensorflow")
    from conversion import convert

    source_of(More, tmp_path)
    with one_warning():
        model = More.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path / "own")
    convert(tmp_path / "own", tmp_path / "tf", to="tf")
    convert(tmp_path / "tf", tmp_path / "back", to="pt")
    for folder in ("tf", "back"):
        with one_warning(0):
            assert same(More.from_pretrained(tmp_path / folder), model)
