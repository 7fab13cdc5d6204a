"""An embedding model is identified by its weights, not by its name alone."""

from __future__ import annotations

from pathlib import Path

from kdda.embeddings.encoder import EmbeddingModel, MeanPoolingModel
from tests.conftest import make_model
from tests.heads import make_reader


def test_the_fingerprint_changes_with_the_weights_and_not_with_the_name(tmp_path: Path) -> None:
    first = MeanPoolingModel.load(make_model(tmp_path / "first"))
    same = MeanPoolingModel.load(make_model(tmp_path / "same"))
    other = MeanPoolingModel.load(make_model(tmp_path / "other", seed=1))
    assert isinstance(first, EmbeddingModel)
    assert first.fingerprint == same.fingerprint != other.fingerprint
    assert MeanPoolingModel.load(str(tmp_path / "first"), layers=1).fingerprint != first.fingerprint


def test_weights_that_vectors_do_not_depend_on_are_not_counted(tmp_path: Path) -> None:
    reader = make_reader(tmp_path / "reader")  # saved without a pooler, which is drawn at random when it is opened
    assert MeanPoolingModel.load(reader).fingerprint == MeanPoolingModel.load(reader).fingerprint
