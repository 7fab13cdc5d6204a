"""An embedding model is identified by its weights, not by its name alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import kdda
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


def with_config(folder: Path, **fields: Any) -> str:
    """A tiny model whose config has further fields."""
    make_model(folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    return str(folder)


def test_vectors_are_pooled_as_a_model_stores_it(tmp_path: Path) -> None:
    texts = ["cat runs", "dog not sleeps very"]
    mean = MeanPoolingModel.load(make_model(tmp_path / "mean"))
    student = with_config(tmp_path / "cls", kdda_task="similarity", kdda_task_options={"pooling": "cls"})
    cls = MeanPoolingModel.load(student)
    np.testing.assert_allclose(cls.encode(texts), kdda.load(student, precision="fp32").encode(texts), atol=1e-6)
    assert not np.allclose(cls.encode(texts), mean.encode(texts), atol=0.01)
    assert cls.fingerprint != mean.fingerprint  # an index of the one is not searched by the other
    settings = (
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, cls),
        ({"pooling_mode": "cls"}, cls),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, mean),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, mean),
        ([], mean),
    )
    for number, (stored, expected) in enumerate(settings):
        folder = tmp_path / f"sentence-transformers-{number}"
        make_model(folder)
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(stored))
        model = MeanPoolingModel.load(str(folder))
        assert np.array_equal(model.encode(texts), expected.encode(texts)) and model.fingerprint == expected.fingerprint
