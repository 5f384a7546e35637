"""The models: the encoder, and one class per head over it, for any family.

Shapes: ``B`` batch, ``L`` tokens, ``H`` hidden size, ``E`` embedding size, ``V`` vocabulary, ``Y`` labels, ``C``
choices.

All take ``input_ids`` int ``[B, L]`` (or ``inputs_embeds`` ``[B, L, E]``), ``attention_mask`` (``[B, L]``, ``[B, 1,
1, L]``, ``[B, L, L]`` or ``[B, 1, L, L]``; non-zero is visible), ``token_type_ids`` and ``position_ids`` int ``[B,
L]``, and return an output object, or a tuple with ``return_dict=False``. Multiple choice has an axis of choices after
the batch. Ids, labels and masks out of range are refused in eager mode and in plain graphs; under XLA these checks
vanish.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import tensorflow as tf

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
from deberta_tf.activations import ACTIVATIONS
from deberta_tf.attention import Mask
from deberta_tf.embeddings import Embeddings, check_values
from deberta_tf.encoder import Encoder, read_mask
from deberta_tf.fast.dropout import TFDropout, new_dropout_state
from deberta_tf.layers import FirstState, Module, linear, shape_of
from deberta_tf.losses import (
    binary_cross_entropy,
    cross_entropy,
    question_answering_loss,
    sequence_classification_loss,
)
from deberta_tf.mask_decoder import LegacyHead, PublishedHead, ReplacedTokenHead, enhanced_decoding
from deberta_tf.pretrained import TFPreTrainedModel

if TYPE_CHECKING:
    from deberta_tf.pretrained import runs

Output = TypeVar("Output")  # of a head, for type checkers


class TFModel(TFPreTrainedModel):
    """The encoder: token states, no head.

    Args:
        config: the model's config.
        position_table: hold a table of absolute positions even if they do not enter at the input.
    """

    head = "Model"

    def __init__(self, config: BaseConfig, position_table: bool = False, name: str | None = None) -> None:
        super().__init__(config, name=name)
        config = self.config
        self.dropout_state = new_dropout_state()
        with tf.name_scope("deberta"):
            self.embeddings = Embeddings(config, position_table)
            self.encoder = Encoder(config)

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        training: bool | None = None,
    ) -> BaseModelOutput[tf.Tensor]:
        """``last_hidden_state`` ``[B, L, H]``; on request ``hidden_states`` and ``attentions``."""
        given = {
            "input_ids": input_ids, "inputs_embeds": inputs_embeds, "attention_mask": attention_mask,
            "token_type_ids": token_type_ids, "position_ids": position_ids,
        }  # fmt: skip
        shapes = {name: None if x is None else x.shape for name, x in given.items()}
        floats = {name: x is not None and x.dtype.is_floating for name, x in given.items()}
        check_inputs(self.config, shapes, floats)
        checks = check_values(self.config, given, reads_positions=hasattr(self.embeddings, "position_embeddings"))
        mask = read_mask(attention_mask)
        with tf.control_dependencies(checks):  # else a graph may look up a wrong id before it is refused
            embedded = self.embeddings(input_ids, inputs_embeds, token_type_ids, position_ids, mask, training=training)
        last, states, attentions = self.encoder(
            embedded,
            mask,
            self.config.output_hidden_states if output_hidden_states is None else output_hidden_states,
            self.config.output_attentions if output_attentions is None else output_attentions,
            training=training,
        )
        body = {"hidden_states": states, "attentions": attentions}
        return self.finish(body, return_dict, last_hidden_state=last)

    if TYPE_CHECKING:

        @runs(call)
        def __call__(self) -> None:
            """As ``call``."""


class Pooler(Module):
    """State of the first token, through dropout, a dense layer and an activation."""

    def __init__(self, config: BaseConfig, name: str = "pooler") -> None:
        super().__init__(name=name)
        with tf.name_scope(name):
            self.dense = linear(
                config.hidden_size,
                config.hidden_size,
                config.initializer_range,
                name="dense",
                activation=ACTIVATIONS[config.pooler_hidden_act],
            )
        self.first = FirstState(config)
        self.dropout = TFDropout(config.pooler_dropout)

    def call(self, hidden: tf.Tensor, mask: Mask | None = None, training: bool | None = None) -> tf.Tensor:
        """``[B, L, H]`` -> ``[B, H]``."""
        return self.dense(self.dropout(self.first(hidden, mask), training=training))


def classifier_dropout(config: BaseConfig) -> float:
    """Probability of the dropout before a pooled classifier."""
    return config.hidden_dropout_prob if config.cls_dropout is None else config.cls_dropout


class TFMaskedLM(TFPreTrainedModel):
    """The word behind each [MASK]. ``labels`` int ``[B, L]``; -100 is ignored.

    The head is the one that ``config.mlm_head`` names: ``emd`` lets absolute positions enter after the encoder, as the
    published models were trained; ``plain`` and ``legacy`` read the encoder's states.
    """

    head = "ForMaskedLM"

    def __init__(self, config: BaseConfig, name: str | None = None) -> None:
        super().__init__(config, name=name)
        config = self.config
        check_mlm_head(config)
        self.kind = mlm_head(config)
        self.deberta = self.encoder_class(config, position_table=self.kind == "emd", name="deberta")
        if self.kind == "legacy":
            self.cls = LegacyHead(config)
        else:
            self.lm_predictions = PublishedHead(config)

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: tf.Tensor | None = None,
        training: bool | None = None,
        only_masked: bool = False,
    ) -> MaskedLMOutput[tf.Tensor]:
        """``logits`` ``[B, L, V]`` and, with labels, a scalar ``loss``.

        With ``only_masked`` (and labels) only positions whose label is not -100 are decoded: the same loss in less
        memory, and ``logits`` ``[positions, V]``, row by row.
        """
        tokens = input_ids if inputs_embeds is None else inputs_embeds
        if self.kind == "emd" and position_ids is None and tokens is not None:
            check_length(self.config, tokens.shape[1])
        wants_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        body = self.deberta(
            input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds, output_attentions,
            wants_states or self.kind == "emd", True, training=training,
        )  # fmt: skip
        hidden, mask = body["last_hidden_state"], read_mask(attention_mask)
        if self.kind == "emd":
            before_last = body["hidden_states"][-2]
            positions = self.deberta.embeddings.positions(position_ids, before_last)
            hidden = enhanced_decoding(self.deberta.encoder, before_last, positions, mask, training=training)
        if not wants_states:
            body.pop("hidden_states", None)
        blind = None if mask is None else mask.blind_states()
        if only_masked and labels is not None:
            check_labels("labels", labels.shape, hidden.shape[:-1], is_float=labels.dtype.is_floating)
            targets = labels != IGNORED
            if blind is not None:
                blind = tf.boolean_mask(tf.broadcast_to(blind, [*shape_of(hidden)[:2], 1]), targets)  # [positions, 1]
            hidden, labels = tf.boolean_mask(hidden, targets), tf.boolean_mask(labels, targets)  # [positions, H]
        predict = self.cls if self.kind == "legacy" else self.lm_predictions
        logits = predict(hidden, self.deberta.embeddings.word_embeddings.embeddings, blind)
        loss = None if labels is None else cross_entropy(logits, labels)
        return self.finish(body, return_dict, loss=loss, logits=logits)

    if TYPE_CHECKING:

        @runs(call)
        def __call__(self) -> None:
            """As ``call``."""


class TFLabelledModel(TFPreTrainedModel, Generic[Output]):
    """A head that reads the last states alone: what it makes of them, and its loss."""

    deberta: TFModel

    def predict_from(self, hidden: tf.Tensor, mask: Mask | None, training: bool | None = None) -> tf.Tensor:
        """Logits from token states ``[B, L, H]``."""
        raise NotImplementedError("a head's own")

    def judge(self, logits: tf.Tensor, labels: tf.Tensor, mask: Mask | None) -> tf.Tensor:
        """Scalar loss of the logits."""
        raise NotImplementedError("a head's own")

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: tf.Tensor | None = None,
        training: bool | None = None,
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
            training=training,
        )
        mask = read_mask(attention_mask)
        logits = self.predict_from(body["last_hidden_state"], mask, training=training)
        loss = None if labels is None else self.judge(logits, labels, mask)
        return self.finish(body, return_dict, loss=loss, logits=logits)

    if TYPE_CHECKING:

        @runs(call)
        def __call__(self) -> None:
            """As ``call``."""


class TFSequenceClassification(TFLabelledModel[SequenceClassifierOutput[tf.Tensor]]):
    """A label, several or a number for each text: ``logits`` ``[B, Y]``.

    ``labels`` as in ``losses.sequence_classification_loss``.
    """

    head = "ForSequenceClassification"

    def __init__(self, config: BaseConfig, name: str | None = None) -> None:
        super().__init__(config, name=name)
        config = self.config
        self.deberta = self.encoder_class(config, name="deberta")
        self.pooler = Pooler(config)
        self.dropout = TFDropout(classifier_dropout(config))
        self.classifier = linear(config.hidden_size, config.num_labels, config.initializer_range, name="classifier")

    def predict_from(self, hidden: tf.Tensor, mask: Mask | None, training: bool | None = None) -> tf.Tensor:
        """``[B, L, H]`` -> ``[B, Y]``."""
        pooled = self.pooler(hidden, mask, training=training)
        return self.classifier(self.dropout(pooled, training=training))

    def judge(self, logits: tf.Tensor, labels: tf.Tensor, mask: Mask | None) -> tf.Tensor:
        """The loss that ``config.problem_type`` or the labels name."""
        return sequence_classification_loss(logits, labels, self.config.problem_type)


class TFTokenClassification(TFLabelledModel[TokenClassifierOutput[tf.Tensor]]):
    """A label for each token: ``logits`` ``[B, L, Y]``. ``labels`` int ``[B, L]``; -100 is ignored."""

    head = "ForTokenClassification"

    def __init__(self, config: BaseConfig, name: str | None = None) -> None:
        super().__init__(config, name=name)
        config = self.config
        self.deberta = self.encoder_class(config, name="deberta")
        self.dropout = TFDropout(config.hidden_dropout_prob)
        self.classifier = linear(config.hidden_size, config.num_labels, config.initializer_range, name="classifier")

    def predict_from(self, hidden: tf.Tensor, mask: Mask | None, training: bool | None = None) -> tf.Tensor:
        """``[B, L, H]`` -> ``[B, L, Y]``."""
        return self.classifier(self.dropout(hidden, training=training))

    def judge(self, logits: tf.Tensor, labels: tf.Tensor, mask: Mask | None) -> tf.Tensor:
        """Cross entropy of the tokens whose label is not -100."""
        return cross_entropy(logits, labels)


class TFQuestionAnswering(TFPreTrainedModel):
    """First and last token of the answer. ``start_positions`` and ``end_positions`` int ``[B]``."""

    head = "ForQuestionAnswering"

    def __init__(self, config: BaseConfig, name: str | None = None) -> None:
        config = self.config_class.of(config, type(self).__name__)
        config = config if config.num_labels == 2 else config.copy(num_labels=2)  # a file says what it holds
        super().__init__(config, name=name)
        self.deberta = self.encoder_class(config, name="deberta")
        self.qa_outputs = linear(config.hidden_size, 2, config.initializer_range, name="qa_outputs")

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        start_positions: tf.Tensor | None = None,
        end_positions: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> QuestionAnsweringModelOutput[tf.Tensor]:
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
            training=training,
        )
        starts, ends = tf.unstack(self.qa_outputs(body["last_hidden_state"]), axis=-1)  # [B, L] each
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = question_answering_loss(starts, ends, start_positions, end_positions)
        return self.finish(body, return_dict, loss=loss, start_logits=starts, end_logits=ends)

    if TYPE_CHECKING:

        @runs(call)
        def __call__(self) -> None:
            """As ``call``."""


class TFMultipleChoice(TFPreTrainedModel):
    """One of several texts. Inputs have an axis of choices after the batch; ``labels`` int ``[B]``."""

    head = "ForMultipleChoice"

    def __init__(self, config: BaseConfig, name: str | None = None) -> None:
        super().__init__(config, name=name)
        config = self.config
        self.deberta = self.encoder_class(config, name="deberta")
        self.pooler = Pooler(config)
        self.dropout = TFDropout(classifier_dropout(config))
        self.classifier = linear(config.hidden_size, 1, config.initializer_range, name="classifier")

    def call(
        self,
        input_ids: tf.Tensor | None = None,
        attention_mask: tf.Tensor | None = None,
        token_type_ids: tf.Tensor | None = None,
        position_ids: tf.Tensor | None = None,
        inputs_embeds: tf.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        labels: tf.Tensor | None = None,
        training: bool | None = None,
    ) -> MultipleChoiceModelOutput[tf.Tensor]:
        """``logits`` ``[B, C]`` and, with labels, a scalar ``loss``."""
        given = {
            "input_ids": input_ids, "attention_mask": attention_mask, "token_type_ids": token_type_ids,
            "position_ids": position_ids, "inputs_embeds": inputs_embeds,
        }  # fmt: skip
        check_choices({name: None if x is None else x.shape for name, x in given.items()})
        flat = {name: None if x is None else tf.reshape(x, [-1, *shape_of(x)[2:]]) for name, x in given.items()}
        body = self.deberta(*flat.values(), output_attentions, output_hidden_states, True, training=training)
        choices = next(shape_of(x)[1] for x in (input_ids, inputs_embeds) if x is not None)
        mask = read_mask(flat["attention_mask"])
        pooled = self.pooler(body["last_hidden_state"], mask, training=training)
        logits = tf.reshape(self.classifier(self.dropout(pooled, training=training)), [-1, choices])  # [B, C]
        loss = None if labels is None else cross_entropy(logits, labels)
        return self.finish(body, return_dict, loss=loss, logits=logits)

    if TYPE_CHECKING:

        @runs(call)
        def __call__(self) -> None:
            """As ``call``."""


class TFReplacedTokenDetection(TFLabelledModel[ReplacedTokenOutput[tf.Tensor]]):
    """Whether each token was replaced: ``logits`` ``[B, L]``. ``labels`` 0 or 1 ``[B, L]``; -100 is ignored."""

    head = "ForReplacedTokenDetection"

    def __init__(self, config: BaseConfig, name: str | None = None) -> None:
        super().__init__(config, name=name)
        config = self.config
        self.deberta = self.encoder_class(config, name="deberta")
        self.mask_predictions = ReplacedTokenHead(config)

    def predict_from(self, hidden: tf.Tensor, mask: Mask | None, training: bool | None = None) -> tf.Tensor:
        """``[B, L, H]`` -> ``[B, L]``, above 0 for replaced."""
        return self.mask_predictions(hidden, mask)

    def judge(self, logits: tf.Tensor, labels: tf.Tensor, mask: Mask | None) -> tf.Tensor:
        """Binary cross entropy of the visible tokens whose label is not -100."""
        return binary_cross_entropy(logits, labels, None if mask is None else mask.tokens())
