"""Which class opens a model with a task's head (`MODEL_CLASSES`): one of transformers, or kdda's head on an encoder."""

from __future__ import annotations

from typing import Any

from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from kdda.errors import KddaError
from kdda.models.encoder_heads import with_head
from kdda.models.families import encoder_class, first_class, has_a_decoder, on_meta

NO_HEAD = "none"  # what tasks and embeddings name that read an encoder's states as they are

# A task's head → the class that opens any architecture of transformers with it.
MODEL_CLASSES: dict[str, Any] = {
    NO_HEAD: AutoModel,
    "classification": AutoModelForSequenceClassification,
    "question-answering": AutoModelForQuestionAnswering,
    "token-classification": AutoModelForTokenClassification,
}


def model_class(config: Any, head: str) -> Any:
    """The class for a student or a teacher: an encoder with a head, of transformers or else of kdda.

    Args:
        head: a key of `MODEL_CLASSES`.

    Raises:
        KddaError: an encoder-decoder whose encoder transformers cannot open alone.
    """
    encoder = encoder_class(config)
    if head == NO_HEAD:
        return encoder
    in_transformers = _in_transformers(config, head)
    if has_a_decoder(config) or in_transformers is None:
        return with_head(encoder, head)
    # Qwen3's has its encoder under another name than all other classes of Qwen3, and could not open their checkpoints
    if in_transformers.base_model_prefix != encoder.base_model_prefix and not _is_named(config, in_transformers):
        return with_head(encoder, head)
    return in_transformers


def whole_class(config: Any, head: str) -> Any:
    """The class for predictions alone: as `model_class`, but an encoder-decoder that was fine-tuned whole stays whole.

    Raises:
        KddaError: as `model_class`.
    """
    in_transformers = _in_transformers(config, head)
    if in_transformers is not None and _is_named(config, in_transformers):
        return in_transformers
    return model_class(config, head)


def outputs_config(config: Any, head: str) -> Any:
    """A config that says how many outputs a head has: a class may set it itself, as BART's of answers does.

    Its config has three labels by default, its head always two outputs.
    """
    if not has_a_decoder(config):
        return config
    return on_meta(whole_class(config, head), config).config


def has_head(config: Any, head: str) -> bool:
    """Whether a checkpoint was saved with this head, by the class that its config names.

    Args:
        head: a key of `MODEL_CLASSES`, not "none".
    """
    in_transformers = _in_transformers(config, head)
    if in_transformers is not None and _is_named(config, in_transformers):
        return True
    return not _lacks_an_encoder(config) and _is_named(config, model_class(config, head))


def _lacks_an_encoder(config: Any) -> bool:
    """Whether transformers cannot open the encoder of this architecture alone."""
    try:
        encoder_class(config)
    except KddaError:
        return True
    return False


def _in_transformers(config: Any, head: str) -> Any:
    """transformers' class of this architecture with this head, or None."""
    classes = MODEL_CLASSES[head]._model_mapping  # config class → model class
    if type(config) not in classes:
        return None
    return first_class(classes[type(config)])


def _is_named(config: Any, model_type: Any) -> bool:
    """Whether a checkpoint's config names this class."""
    return model_type.__name__ in (getattr(config, "architectures", None) or ())
