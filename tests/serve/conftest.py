"""Predictors on tiny models, loaded once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi", reason='needs pip install "kdda[serve]"')

import kdda
from kdda.inference.predictor import Predictor
from kdda.serve.limits import Limits
from tests.heads import make_judge, make_reader
from tests.serve.live import Held, Live, serving


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return kdda.load(make_reader(tmp_path_factory.mktemp("qa"), sharp=20))


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return kdda.load(make_judge(tmp_path_factory.mktemp("nli"), sharp=20))


@pytest.fixture(scope="session")
def live(reader: Predictor, judge: Predictor) -> Iterator[Live]:
    """A server of both models without a page."""
    with serving([reader, judge], Limits(characters=2_000)) as own:
        yield own


@pytest.fixture
def held(reader: Predictor) -> Iterator[Held]:
    """A reader that a test stops and lets go on."""
    own = Held(reader)
    yield own
    own.open.set()
