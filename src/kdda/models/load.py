"""One loader for mini models, local folders and Hub ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
)
from transformers.utils import logging as transformers_logging

from kdda.errors import KddaError, did_you_mean
from kdda.models.depth import keep_layers
from kdda.models.mini.vietnamese import vietnamese
from kdda.models.mini.weights import MiniWeights, english_folder, multilingual
from kdda.runtime.network import hub_is_reachable
from kdda.text.encode import Encoder, position_limit

# Models made here of package files.
MADE: dict[str, Callable[[], MiniWeights]] = {"mini/multilingual": multilingual, "mini/vietnamese": vietnamese}

MINI = ("mini/multilingual", "mini/english", "mini/vietnamese")

HEADS: dict[str, Any] = {
    "none": AutoModel,
    "classification": AutoModelForSequenceClassification,
    "question-answering": AutoModelForQuestionAnswering,
}

MADE_AS = {
    "none": BertModel,
    "classification": BertForSequenceClassification,
    "question-answering": BertForQuestionAnswering,
}

GRAPH = "model.onnx"  # the file of an exported model

LABEL_FIELDS = ("id2label", "label2id")

HEAD_WEIGHTS = ("classifier", "score", "qa_outputs")  # where transformers' architectures keep a head's output


@dataclass(frozen=True)
class Checkpoint:
    """A model with the tokenizer it was trained with, and the word segmentation that tokenizer expects."""

    name: str
    model: Any
    tokenizer: Any
    segmenter: str
    new_head: bool = False  # drawn at random, since the checkpoint had none

    @property
    def width(self) -> int:
        return int(self.model.config.hidden_size)

    def encoder(self, max_length: int, overlap: int = 128) -> Encoder:
        """Its encoder, for windows of at most `max_length` tokens or what the model can read."""
        return Encoder(self.tokenizer, self.segmenter, min(max_length, position_limit(self.model.config)), overlap)


def load_checkpoint(
    name: str,
    *,
    head: str = "none",
    layers: int | None = None,
    labels: Sequence[str] | None = None,
    segmenter: str | None = None,
    attention_dropout: float | None = None,
    random: int | None = None,
) -> Checkpoint:
    """Load an encoder, or a model with a task's head (a head that the checkpoint lacks is drawn at random).

    Args:
        name: ``mini/multilingual``, ``mini/english``, ``mini/vietnamese``, a local folder, or a Hub id.
        head: a key of `HEADS`.
        layers: keep this many, evenly spaced; all by default.
        labels: label names of a classification head, in the order of its outputs; the checkpoint's own by default.
        attention_dropout: instead of the checkpoint's own, while it trains.
        random: draw all weights by this seed, whatever the checkpoint holds: a model of its shape that knows nothing.
        segmenter: overrides what the checkpoint says of itself (``vi`` for models that read segmented Vietnamese).

    Raises:
        KddaError: no such model, damaged weights, no safetensors, or a tokenizer that does not fit the model.
    """
    folder = resolve(name)
    changes = {**_label_names(labels), **_attention_dropout(attention_dropout)}
    made = _make(MADE[name](), head, changes) if folder is None else _open(folder, name, head, changes)
    model, tokenizer, new_head = made
    if random is not None:
        model = _drawn(head, model.config, random)
    if layers is not None:
        keep_layers(model, layers)
    _check_fit(name, model, tokenizer)
    segmenter = segmenter or getattr(model.config, "kdda_segmenter", None) or _segmenter_of(tokenizer)
    model.config.kdda_segmenter = segmenter
    return Checkpoint(name, model.eval(), tokenizer, segmenter, new_head)


def load_config(name: str) -> Any:
    """A model's config alone, to check its width before anything is spent."""
    folder = resolve(name)
    if folder is None:
        return MADE[name]().config
    return _guarded(lambda: AutoConfig.from_pretrained(folder), name)


def check_weights(name: str) -> None:
    """Open a local folder's weights as far as their header, which tells of a file that was cut, in no time.

    Raises:
        KddaError: damaged weights, or none that are safetensors.
    """
    folder = resolve(name)
    if folder is None or not Path(folder).is_dir():
        return
    weights = sorted(Path(folder).glob("*.safetensors"))
    if not weights:
        others = [path.name for path in sorted(Path(folder).glob("*.bin"))]
        found = f"found {', '.join(others)}, which may run code when opened" if others else "found none"
        raise KddaError(f'"{name}": no safetensors weights ({found}); docs/models.md says how to convert a checkpoint')
    for path in weights:
        with _guarded(lambda path=path: safe_open(path, "pt"), name):  # type: ignore[misc]
            pass


def is_exported(name: str) -> bool:
    """Whether a folder holds a graph that `kdda export` wrote, and no weights for torch."""
    return (Path(name) / GRAPH).is_file() and not (Path(name) / "model.safetensors").is_file()


def load_tokenizer(name: str) -> tuple[Any, str]:
    """A folder's tokenizer and the word segmentation it expects, without the model."""
    config = load_config(name)
    tokenizer = _guarded(lambda: _tokenizer(name), name)
    _check_tokenizer(name, name, tokenizer)
    return tokenizer, getattr(config, "kdda_segmenter", None) or _segmenter_of(tokenizer)


def resolve(name: str) -> str | None:
    """What transformers can open: a folder or a Hub id; None for the models that are made here."""
    if name in MADE:
        return None
    if name == "mini/english":
        return str(english_folder())
    if name.startswith("mini/"):
        raise KddaError(f'no mini model "{name}"{did_you_mean(name, MINI)}; there are {", ".join(MINI)}')
    if Path(name).is_dir():
        return name
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise KddaError(f'no folder "{name}"')
    hub_is_reachable()
    return name


def _make(weights: MiniWeights, head: str, changes: Mapping[str, Any]) -> tuple[Any, Any, bool]:
    config = BertConfig.from_dict(weights.config.to_dict())
    config.update(_known(config, changes))
    prefix = "" if head == "none" else f"{BertModel.base_model_prefix}."
    state = {f"{prefix}{name}": own.clone() for name, own in weights.state.items()}  # the model takes them for its own
    with quietly():  # only what the package lacks is drawn at random
        model = MADE_AS[head].from_pretrained(None, config=config, state_dict=state)
    return model, weights.tokenizer, head != "none"


def _open(folder: str, name: str, head: str, changes: Mapping[str, Any]) -> tuple[Any, Any, bool]:
    config = _guarded(lambda: AutoConfig.from_pretrained(folder), name)
    config.update(_known(config, changes))
    # some checkpoints are stored in half precision, in which fine-tuning would lose its small steps
    options = {"use_safetensors": True, "output_loading_info": True, "config": config, "dtype": torch.float32}
    tokenizer = _guarded(lambda: _tokenizer(folder), name)
    _check_tokenizer(folder, name, tokenizer)
    kind = HEADS[head]
    with quietly():
        model, info = _guarded(lambda: kind.from_pretrained(folder, ignore_mismatched_sizes=True, **options), name)
    prefix = f"{model.base_model_prefix}."
    lost = [key for key in info["missing_keys"] if head == "none" or key.startswith(prefix)]
    lost = [key for key in lost if "pooler" not in key and "position_ids" not in key]
    if lost:
        raise KddaError(
            f'"{name}": its weights lack {len(lost)} tensors that its config names, such as {sorted(lost)[0]}'
        )
    drawn = {*info["missing_keys"], *(key for key, *_ in info.get("mismatched_keys", ()))}
    return model, tokenizer, any(key.startswith(HEAD_WEIGHTS) for key in drawn)


def _tokenizer(folder: str) -> Any:
    """A checkpoint's tokenizer; one that would spell its own vocabulary otherwise is told to leave spelling alone.

    A vocab.txt without settings opens with lower case and without accents, which Vietnamese tones are.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not hasattr(tokenizer, "do_lower_case") or not tokenizer.is_fast:
        return tokenizer
    spelt = tokenizer.backend_tokenizer.normalizer
    entries = [entry for entry in tokenizer.get_vocab() if not entry.startswith("[")]
    respelt = sum(spelt.normalize_str(entry) != entry for entry in entries) if spelt is not None else 0
    if respelt <= 0.01 * len(entries):
        return tokenizer
    return AutoTokenizer.from_pretrained(folder, do_lower_case=False, strip_accents=False)


def _drawn(head: str, config: Any, seed: int) -> Any:
    """A model of this shape with random weights; the caller's own random numbers are left as they were."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HEADS[head].from_config(config)


def _check_tokenizer(folder: str, name: str, tokenizer: Any) -> None:
    """PhoBERT's words are found by its own slow tokenizer; a fast one gives other ids in silence."""
    says = getattr(_guarded(lambda: AutoConfig.from_pretrained(folder), name), "tokenizer_class", None) or ""
    if tokenizer.is_fast and ((Path(folder) / "bpe.codes").is_file() or "phobert" in says.lower()):
        raise KddaError(
            f'"{name}" is a PhoBERT, but its files open as the fast {type(tokenizer).__name__}, which gives wrong ids; '
            'its tokenizer_config.json must say "tokenizer_class": "PhobertTokenizer"'
        )


def _known(config: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes whose field this architecture's config has."""
    return {key: value for key, value in changes.items() if key in LABEL_FIELDS or hasattr(config, key)}


def _attention_dropout(rate: float | None) -> dict[str, Any]:
    """Under the two names that configs have for it."""
    return {} if rate is None else {"attention_probs_dropout_prob": rate, "attention_dropout": rate}


def _label_names(labels: Sequence[str] | None) -> dict[str, Any]:
    if labels is None:
        return {}
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


def _guarded(opening: Callable[[], Any], name: str) -> Any:
    """Run one of transformers' openers and say in a line what a user's mistake looks like."""
    try:
        return opening()
    except KddaError:
        raise
    except Exception as error:  # safetensors, json, OSError, ValueError: all mean that the checkpoint cannot be read
        reason = " ".join(str(error).split())[:300]
        if reason.startswith("We couldn't connect"):
            reason = "it cannot be reached from here, and its cache lacks this model"
        if "sentencepiece" in reason or "tiktoken" in reason:
            reason = f'its tokenizer is a SentencePiece file: pip install "kdda[sentencepiece]" ({reason[:80]})'
        if Path(name).is_dir():
            raise KddaError(f'"{name}" is damaged or not a checkpoint ({type(error).__name__}: {reason})') from error
        raise KddaError(
            f'"{name}" is neither a folder here, nor a mini model ({", ".join(MINI)}), nor could it be read from the '
            f"Hub with safetensors weights: {reason}; where there is a network, `hf download {name}` keeps it for later"
        ) from error


@contextmanager
def quietly() -> Iterator[None]:
    """No bars and reports of transformers: kdda says itself what it loads and saves."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()


def _check_fit(name: str, model: Any, tokenizer: Any) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise KddaError(
            f'"{name}": the tokenizer does not fit the model: it gives ids up to {highest}, the model has {rows} rows'
        )


def _segmenter_of(tokenizer: Any) -> str:
    return "vi" if "Phobert" in type(tokenizer).__name__ else "none"
