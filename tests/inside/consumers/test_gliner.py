"""GLiNER: built from a config, predicting, packing, trained for a step, with our encoder inside."""

from __future__ import annotations

import numpy as np
import pytest

from deberta_pt.transformers import replace
from tests.inside.consumers.conftest import needs
from tests.inside.helpers import is_ours, randomise, torch
from tests.pipelines.cases import SENTENCES

pytestmark = needs("gliner")
LABELS = ["person", "city", "animal"]


def gliner_model(path, **fields):
    from gliner import GLiNER, GLiNERConfig
    from transformers import AutoConfig

    config = GLiNERConfig(
        model_name=path, encoder_config=AutoConfig.from_pretrained(path).to_dict(), hidden_size=24, dropout=0.0,
        max_width=4, max_len=48, max_neg_type_ratio=1, **fields,
    )  # fmt: skip
    model = GLiNER.from_config(config) if hasattr(GLiNER, "from_config") else GLiNER.load_from_config(config)
    randomise(model)
    return model.eval()


def entities(model, **options):
    found = model.inference(SENTENCES, LABELS, threshold=0.3, batch_size=3, **options)
    return [[(e["start"], e["end"], e["label"], e["score"]) for e in row] for row in found]


def assert_same(got, want):
    assert [[e[:3] for e in row] for row in got] == [[e[:3] for e in row] for row in want]
    assert sum(map(len, want)) > 3
    scores = [np.array([e[3] for row in side for e in row]) for side in (got, want)]
    np.testing.assert_allclose(*scores, rtol=0, atol=1e-5)


# Layers are fused by means over all tokens of a batch, padded ones as well.
@pytest.mark.parametrize(("fields", "options"), [({}, {}), ({"fuse_layers": True}, {"masked_rows": "uniform"})])
def test_entities(checkpoint, both, fields, options):
    path = checkpoint("Model", max_position_embeddings=128)

    def run():
        model = gliner_model(path, **fields)
        return is_ours(model.model.token_rep_layer), entities(model), model

    want, got = both(run, **options)
    assert (want[0], got[0]) == (False, True)
    assert_same(got[1], want[1])
    assert replace(want[2], **options)
    assert_same(entities(want[2]), got[1])


def test_packing(checkpoint, both):
    path = checkpoint("Model", max_position_embeddings=128)

    def run():
        from gliner import InferencePackingConfig

        model = gliner_model(path)
        separator = model.data_processor.transformer_tokenizer.sep_token_id
        packing = InferencePackingConfig(max_length=96, sep_token_id=separator)
        return entities(model, packing_config=packing), entities(model)

    want, got = both(run)
    assert_same(got[0], want[0])
    assert_same(got[0], got[1])


def test_a_training_step(checkpoint, both, tmp_path):
    path = checkpoint("Model", max_position_embeddings=128)
    rows = [
        {"tokenized_text": ["Jim", "Henson", "was", "a", "nice", "puppet"], "ner": [[0, 1, "person"]]},
        {"tokenized_text": ["Wolfgang", "and", "I", "live", "in", "Paris"], "ner": [[0, 0, "person"], [5, 5, "city"]]},
    ]  # fmt: skip

    def run():
        model = gliner_model(path)
        collate = model.data_collator_class(model.config, data_processor=model.data_processor, prepare_labels=True)
        inputs = collate(rows)
        loss = model.train()(**inputs).loss
        loss.backward()
        norms = {name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None}
        ours = is_ours(model)
        model.eval().save_pretrained(str(tmp_path / f"saved-{ours}"))
        return loss.item(), norms, entities(model), ours

    want, got = both(run)
    assert (want[3], got[3]) == (False, True)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5)
    assert got[1].keys() == want[1].keys()
    largest = max(want[1].values())
    np.testing.assert_allclose(list(got[1].values()), list(want[1].values()), rtol=1e-4, atol=1e-5 * largest)
    from gliner import GLiNER

    assert_same(entities(GLiNER.from_pretrained(str(tmp_path / "saved-True"))), want[2])


def test_a_prepared_model_is_not_saved(checkpoint, tmp_path):
    model = gliner_model(checkpoint("Model", max_position_embeddings=128))
    want = entities(model)
    replace(model, prepare=True)
    with torch.no_grad():
        assert_same(entities(model), want)
    with pytest.raises(RuntimeError, match="prepared for inference and cannot be saved"):
        model.save_pretrained(str(tmp_path))
