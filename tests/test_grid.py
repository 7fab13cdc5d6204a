"""Many runs: in processes and on a cluster, killed and continued, and what a failure leaves of the rest."""

import json
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from kdda.experiment.saving import BestRun
from kdda.experiment.specs import StudentRun
from kdda.recipe.load import load_recipe
from kdda.runs.events import read_metrics
from kdda.tasks.base import Task
from tests.conftest import Bench, make_model, start, start_python
from tests.forks import Command, forks, run_kdda, wait_for_step


def weights(out: Path, arm: str, seed: int = 1) -> dict[str, torch.Tensor]:
    return load_file(out / "nli" / arm / f"seed-{seed}" / "model" / "model.safetensors")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


def table(text: str) -> list[str]:
    """The comparison without its seconds, which no two runs share."""
    return [line.rsplit("|", 2)[0] for line in text.splitlines() if line.startswith("| ")]


def test_arms_may_change_teachers_silence_them_and_hear_controls(bench: Bench, command: Any) -> None:
    bench.values["arms"] = {
        "da": {},
        "both": {"distill": True},
        "only-aa": {"distill": True, "teachers": {"bb": None}},
        "self": {"distill": True, "teachers": dict.fromkeys(("aa", "bb"), bench.values["student"])},
        "random": {"distill": True, "teachers": {"aa": {"random": True}, "bb": {"random": True}}},
        "shuffled": {"distill": {"shuffle_teacher": True}},
    }
    out = bench.folder / "runs"
    code, text, _ = command("run", bench.write(), "--out", out)
    assert code == 0 and "random weights" in text and "with random weights" in text
    learnt = {arm: weights(out, arm)["classifier.weight"] for arm in bench.values["arms"]}
    assert all(not torch.equal(learnt[a], learnt[b]) for a in learnt for b in learnt if a < b)
    heard = {
        e["language"]: "transport" in e
        for e in read_metrics(out / "nli/only-aa/seed-1/metrics.jsonl")
        if e["event"] == "train"
    }
    assert heard == {"aa": True, "bb": False}
    spoke = [e for e in read_metrics(out / "nli/self/seed-1/metrics.jsonl") if e["event"] == "final-teacher"]
    assert {e["model"] for e in spoke} == {bench.values["student"]} and all("accuracy" in e for e in spoke)


def test_another_recipe_finds_the_runs_that_both_ask_for(bench: Bench, command: Any) -> None:
    out = bench.folder / "runs"
    command("run", bench.write("first.yaml"), "--out", out)
    (bench.folder / "second.yaml").write_text(
        yaml.safe_dump(
            {
                "extends": "first.yaml",
                "arms": {"student-kdda": {"distill": True}, "louder": {"distill": {"lambda": 2.0}}},
            }
        )
    )
    code, text, _ = command("run", bench.folder / "second.yaml", "--out", out)
    assert code == 0 and text.count("finished already") == 1 and "| louder" in text and "| student " not in text


def test_each_arms_learning_rate_is_chosen_on_development_rows(bench: Bench, command: Any) -> None:
    bench.values |= {"learning_rates": [3e-3, 1e-9], "arms": {"student": {"train": "target"}, "student-da": {}}}
    bench.values["training"] |= {"epochs": 12}
    out = bench.folder / "runs"
    code, text, _ = command("run", bench.write(), "--out", out, "--seeds", "1,2")
    assert code == 0 and text.count("Learning rate of") == 2
    for arm in ("student", "student-da"):
        runs = {rate: out / "nli" / arm / f"lr-{rate}" / "seed-1" for rate in ("1e-09", "0.003")}
        assert yaml.safe_load((runs["0.003"] / "recipe.yaml").read_text())["learning_rates"] == [3e-3]
        dev = {
            rate: sum(
                e["accuracy"]
                for seed in (1, 2)
                for e in read_metrics(run.with_name(f"seed-{seed}") / "metrics.jsonl")
                if e["event"] == "final-dev" and e["language"] == "aa"
            )
            for rate, run in runs.items()
        }
        assert dev["1e-09"] != dev["0.003"]
        best = max(dev, key=lambda rate: dev[rate])
        assert f"Learning rate of {arm}: {float(best):g}, by development accuracy" in text
        assert len([line for line in text.splitlines() if line.startswith(f"| {arm} ")]) == 1
    _, report, _ = command("report", out)
    assert "Learning rate of student-da" in report


def test_a_batch_in_parts_gives_the_gradient_of_the_whole(bench: Bench, command: Any) -> None:
    for model in ("student", "ta", "tb"):
        path = bench.folder / model / "config.json"
        config = json.loads(path.read_text()) | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        path.write_text(json.dumps(config))
    found = {}
    for size in ("null", "3", "1"):
        out = bench.folder / f"of-{size}"
        run = ("run", bench.write(), "--out", out, "--arms", "student-kdda")
        assert command(*run, "--set", f"training.micro_batch_size={size}")[0] == 0
        found[size] = weights(out, "student-kdda")
    for size in ("3", "1"):
        assert all(torch.allclose(found[size][key], found["null"][key], atol=2e-5) for key in found["null"])
    assert not equal(found["3"], found["null"])  # it did go in parts: sums in another order


def test_when_memory_does_not_suffice_a_batch_is_halved_and_nothing_is_lost(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertForSequenceClassification

    whole, seen = BertForSequenceClassification.forward, []

    def forward(self: Any, input_ids: torch.Tensor, **options: Any) -> Any:
        seen.append(len(input_ids))
        if self.training and len(input_ids) > 3:
            raise torch.OutOfMemoryError("no room")
        return whole(self, input_ids=input_ids, **options)

    arguments = ("run", bench.write(), "--arms", "student", "--out")
    command(*arguments, bench.folder / "twos", "--set", "training.micro_batch_size=2")
    monkeypatch.setattr(BertForSequenceClassification, "forward", forward)
    assert command(*arguments, bench.folder / "short")[0] == 0
    assert seen[:3] == [8, 4, 2]
    assert equal(weights(bench.folder / "short", "student"), weights(bench.folder / "twos", "student"))


def test_a_run_that_fails_is_named_and_the_others_finish(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, recipe = bench.folder / "runs", bench.write()
    bench.values["arms"] = {"fine": {}, "broken": {"distill": {"objective": "energy"}}}
    from kdda.losses.registry import OBJECTIVES
    from kdda.losses.representations import Objective

    def broken(*_: Any) -> Any:
        raise RuntimeError("numbers went astray")

    with monkeypatch.context() as patch:
        patch.setitem(OBJECTIVES, "energy", Objective("energy", broken))
        code, text, error = command("run", bench.write(), "--out", out, "--seeds", "1,2")
    assert code == 1 and "Traceback" not in error and "| fine " in text and "| broken" not in text
    assert "broken, seed 1: RuntimeError: numbers went astray" in error and "broken, seed 2" in error
    assert "numbers went astray" in (out / "nli/broken/seed-1/failure.txt").read_text()
    code, text, _ = command("run", recipe, "--out", out, "--seeds", "1,2")
    assert code == 0 and "| broken" in text and not (out / "nli/broken/seed-1/failure.txt").exists()


def test_the_best_model_of_an_arm_is_saved_if_asked_and_scores_are_the_same(bench: Bench, command: Any) -> None:
    bench.values |= {"learning_rates": [3e-3, 1e-9], "arms": {"student": {"train": "target"}}}
    recipe = bench.write()
    saved, tables = {}, {}
    for save in ("all", "best", "none"):
        code, text, _ = command("run", recipe, "--out", bench.folder / save, "--save", save)
        assert code == 0
        tables[save] = table(text)
        saved[save] = list((bench.folder / save).rglob("model.safetensors"))
    assert tables["best"] == tables["none"] == tables["all"] and (len(saved["all"]), saved["none"]) == (2, [])
    (kept,) = saved["best"]
    best = json.loads((bench.folder / "best/nli/student/best.json").read_text())
    assert kept.parent.parent == bench.folder / "best/nli/student" / best["run"]
    assert equal(load_file(kept), load_file(bench.folder / "all/nli/student" / best["run"] / "model/model.safetensors"))


def test_runs_of_one_command_share_what_they_can_and_give_what_separate_commands_give(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.values["training"]["head"] = "standardized"
    bench.values["arms"] = {"mapped": {"distill": {"align": "procrustes"}}, "plain": {"distill": True}}
    recipe = bench.write()
    encoded: list[int] = []
    encode = Task.encode

    def counted(self: Task, examples: Any, encoder: Any) -> Any:
        encoded.append(len(examples))
        return encode(self, examples, encoder)

    monkeypatch.setattr(Task, "encode", counted)
    arms = ("mapped", "plain")
    for out, seeds, commands in (("alone", "2", arms), ("together", "1,2", [",".join(arms)])):
        encoded.clear()
        for names in commands:
            code, _, error = command("run", recipe, "--out", bench.folder / out, "--seeds", seeds, "--arms", names)
            assert code == 0, error
    # two splits of each of two teachers, three of each language for all students; and before them, since all have few
    # steps, each teacher's rows and the student's of each language, to count their windows
    assert len(encoded) == 2 * 2 + 2 * 3 + 2 + 2
    for arm in arms:
        assert equal(weights(bench.folder / "alone", arm, 2), weights(bench.folder / "together", arm, 2))
        contents = {}
        for out in ("alone", "together"):
            folder = bench.folder / out / "nli" / arm / "seed-2"
            events = []
            for event in read_metrics(folder / "metrics.jsonl"):
                if event["event"] in ("task", "train", "final-dev"):
                    events.append({**event, "seconds": 0})
            contents[out] = (events, (folder / "predictions.jsonl").read_bytes())
        assert contents["alone"] == contents["together"]


@pytest.mark.parametrize("seeds", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_the_run_with_the_highest_development_score_is_the_best_whichever_finishes_first(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    scores = {1: 60.0, 2: 70.0, 3: 70.0}
    for seed in seeds:
        run = StudentRun("arm", seed)
        folder = run.folder(tmp_path, "nli")
        best = BestRun(tmp_path / "nli" / "arm")
        if best.is_beaten_by(run, folder, scores[seed]):
            (folder / "model").mkdir(parents=True)
            best.replace(run, folder, scores[seed])
    assert [folder.parent.name for folder in tmp_path.rglob("model")] == ["seed-2"]


def test_models_that_systems_need_are_not_left_out(command: Any, tmp_path: Path) -> None:
    code, _, error = command("run", "mini-systems", "--out", tmp_path / "runs", "--save", "none")
    assert code == 2 and "--save none: this recipe's systems read with the models of all runs" in error
    code, _, error = command("run", "mini-nli", "--out", tmp_path / "runs", "--save", "bset")
    assert code == 2 and '--save: got "bset"' in error and 'did you mean "best"' in error


def run_with_small_files(*arguments: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    run_kdda(*arguments)


def test_a_full_disk_is_said_and_the_run_ends_well_when_there_is_room(bench: Bench) -> None:
    arguments = ("run", bench.write(), "--arms", "student", "--out")
    full = Command([*map(str, arguments), str(bench.folder / "full")], run_with_small_files)
    _, error = full.communicate()
    assert full.returncode == 1 and "Traceback" not in error, error
    assert "is full" in error and "the same command continues" in error
    assert not list((bench.folder / "full").rglob("predictions.jsonl"))
    for out in ("full", "roomy"):
        again = start(*arguments, bench.folder / out)
        _, error = again.communicate()
        assert again.returncode == 0, error
    assert equal(weights(bench.folder / "full", "student"), weights(bench.folder / "roomy", "student"))


@pytest.mark.slow
def test_processes_side_by_side_find_what_one_process_finds(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = {}
    for workers in ("1", "2"):
        run = start("run", bench.write(), "--out", bench.folder / workers, "--workers", workers)
        found[workers], error = run.communicate()
        assert run.returncode == 0, error
    assert table(found["1"])[-4:] == table(found["2"])[-4:]
    for arm in ("student", "student-da", "student-kdda"):
        assert equal(weights(bench.folder / "1", arm), weights(bench.folder / "2", arm))


def files_below(folder: Path) -> int:
    """How many files and folders there are, while they come and go."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


@pytest.mark.slow
def test_a_grid_killed_again_and_again_ends_with_the_table_of_one_never_killed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    arguments = ("run", bench.write(), "--workers", "2", "--out")
    chance, out = random.Random(1), bench.folder / "killed"
    for _ in range(2):
        process = start(*arguments, out)
        before = files_below(out)
        more = chance.randint(3, 25)
        while process.poll() is None and files_below(out) < before + more:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    texts = {}
    for folder in (out, bench.folder / "whole"):
        process = start(*arguments, folder)
        texts[folder.name], error = process.communicate()
        assert process.returncode == 0, error
    assert table(texts["killed"])[-4:] == table(texts["whole"])[-4:]


@pytest.mark.slow
def test_a_process_that_is_killed_fails_its_own_run_alone(bench: Bench) -> None:
    out = bench.folder / "runs"
    bench.values["training"] |= {"epochs": 40, "log_every": 1}
    bench.values["arms"] = {"short": {"train": "target"}, "long": {}}
    (bench.folder / "queue.py").write_text("raise ImportError('not the module of Python')")
    process = start_python("run", bench.write(), "--workers", "2", "--out", out, folder=bench.folder)
    metrics = out / "nli/long/seed-1/metrics.jsonl"
    wait_for_step(metrics, 1, process)
    (child,) = (
        int(status.parent.name)
        for status in Path("/proc").glob("[0-9]*/cmdline")
        if _is_worker_at(status, metrics.parent)
    )
    os.kill(child, signal.SIGKILL)
    text, error = process.communicate()
    assert process.returncode == 1 and "long, seed 1: its process was killed by signal 9" in error
    assert "| short" in text


@pytest.mark.slow
def test_kill_lets_every_worker_of_a_run_in_the_background_write_a_checkpoint(bench: Bench) -> None:
    out = bench.folder / "runs"
    bench.values["training"] |= {"epochs": 400, "log_every": 1}
    bench.values["arms"] = {"long": {"train": "target"}}
    process = start_python("run", bench.write(), "--workers", "2", "--seeds", "1,2", "--out", out, in_background=True)
    folders = [out / "nli" / "long" / f"seed-{seed}" for seed in (1, 2)]
    for folder in folders:
        wait_for_step(folder / "metrics.jsonl", 1, process)
    process.terminate()
    _, error = process.communicate()
    assert process.returncode == 130 and "the same command continues" in error and "Traceback" not in error
    for folder in folders:
        assert list((folder / "checkpoints").iterdir()) and not (folder / "predictions.jsonl").exists()


def _is_worker_at(cmdline: Path, folder: Path) -> bool:
    """Whether a process is the worker that holds a run folder's lock."""
    try:
        files = [str(own.readlink()) for own in (cmdline.parent / "fd").iterdir()]
    except OSError:
        return False
    return b"kdda.experiment" in cmdline.read_bytes() and str(folder.with_name(".seed-1.lock")) in files


def test_workers_end_with_a_command_that_is_killed(bench: Bench) -> None:
    out = bench.folder / "runs"
    bench.values["training"] |= {"epochs": 1000, "log_every": 1}
    process = start("run", bench.write(), "--workers", "2", "--out", out, "--seeds", "1,2", "--arms", "student")
    logs = [out / "nli/student" / f"seed-{seed}" / "metrics.jsonl" for seed in (1, 2)]
    for log in logs:
        wait_for_step(log, 1, process)
    workers = [worker for worker in forks() if worker.pid != process.pid]
    assert len(workers) == 2
    process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert not alive and not list(out.rglob("predictions.jsonl"))


@pytest.mark.slow
def test_a_ray_cluster_of_two_workers_runs_the_grid(bench: Bench, command: Any) -> None:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        code, text, error = command("run", bench.write(), "--out", bench.folder / "ray", "--ray", cluster.address)
        assert code == 0, error
        assert "| student-kdda" in text and len(list((bench.folder / "ray").rglob("predictions.jsonl"))) == 3
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_no_cluster_is_one_line_and_no_traceback(bench: Bench, command: Any) -> None:
    pytest.importorskip("ray")
    code, _, error = command("run", bench.write(), "--out", bench.folder / "r", "--ray", "nowhere:1")
    assert code == 2 and "no cluster answers there" in error


def test_a_recipe_that_extends_another_says_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("extends: mini-nli\ntraining: {epochs: 5}\nteachers: {vi: {seed: 7}}\n")
    own, base = load_recipe(str(tmp_path / "own.yaml")), load_recipe("mini-nli")
    assert own.name == "own" and own.training.epochs == 5 and own.training.batch_size == base.training.batch_size
    assert own.teachers["vi"].seed == 7 and own.teachers["vi"].model == "mini/vietnamese"


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path, command: Any) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    code, _, error = command("run", tmp_path / "a.yaml")
    assert code == 2 and "extends this recipe in turn" in error


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ({"teachers": {"zz": None}, "distill": True}, 'language "zz" has no entry under data'),
        ({"teachers": {"aa": None, "bb": None}, "distill": True}, "all its teachers are disabled"),
        ({"teachers": {"aa": {"modle": "x"}}, "distill": True}, 'did you mean "model"'),
        ({"student": 3}, "arms.odd.student"),
    ],
)
def test_arms_that_cannot_be_are_refused(bench: Bench, command: Any, arm: dict[str, Any], said: str) -> None:
    bench.values["arms"] = {"odd": arm}
    code, _, error = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 2 and said in error and not (bench.folder / "runs").exists()


def test_an_arms_name_must_be_a_folders_name(bench: Bench, command: Any) -> None:
    bench.values["arms"] = {"../../elsewhere": {}}
    code, _, error = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 2 and "it is a folder's name" in error


def test_a_checkpoint_without_safetensors_is_refused_before_training(bench: Bench, command: Any) -> None:
    folder = Path(make_model(bench.folder / "pickled"))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    bench.values["teachers"]["bb"] = str(folder)
    code, _, error = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 2 and "pytorch_model.bin" in error and "safetensors" in error
    shutil.rmtree(folder)


OBJECTIVE = """
from kdda.losses.registry import register_objective

print("a process has imported the objective")

def gap_of_means(student, teacher, settings):
    gap = student.states.mean(1) - teacher.states.mean(1)
    return settings.options["power"] * gap.square().sum(1)

register_objective("gap-of-means", gap_of_means, options={"power": 1.0})
"""


def test_an_objective_of_a_plugin_is_named_in_a_recipe_and_runs_in_worker_processes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.folder)
    (bench.folder / "objective_of_mine.py").write_text(OBJECTIVE)
    bench.values |= {
        "plugins": ["objective_of_mine"],
        "arms": {
            "one": {"distill": {"objective": "gap-of-means"}},
            "two": {"distill": {"objective": "gap-of-means", "options": {"power": 2.0}}},
        },
    }
    process = start("run", bench.write(), "--workers", "2", "--out", bench.folder / "runs")
    text, error = process.communicate()
    assert process.returncode == 0, error
    assert "| one " in text and "| two " in text
    assert text.count("a process has imported the objective") == 3  # the command, and each worker for all its runs
    assert not equal(weights(bench.folder / "runs", "one"), weights(bench.folder / "runs", "two"))
    events = read_metrics(bench.folder / "runs/nli/one/seed-1/metrics.jsonl")
    assert any(event.get("transport", 0) > 0 for event in events if event["event"] == "train")
