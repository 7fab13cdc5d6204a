"""Cards say what a model is made of and how sure its score is; nothing leaves the machine unasked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, ModelCard

from kdda.hub.card import ModelCardFacts, write_card
from kdda.metrics.significance import Interval
from tests.conftest import Bench, make_model

FACTS = ModelCardFacts(
    "toy: student, seed 1", "nli", "text-classification", ["vi"], "base/model", "mit", {"vi": "a/teacher"}, {"vi": 800}
)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What would have gone to the Hub."""
    calls: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr("kdda.hub.push.hub_is_reachable", lambda: True)
    monkeypatch.setattr(HfApi, "create_repo", lambda self, name, **options: calls.append((name, options)))
    monkeypatch.setattr(HfApi, "upload_folder", lambda self, **options: calls.append((options["repo_id"], options)))
    return calls


def test_a_card_gives_each_score_its_interval_in_words_and_for_the_hub(tmp_path: Path) -> None:
    write_card(tmp_path, FACTS, "accuracy", {"vi": Interval(53.26, 48.9, 57.8, 0.0)})
    card = ModelCard.load(tmp_path / "README.md")
    assert "| vi | a/teacher | 800 | 53.3 | 48.9 to 57.8 |" in card.text and "One run, one seed." in card.text
    assert card.data.license == "mit" and card.data.base_model == "base/model" and card.data.language == ["vi"]
    (result,) = card.data.eval_results
    assert (result.task_type, result.metric_type, result.metric_value) == ("text-classification", "accuracy", 53.26)


def test_a_teachers_licence_is_passed_on(tmp_path: Path) -> None:
    bound = replace(FACTS, licence_warnings=["a/teacher: licence agpl-3.0: share alike"])
    write_card(tmp_path, bound, "accuracy", {})
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license == "other" and "**Licence:** a/teacher: licence agpl-3.0" in card.text


def test_a_card_tells_that_mini_models_are_mini(tmp_path: Path) -> None:
    mini = replace(FACTS, base="mini/multilingual", teachers={"vi": "mini/vietnamese (licence: mit)"})
    write_card(tmp_path, mini, "accuracy", {})
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "Made with mini models (`mini/multilingual`, `mini/vietnamese`)" in text
    write_card(tmp_path, FACTS, "accuracy", {})
    assert "mini models" not in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_run_writes_its_card_with_teachers_licences_and_intervals(bench: Bench, command: Any) -> None:
    folder = Path(make_model(bench.folder / "bound"))
    (folder / "README.md").write_text("---\nlicense: agpl-3.0\n---\n")
    bench.values["teachers"]["aa"] = str(folder)
    command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    card = ModelCard.load(bench.folder / "runs/nli/student-kdda/seed-1/model/README.md")
    assert f"{folder} (licence: agpl-3.0)" in card.text and "offer its source" in card.text
    (row,) = (line for line in card.text.splitlines() if line.startswith("| aa |"))
    score, interval = (cell.strip() for cell in row.split("|")[4:6])
    low, high = map(float, interval.split(" to "))
    assert low <= float(score) <= high and low < high


def test_pushing_says_what_would_go_and_sends_nothing_unless_told_to(
    bench: Bench, command: Any, sent: list[Any]
) -> None:
    command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student")
    run = bench.folder / "runs/nli/student/seed-1"
    (run / "model" / "training_args.bin").write_bytes(b"pickle")
    code, text, _ = command("push", run, "someone/model")
    assert code == 0 and "nothing was sent" in text and "model.safetensors" in text and not sent
    code, text, _ = command("push", run, "someone/model", "--yes")
    (created, uploaded) = sent
    assert (
        code == 0
        and "sent to someone/model" in text
        and created == ("someone/model", {"private": True, "exist_ok": True})
    )
    assert "README.md" in uploaded[1]["allow_patterns"] and "training_args.bin" not in uploaded[1]["allow_patterns"]


def test_what_cannot_be_pushed_is_refused(
    bench: Bench, command: Any, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, error = command("push", bench.values["student"], "someone/model", "--yes")
    assert code == 2 and "lacks README.md" in error
    write_card(Path(bench.values["student"]), FACTS, "accuracy", {})
    code, _, error = command("push", bench.values["student"], "some one/model", "--yes")
    assert code == 2 and "is no repository of the Hub" in error and not sent

    def refused(*_: Any, **__: Any) -> None:
        raise OSError("401 Client Error")

    monkeypatch.setattr(HfApi, "create_repo", refused)
    code, _, error = command("push", bench.values["student"], "someone/model", "--yes")
    assert code == 2 and "the Hub did not accept the model: 401" in error and "Traceback" not in error
