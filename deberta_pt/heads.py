"""The models: the encoder, and one class per head over it, for any family.

Shapes: ``B`` batch, ``L`` tokens, ``H`` hidden size, ``E`` embedding size, ``V`` vocabulary, ``Y`` labels, ``C``
choices.

All take ``input_ids`` int ``[B, L]`` (or ``inputs_embeds`` ``[B, L, E]``), ``attention_mask`` (``[B, L]``, ``[B, 1,
1, L]``, ``[B, L, L]`` or ``[B, 1, L, L]``; non-zero is visible), ``token_type_ids`` and ``position_ids`` int ``[B,
L]``, and return an output object, or a tuple with ``return_dict=False``. Multiple choice has an axis of choices after
the batch. Of a model on a GPU the mask may be left on the CPU: then the layers compute no padding there either. Ids,
labels and masks out of range are refused in eager mode; under ``torch.compile``, ``torch.func`` and export these checks
vanish.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from deberta_core.checks import (
    IGNORED,
    check_answer,
    check_choices,
    check_inputs,
    check_labels,
    check_length,
)
from deberta_core.config import BaseConfig
from deberta_core.heads import check_mlm_head, mlm_head
from deberta_core.outputs import (
    BaseModelOutput,
    MaskedLMOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    ReplacedTokenOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from deberta_pt.activations import ACTIVATIONS
from deberta_pt.attention import Mask
from deberta_pt.embeddings import Embeddings, check_values
from deberta_pt.encoder import Encoder, read_mask
from deberta_pt.inputs import as_tensor
from deberta_pt.layers import Dropout, FirstState
from deberta_pt.losses import (
    binary_cross_entropy,
    cross_entropy,
    question_answering_loss,
    sequence_classification_loss,
)
from deberta_pt.mask_decoder import LegacyHead, PublishedHead, ReplacedTokenHead, enhanced_decoding
from deberta_pt.pretrained import PreTrainedModel
from deberta_pt.starting import memory_for_encoder

Output = TypeVar("Output")  # of a head, for type checkers


class Model(PreTrainedModel):
    """The encoder: token states, no head.

    Args:
        config: the model's config.
        position_table: hold a table of absolute positions even if they do not enter at the input.
    """

    head = "Model"

    def __init__(self, config: BaseConfig, position_table: bool = False) -> None:
        super().__init__(config)
        config = self.config
        with memory_for_encoder():
            self.embeddings = Embeddings(config, position_table)
            self.encoder = Encoder(config)
            self.initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutput[Tensor]:
        """``last_hidden_state`` ``[B, L, H]``; on request ``hidden_states`` and ``attentions``."""
        given = {
            "input_ids": input_ids, "inputs_embeds": inputs_embeds, "attention_mask": attention_mask,
            "token_type_ids": token_type_ids, "position_ids": position_ids,
        }  # fmt: skip
        given = {name: as_tensor(x, name, self) for name, x in given.items()}
        shapes = {name: None if x is None else x.shape for name, x in given.items()}
        floats = {name: x is not None and x.is_floating_point() for name, x in given.items()}
        check_inputs(self.config, shapes, floats)
        check_values(self.config, given, reads_positions=hasattr(self.embeddings, "position_embeddings"))
        tokens = next(x for x in given.values() if x is not None)
        mask = read_mask(given.pop("attention_mask"), tokens.device)
        embedded = self.embeddings(**given, mask=mask)
        last, states, attentions = self.encoder(
            embedded,
            mask,
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            self.config.output_attentions if output_attentions is None else output_attentions,
        )
        body = {"hidden_states": states, "attentions": attentions}
        return self.finish(body, return_dict, last_hidden_state=last)


class Pooler(nn.Module):
    """State of the first token, through dropout, a dense layer and an activation."""

    def __init__(self, config: BaseConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.first = FirstState(config)
        self.dropout = Dropout(config.pooler_dropout)
        self.activation = ACTIVATIONS[config.pooler_hidden_act]

    def forward(self, hidden: Tensor, mask: Mask | None = None) -> Tensor:
        """``[B, L, H]`` -> ``[B, H]``."""
        return self.activation(self.dense(self.dropout(self.first(hidden, mask))))


def classifier_dropout(config: BaseConfig) -> float:
    """Probability of the dropout before a pooled classifier."""
    return config.hidden_dropout_prob if config.cls_dropout is None else config.cls_dropout


class MaskedLM(PreTrainedModel):
    """The word behind each [MASK]. ``labels`` int ``[B, L]``; -100 is ignored.

    The head is the one that ``config.mlm_head`` names: ``emd`` lets absolute positions enter after the encoder, as the
    published models were trained; ``plain`` and ``legacy`` read the encoder's states.
    """

    head = "ForMaskedLM"

    def __init__(self, config: BaseConfig) -> None:
        super().__init__(config)
        config = self.config
        check_mlm_head(config)
        self.kind = mlm_head(config)
        self.deberta = self.encoder_class(config, position_table=self.kind == "emd")
        if self.kind == "legacy":
            self.cls = LegacyHead(config)
        else:
            self.lm_predictions = PublishedHead(config)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        only_masked: bool = False,
    ) -> MaskedLMOutput[Tensor]:
        """``logits`` ``[B, L, V]`` and, with labels, a scalar ``loss``.

        With ``only_masked`` (and labels) only positions whose label is not -100 are decoded: the same loss in less
        memory, and ``logits`` ``[positions, V]``, row by row.
        """
        tokens = input_ids if inputs_embeds is None else inputs_embeds
        if self.kind == "emd" and position_ids is None and tokens is not None:
            check_length(self.config, as_tensor(tokens, "input_ids", self).shape[1])
        wants_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        body = self.deberta(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, output_attentions,
            wants_states or self.kind == "emd", True,
        )  # fmt: skip
        hidden = body["last_hidden_state"]
        mask = read_mask(as_tensor(attention_mask, "attention_mask", self), hidden.device)
        if self.kind == "emd":
            before_last = body["hidden_states"][-2]
            position_ids = as_tensor(position_ids, "position_ids", self)
            positions = self.deberta.embeddings.positions(position_ids, before_last)
            hidden = enhanced_decoding(self.deberta.encoder, before_last, positions, mask)
        if not wants_states:
            body.pop("hidden_states", None)
        blind = None if mask is None else mask.blind_states()
        labels = as_tensor(labels, "labels", self)
        if only_masked and labels is not None:
            check_labels("labels", labels.shape, hidden.shape[:-1], is_float=labels.is_floating_point())
            targets = (labels != IGNORED).nonzero(as_tuple=True)  # asked once: a shape is what a GPU is waited for
            blind = None if blind is None else blind.expand(*labels.shape, 1)[targets]  # [positions, 1]
            hidden, labels = hidden[targets], labels[targets]  # [positions, H], [positions]
        predict = self.cls if self.kind == "legacy" else self.lm_predictions
        logits = predict(hidden, self.deberta.embeddings.word_embeddings.weight, blind)
        loss = None if labels is None else cross_entropy(logits, labels)
        return self.finish(body, return_dict, loss=loss, logits=logits)


class LabelledModel(PreTrainedModel, Generic[Output]):
    """A head that reads the last states alone: what it makes of them, and its loss."""

    deberta: Model

    def predict_from(self, hidden: Tensor, mask: Mask | None) -> Tensor:
        """Logits from token states ``[B, L, H]``."""
        raise NotImplementedError("a head's own")

    def judge(self, logits: Tensor, labels: Tensor, mask: Mask | None) -> Tensor:
        """Scalar loss of the logits."""
        raise NotImplementedError("a head's own")

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Output:
        """``logits`` and, with labels, a scalar ``loss``; shapes as the class says."""
        body = self.deberta(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            output_attentions,
            output_hidden_states,
            True,
        )
        hidden = body["last_hidden_state"]
        mask = read_mask(as_tensor(attention_mask, "attention_mask", self), hidden.device)
        logits = self.predict_from(hidden, mask)
        labels = as_tensor(labels, "labels", self)
        loss = None if labels is None else self.judge(logits, labels, mask)
        return self.finish(body, return_dict, loss=loss, logits=logits)


class SequenceClassification(LabelledModel[SequenceClassifierOutput[Tensor]]):
    """A label, several or a number for each text: ``logits`` ``[B, Y]``.

    ``labels`` as in ``losses.sequence_classification_loss``.
    """

    head = "ForSequenceClassification"

    def __init__(self, config: BaseConfig) -> None:
        super().__init__(config)
        config = self.config
        self.deberta = self.encoder_class(config)
        self.pooler = Pooler(config)
        self.dropout = Dropout(classifier_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.initialise()

    def predict_from(self, hidden: Tensor, mask: Mask | None) -> Tensor:
        """``[B, L, H]`` -> ``[B, Y]``."""
        pooled = self.pooler(hidden, mask)
        return self.classifier(self.dropout(pooled))

    def judge(self, logits: Tensor, labels: Tensor, mask: Mask | None) -> Tensor:
        """The loss that ``config.problem_type`` or the labels name."""
        return sequence_classification_loss(logits, labels, self.config.problem_type)


class TokenClassification(LabelledModel[TokenClassifierOutput[Tensor]]):
    """A label for each token: ``logits`` ``[B, L, Y]``. ``labels`` int ``[B, L]``; -100 is ignored."""

    head = "ForTokenClassification"

    def __init__(self, config: BaseConfig) -> None:
        super().__init__(config)
        config = self.config
        self.deberta = self.encoder_class(config)
        self.dropout = Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.initialise()

    def predict_from(self, hidden: Tensor, mask: Mask | None) -> Tensor:
        """``[B, L, H]`` -> ``[B, L, Y]``."""
        return self.classifier(self.dropout(hidden))

    def judge(self, logits: Tensor, labels: Tensor, mask: Mask | None) -> Tensor:
        """Cross entropy of the tokens whose label is not -100."""
        return cross_entropy(logits, labels)


class QuestionAnswering(PreTrainedModel):
    """First and last token of the answer. ``start_positions`` and ``end_positions`` int ``[B]``."""

    head = "ForQuestionAnswering"

    def __init__(self, config: BaseConfig) -> None:
        config = self.config_class.of(config, type(self).__name__)
        config = config if config.num_labels == 2 else config.copy(num_labels=2)  # a file says what it holds
        super().__init__(config)
        self.deberta = self.encoder_class(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> QuestionAnsweringModelOutput[Tensor]:
        """``start_logits`` and ``end_logits`` ``[B, L]`` and, with positions, a scalar ``loss``."""
        check_answer(start_positions, end_positions)
        body = self.deberta(
            input_ids,
            attention_mask,
            token_type_ids,
            position_ids,
            inputs_embeds,
            output_attentions,
            output_hidden_states,
            True,
        )
        starts, ends = self.qa_outputs(body["last_hidden_state"]).unbind(-1)  # [B, L] each
        loss = None
        start_positions = as_tensor(start_positions, "start_positions", self)
        end_positions = as_tensor(end_positions, "end_positions", self)
        if start_positions is not None and end_positions is not None:
            loss = question_answering_loss(starts, ends, start_positions, end_positions)
        return self.finish(body, return_dict, loss=loss, start_logits=starts, end_logits=ends)


class MultipleChoice(PreTrainedModel):
    """One of several texts. Inputs have an axis of choices after the batch; ``labels`` int ``[B]``."""

    head = "ForMultipleChoice"

    def __init__(self, config: BaseConfig) -> None:
        super().__init__(config)
        config = self.config
        self.deberta = self.encoder_class(config)
        self.pooler = Pooler(config)
        self.dropout = Dropout(classifier_dropout(config))
        self.classifier = nn.Linear(config.hidden_size, 1)
        self.initialise()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> MultipleChoiceModelOutput[Tensor]:
        """``logits`` ``[B, C]`` and, with labels, a scalar ``loss``."""
        given: dict[str, Any] = {
            "input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids,
            "position_ids": position_ids, "inputs_embeds": inputs_embeds,
        }  # fmt: skip
        given = {name: as_tensor(x, name, self) for name, x in given.items()}
        check_choices({name: None if x is None else x.shape for name, x in given.items()})
        flat = {name: None if x is None else x.flatten(0, 1) for name, x in given.items()}  # [B*C, ...]
        body = self.deberta(*flat.values(), output_attentions, output_hidden_states, True)
        choices = next(given[name].shape[1] for name in ("input_ids", "inputs_embeds") if given[name] is not None)
        hidden = body["last_hidden_state"]
        pooled = self.pooler(hidden, read_mask(flat["attention_mask"], hidden.device))
        logits = self.classifier(self.dropout(pooled)).reshape(-1, choices)  # [B, C]
        labels = as_tensor(labels, "labels", self)
        loss = None if labels is None else cross_entropy(logits, labels)
        return self.finish(body, return_dict, loss=loss, logits=logits)


class ReplacedTokenDetection(LabelledModel[ReplacedTokenOutput[Tensor]]):
    """Whether each token was replaced: ``logits`` ``[B, L]``. ``labels`` 0 or 1 ``[B, L]``; -100 is ignored."""

    head = "ForReplacedTokenDetection"

    def __init__(self, config: BaseConfig) -> None:
        super().__init__(config)
        config = self.config
        self.deberta = self.encoder_class(config)
        self.mask_predictions = ReplacedTokenHead(config)
        self.initialise()

    def predict_from(self, hidden: Tensor, mask: Mask | None) -> Tensor:
        """``[B, L, H]`` -> ``[B, L]``, above 0 for replaced."""
        return self.mask_predictions(hidden, mask)

    def judge(self, logits: Tensor, labels: Tensor, mask: Mask | None) -> Tensor:
        """Binary cross entropy of the visible tokens whose label is not -100."""
        return binary_cross_entropy(logits, labels, None if mask is None else mask.tokens())
