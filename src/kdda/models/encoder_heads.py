"""kdda's heads for encoders to which transformers gives none: answer spans (EuroBERT, GTE), labels of texts, of tokens.

They are named and laid out as those of transformers: ``EuroBertForQuestionAnswering`` with ``qa_outputs``. What is
saved is an ordinary checkpoint of the encoder with a few more tensors, whose encoder `AutoModel` opens.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

import torch
import transformers
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.loss.loss_utils import ForQuestionAnsweringLoss
from transformers.modeling_outputs import QuestionAnsweringModelOutput, SequenceClassifierOutput, TokenClassifierOutput

DROPOUT = 0.1  # of a head's inputs, as in BERT, where the config has no `classifier_dropout`


@lru_cache
def with_head(encoder: Any, head: str) -> Any:
    """A class with an encoder of transformers and a head of kdda, which loads and saves as classes of transformers do.

    Args:
        encoder: the class of the encoder, such as `EuroBertModel`.
        head: a key of `PARTS`.

    Returns:
        A subclass of the architecture's `PreTrainedModel`, which brings its initialization and loading.
    """
    part, ending = PARTS[head]
    name = encoder.__name__.removesuffix("Model") + ending
    if hasattr(transformers, name):  # a class of another layout, which this one must not be taken for
        name = encoder.__name__ + ending
    # the class after the encoder's is the architecture's base, such as EuroBertPreTrainedModel
    base = encoder.__mro__[1]
    return type(name, (part, base), {"encoder_class": encoder, "__module__": __name__})


class EncoderWithHead(PreTrainedModel):  # type: ignore[misc]
    """What all heads share: the encoder, under the name by which transformers finds it in a checkpoint."""

    encoder_class: Any = None

    def __init__(self, config: Any):
        super().__init__(config)
        options = {}
        if "add_pooling_layer" in inspect.signature(self.encoder_class.__init__).parameters:
            options["add_pooling_layer"] = False  # these heads do not read it, and would leave it untrained
        setattr(self, self.base_model_prefix, self.encoder_class(config, **options))
        dropout = getattr(config, "classifier_dropout", None)
        self.dropout = nn.Dropout(DROPOUT if dropout is None else dropout)
        self.add_head(config)
        self.post_init()

    def add_head(self, config: Any) -> None:
        """Make the head's layers."""
        raise NotImplementedError

    def get_input_embeddings(self) -> Any:
        return getattr(self, self.base_model_prefix).get_input_embeddings()

    def set_input_embeddings(self, value: Any) -> None:
        getattr(self, self.base_model_prefix).set_input_embeddings(value)


class SpanHead(EncoderWithHead):
    """Logits of an answer's start and end for every token, as transformers' question-answering classes have them."""

    def add_head(self, config: Any) -> None:
        self.qa_outputs = nn.Linear(config.hidden_size, 2)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
        **options: Any,
    ) -> QuestionAnsweringModelOutput:
        """The logits, and with both positions the loss.

        Args:
            options: arguments of the encoder, such as `output_hidden_states`.
        """
        outputs = self.base_model(input_ids, attention_mask=attention_mask, **options)
        start, end = self.qa_outputs(self.dropout(outputs.last_hidden_state)).unbind(-1)
        start, end = start.contiguous(), end.contiguous()
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = ForQuestionAnsweringLoss(start, end, start_positions, end_positions)
        return QuestionAnsweringModelOutput(
            loss=loss, start_logits=start, end_logits=end, hidden_states=outputs.hidden_states
        )


class LabelHead(EncoderWithHead):
    """Logits of labels from the mean of all real tokens' states, through a dense layer with a tanh (RoBERTa's head).

    The mean, since T5's encoder has no token that stands for the whole text.
    """

    def add_head(self, config: Any) -> None:
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None, **options: Any
    ) -> SequenceClassifierOutput:
        """The logits, and with labels the cross-entropy.

        Args:
            options: arguments of the encoder, such as `output_hidden_states`.
        """
        outputs = self.base_model(input_ids, attention_mask=attention_mask, **options)
        mean = mean_state(outputs.last_hidden_state, attention_mask)
        logits = self.classifier(self.dropout(torch.tanh(self.dense(self.dropout(mean)))))
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class TokenHead(EncoderWithHead):
    """Logits of labels for every token, as transformers' token-classification classes have them."""

    def add_head(self, config: Any) -> None:
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **options: Any
    ) -> TokenClassifierOutput:
        """The logits, and with labels the cross-entropy, whose mean leaves out tokens of the label -100.

        Args:
            options: arguments of the encoder, such as `output_hidden_states`.
        """
        outputs = self.base_model(input_ids, attention_mask=attention_mask, **options)
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


# A task's head → kdda's class of it, and what the class' name ends in, as those of transformers do.
PARTS: dict[str, tuple[type[EncoderWithHead], str]] = {
    "classification": (LabelHead, "ForSequenceClassification"),
    "question-answering": (SpanHead, "ForQuestionAnswering"),
    "token-classification": (TokenHead, "ForTokenClassification"),
}


def mean_state(states: Float[Tensor, "batch tokens width"], mask: Tensor) -> Float[Tensor, "batch width"]:
    """The mean of the states at real tokens (where the mask is not 0)."""
    weights = mask.unsqueeze(-1)
    return (states * weights).sum(1) / weights.sum(1)


def first_state(states: Float[Tensor, "batch tokens width"], mask: Tensor) -> Float[Tensor, "batch width"]:
    """The state of each text's first token, which BERT calls CLS; the mask is not needed, since padding is last."""
    return states[:, 0]


def last_state(states: Float[Tensor, "batch tokens width"], mask: Tensor) -> Float[Tensor, "batch width"]:
    """The state of each text's last real token, which alone has read the whole text in a decoder."""
    rows = torch.arange(len(states), device=states.device)
    return states[rows, mask.long().sum(dim=1) - 1]
