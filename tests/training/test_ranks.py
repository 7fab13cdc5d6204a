"""Processes that share every batch make the model that one process makes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kdda.runs.events import read_metrics
from tests.conftest import LABELS, Bench, start
from tests.forks import Command
from tests.heads import make_judge


def launched(*arguments: object) -> subprocess.CompletedProcess[str]:
    # what accelerate launch starts where there are devices; on CPUs alone it would ask for MPI
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "kdda"]
    own = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*launch, *map(str, arguments)], capture_output=True, text=True, env=own, check=False)


def side_by_side(*arguments: object) -> list[Command]:
    """Both processes of a launcher, with the variables that it sets, after their end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in ("0", "1"):
        group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        ranks.append(Command(list(map(str, arguments)), environment={**group, **meeting}))
    for process in ranks:
        process.wait()
    return ranks


def without_dropout(bench: Bench) -> None:
    for model in ("student", "ta", "tb"):
        path = bench.folder / model / "config.json"
        config = json.loads(path.read_text()) | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        path.write_text(json.dumps(config))


@pytest.mark.slow
@pytest.mark.parametrize("micro", ["null", "2"])
def test_two_processes_find_the_losses_and_weights_of_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, micro: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    without_dropout(bench)
    more = ("--arms", "student-kdda", "--set", f"training.micro_batch_size={micro}", "--out")
    if micro == "null":
        done = launched("run", bench.write(), *more, bench.folder / "two")
        assert done.returncode == 0, done.stderr
        output = done.stdout
    else:
        ranks = side_by_side("run", bench.write(), *more, bench.folder / "two")
        output = "".join(process.communicate()[0] for process in ranks)
    assert output.count("| student-kdda |") == 1  # one of them speaks
    alone = start("run", bench.write(), *more, bench.folder / "one")
    _, error = alone.communicate()
    assert alone.returncode == 0, error
    runs = [bench.folder / name / "nli/student-kdda/seed-1" for name in ("one", "two")]
    assert [json.loads((run / "environment.json").read_text())["processes"] for run in runs] == [1, 2]
    one, two = (load_file(run / "model" / "model.safetensors") for run in runs)
    assert all(torch.allclose(one[key], two[key], atol=5e-5) for key in one)
    one_log, two_log = ([e for e in read_metrics(run / "metrics.jsonl") if e["event"] == "train"] for run in runs)
    assert [e["step"] for e in one_log] == [e["step"] for e in two_log]
    for a, b in zip(one_log, two_log, strict=True):
        assert (a["task"], a["transport"]) == pytest.approx((b["task"], b["transport"]), rel=1e-3)
    assert {p.name for p in runs[0].iterdir()} == {p.name for p in runs[1].iterdir()}
    blocks = [list(Path(bench.folder / name / "teachers/states").rglob("shard-*")) for name in ("one", "two")]
    assert len(blocks[0]) == len(blocks[1]) == 2  # the store is written once


@pytest.mark.slow
def test_two_processes_train_the_learned_maps_of_one_and_stop_the_same_teachers(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    without_dropout(bench)
    bench.leave_out_of_dev("aa", LABELS[0])
    fixed = {"model": make_judge(bench.folder / "judge", always=LABELS[0]), "finetuned": True}
    bench.values["teachers"]["aa"] = [bench.values["teachers"]["aa"], fixed]
    bench.values["distill"] = {"align": "learned", "lambda": 1.0, "stop_when_ahead": True}
    more = ("run", bench.write(), "--arms", "student-kdda", "--out")
    for process in side_by_side(*more, bench.folder / "two"):
        assert process.returncode == 0, process.communicate()
    alone = start(*more, bench.folder / "one")
    _, error = alone.communicate()
    assert alone.returncode == 0, error
    weights = []
    stopped = []
    for name in ("one", "two"):
        run = bench.folder / name / "nli/student-kdda/seed-1"
        weights.append(load_file(run / "model/model.safetensors"))
        leads = [event for event in read_metrics(run / "metrics.jsonl") if event["event"] == "teacher-lead"]
        stopped.append([(lead["number"], lead["ahead_since"]) for lead in leads])
    assert stopped[0] == stopped[1] and (2, 1.0) in stopped[0]
    assert all(torch.allclose(weight, weights[1][key], atol=5e-5) for key, weight in weights[0].items())


@pytest.mark.slow
def test_ranks_and_runs_side_by_side_are_two_ways_of_which_one_must_do(bench: Bench) -> None:
    for process in side_by_side("run", bench.write(), "--workers", "2", "--out", bench.folder / "runs"):
        _, error = process.communicate()
        assert process.returncode == 2 and "accelerate launch does one run in many processes" in error
