"""PyTorch as users write it."""

from __future__ import annotations

from typing import Any, assert_type

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from conversion import ConversionReport, convert
from deberta_core import BaseModelOutput, QuestionAnsweringModelOutput, SequenceClassifierOutput, TokenClassifierOutput
from deberta_pt import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification,
    DebertaV2Model,
    DebertaV2PreTrainedModel,
    DebertaV2Tokenizer,
    optimize_for_inference,
)
from deberta_tasks import pipeline
from tokenization import BatchEncoding


def load() -> None:
    """Loading and making models."""
    assert_type(DebertaV2ForSequenceClassification.from_pretrained("my-model"), DebertaV2ForSequenceClassification)
    model = DebertaV2Model.from_pretrained("my-model", dtype=torch.bfloat16, hidden_dropout_prob=0.0).eval()
    assert_type(model, DebertaV2Model)
    model, info = DebertaV2Model.from_pretrained("my-model", output_loading_info=True)
    assert_type(model, DebertaV2Model)
    assert_type(info, dict[str, Any])
    assert_type(DebertaV2Model(DebertaV2Config(num_hidden_layers=2)).to("cpu"), DebertaV2Model)
    assert_type(DebertaV2Model.from_config(DebertaV2Config()), DebertaV2Model)
    assert_type(optimize_for_inference(model), DebertaV2Model)
    assert_type(AutoModelForMaskedLM.from_pretrained("my-model")(torch.ones(1, 4)).logits, Tensor)
    assert_type(AutoModel.from_pretrained("my-model", dtype="auto")(torch.ones(1, 4)), BaseModelOutput[Tensor])
    annotated: AutoModel = AutoModel.from_config(DebertaV2Config())
    annotated.save_pretrained("my-copy")


def run(texts: list[str], batch: dict[str, Tensor], anything: Any, several: bool) -> None:
    """Calls of every kind have the same output."""
    tokenizer = AutoTokenizer.from_pretrained("my-model")
    encoded = tokenizer(texts, padding=True, return_tensors="pt")
    assert_type(encoded, BatchEncoding)
    assert_type(encoded[0].tokens, list[str])
    assert_type(DebertaV2Tokenizer.from_pretrained("my-model"), DebertaV2Tokenizer)
    model = AutoModelForSequenceClassification.from_pretrained("my-model")
    for output in (
        model(**encoded), model(**batch), model(anything), model(**anything), model(batch["input_ids"]),
        model(input_ids=batch["input_ids"], labels=batch["labels"], output_attentions=several),
        model([[1, 2, 3]], labels=torch.tensor([1])),
    ):  # fmt: skip
        assert_type(output, SequenceClassifierOutput[Tensor])
        assert_type(output.loss, Tensor)
        assert_type(output["logits"].argmax(-1), Tensor)
        assert_type(output[0], Tensor)
        assert_type(output.hidden_states[-1], Tensor)
        assert_type(output["attentions"], tuple[Tensor, ...])
    _loss, logits = model(**batch, return_dict=False)
    print(logits.shape)
    answers = AutoModelForQuestionAnswering.from_pretrained("my-model")(**encoded)
    assert_type(answers, QuestionAnsweringModelOutput[Tensor])
    assert_type((answers.start_logits + answers.end_logits).softmax(-1), Tensor)
    assert_type(DebertaV2ForTokenClassification.from_pretrained("x")(**encoded), TokenClassifierOutput[Tensor])
    print(pipeline("text-classification", "my-model")("A fine day at last."))


def train(loader: DataLoader[dict[str, Tensor]]) -> None:
    """A loop."""
    model = DebertaV2ForSequenceClassification.from_pretrained("my-model", num_labels=3).train()
    optimizer = torch.optim.AdamW(model.parameter_groups(0.01), lr=2e-5)
    for batch in loader:
        output = model(**{name: tensor.to(model.device) for name, tensor in batch.items()})
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained("my-model")
    assert_type(convert("my-model", "my-tf-model", to="tf"), ConversionReport)


class WithTwoHeads(DebertaV2PreTrainedModel):
    """A class of one's own: a call gives what its ``forward`` does."""

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        self.deberta = DebertaV2Model(config)
        self.score = torch.nn.Linear(config.hidden_size, 1)
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scores and states."""
        states = self.deberta(input_ids, attention_mask).last_hidden_state
        assert_type(states, Tensor)
        return self.score(states[:, 0]), states


def own(ids: Tensor) -> None:
    """It loads, and runs, as itself."""
    model = WithTwoHeads.from_pretrained("my-model")
    assert_type(model, WithTwoHeads)
    assert_type(model(ids), tuple[Tensor, Tensor])
    assert_type(model(input_ids=ids)[0], Tensor)
