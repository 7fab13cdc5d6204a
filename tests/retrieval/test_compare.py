"""Systems of a recipe beside each other: with the passage given, and among all passages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

import kdda
from kdda.baselines.vireader import ViReader, reader_of
from kdda.experiment.open_domain import scores_of
from tests.conftest import Bench, write_rows

SYSTEMS = {
    "reader": {"arm": "student"},
    "vireader": {"arm": "vireader", "passages": [1, 2]},
    "mixed": {"arm": "student", "retriever": "fusion", "passages": [1, 3], "mu": [0, 0.5, 1]},
}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A recipe with three systems, whose contexts have a sentence a line."""
    bench = Bench(tmp_path_factory.mktemp("systems"))
    bench.read()
    for own in bench.values["data"].values():
        for split in ("train", "dev", "test"):
            lines = [{**row, "context": row["context"].replace("  ", " \n")} for row in rows(Path(own[split]))]
            write_rows(Path(own[split]), lines)
    del bench.values["teachers"]
    bench.values["data"]["aa"]["limit"] = {"train": 40}
    arms = {"student": {"train": "target"}}
    arms["vireader"] = {"train": "target", "sentences": 2, "training": {"epochs": 1, "warmup": 3}}
    bench.values |= {"arms": arms, "systems": SYSTEMS}
    return bench


@pytest.fixture
def table(done: Bench, command: Any) -> str:
    code, out, err = command("run", done.write(), "--out", done.folder / "runs")
    assert code == 0, err
    return str(out)


@pytest.mark.slow
def test_one_table_holds_all_systems_in_both_settings(done: Bench, table: str) -> None:
    assert "Systems, test rows" in table and "closed F1" in table and "open F1" in table and "R@10" in table
    lines = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")}
    assert {"reader", "vireader", "mixed"} <= set(lines)
    for name, system in SYSTEMS.items():
        folder = done.folder / "runs/systems" / name / "seed-1"
        found = rows(folder / "predictions.jsonl")
        assert {row["setting"] for row in found} == {"closed", "open"} and len(found) == 2 * 18
        said = yaml.safe_load((folder / "recipe.yaml").read_text())["systems"][name]
        assert said["arm"] == system["arm"]
        events = {own["event"]: own for own in rows(folder / "metrics.jsonl")}
        assert events["system"]["passages"] in said["passages"] and events["system"]["mu"] in said["mu"]
        found_at = [events["final-dev"][f"recall@{k}"] for k in (1, 5, 10)]
        assert found_at == sorted(found_at) and found_at[0] >= 0 and found_at[-1] <= 100


@pytest.mark.slow
def test_the_corpus_is_every_context_whatever_the_recipe_limits(done: Bench, table: str) -> None:
    contexts = {row["context"] for s in ("train", "dev", "test") for row in rows(Path(done.values["data"]["aa"][s]))}
    assert f"{len(contexts)} passages" in table


@pytest.mark.slow
def test_the_closed_setting_is_the_arms_own_run_and_open_answers_stand_in_their_document(
    done: Bench, table: str
) -> None:
    made = rows(done.folder / "runs/qa/vireader/seed-1/predictions.jsonl")
    own = [row for row in made if row["language"] == "aa"]
    closed = [r for r in rows(done.folder / "runs/systems/vireader/seed-1/predictions.jsonl") if "candidates" in r]
    assert [(row["id"], row["predicted"]) for row in closed] == [(r["id"], r["predicted"]) for r in own]
    contexts = {row["id"]: row["context"] for row in rows(Path(done.values["data"]["aa"]["test"]))}
    for row in own:
        assert row["predicted"] == contexts[row["id"]][row["start"] : row["end"]] and row["golds"]


@pytest.mark.slow
def test_what_is_done_is_kept_and_what_its_reader_has_left_behind_is_done_again(
    done: Bench, table: str, command: Any
) -> None:
    folders = [done.folder / "runs/systems" / name / "seed-1" for name in SYSTEMS]
    before = [path.stat().st_mtime_ns for own in folders for path in own.iterdir()]
    code, out, _ = command("run", done.write(), "--out", done.folder / "runs")
    assert code == 0 and out.endswith(table[table.index("Systems, test rows") :])
    assert before == [path.stat().st_mtime_ns for own in folders for path in own.iterdir()]
    changed = {**done.values, "systems": {**SYSTEMS, "reader": {"arm": "student", "passages": [2]}}}
    path = done.folder / "changed.yaml"
    path.write_text(yaml.safe_dump(changed), encoding="utf-8")
    code, _, err = command("run", path, "--out", done.folder / "runs")
    assert code == 2 and "holds a system of another recipe (systems)" in err


@pytest.mark.slow
def test_a_model_of_vireaders_reads_as_it_was_trained(done: Bench, table: str) -> None:
    own = reader_of(kdda.load(done.folder / "runs/qa/vireader/seed-1/model"))
    assert isinstance(own, ViReader) and own.selector.keep == 2


@pytest.mark.slow
def test_a_report_of_the_folder_has_the_systems_table_beside_the_arms(done: Bench, table: str, command: Any) -> None:
    code, out, err = command("report", done.folder / "runs")
    assert code == 0, err
    assert "## Systems, test rows" in out and "vireader" in out


def test_recall_is_of_the_questions_that_have_an_answer() -> None:
    ranks = [(1, ["x"]), (7, ["x"]), (None, ["x"]), (2, ["x"]), (None, [])]
    rows = [{"gold_rank": rank, "golds": golds, "exact_match": 0.0, "f1": 0.5} for rank, golds in ranks]
    found = scores_of(rows)
    assert [found[f"recall@{k}"] for k in (1, 5, 10)] == [25.0, 50.0, 75.0] and found["f1"] == 50.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"systems": {"a": {"arm": "studnet"}}}, 'did you mean "student"'),
        ({"systems": {"a": {"arm": "student", "passges": [1]}}}, 'did you mean "passages"'),
        ({"systems": {"a": {"arm": "student", "mu": [2]}}}, "less than or equal to 1"),
        ({"systems": {"a/b": {"arm": "student"}}}, "it is a folder's name"),
        ({"arms": {"student": {"sentences": 0}}}, "greater than or equal to 1"),
        ({"arms": {"student": {"training": {"epoch": 1}}}}, 'did you mean "epochs"'),
        ({"task": "nli", "systems": {"a": {"arm": "student"}}}, "a task that answers questions"),
    ],
)
def test_a_mistake_in_a_recipe_is_said(bench: Bench, command: Any, change: dict[str, Any], said: str) -> None:
    bench.read()
    bench.values |= change
    code, _, err = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 2 and said in err
