"""From a recipe to run folders and a table, through the command line, on tiny models."""

import errno
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from filelock import FileLock
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForQuestionAnswering, AutoModelForSequenceClassification, AutoTokenizer

from kdda import load
from kdda.data.sources import read_rows
from kdda.runs.events import read_metrics
from kdda.training.checkpoints import last_whole_checkpoint
from tests.conftest import LABELS, Bench, make_model, start
from tests.forks import Command, run_kdda, wait_for_step
from tests.heads import make_judge, make_reader
from tests.text.phobert import make_phobert


def read_jsonl(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).open(encoding="utf-8")]


def test_all_arms_run_and_every_run_leaves_a_folder(bench: Bench, command: Any) -> None:
    out = bench.folder / "runs"
    code, text, _ = command("run", bench.write(), "--out", out, "--seeds", "1,2")
    assert code == 0
    for arm in ("student", "student-da", "student-kdda"):
        assert f"| {arm}" in text
        folder = out / "nli" / arm / "seed-2"
        assert yaml.safe_load((folder / "recipe.yaml").read_text())["seeds"] == [2]
        assert {p.name for p in folder.iterdir()} == {
            "recipe.yaml", "environment.json", "metrics.jsonl", "predictions.jsonl", "model",
        }  # fmt: skip
    assert "Mean ± sample standard deviation over seeds 1, 2" in text and "Teacher check" in text
    assert "An arm is one way to train the student." in text


def test_an_arm_that_listens_logs_its_terms_by_language(bench: Bench, command: Any) -> None:
    command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    events = read_metrics(bench.folder / "runs" / "nli" / "student-kdda" / "seed-1" / "metrics.jsonl")
    curves = [e for e in events if e["event"] == "train"]
    assert {e["language"] for e in curves} == {"aa", "bb"}
    assert all(e["transport"] > 0 and e["task"] > 0 and e["marginal_error"] <= 1e-4 for e in curves)
    assert {e["event"] for e in events} == {
        "task", "train", "step", "dev", "teacher-lead", "final-teacher", "final-dev", "final-test", "final-cost",
    }  # fmt: skip
    assert {e["language"] for e in events if e["event"] == "final-test"} == {"aa", "bb"}
    assert all(e["training_seconds"] > 0 for e in events if e["event"] == "final-teacher")


def test_a_saved_student_is_an_ordinary_checkpoint(bench: Bench, command: Any) -> None:
    command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    run = bench.folder / "runs" / "nli" / "student-kdda" / "seed-1"
    model = AutoModelForSequenceClassification.from_pretrained(run / "model")
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    assert model.get_input_embeddings().num_embeddings == 40  # the full vocabulary again
    assert [model.config.id2label[i] for i in range(3)] == LABELS
    assert not list((run / "model").glob("*.bin")) and (run / "model" / "README.md").is_file()
    row = next(r for r in map(json.loads, (run / "predictions.jsonl").open(encoding="utf-8")) if r["language"] == "aa")
    source = json.loads(Path(bench.values["data"]["aa"]["test"]).read_text(encoding="utf-8").splitlines()[0])
    with torch.no_grad():
        logits = model(**tokenizer(source["premise"], source["hypothesis"], return_tensors="pt")).logits
    expected = dict(zip(LABELS, logits.softmax(-1)[0].tolist(), strict=True))
    assert row["probabilities"] == pytest.approx(expected, abs=1e-4)


def test_reading_goes_the_same_way_and_its_student_opens_in_plain_transformers(bench: Bench, command: Any) -> None:
    bench.read()
    code, text, _ = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 0 and "exact-match" in text and 'A column "vs X" is the f1' in text
    run = bench.folder / "runs" / "qa" / "student-kdda" / "seed-1"
    model = AutoModelForQuestionAnswering.from_pretrained(run / "model")
    assert model.config.kdda_longest_answer > 0 and model.config.kdda_language == "aa"
    rows = [json.loads(line) for line in (run / "predictions.jsonl").open(encoding="utf-8")]
    contexts = {row["id"]: row["context"] for row in read_jsonl(bench.values["data"]["aa"]["test"])}
    own = [row for row in rows if row["language"] == "aa"]
    assert len(own) == 18 and {"exact_match", "f1", "oracle_f1", "candidates"} <= own[0].keys()
    assert all(contexts[row["id"]][row["start"] : row["end"]] == row["predicted"] != "" for row in own)
    dev = [e for e in read_metrics(run / "metrics.jsonl") if e["event"] == "final-dev" and e["language"] == "aa"]
    assert dev[0]["oracle_exact_match"] == 100


def test_a_phobert_teaches_reading_with_its_own_words_and_limit(bench: Bench, command: Any) -> None:
    bench.read()
    bench.values["teachers"]["aa"] = str(make_phobert(bench.folder / "phobert"))
    arguments = ("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    code, text, _ = command(*arguments, "--set", "training.max_length=24", "--set", "training.stride=4")
    assert code == 0 and "aa teacher: " in text and "MB of states" in text and "(max_length), read in parts" in text
    events = read_metrics(bench.folder / "runs" / "qa" / "student-kdda" / "seed-1" / "metrics.jsonl")
    assert all(e["marginal_error"] <= 1e-4 for e in events if e["event"] == "train")


@pytest.mark.parametrize("objective", ["kd-logits", "mse-pooled"])
def test_starts_and_ends_of_a_phobert_are_compared_in_reading(bench: Bench, command: Any, objective: str) -> None:
    bench.read()
    bench.values["teachers"]["aa"] = str(make_phobert(bench.folder / "phobert"))
    bench.values["distill"] = {"objective": objective, "logit_weight": 1.0 if objective == "mse-pooled" else 0.0}
    recipe = bench.write()
    arguments = (recipe, "--arms", "student-kdda", "--set", "training.max_length=24", "--set", "training.stride=4")
    code, text, _ = command("plan", *arguments)
    assert code == 0 and "student-kdda" in text
    code, _, _ = command("run", *arguments, "--out", bench.folder / "runs")
    events = read_metrics(bench.folder / "runs" / "qa" / "student-kdda" / "seed-1" / "metrics.jsonl")
    values = [e["transport"] for e in events if e["event"] == "train"]
    assert code == 0 and len(values) > 0 and min(values) > 0


def test_starts_and_ends_of_a_teacher_that_has_learned_none_are_refused(bench: Bench, command: Any) -> None:
    bench.read()
    bench.values["teachers"]["aa"] = {"model": bench.values["teachers"]["aa"], "finetuned": True}
    bench.values["distill"] = {"objective": "kd-logits"}
    assert "is taken as fine-tuned, but lacks a question-answering head; choose another" in refused(command, bench)


def test_what_needs_a_label_a_text_is_refused_for_reading(bench: Bench, command: Any) -> None:
    bench.read()
    change = ("--set", "distill.example_weighting=teacher_correct")
    code, _, message = command("run", bench.write(), "--out", bench.folder / "r", *change)
    assert code == 2 and "distill.example_weighting needs a teacher's logits of labels" in message


@pytest.mark.parametrize("task", ["qa", "nli"])
def test_evaluate_scores_a_saved_student_as_its_run_did(bench: Bench, command: Any, task: str) -> None:
    if task == "qa":
        bench.read()
    command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student")
    run, out = bench.folder / "runs" / task / "student" / "seed-1", bench.folder / "found.jsonl"
    data = bench.values["data"]["aa"]["test"]
    code, text, _ = command("evaluate", run / "model", "--task", task, "--data", data, "--out", out, "--json")
    found = json.loads(text)
    (own,) = (e for e in read_metrics(run / "metrics.jsonl") if e["event"] == "final-test" and e["language"] == "aa")
    scores = {"qa": ("exact_match", "f1", "oracle_exact_match", "oracle_f1"), "nli": ("accuracy", "macro_f1")}[task]
    assert code == 0 and found["task"] == task and found["rows"] == 18
    assert all(found[name] == pytest.approx(own[name]) for name in scores)
    assert len(out.read_text(encoding="utf-8").splitlines()) == 18
    _, plain, _ = command("evaluate", run / "model", "--task", task, "--data", data, "--out", out)
    assert scores[0].replace("_", " ") in plain and str(out) in plain


def test_a_student_saved_with_a_trimmed_vocabulary_predicts_what_its_run_did(bench: Bench, command: Any) -> None:
    bench.values |= {"vocabulary": "trimmed"}
    code, text, _ = command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student")
    assert code == 0 and "vocabulary: " in text
    run = bench.folder / "runs" / "nli" / "student" / "seed-1"
    model = load(str(run / "model"))
    assert model.engine.config.vocab_size < AutoConfig.from_pretrained(bench.values["student"]).vocab_size
    lines = [json.loads(line) for line in (run / "predictions.jsonl").read_text("utf-8").splitlines()]
    rows = [json.loads(line) for line in Path(bench.values["data"]["aa"]["test"]).read_text("utf-8").splitlines()]
    labels = model.classify([row["premise"] for row in rows], [row["hypothesis"] for row in rows])
    for label, line in zip(labels, lines, strict=False):  # of the target, which comes first
        assert label.probabilities == pytest.approx(line["probabilities"], abs=1e-3)  # `load` may read in bfloat16


def test_evaluate_refuses_what_it_cannot_score(bench: Bench, command: Any) -> None:
    data = bench.values["data"]["aa"]["test"]
    student = bench.values["student"]
    code, _, message = command("evaluate", student, "--task", "qa", "--data", data)
    assert code == 2 and "has no question-answering head" in message
    reader = make_reader(bench.folder / "three", num_labels=3)
    code, _, message = command("evaluate", reader, "--task", "qa", "--data", data)
    assert code == 2 and "gives 3 numbers a token" in message
    code, _, message = command("evaluate", student, "--task", "qu", "--data", data)
    assert code == 2 and "expected one of: nli, qa" in message
    code, _, message = command("evaluate", student, "--task", "qa", "--data", data, "--columns", "premise")
    assert code == 2 and "expected name=value" in message


def test_finished_runs_and_teachers_are_reused(bench: Bench, command: Any) -> None:
    arguments = ("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    _, first, _ = command(*arguments)
    _, second, _ = command(*arguments)
    assert "finished already" in second and "reused from" in second
    assert first.splitlines()[-5:] == second.splitlines()[-5:]


def test_the_same_recipe_and_seed_give_the_same_weights(bench: Bench, command: Any) -> None:
    for name in ("one", "two"):
        command("run", bench.write(), "--out", bench.folder / name, "--arms", "student-kdda")
    one, two = (load_file(bench.folder / n / "nli/student-kdda/seed-1/model/model.safetensors") for n in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_teacher_changes_what_the_student_becomes(bench: Bench, command: Any) -> None:
    command("run", bench.write(), "--out", bench.folder / "with", "--arms", "student-kdda")
    command("run", bench.write(), "--out", bench.folder / "without", "--arms", "student-da")
    command("run", bench.write(), "--out", bench.folder / "zero", "--arms", "student-kdda", "--set", "distill.lambda=0")
    heard, da, zero = (
        load_file(bench.folder / out / f"nli/{arm}/seed-1/model/model.safetensors")["classifier.weight"]
        for out, arm in (("with", "student-kdda"), ("without", "student-da"), ("zero", "student-kdda"))
    )
    assert torch.equal(da, zero) and not torch.equal(da, heard)


def test_other_languages_and_one_teacher_alone_need_only_a_recipe(bench: Bench, command: Any) -> None:
    bench.values["teachers"].pop("bb")
    bench.values["arms"] = {"only-aa": {"train": "target", "distill": {"lambda": 1.0, "objective": "mse-pooled"}}}
    code, text, _ = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 0 and "| only-aa" in text


def test_a_teacher_fine_tuned_elsewhere_is_used_as_it_is(bench: Bench, command: Any) -> None:
    command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    trained = next((bench.folder / "runs" / "teachers").glob("aa-*/model"))
    bench.values["teachers"]["aa"] = {"model": str(trained), "finetuned": True}
    code, _, _ = command("run", bench.write(), "--out", bench.folder / "again", "--arms", "student-kdda")
    assert code == 0 and not list((bench.folder / "again" / "teachers").glob("aa-*"))
    bench.values["teachers"]["aa"] = {"model": bench.values["student"], "finetuned": True}
    code, _, error = command("run", bench.write(), "--out", bench.folder / "third", "--arms", "student-kdda")
    assert code == 2 and "is taken as fine-tuned, but lacks a classification head" in error


def test_a_teacher_no_better_than_the_student_is_warned_of(bench: Bench, command: Any) -> None:
    bench.values["teachers"]["aa"] = {"model": bench.values["teachers"]["aa"], "training": {"learning_rate": 1e-9}}
    _, text, _ = command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student,student-kdda")
    line = next(x for x in text.splitlines() if x.startswith("| aa, "))
    teacher, student = (float(cell) for cell in line.split("|")[2:4])
    assert ("WARNING: this teacher" in text) == (teacher <= student)


def refused(command: Any, bench: Bench, *more: str) -> str:
    code, _, error = command("run", bench.write(), "--out", bench.folder / "runs", *more)
    assert code == 2 and error.startswith("kdda: ") and "Traceback" not in error
    assert not list((bench.folder / "runs").rglob("model"))  # nothing was trained
    return str(error)


def test_a_teacher_of_another_width_is_refused_with_both_widths(bench: Bench, command: Any) -> None:
    bench.values["teachers"]["bb"] = make_model(bench.folder / "wide", width=24)
    message = refused(command, bench)
    assert "24 wide" in message and "16" in message and "teachers.bb" in message


@pytest.mark.parametrize(("task", "other"), [("nli", "qa"), ("qa", "nli")])
def test_a_teacher_of_another_task_is_refused_before_anything_is_trained(
    task: str, other: str, bench: Bench, command: Any
) -> None:
    if task == "qa":
        bench.read()
    made = (make_reader if other == "qa" else make_judge)(bench.folder / "other")
    bench.values["teachers"]["bb"] = {"model": made, "finetuned": True}
    message = refused(command, bench)
    assert "teachers.bb" in message and f"for task {other} (" in message and f"the task here is {task} (" in message


def test_an_objective_that_compares_no_states_allows_another_width(bench: Bench, command: Any) -> None:
    bench.values["teachers"]["bb"] = make_model(bench.folder / "wide", width=24)
    bench.values["distill"] = {"objective": "kd-logits"}
    code, _, _ = command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    assert code == 0


def test_a_distilled_arm_without_any_teacher_is_refused(bench: Bench, command: Any) -> None:
    del bench.values["teachers"]
    assert 'arm "student-kdda" distils, but its languages have no teacher' in refused(command, bench)


def test_a_bad_row_is_refused_before_training(bench: Bench, command: Any) -> None:
    path = Path(bench.values["data"]["bb"]["test"])
    path.write_text(path.read_text().replace("neutral", "unrelated", 1))
    message = refused(command, bench)
    assert "data.bb.test" in message and "unrelated" in message and "bb.test.jsonl:" in message


def test_a_file_that_is_not_utf8_is_refused_before_training(bench: Bench, command: Any) -> None:
    path = Path(bench.values["data"]["aa"]["train"])
    path.write_bytes(path.read_bytes() + '{"premise": "không"}'.encode("utf-16"))
    assert "aa.train.jsonl:46: this line is UTF-16" in refused(command, bench)


def test_a_misspelt_key_is_refused_before_training(bench: Bench, command: Any) -> None:
    bench.values["trainng"] = bench.values.pop("training")
    assert 'did you mean "training"' in refused(command, bench)


def test_a_corrupted_student_is_refused(bench: Bench, command: Any) -> None:
    weights = Path(bench.values["student"]) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    assert "damaged or not a checkpoint" in refused(command, bench, "--arms", "student")


def test_unknown_tasks_arms_objectives_and_seeds_are_answered_with_what_there_is(bench: Bench, command: Any) -> None:
    assert 'did you mean "student-kdda"' in refused(command, bench, "--arms", "student-kda")
    for seeds in ("one", "1,,2"):
        assert "expected numbers such as 1,2,3" in refused(command, bench, "--seeds", seeds)
    assert 'did you mean "nli"' in refused(command, bench, "--set", "task=nlii")
    assert 'did you mean "sinkhorn"' in refused(command, bench, "--set", "distill.objective=sinkhon")


def test_a_folder_with_another_recipes_run_is_refused_and_kept(bench: Bench, command: Any) -> None:
    arguments = ("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student")
    assert command(*arguments)[0] == 0
    code, _, error = command(*arguments, "--set", "training.epochs=3")
    assert code == 2 and "holds a run of another recipe" in error and "training.epochs: 2 there, 3 here" in error
    assert command("plan", *arguments[1:], "--set", "training.epochs=3")[::2] == (2, error)
    code, _, error = command(*arguments, "--set", "teacher_cache_precision=int8")
    assert code == 2 and "teacher_cache_precision: 'bf16' there, 'int8' here" in error
    assert "finished already" in command(*arguments)[1]


def test_a_run_made_before_a_field_was_known_is_continued(bench: Bench, command: Any) -> None:
    arguments = ("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student")
    assert command(*arguments)[0] == 0
    path = bench.folder / "runs/nli/student/seed-1/recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    del recipe["training"]["micro_batch_size"], recipe["learning_rates"]
    path.write_text(yaml.safe_dump(recipe))
    code, text, _ = command(*arguments)
    assert code == 0 and "finished already" in text


def test_a_second_process_is_kept_out_of_a_folder_that_is_being_written(bench: Bench, command: Any) -> None:
    folder = bench.folder / "runs" / "nli" / "student"
    folder.mkdir(parents=True)
    with FileLock(folder / ".seed-1.lock"):
        code, _, error = command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student")
        assert code == 1 and "another process is writing" in error
    assert command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student")[0] == 0


@pytest.mark.parametrize("command_name", ["run", "plan"])
def test_a_folder_that_cannot_be_made_is_refused_before_any_work(
    bench: Bench, command: Any, command_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_work(*_: Any) -> Any:
        raise AssertionError("rows were read")

    monkeypatch.setattr("kdda.experiment.splits.read_rows", no_work)
    file = bench.folder / "a-file"
    file.write_text("")
    for out, reason in (("/proc/nope", "No such file or directory"), (file, "is a file"), (file / "x", "is a file")):
        code, _, error = command(command_name, bench.write(), "--out", out)
        assert code == 2 and reason in error and str(out) in error and "full" not in error and "Traceback" not in error


def test_a_folder_without_permission_to_write_is_refused(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(dir: Path) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(dir))

    monkeypatch.setattr("kdda.runtime.folders.tempfile.TemporaryFile", denied)  # root may write in every folder
    code, _, error = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 2 and "Permission denied" in error and not (bench.folder / "runs").exists()


def test_an_error_of_the_system_during_a_run_is_told_as_what_it_is(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unplugged(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "some-file")

    monkeypatch.setattr("kdda.experiment.context.DistillationTrainer", unplugged)
    monkeypatch.setattr("kdda.experiment.worker.free_bytes", lambda _: 0)  # as /proc says of itself
    code, _, error = command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student")
    assert code == 1 and "Input/output error: 'some-file'" in error and "full" not in error


def test_a_source_that_arms_draw_from_is_parsed_once(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdda.experiment import splits

    parsed: list[str] = []

    def counted(source: Any) -> Any:
        parsed.append(source.name)
        return read_rows(source)

    monkeypatch.setattr(splits, "read_rows", counted)
    bench.values["arms"] = {"few": {"train": "target", "rows": {"aa": 12}}, "more": {"rows": {"aa": 24, "bb": 12}}}
    code, text, _ = command("run", bench.write(), "--out", bench.folder / "runs", "--seeds", "1,2")
    assert code == 0 and "| few" in text
    assert sorted(parsed) == sorted(set(parsed)) and len(parsed) == 6


def run_until_killed(out: str, moment: str, *arguments: str) -> None:
    """The command line, until it has written so many times below its output folder: then it is killed."""
    seen = 0

    def kill(event: str, details: tuple[Any, ...]) -> None:
        # opening, renaming and removing files: the moments of a run at which something is written
        nonlocal seen
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") and str(details[0]).startswith(out):
            seen += 1
            if seen >= int(moment):
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill)
    run_kdda(*arguments)


@pytest.mark.slow
def test_a_run_that_was_killed_twenty_times_ends_with_the_weights_of_one_never_killed(bench: Bench) -> None:
    bench.values["training"] |= {"epochs": 3, "log_every": 4}
    recipe, chance = bench.write(), random.Random(0)
    arguments = [str(part) for part in ("run", recipe, "--arms", "student-kdda", "--out")]
    out = str(bench.folder / "killed")
    for _ in range(20):
        killed = Command([out, str(chance.randint(1, 90)), *arguments, out], run_until_killed)
        assert killed.wait() == -signal.SIGKILL
    for folder in (out, str(bench.folder / "whole")):
        process = start(*arguments, folder)
        _, error = process.communicate()
        assert process.returncode == 0, error
    runs = [bench.folder / name / "nli/student-kdda/seed-1" for name in ("killed", "whole")]
    a, b = (load_file(run / "model" / "model.safetensors") for run in runs)
    assert all(torch.equal(a[key], b[key]) for key in a)
    for name in ("metrics.jsonl", "predictions.jsonl"):
        one, two = ((run / name).read_text().splitlines() for run in runs)
        assert len(one) == len(two)


def test_a_checkpoint_that_a_kill_has_cut_is_not_continued_from(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        save_file({"x": torch.zeros(3)}, folder / "model.safetensors")
        torch.save({"a": torch.zeros(100)}, folder / "optimizer.pt")
        (folder / "trainer_state.json").write_text("{}")
    whole = (tmp_path / "checkpoint-30" / "optimizer.pt").read_bytes()
    (tmp_path / "checkpoint-30" / "optimizer.pt").write_bytes(whole[:-30])
    (tmp_path / "checkpoint-20" / "trainer_state.json").write_text('{"global_st')
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]


@pytest.mark.slow
def test_after_ctrl_c_or_kill_the_same_command_ends_with_the_weights_of_a_run_never_stopped(bench: Bench) -> None:
    bench.values["training"] |= {"epochs": 10, "log_every": 1, "learning_rate": 1e-3}
    recipe = bench.write()
    arguments = ("run", recipe, "--arms", "student-kdda", "--out", bench.folder / "stopped")
    run = bench.folder / "stopped" / "nli" / "student-kdda" / "seed-1"
    for step, number in ((20, signal.SIGINT), (65, signal.SIGTERM)):  # in the middle of an epoch of 12 steps, twice
        process = start(*arguments)
        wait_for_step(run / "metrics.jsonl", step, process)
        process.send_signal(number)
        _, error = process.communicate()
        assert process.returncode == 130, error
        assert "the same command continues from there" in error and "Traceback" not in error
        assert not (run / "predictions.jsonl").exists()
    for ending in (arguments, (*arguments[:-1], bench.folder / "whole")):
        process = start(*ending)  # a process of its own each time, as a user's would be
        _, error = process.communicate()
        assert process.returncode == 0, error
    other = bench.folder / "whole" / "nli" / "student-kdda" / "seed-1"
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (run, other))
    assert all(torch.equal(a[key], b[key]) for key in a)
    steps, whole = (
        [e["step"] for e in read_metrics(f / "metrics.jsonl") if e["event"] == "step"] for f in (run, other)
    )
    assert steps == whole == list(range(1, 121))
