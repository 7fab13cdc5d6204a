"""What the tests of drafts share: plans without a measurement, and a tiny student and teacher."""

from __future__ import annotations

from typing import Any

import pytest

from kdda.report.render import Table
from tests.conftest import make_model


class NoEstimate:
    """The cost of a recipe without a measurement: the rest of its plan is as ever."""

    def __init__(self, *_: Any): ...

    def models_table(self) -> Table:
        return Table("Cost", ["model"], [])

    work_table = models_table

    def lines(self) -> list[str]:
        return []

    warnings = lines

    def seconds(self) -> float:
        return 60.0


@pytest.fixture(autouse=True)
def estimates(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test measures the cost; the plans of the others leave it out."""
    if request.node.name != "test_vinli":
        monkeypatch.setattr("kdda.experiment.plan.Estimate", NoEstimate)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name a tiny student and teacher."""
    student = make_model(tmp_path_factory.mktemp("student"))
    return ["--student", student, "--teachers", f"vi={student},en={student}"]
