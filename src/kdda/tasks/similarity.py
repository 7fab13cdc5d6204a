"""The task `similarity`: how alike two texts are, the cosine of their pooled vectors; range of scores, pooling, files.

A window reads one text; the model is an encoder without a head. The loss is the squared error between the cosine of a
row's two vectors and its gold score, so that both windows of a row stand in one part of a batch. A student's folder
is opened by sentence-transformers, too (`files_beside_model`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import islice
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor
from torch.nn import functional

from kdda.data.examples import Example, RowConverter, Schema
from kdda.data.scored_pairs import ScoredPair, pair_converter
from kdda.errors import KddaError, unknown_choice
from kdda.metrics.correlation import pearson, spearman, spearman_error
from kdda.runtime.disk_sequence import LazySequence
from kdda.tasks.base import DIGITS, PageWords, Prediction, Result, Task
from kdda.tasks.features import Features, TextSpan
from kdda.tasks.windows import Windows, in_chunks
from kdda.text.encode import Encoder, Window

POOLINGS = ("mean", "cls")  # the mean of all real tokens' states, or the first token's

COSINES = (-1.0, 1.0)  # a range of scores that are cosines already

# The files by which sentence-transformers knows that it reads an encoder, pools its states and scales them to length 1.
MODULES = (
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
)


@dataclass(frozen=True)
class SimilarityPrediction(Prediction):
    """The cosine of a row's vectors, beside its gold score as the cosine should be; None of a row without one."""

    gold: float | None
    similarity: float


@dataclass(frozen=True)
class SimilarityResult(Result):
    """How alike two texts are: the cosine of their vectors, from -1 to 1."""

    similarity: float

    @property
    def decision(self) -> float:
        """The cosine at two decimals, on which two models must agree."""
        return round(self.similarity, 2)

    def __str__(self) -> str:
        """The cosine, as `kdda predict` prints it."""
        return f"{self.similarity:.4f}"


@dataclass(frozen=True)
class Similarity(Task):
    """Pairs of texts and how alike they are.

    Args:
        range: the lowest and the highest gold score. The highest is the cosine 1 and the lowest the cosine 0, but for
            (-1, 1), whose scores are cosines as they are.
        pooling: of a text's states to its vector, one of `POOLINGS`.
    """

    fields: tuple[str, ...] = ("sentence1", "sentence2")
    _: KW_ONLY
    range: tuple[float, float] = (0.0, 1.0)
    pooling: str = "mean"
    metric: str = "spearman"
    scores: tuple[str, ...] = ("pearson", "spearman")
    methods: tuple[str, ...] = ("encode", "similarity")
    summary: str = "How alike two texts are: the cosine of their vectors"

    gold_fields: ClassVar[tuple[str, ...] | None] = ("score",)
    head: ClassVar[str] = "none"
    states_read: ClassVar[Literal["first token", "all tokens"]] = "all tokens"
    outputs: ClassVar[tuple[str, ...]] = ("last_hidden_state",)
    response_type: ClassVar[type] = SimilarityResult
    result_key: ClassVar[str] = "similarity"
    pipeline_tag: ClassVar[str] = "sentence-similarity"
    row_score: ClassVar[Literal["f1", "accuracy", "spearman"]] = "spearman"
    breakdown: ClassVar[Literal["label", "answer length", "none"]] = "none"
    page_view: ClassVar[Literal["bars", "passage", "text", "options", "number"]] = "number"
    purpose: ClassVar[str] = "says how alike two texts are"
    option_names: ClassVar[tuple[str, ...]] = ("range", "pooling")
    embeds: ClassVar[bool] = True

    def check_option(self, name: str, value: Any) -> Any:
        """The value of `range` as two numbers that rise, or of `pooling`."""
        if name == "pooling":
            if value not in POOLINGS:
                raise KddaError(unknown_choice("task_options.pooling", str(value), POOLINGS))
            return value
        is_pair = isinstance(value, list | tuple) and len(value) == 2
        if not is_pair or not all(map(_is_number, value)) or not value[0] < value[1]:
            raise KddaError(f"task_options.range: got {value!r:.80}, expected two numbers that rise, such as [0, 5]")
        return float(value[0]), float(value[1])

    # -- from rows to predictions

    def convert(self, schema: Schema) -> RowConverter:
        """The function that makes a `ScoredPair` of a row."""
        return pair_converter(schema, self.range)

    def encode(self, examples: Sequence[Example], encoder: Encoder) -> Features:
        """A window a text of each example, cut where it is too long, and then counted."""

        def read(chunk: Sequence[Example]) -> Iterator[list[Window]]:
            """The windows of each example of a chunk."""
            texts: list[str] = []
            for example in chunk:
                texts += example.texts
            windows = iter(encoder.encode(texts))
            for example in chunk:
                yield list(islice(windows, len(example.texts)))

        return Features(examples, Windows(in_chunks(examples, read)), whole_rows=True)

    def text_spans(self, features: Features) -> Sequence[TextSpan]:
        """The text of each window."""
        windows = features.windows
        return LazySequence(len(windows), lambda k: TextSpan((windows[k].parts[0].text,), None))

    def targets(self, features: Features, labels: Sequence[str]) -> dict[str, Float32[ndarray, " windows"]]:
        """The cosine that each window's row should have."""
        golds = []
        for example in features.examples:
            golds += [self.cosine_of(example)] * len(example.texts)
        return {"gold": np.array(golds, np.float32)}

    def cosine_of(self, example: Example) -> float | None:
        """The cosine that an example's gold score stands for; None of a row without one."""
        if not isinstance(example, ScoredPair):
            return None
        if self.range == COSINES:
            return example.gold
        lowest, highest = self.range
        return (example.gold - lowest) / (highest - lowest)

    def outputs_with_loss(self, model: Any, inputs: Mapping[str, Any], targets: Mapping[str, Tensor]) -> Any:
        """The encoder's outputs, and the mean squared error between cosines and golds."""
        outputs = model(**inputs)
        vectors = self._pooled(outputs.last_hidden_state, inputs["attention_mask"])
        # a row's two windows are neighbours
        cosines = functional.cosine_similarity(vectors[0::2], vectors[1::2])
        outputs.loss = functional.mse_loss(cosines, targets["gold"][0::2])
        return outputs

    def _pooled(self, states: Float[Tensor, "texts tokens width"], mask: Tensor) -> Float[Tensor, "texts width"]:
        """A vector a text, of any length.

        Args:
            mask: 1 at real tokens.
        """
        states = states.float()
        if self.pooling == "cls":
            return states[:, 0]
        weights = mask.unsqueeze(-1)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)

    def candidates(self, outputs: Any, windows: Sequence[Window]) -> list[Float32[ndarray, " width"]]:
        """The vector of each window's text, of length 1."""
        states = outputs.last_hidden_state
        lengths = torch.tensor(list(map(len, windows)), device=states.device)
        mask = torch.arange(states.shape[1], device=states.device) < lengths[:, None]
        vectors = functional.normalize(self._pooled(states, mask.long()), dim=-1)
        return list(vectors.cpu().numpy())

    def decode(
        self, features: Features, candidates: Sequence[Float32[ndarray, " width"]], labels: Sequence[str], language: str
    ) -> list[SimilarityPrediction]:
        """The cosine of each example's vectors.

        Args:
            candidates: the vector of each window.
        """
        predictions = []
        for row, example in enumerate(features.examples):
            cosine = float(np.dot(candidates[2 * row], candidates[2 * row + 1]))
            similarity = round(min(1.0, max(-1.0, cosine)), DIGITS)  # rounding may pass 1
            predictions.append(SimilarityPrediction(example.id, example.group, self.cosine_of(example), similarity))
        return predictions

    # -- scores and results

    def score(self, predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
        """Pearson's and Spearman's correlation in per cent, the latter's standard error, and the mean squared error."""
        cosines, golds, squares = [], [], []
        for row in map(_checked, predictions):
            gold = 0.0 if row.gold is None else row.gold
            cosines.append(row.similarity)
            golds.append(gold)
            squares.append((row.similarity - gold) ** 2)
        rho = spearman(cosines, golds)
        return {
            "rows": len(golds),
            "pearson": pearson(cosines, golds),
            "spearman": rho,
            "squared_error": sum(squares) / len(squares),
            "standard_error": spearman_error(rho, len(golds)),
        }

    def eval_prediction(
        self, predictions: Sequence[Prediction], labels: Sequence[str]
    ) -> tuple[Float32[ndarray, " rows"], Float32[ndarray, " rows"]]:
        """Cosines, and the golds as cosines."""
        rows = list(map(_checked, predictions))
        cosines = [row.similarity for row in rows]
        return np.array(cosines, np.float32), np.array([row.gold for row in rows], np.float32)

    def result(self, prediction: Prediction, best: int = 5) -> SimilarityResult:
        """The cosine, without the gold."""
        return SimilarityResult(_checked(prediction).similarity)

    # -- what sentence-transformers reads

    def files_beside_model(self, config: Any, encoder: Encoder) -> dict[str, Any]:
        """What `SentenceTransformer(folder)` reads, so that it gives the vectors of `kdda.load(folder).encode`.

        Not of models that read segmented words (PhoBERT): it would give them words that nobody has segmented.
        """
        if encoder.segmenter != "none":
            return {}
        pooling = {
            "word_embedding_dimension": int(config.hidden_size),
            "pooling_mode_cls_token": self.pooling == "cls",
            "pooling_mode_mean_tokens": self.pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        }
        return {
            "modules.json": MODULES,
            "sentence_bert_config.json": {"max_seq_length": encoder.max_length, "do_lower_case": False},
            "config_sentence_transformers.json": {"similarity_fn_name": "cosine"},
            "1_Pooling/config.json": pooling,
        }


def _is_number(value: Any) -> bool:
    """Whether a value of a recipe is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _checked(prediction: Prediction) -> SimilarityPrediction:
    """The same prediction, known to the type checker as one of this task."""
    assert isinstance(prediction, SimilarityPrediction)
    return prediction


SIMILARITY = Similarity(
    "similarity",
    samples=("Mưa lớn làm ngập nhiều tuyến đường.", "Nhiều con đường bị ngập vì mưa to."),
    page_words={
        "vi": PageWords(
            tab="Độ tương đồng",
            button="Tính độ tương đồng",
            fields={"sentence1": "Câu thứ nhất", "sentence2": "Câu thứ hai"},
        ),
        "en": PageWords(
            tab="Similarity",
            button="Compare the meanings",
            fields={"sentence1": "First sentence", "sentence2": "Second sentence"},
        ),
    },
)
