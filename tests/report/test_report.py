"""Reports read folders alone, refuse what cannot be compared, and claim no more than the numbers do."""

import json
import random
import re
import shlex
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

from kdda.errors import KddaError
from kdda.metrics.significance import bootstrap_interval, holm, seed_interval
from kdda.recipe.load import load_recipe
from kdda.report.build import report, write_report
from kdda.report.comparison import Comparison, compare, task_scores
from kdda.report.differences import Difference, differences
from kdda.report.render import Table, to_markdown
from kdda.report.teacher_check import TeacherScore, lead_note
from kdda.runs.folder import find_runs
from kdda.runs.predictions import row_scores
from kdda.runtime.live import updates_to
from kdda.serve.page.pictures import training_html
from kdda.serve.page.words import ENGLISH, WORDS
from kdda.visualize.files import plot_all

LABELS = ["a", "b"]


ROWS = {"train": "train.jsonl", "dev": "dev.jsonl", "test": "test.jsonl"}


def write_run(
    root: Path, arm: str, seed: int, share: float, rows: int = 120, weight: float | None = None, **changes: Any
) -> Path:
    """A finished run of an inference task whose predictions are right with a probability of `share`."""
    folder = root / "nli" / arm / f"seed-{seed}"
    folder.mkdir(parents=True)
    own = {"train": "all", "distill": False if weight is None else {"lambda": weight}}
    recipe = {"name": "toy", "task": "nli", "target": "vi", "arms": {arm: own}, "distill": {"lambda": 0.3}, **changes}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "environment.json").write_text(json.dumps({"torch": "2.13", "threads": 2}))
    chance, lines = random.Random(f"{seed}"), []
    for i in range(rows):
        gold = LABELS[i % 2]
        right = chance.random() < share
        row = {"id": str(i), "group": str(i // 3), "gold": gold, "predicted": gold if right else "c", "language": "vi"}
        lines.append(json.dumps(row))
    accuracy = 100 * sum(json.loads(line)["predicted"] != "c" for line in lines) / rows
    (folder / "predictions.jsonl").write_text("\n".join(lines) + "\n")
    scores = {"rows": rows, "accuracy": accuracy, "macro_f1": accuracy, "standard_error": 4.0}
    scores["per_label"] = dict.fromkeys(LABELS, accuracy)
    data = {"vi": {"rows": 1000, "windows": 1000, "tokens": 20_000}}
    events = [
        {"event": "task", "metric": "accuracy", "scores": ["accuracy", "macro_f1"], "data": data, "seconds": 0.1},
        *({"event": "train", "step": s, "language": "vi", "task": 1 / s, "seconds": s} for s in (1, 2, 3)),
        {"event": "final-test", "language": "vi", **scores, "seconds": 9.0},
        {"event": "final-cost", "peak_mb": 900, "seconds": 9.0},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return folder


def add_dev_and_teacher(folder: Path, teacher: float | None = None, dev: float = 55.0, seconds: float = 60.0) -> Path:
    """Give a finished run its score on development rows, and its teacher's."""
    scores = {"rows": 90, "accuracy": dev, "macro_f1": 54.0, "standard_error": 5.0}
    events = [{"event": "final-dev", "language": "vi", **scores, "seconds": 9.0}]
    if teacher is not None:
        facts = {"model": "t", "accuracy": teacher, "training_seconds": seconds}
        events.append({"event": "final-teacher", "language": "vi", **facts, "seconds": 9.0})
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("".join(json.dumps(event) + "\n" for event in events))
    return folder


def taught(
    root: Path, arm: str, seed: int, share: float, teacher: float | None = None, dev: float = 55.0, **spec: Any
) -> Path:
    """A run with its score on development rows, and its teacher's where it has one."""
    weight = None if teacher is None else 0.3
    folder = write_run(root, arm, seed, share, weight=weight, teachers={"vi": {"model": "t", **spec}})
    return add_dev_and_teacher(folder, teacher, dev)


def change_arm(folder: Path, changes: dict[str, Any]) -> None:
    """Make a finished run's arm another than the recipe's others."""
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    next(iter(recipe["arms"].values())).update(changes)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))


def compared(root: Path, against: str | None = None) -> Comparison:
    """The runs below a folder, compared on Vietnamese rows."""
    found = find_runs(root)
    scores = task_scores(found)
    assert scores is not None
    return compare(found, "vi", scores, against=against)


def differences_in(root: Path) -> list[Difference]:
    return differences(compared(root))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        write_run(tmp_path, "student", seed, 0.5)
        write_run(tmp_path, "student-da", seed, 0.8)
        write_run(tmp_path, "student-kdda", seed, 0.8, weight=0.3)
    return tmp_path


def test_every_form_holds_the_tables(runs: Path) -> None:
    texts = {form: write_report([runs], runs / f"r{form}") for form in (".md", ".tex", ".csv", ".html")}
    for form, text in texts.items():
        assert (runs / f"r{form}").read_text(encoding="utf-8") == text
        assert "student-kdda" in text and "Cost" in text and "1,000" in text
    assert texts[".tex"].count(r"\begin{table}") == 5 and r"$\pm$" in texts[".tex"]
    assert not re.search(r'(src|href)="http|@import|url\(http|<script', texts[".html"])  # needs nothing else
    assert texts[".html"].count("<svg") >= 2 and "torch 2.13" in texts[".html"]
    assert texts[".md"] == write_report([runs], None)


def test_a_picture_is_told_what_a_report_is_at(runs: Path) -> None:
    stages: list[str] = []
    with updates_to(lambda update: stages.append(update["stage"])):
        report([runs])
    assert stages == ["reading run folders", "tables and intervals", "figures"]


def test_a_folder_below_the_output_folder_is_suggested(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs.parent)
    with pytest.raises(KddaError, match=f'no folder "nli".* — did you mean "{runs.name}/nli"'):
        report([Path("nli")])


def test_arms_of_few_steps_are_noted(runs: Path) -> None:
    for folder in (runs / "nli/student-da").iterdir():
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"event": "dev", "language": "vi", "step": 80, "seconds": 9.5}\n')
    noted = [line for line in report([runs]).lines if "steps in all" in line]
    little = "3 steps in all; a model learns little in so few: more epochs, or more rows, would do"
    assert noted == [f"WARNING: student, student-kdda: {little}"]


def test_a_direction_is_claimed_only_where_both_intervals_exclude_zero(runs: Path) -> None:
    found = {(own.arm, own.baseline): own for own in differences_in(runs)}
    assert found["student-da", "student"].verdict == "higher"
    same = found["student-kdda", "student-da"]
    assert same.by_example.mean == 0 and same.verdict == "no evidence of a difference"


def test_one_seed_says_nothing_of_others(tmp_path: Path) -> None:
    write_run(tmp_path, "student", 1, 0.5)
    write_run(tmp_path, "student-da", 1, 0.9)
    (only,) = differences_in(tmp_path)
    assert only.by_seed is None and only.verdict == "one seed: no conclusion"


def test_a_seed_missing_in_one_arm_is_skipped_and_named(runs: Path) -> None:
    write_run(runs, "student", 4, 0.5)
    text = write_report([runs], None)
    assert "Seeds differ between arms" in text
    write_run(runs, "student-da", 4, 0.8)
    assert "Common seeds only: student-kdda" in write_report([runs], None)


def test_a_half_written_folder_is_skipped_and_named(runs: Path) -> None:
    (write_run(runs, "student", 5, 0.5) / "predictions.jsonl").unlink()
    assert "skipped, unfinished" in write_report([runs], None) and "seed-5" in write_report([runs], None)


def test_a_folder_with_predictions_alone_is_refused(runs: Path) -> None:
    (write_run(runs, "student", 6, 0.5) / "recipe.yaml").unlink()
    with pytest.raises(KddaError, match=r"seed-6 has predictions but no recipe\.yaml"):
        report([runs])


def test_runs_of_two_recipes_are_not_mixed(runs: Path) -> None:
    write_run(runs / "other", "student", 1, 0.5, target="en")
    with pytest.raises(KddaError, match="runs of several recipes: target is 'vi'"):
        report([runs])


def commands_in(message: str) -> list[list[str]]:
    """The commands that a refusal lists, without the program."""
    return [shlex.split(line)[1:] for line in message.splitlines() if line.startswith("  kdda ")]


def test_the_refusal_of_a_folder_of_two_recipes_lists_the_commands_that_report_each(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for root, target in (("runs", "vi"), ("more runs", "en"), ("runs-vi", "vi")):
        write_run(Path(root), "student", 1, 0.5, target=target)
    write_run(Path("runs"), "student-da", 1, 0.9)
    code, _, errors = command("report", ".")
    assert code == 2 and "report them one by one:\n" in errors
    commands = commands_in(errors)
    assert commands == [["report", "more runs/nli"], ["report", "runs/nli"], ["report", "runs-vi/nli"]]
    assert "| student-da" in command(*commands[1])[1]
    monkeypatch.setenv("KDDA_LANG", "vi")
    assert "hãy lập báo cáo riêng cho từng phần:\n  kdda report 'more runs/nli'\n" in command("report", ".")[2]


def test_arms_of_two_recipes_in_one_folder_are_reported_by_their_names(tmp_path: Path, command: Any) -> None:
    for arm, limit in (("small", 64), ("small-da", 64), ("large", 250)):
        write_run(tmp_path, arm, 1, 0.5, data={"vi": {**ROWS, "limit": {"train": limit}}})
    _, _, errors = command("report", tmp_path)
    folder = str(tmp_path / "nli")
    commands = commands_in(errors)
    assert commands == [["report", folder, "--arms", "large"], ["report", folder, "--arms", "small,small-da"]]
    assert "| small-da" in command(*commands[1])[1]


def test_an_arm_may_read_a_language_that_other_arms_lack(tmp_path: Path) -> None:
    texts = {"train": "texts.jsonl", "labels": "none"}
    for seed in (1, 2):
        write_run(tmp_path, "student", seed, 0.5, data={"vi": ROWS})
        write_run(tmp_path, "student-da", seed, 0.9, data={"vi": ROWS, "vi-unlabelled": texts})
    assert [difference.arm for difference in differences_in(tmp_path)] == ["student-da"]


def test_runs_that_read_other_rows_of_one_language_are_not_mixed(tmp_path: Path) -> None:
    write_run(tmp_path, "student", 1, 0.5, data={"vi": {**ROWS, "limit": {"train": 200}}})
    write_run(tmp_path, "student-da", 1, 0.9, data={"en": ROWS, "vi": {**ROWS, "limit": {"train": 100}}})
    with pytest.raises(KddaError, match=r"runs of several recipes: data.vi.limit is \{'train': 200\}"):
        report([tmp_path])


def test_one_arm_on_other_languages_is_not_mixed(tmp_path: Path) -> None:
    write_run(tmp_path, "student", 1, 0.5, data={"vi": ROWS})
    write_run(tmp_path, "student", 2, 0.9, data={"en": ROWS, "vi": ROWS})
    with pytest.raises(KddaError, match='two recipes under one name: data of arm "student"'):
        report([tmp_path])


def test_a_run_made_before_a_field_was_known_stands_beside_newer_ones(tmp_path: Path) -> None:
    recipe = load_recipe("mini-nli").of_run("student-kdda", 1)
    for seed in (1, 2):
        folder = write_run(tmp_path, "student-kdda", seed, 0.5)
        values = yaml.safe_load(recipe.to_yaml())
        if seed == 1:
            del values["data"]["vi"]["on_bad_row"], values["teachers"]["vi"]["train"], values["training"]["compile"]
            del values["arms"]["student-kdda"]["training"]["sampling"]
        (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    assert [run.seed for run in find_runs(tmp_path)] == [1, 2]
    assert "Mean ± sample standard deviation over seeds 1, 2." in to_markdown(report([tmp_path]).parts[0])


def test_one_arm_under_two_settings_is_not_mixed(runs: Path) -> None:
    write_run(runs / "larger-weight", "student-kdda", 4, 0.8, weight=1.0)
    with pytest.raises(KddaError, match='two recipes under one name: arms of arm "student-kdda"'):
        report([runs])


def test_the_same_run_from_two_places_is_not_counted_twice(runs: Path) -> None:
    write_run(runs / "again", "student", 1, 0.5)
    with pytest.raises(KddaError, match='arm "student" has run twice at seed 1'):
        report([runs])


def test_some_arms_can_be_reported_alone(runs: Path) -> None:
    text = write_report([runs], None, ["student", "student-da"])
    assert "student-da" in text and "student-kdda" not in text
    with pytest.raises(
        KddaError, match=r'--arms: got "student-kda", expected one of: .* — did you mean "student-kdda"'
    ):
        write_report([runs], None, ["student-kda"])
    assert "over seeds 1, 3." in write_report([runs], None, None, [1, 3])
    with pytest.raises(KddaError, match="no run at seed 9; seeds that have run: 1, 2, 3"):
        write_report([runs], None, None, [9])


def test_arms_are_compared_with_those_without_a_teacher_whatever_they_are_called(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(tmp_path, "xlmr-da", seed, 0.6)
        write_run(tmp_path, "a-larger-weight", seed, 0.6, weight=1.0)
    assert [(own.arm, own.baseline) for own in differences_in(tmp_path)] == [("a-larger-weight", "xlmr-da")]
    assert "| vs xlmr-da |" in write_report([tmp_path], None)


def test_arms_are_compared_with_those_of_the_same_configuration(tmp_path: Path) -> None:
    for arm, weight in (("da", None), ("da-few", None), ("kdda", 0.3), ("kdda-few", 0.3), ("kdda-deep", 0.3)):
        change_arm(write_run(tmp_path, arm, 1, 0.6, weight=weight), {"rows": {"vi": 50}} if "few" in arm else {})
    change_arm(write_run(tmp_path, "kdda-long", 1, 0.6, weight=0.3), {"training": {"epochs": 9}})
    pairs = {(own.arm, own.baseline) for own in differences_in(tmp_path)}
    alone = {("kdda-long", "da"), ("kdda-long", "da-few")}  # nothing is made as it is
    assert pairs == {("da-few", "da"), ("kdda-few", "da-few"), ("kdda", "da"), ("kdda-deep", "da"), *alone}
    table = next(line for line in write_report([tmp_path], None).splitlines() if line.startswith("| kdda-few "))
    assert [cell.strip() for cell in table.split("|")[4:6]] == ["", "+0.0"]


def test_a_teacher_stands_beside_the_students_it_might_have_taught(tmp_path: Path) -> None:
    for name, teacher in (("da", None), ("kdda", 70.0), ("da-large", None), ("kdda-large", 90.0)):
        folder = taught(tmp_path, name, 1, 0.6, teacher, dev=80.0 if "large" in name else 55.0, rows=int(teacher or 1))
        change_arm(folder, {"student": {"model": "large"}} if "large" in name else {})
    worth = next(part for part in report([tmp_path]).parts if part.title.startswith("Teacher check"))
    assert isinstance(worth, Table)
    assert worth.header == ["teacher", "teacher's score", "da", "da-large"]
    assert [[bool(cell) for cell in row[2:]] for row in worth.rows] == [[True, False], [False, True]]
    assert not any("WARNING" in note for note in worth.notes)  # 70 is less than da-large has, whom it does not teach


def test_the_teacher_check_says_which_students_were_ahead_during_training(tmp_path: Path) -> None:
    for seed, since in ((1, None), (2, 1.0), (3, 1.5)):
        folder = taught(tmp_path, "kdda", seed, 0.6, teacher=70.0)
        facts = {"language": "vi", "model": "t", "step": 3, "student": 60.0, "teacher": 70.0, "stopped": False}
        with (folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"event": "teacher-lead", **facts, "ahead_since": since, "seconds": 9.0}) + "\n")
    first = find_runs(tmp_path)[:1]
    task = task_scores(first)
    assert task is not None
    assert lead_note(compare(first, "vi", task)) == "During training no student was ahead of its teacher."
    text = write_report([tmp_path], None)
    assert (
        "Ahead of a teacher during training: kdda of vi, t (runs: 2 of 3; first at epoch 1; distill.stop_when_ahead "
        "would stop the teacher there)."
    ) in text


def test_many_arms_leave_their_drawing_room(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    for number in range(24):
        write_run(tmp_path, f"an-arm-of-a-long-name-{number}", 1, 0.6, weight=0.3)
    report([tmp_path])
    assert not [own for own in recwarn if "constrained_layout" in str(own.message)]


def test_all_arms_can_be_compared_with_one(runs: Path) -> None:
    text = write_report([runs], None, against="student-kdda")
    pairs = re.findall(r"^\| ([\w-]+ − [\w-]+)", text, re.MULTILINE)
    assert pairs == ["student − student-kdda", "student-da − student-kdda"]
    assert "| vs student-kdda |" in text and "vs student-da" not in text
    assert "| vs student-kdda |" not in write_report([runs], None, dev=True)
    with pytest.raises(
        KddaError, match=r'--against: got "student-kd", expected one of: .* — did you mean "student-kdda"'
    ):
        write_report([runs], None, against="student-kd")


def test_a_teacher_stands_beside_the_arms_without_one_and_a_weak_one_is_warned_of(runs: Path) -> None:
    for metrics in runs.rglob("metrics.jsonl"):
        arm = metrics.parents[1].name
        own = {"student": 40.0, "student-da": 61.0, "student-kdda": 62.0}[arm]
        events = [{"event": "final-dev", "language": "vi", "rows": 243, "accuracy": own, "seconds": 9.0}]
        if arm == "student-kdda":
            events.append({"event": "final-teacher", "language": "vi", "model": "t", "accuracy": 60.5, "seconds": 9.0})
        with metrics.open("a") as file:
            file.write("".join(json.dumps(event) + "\n" for event in events))
    text = write_report([runs], None)
    assert re.search(r"\| vi, t +\| +60\.5 \| +40\.0 \| +61\.0 \|", text)
    assert "WARNING: this teacher is no better than the student it teaches: vi, t 60.5, student-da 61.0." in text
    assert "Teachers and students" in write_report([runs], runs / "page.html")


@pytest.mark.parametrize(
    ("teacher", "student", "expected"),
    [
        (60.54, 60.53, ""),
        (60.5, 60.5, "this teacher is only as good as the student it teaches: vi, t 60.5, student 60.5."),
        (100.0, 100.0, "this teacher and the student it teaches are both at 100: vi, t, student; these development"),
    ],
)
def test_a_teacher_that_is_level_with_its_student_is_said_to_be_level(
    teacher: float, student: float, expected: str
) -> None:
    warning = TeacherScore("vi", "t", teacher, {"student": student}).warning
    assert warning.startswith(expected) and bool(warning) == bool(expected)


def test_one_model_that_read_more_rows_is_another_teacher(tmp_path: Path) -> None:
    taught(tmp_path, "student-da", 1, 0.6)
    taught(tmp_path, "weak", 1, 0.6, 50.0)
    taught(tmp_path, "strong", 1, 0.8, 70.0, rows=4000)
    text = write_report([tmp_path], None)
    assert re.search(r"\| vi, t +\| +50\.0 \| +55\.0 \|", text)
    assert re.search(r"\| vi, t, 4,000 rows +\| +70\.0 \| +55\.0 \|", text)


def test_a_teachers_folder_is_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    taught(tmp_path / "runs", "student-da", 1, 0.6)
    taught(tmp_path / "runs", "deep", 1, 0.6, 50.0)
    for metrics in tmp_path.rglob("deep/**/metrics.jsonl"):
        metrics.write_text(metrics.read_text().replace('"model": "t"', f'"model": "{tmp_path}/teachers/seed-1/model"'))
    text = write_report([tmp_path / "runs"], None)
    assert "| vi, teachers/seed-1/model |" in text and str(tmp_path) not in text


def test_gains_are_drawn_against_the_teachers_lead(tmp_path: Path) -> None:
    taught(tmp_path, "student-da", 1, 0.6)
    taught(tmp_path, "weak", 1, 0.6, 50.0)
    title = "Gain over student-da against the teacher's lead"
    assert title not in [part.title for part in report([tmp_path]).parts]  # one teacher draws no line
    taught(tmp_path, "strong", 1, 0.8, 70.0, rows=4000)
    assert title in [part.title for part in report([tmp_path]).parts]


def test_gains_are_drawn_of_students_that_are_made_alike(tmp_path: Path) -> None:
    taught(tmp_path, "student-da", 1, 0.6)
    taught(tmp_path, "student-da-long", 1, 0.6)
    taught(tmp_path, "weak", 1, 0.6, 50.0)
    taught(tmp_path, "strong", 1, 0.8, 70.0, rows=4000)
    taught(tmp_path, "strong-long", 1, 0.8, 70.0, rows=4000)
    for path in tmp_path.rglob("*-long/*"):
        change_arm(path, {"training": {"epochs": 4}})
    paths = plot_all([tmp_path], tmp_path / "plots", "svg")
    drawn = next(path for path in paths if "gain-over-student-da-against" in path.name).read_text()
    assert "strong<" in drawn and "weak<" in drawn and "-long" not in drawn


def test_a_choice_can_be_made_without_a_look_at_test_rows(tmp_path: Path) -> None:
    for seed in (1, 2):
        taught(tmp_path, "student-da", seed, 0.6)
        taught(tmp_path, "strong", seed, 0.8, 70.0)
    text = write_report([tmp_path], None, dev=True)
    assert "vi, development rows" in text and "90 development rows" in text and "55.0" in text
    whole = write_report([tmp_path], None)
    for run in find_runs(tmp_path):
        assert f"{run.test['vi']['accuracy']:.1f}" not in text.replace("55.0", "").replace("70.0", "")
    assert "test rows" in whole and " vi, test rows" not in text and "F1 by label" not in text


def test_points_are_told_beside_the_seconds_that_they_cost(tmp_path: Path) -> None:
    def told() -> dict[str, str]:
        table = next(t for t in report([tmp_path]).tables if t.title == "Cost")
        assert table.header[-1] == "points per extra minute vs student-da"
        return {row[0]: row[-1] for row in table.rows}

    for seed in (1, 2):
        taught(tmp_path, "student-da", seed, 0.5)
        taught(tmp_path, "larger-weight", seed, 0.7, 70.0)
        taught(tmp_path, "as-long", seed, 0.7, 70.0)
        metrics = tmp_path / f"nli/larger-weight/seed-{seed}/metrics.jsonl"
        metrics.write_text(metrics.read_text() + json.dumps({"event": "step", "step": 3, "seconds": 33.0}) + "\n")
        if seed == 1:
            assert set(told().values()) == {""}  # one seed does not know by how much seconds differ
    gain = next(own for own in differences_in(tmp_path) if own.arm == "larger-weight").by_example.mean
    cost = told()
    assert cost["student-da"] == cost["as-long"] == ""
    assert float(cost["larger-weight"]) == pytest.approx(2 * gain, abs=0.1)  # half a minute more


def test_every_table_with_seconds_says_what_they_are(tmp_path: Path) -> None:
    for arm in ("student-da", "kdda"):
        taught(tmp_path, arm, 1, 0.6, 70.0)
    timed = [table for table in report([tmp_path]).tables if "seconds" in table.header]
    assert len(timed) == 2
    for table in timed:
        assert any("wall-clock" in note and "Other work on the machine" in note for note in table.notes)


def cost_of(root: Path) -> dict[str, list[str]]:
    table = next(table for table in report([root]).tables if table.title == "Cost")
    return {row[0]: row[1:] for row in table.rows}


def test_a_teachers_seconds_stand_once_beside_those_of_the_arms(tmp_path: Path) -> None:
    taught(tmp_path, "da", 1, 0.6)
    for seed in (1, 2):
        taught(tmp_path, "kdda", seed, 0.6, 70.0)
    assert cost_of(tmp_path)["teacher vi, t"][0] == "60"
    assert "its seconds are in no arm's" in write_report([tmp_path], None)


def test_a_teacher_that_was_not_fine_tuned_here_has_no_seconds(tmp_path: Path) -> None:
    metrics = taught(tmp_path, "kdda", 1, 0.6, 70.0) / "metrics.jsonl"
    for seconds in ('"training_seconds": null', '"older": 1'):
        text = metrics.read_text()
        metrics.write_text(re.sub(r'"training_seconds": [\d.]+', seconds, text))
        assert not [name for name in cost_of(tmp_path) if name.startswith("teacher")]
        metrics.write_text(text)


def set_task(root: Path, **facts: str) -> None:
    """Let all runs' `task` events say more."""
    for metrics in root.rglob("metrics.jsonl"):
        first, rest = metrics.read_text().split("\n", 1)
        metrics.write_text(json.dumps(json.loads(first) | facts) + "\n" + rest)


def test_a_run_says_itself_what_its_scores_are_broken_down_by(runs: Path) -> None:
    titles = [part.title for part in report([runs]).parts]
    assert "F1 by label, vi test rows" in titles  # runs of before the field
    set_task(runs, breakdown="label", row_score="accuracy")
    assert [part.title for part in report([runs]).parts] == titles
    set_task(runs, breakdown="nothing that a report knows")
    assert not [part.title for part in report([runs]).parts if part.title.startswith("F1 by")]


def test_a_run_says_itself_which_field_scores_a_row(runs: Path) -> None:
    for path in runs.rglob("predictions.jsonl"):
        rows = [json.loads(line) | {"f1": 0.5, "mark": 0.25} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = find_runs(runs)[0]
    assert {row.score for row in row_scores(first, "vi").values()} == {50.0}  # as before the field
    set_task(runs, row_score="accuracy")
    assert {row.score for row in row_scores(find_runs(runs)[0], "vi").values()} == {0.0, 100.0}
    set_task(runs, row_score="mark")
    assert {row.score for row in row_scores(find_runs(runs)[0], "vi").values()} == {25.0}


@pytest.fixture
def old(runs: Path) -> Path:
    """One run of an older kdda among good ones."""
    folder = write_run(runs, "older", 1, 0.6, weight=0.3)
    change_arm(folder, {"distill": {"form": "convex"}})
    return folder


def test_a_run_with_an_old_field_is_named_wherever_runs_are_read(runs: Path, old: Path, tmp_path: Path) -> None:
    message = re.escape(str(old)) + '.* by an older kdda: .*distill.form" is now .*distill.combine'
    with pytest.raises(KddaError, match=message):
        report([runs])
    with pytest.raises(KddaError, match=message):
        plot_all([runs], tmp_path / "plots", "svg")
    assert re.search(message, unescape(training_html(str(runs), [runs], WORDS[ENGLISH])))
    (old / "predictions.jsonl").unlink()  # an unfinished one hides no finished ones
    page = unescape(training_html(str(runs), [runs], WORDS[ENGLISH]))
    assert re.search(message, page) and "student-da" in page
    assert "student-da" in write_report([runs], None)


def test_several_runs_with_old_fields_are_all_named(runs: Path, old: Path) -> None:
    other = write_run(runs, "older", 2, 0.6, weight=0.3)
    change_arm(other, {"distill": {"form": "convex"}})
    with pytest.raises(KddaError, match=f"{re.escape(str(old))}.*the same holds for {re.escape(str(other))}"):
        report([runs])


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(KddaError, match="no folder"):
        report([tmp_path / "none"])
    with pytest.raises(KddaError, match="no finished run"):
        report([tmp_path])
    with pytest.raises(KddaError, match=r"its form: got \"\.pdf\", expected one of: \.md"):
        write_report([tmp_path], tmp_path / "r.pdf")


def test_a_grid_of_weights_is_drawn(tmp_path: Path) -> None:
    for weight in (0.1, 0.3, 1.0):
        for seed in (1, 2):
            write_run(tmp_path, f"lambda-{weight}", seed, 0.6, weight=weight)
    assert "Score against λ" in [part.title for part in report([tmp_path]).parts]


def test_weights_are_drawn_of_arms_that_differ_in_nothing_else(tmp_path: Path) -> None:
    for arm, weight in (("soft", 0.1), ("plain", 0.3), ("loud", 1.0)):
        folder = write_run(tmp_path, arm, 1, 0.6, weight=weight)
    assert "Score against λ" in [part.title for part in report([tmp_path]).parts]
    change_arm(folder, {"teachers": {"vi": {"random": True}}})
    assert "Score against λ" not in [part.title for part in report([tmp_path]).parts]


def test_bootstrap_intervals_are_those_of_the_normal_case() -> None:
    chance = random.Random(0)
    values = [chance.gauss(1.0, 10.0) for _ in range(2000)]
    found = bootstrap_interval(values, [str(i) for i in range(2000)])
    mean, error = sum(values) / 2000, 10.0 / 2000**0.5
    assert found.low == pytest.approx(mean - 1.96 * error, abs=0.1)
    assert found.high == pytest.approx(mean + 1.96 * error, abs=0.1)


def test_rows_that_move_together_widen_the_interval() -> None:
    chance = random.Random(0)
    values = [value for _ in range(100) for value in [chance.gauss(0, 1)] * 5]
    apart, tied = (bootstrap_interval(values, [str(i // size) for i in range(500)]) for size in (1, 5))
    assert tied.high - tied.low > 1.8 * (apart.high - apart.low)


def test_the_t_interval_is_the_textbooks() -> None:
    found = seed_interval([1.0, 2.0, 3.0, 4.0])
    assert found is not None and found.low == pytest.approx(2.5 - 3.1824 * 0.6455, abs=1e-3)
    assert seed_interval([1.0]) is None
    assert seed_interval([1.1, 1.1]) is None
    assert seed_interval([0.0, 0.0]) == (0.0, 0.0, 0.0, 1.0)


def test_holms_adjustment_never_falls_below_the_p_value() -> None:
    assert holm([0.01, 0.02, 0.5]) == pytest.approx([0.03, 0.04, 0.5])
    assert holm([]) == []


def test_a_teacher_with_random_weights_is_named_as_a_control_and_not_warned_of() -> None:
    teacher = TeacherScore("en", "mini/english with random weights", 35.0, {"student": 60.0})
    assert teacher.is_control and not teacher.warning
    assert str(teacher) == "en: a control: teacher 35.0, student 60.0; mini/english with random weights"
