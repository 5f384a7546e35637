"""sentence-transformers and SetFit: embeddings, scores and training with our encoder inside."""

from __future__ import annotations

import numpy as np
import pytest

from deberta_pt.transformers import replace
from tests.inside.consumers.conftest import needs
from tests.inside.helpers import is_ours, torch
from tests.pipelines.cases import SENTENCES

pytestmark = needs("sentence_transformers")
PAIRS = [(one, two) for one in SENTENCES[:4] for two in SENTENCES[3:]]


def close(got, want):
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=0, atol=1e-5)


def sentence_model(path):
    from sentence_transformers import SentenceTransformer

    try:
        from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    except ImportError:
        from sentence_transformers.models import Pooling, Transformer
    return SentenceTransformer(modules=[Transformer(path), Pooling(24)], device="cpu")


@pytest.mark.parametrize("family", ["v1", "v3"])
def test_embeddings(checkpoint, both, family, tmp_path):
    path = checkpoint("Model", family)

    def run():
        model = sentence_model(path)
        model.save(str(tmp_path / "saved"))
        tokens = model.encode(SENTENCES, output_value="token_embeddings", batch_size=3)
        return is_ours(model), model.encode(SENTENCES, batch_size=3), [np.asarray(t) for t in tokens], model

    want, got = both(run)
    assert (want[0], got[0]) == (False, True)
    close(got[1], want[1])
    for one, two in zip(got[2], want[2], strict=True):
        close(one, two)
    from sentence_transformers import SentenceTransformer

    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")  # saved by ours
    assert not is_ours(again)
    close(again.encode(SENTENCES), want[1])
    assert len(replace(again)) == 2
    close(again.encode(SENTENCES), want[1])
    replace(again, prepare=True)
    close(again.encode(SENTENCES), want[1])
    with pytest.raises(RuntimeError, match="prepared for inference and cannot be saved"):
        again.save(str(tmp_path / "refused"))


def test_training_of_embeddings(checkpoint, both):
    path = checkpoint("Model")

    def run():
        from sentence_transformers import InputExample, losses

        model = sentence_model(path)
        rows = [InputExample(texts=[a, b], label=float(i % 2)) for i, (a, b) in enumerate(PAIRS[:8])]
        loss = losses.CosineSimilarityLoss(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        found = []
        prepare = getattr(model, "preprocess", None) or model.tokenize
        for _ in range(2):
            sides = [prepare([row.texts[side] for row in rows]) for side in (0, 1)]
            value = loss([dict(side) for side in sides], torch.tensor([row.label for row in rows]))
            value.backward()
            optimizer.step()
            optimizer.zero_grad()
            found.append(value.item())
        return found, model.encode(SENTENCES)

    want, got = both(run)
    close(got[0], want[0])
    np.testing.assert_allclose(got[1], want[1], rtol=0, atol=1e-3)  # after two steps of Adam


def test_cross_encoder(checkpoint, both, tmp_path):
    path = checkpoint(num_labels=1)

    def run():
        from sentence_transformers import CrossEncoder, InputExample
        from torch.utils.data import DataLoader

        model = CrossEncoder(path, num_labels=1, device="cpu", max_length=64)
        before = model.predict(PAIRS, batch_size=5)
        rows = [InputExample(texts=list(pair), label=float(i % 2)) for i, pair in enumerate(PAIRS)]
        model.fit(train_dataloader=DataLoader(rows, batch_size=4), epochs=1, warmup_steps=1, show_progress_bar=False,
                  optimizer_params={"lr": 1e-3})  # fmt: skip
        ours = is_ours(model)
        model.save_pretrained(str(tmp_path / f"saved-{ours}"))
        return ours, before, model.predict(PAIRS, batch_size=5), model.rank(SENTENCES[0], SENTENCES[1:])

    want, got = both(run)
    assert (want[0], got[0]) == (False, True)
    close(got[1], want[1])
    np.testing.assert_allclose(got[2], want[2], rtol=0, atol=1e-3)  # after steps of Adam
    assert not np.allclose(got[2], got[1], atol=1e-2)
    assert [row["corpus_id"] for row in got[3]] == [row["corpus_id"] for row in want[3]]
    from sentence_transformers import CrossEncoder

    again = CrossEncoder(str(tmp_path / "saved-True"), device="cpu", max_length=64)
    assert not is_ours(again)
    close(again.predict(PAIRS), got[2])
    replace(again)
    close(again.predict(PAIRS), got[2])


@needs("setfit")
def test_setfit(checkpoint, both, tmp_path):
    path = checkpoint("Model")

    def run():
        from datasets import Dataset
        from setfit import SetFitModel, Trainer, TrainingArguments
        from sklearn.linear_model import LogisticRegression

        model = SetFitModel(model_body=sentence_model(path), model_head=LogisticRegression())
        data = Dataset.from_dict({"text": SENTENCES[:6], "label": [0, 1, 0, 1, 0, 1]})
        arguments = TrainingArguments(
            str(tmp_path), batch_size=4, max_steps=2, num_epochs=1, report_to="none", save_strategy="no"
        )
        Trainer(model=model, args=arguments, train_dataset=data).train()
        return is_ours(model.model_body), model.encode(SENTENCES), model.predict_proba(SENTENCES)

    want, got = both(run)
    assert (want[0], got[0]) == (False, True)
    np.testing.assert_allclose(got[1], want[1], rtol=0, atol=1e-3)
    np.testing.assert_allclose(got[2], want[2], rtol=0, atol=1e-2)
