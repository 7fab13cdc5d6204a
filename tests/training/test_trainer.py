"""`DistillationTrainer`: from two teachers to a saved student, with what users of transformers know."""

import copy
import json
import os
import signal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, EvalPrediction, TrainerCallback

import kdda
from kdda import DistillationConfig, DistillationTrainer, Teacher
from kdda.errors import Interrupted, KddaError
from kdda.losses.representations import ObjectiveSettings, Representations
from kdda.runs.events import read_metrics
from kdda.training.reuse import Reuse
from tests.conftest import LABELS, Bench, make_model, make_rows
from tests.heads import make_judge

TRAIN = {"aa": make_rows("aa", 30, seed=0), "bb": make_rows("bb", 30, seed=1)}
DEV = {"aa": make_rows("aa", 15, seed=2), "bb": make_rows("bb", 15, seed=3)}
QUICK: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "learning_rate": 3e-3,
    "num_train_epochs": 1,
    "logging_steps": 2,
    "precision": "fp32",
    "seed": 1,
}


class Seen(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.steps, self.logs, self.metrics = 0, [], []  # type: ignore[var-annotated]

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps += 1

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.logs.append(dict(logs))

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any) -> None:
        self.metrics.append(dict(metrics))


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    return {name: make_model(tmp_path / name, seed=seed) for seed, name in enumerate(("student", "ta", "tb"))}


def trainer_of(models: dict[str, str], out: Path, config: dict[str, Any] | None = None, **options: Any) -> Any:
    arguments: dict[str, Any] = {
        "teachers": {"aa": Teacher(models["ta"]), "bb": models["tb"]},
        "task": "nli",
        "train_dataset": TRAIN,
        "eval_dataset": DEV,
        "args": DistillationConfig(str(out), **{**QUICK, **(config or {})}),
        "say": lambda _: None,
    }
    return DistillationTrainer(models["student"], **{**arguments, **options})


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_recipe_written_down_in_python_gives_the_same_weights_to_the_last_bit(bench: Bench, command: Any) -> None:
    values = bench.values
    code, _, error = command("run", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    assert code == 0, error
    seen = Seen()
    data = {split: {name: values["data"][name][split] for name in ("aa", "bb")} for split in ("train", "dev")}
    # what a user writes
    trainer = DistillationTrainer(
        student=values["student"],
        teachers={"aa": Teacher(values["teachers"]["aa"]), "bb": values["teachers"]["bb"]},
        task="nli",
        train_dataset=data["train"],
        eval_dataset=data["dev"],
        args=DistillationConfig(str(bench.folder / "out"), **{**QUICK, "num_train_epochs": 2}),
        callbacks=[seen],
    )
    trainer.train()
    metrics = trainer.evaluate()
    trainer.save_model(str(bench.folder / "out" / "final"))
    want = weights_of(bench.folder / "runs/nli/student-kdda/seed-1/model")
    saved = weights_of(bench.folder / "out" / "final")
    assert saved.keys() == want.keys() and all(torch.equal(saved[name], want[name]) for name in want)
    assert seen.steps == trainer.state.global_step > 0 and seen.metrics
    assert 0 <= metrics["eval_accuracy"] <= 100


def test_what_is_saved_opens_in_transformers_and_in_kdda(models: dict[str, str], tmp_path: Path) -> None:
    trainer = trainer_of(models, tmp_path / "out")
    trainer.train()
    folder = tmp_path / "out" / "final"
    trainer.save_model(str(folder))
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.id2label == dict(enumerate(LABELS)) and model.config.vocab_size == 40
    assert model.get_input_embeddings().weight.shape[0] == 40
    assert AutoTokenizer.from_pretrained(folder).get_vocab()
    assert kdda.load(folder).entails("cat sleeps", "cat sleeps").label in LABELS


def test_datasets_lists_and_files_train_the_same_student(bench: Bench, tmp_path: Path) -> None:
    models = {name: str(bench.folder / name) for name in ("student", "ta", "tb")}
    files = {name: bench.values["data"][name]["train"] for name in ("aa", "bb")}
    lists = {name: [json.loads(line) for line in Path(path).read_text().splitlines()] for name, path in files.items()}
    hub = {name: datasets.Dataset.from_list(rows) for name, rows in lists.items()}
    weights = []
    for number, train in enumerate((files, lists, hub)):
        trainer = trainer_of(models, tmp_path / str(number), train_dataset=train, teachers=None)
        trainer.train()
        weights.append(torch.cat([weight.flatten() for weight in trainer.model.parameters()]))
    assert torch.equal(weights[0], weights[1]) and torch.equal(weights[0], weights[2])


def test_objects_of_the_user_are_models_too_and_teachers_stay_as_they_were(tmp_path: Path) -> None:
    student = make_judge(tmp_path / "student")
    teacher = make_judge(tmp_path / "teacher")
    pairs = {}
    for name, folder in (("student", student), ("teacher", teacher)):
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        pairs[name] = (model, AutoTokenizer.from_pretrained(folder))
    before = copy.deepcopy(pairs["teacher"][0].state_dict())
    trainer = DistillationTrainer(
        pairs["student"],
        {"aa": pairs["teacher"], "bb": Teacher(pairs["teacher"], fine_tune=True)},
        train_dataset=TRAIN,
        eval_dataset=DEV,
        args=DistillationConfig(str(tmp_path / "out"), **QUICK),
        say=lambda _: None,
    )
    trainer.train()
    after = pairs["teacher"][0].state_dict()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert not any(weight.is_meta for weight in pairs["teacher"][0].parameters())
    assert trainer.model is pairs["student"][0]
    assert trainer.prepared["aa"][0].seconds is None and trainer.prepared["bb"][0].seconds is not None


def gap(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> torch.Tensor:
    return (student.states.mean(dim=1) - teacher.states.mean(dim=1)).square().sum(dim=1)


def test_an_objective_may_be_a_function(models: dict[str, str], tmp_path: Path) -> None:
    calls: list[int] = []

    def watched(student: Representations, teacher: Representations, settings: ObjectiveSettings) -> torch.Tensor:
        calls.append(len(student.states))
        return gap(student, teacher, settings)

    trainer = trainer_of(models, tmp_path / "out", {"objective": watched})
    trainer.train()
    assert len(calls) == trainer.state.global_step
    events = read_metrics(tmp_path / "out" / "metrics.jsonl")
    terms = [event["transport"] for event in events if event["event"] == "train"]
    assert terms and all(value > 0 for value in terms)
    assert trainer.args.to_dict()["objective"] == "watched"


def test_a_users_metrics_stand_beside_the_tasks(models: dict[str, str], tmp_path: Path) -> None:
    def compute(prediction: EvalPrediction) -> dict[str, float]:
        chosen = np.argmax(prediction.predictions, axis=-1)
        return {"share_right": float((chosen == prediction.label_ids).mean())}

    trainer = trainer_of(models, tmp_path / "out", compute_metrics=compute)
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_share_right"] == pytest.approx(metrics["eval_accuracy"] / 100)
    by_language = trainer.evaluate(DEV)
    assert by_language["eval_aa_accuracy"] == metrics["eval_accuracy"] and "eval_bb_share_right" in by_language


def test_a_tracker_is_told_of_losses_divergences_scores_and_the_teachers_lead(
    models: dict[str, str], tmp_path: Path
) -> None:
    seen = Seen()
    trainer = trainer_of(models, tmp_path / "out", callbacks=[seen])
    trainer.train()
    names = {name for logs in seen.logs for name in logs}
    assert {"loss", "learning_rate", "epoch", "transport", "aa_task", "bb_transport", "eval_accuracy"} <= names
    for logs in seen.logs:
        assert all(isinstance(value, int | float) for value in logs.values())
        if "transport" in logs:  # the mean over batches of all languages lies between those of each
            of_languages = [value for name, value in logs.items() if name.endswith("_transport")]
            assert min(of_languages) <= logs["transport"] <= max(of_languages)
    (student,) = [logs["eval_accuracy"] for logs in seen.logs if "eval_accuracy" in logs]  # of the one epoch
    (lead,) = [logs for logs in seen.logs if "eval_aa_teacher_lead" in logs]
    teacher = trainer.prepared["aa"][0].dev["accuracy"]
    assert lead == {"eval_aa_teacher_accuracy": teacher, "eval_aa_teacher_lead": teacher - student, "epoch": 1.0}


def test_what_a_training_ends_with_is_not_computed_again_and_is_what_the_model_predicts(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_of(models, tmp_path / "out", {"num_train_epochs": 3}, teachers={})
    trainer.train()
    anew = trainer.predict(trainer.data.dev["aa"], "aa")
    with monkeypatch.context() as patch:
        patch.setattr("kdda.training.evaluation.predict", None)
        assert list(trainer.predict_development("aa")) == list(anew)


def test_trainings_that_share_results_open_one_tokenizer_and_save_what_a_training_alone_saves(
    models: dict[str, str], tmp_path: Path
) -> None:
    reuse = Reuse()
    trainers = {}
    for name, shared in (("first", reuse), ("second", reuse), ("alone", None)):
        trainers[name] = trainer_of(models, tmp_path / name, teachers={}, reuse=shared)
        trainers[name].train()
        trainers[name].save_model(str(tmp_path / name / "model"))
    first, second, alone = (trainers[name].student.tokenizer for name in ("first", "second", "alone"))
    assert first is second and first is not alone
    saved = {path.name: path.read_bytes() for path in (tmp_path / "alone" / "model").iterdir()}
    for name in ("first", "second"):
        for file in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"):
            assert (tmp_path / name / "model" / file).read_bytes() == saved[file]


def test_results_that_trainings_share_are_few_and_those_of_the_same_objects() -> None:
    reuse = Reuse(limit=2)
    rows = [[1], [1], [1]]
    made: list[int] = []
    for number in (0, 1, 0, 2, 0, 1):
        assert (
            reuse.get("sum", [rows[number]], "setting", lambda number=number: made.append(number) or number) == number
        )
    assert made == [0, 1, 2, 1] and len(reuse) == 2
    assert reuse.get("sum", [rows[1]], "another setting", lambda: -1) == -1
    never = Reuse(limit=0)
    assert [never.get("sum", [rows[0]], None, lambda: made.append(7)) for _ in range(2)] == [None, None]
    assert made[-2:] == [7, 7] and len(never) == 0


def test_an_interrupted_training_resumes_to_the_same_weights(models: dict[str, str], tmp_path: Path) -> None:
    class PressCtrlC(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 2:
                os.kill(os.getpid(), signal.SIGINT)

    whole = trainer_of(models, tmp_path / "whole")
    whole.train()
    with pytest.raises(Interrupted, match="stopped at step 3 of"):
        trainer_of(models, tmp_path / "out", callbacks=[PressCtrlC()]).train()
    resumed = trainer_of(models, tmp_path / "out")
    resumed.train(resume_from_checkpoint=True)
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_freed_memory_goes_back_before_each_batch_that_is_larger_than_all_before_it(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    released_before: list[int] = []  # numbers of batches
    monkeypatch.setattr("kdda.training.trainer.release_freed_memory", lambda: released_before.append(len(sizes)))

    rows = [{**row, "premise": row["premise"] + " cat" * number} for number, row in enumerate(TRAIN["aa"][:12])]
    one_by_one = {"per_device_train_batch_size": 1}
    trainer = trainer_of(models, tmp_path / "out", one_by_one, teachers={}, train_dataset={"aa": rows})
    compute_loss = trainer.compute_loss

    def recorded(model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        sizes.append(inputs["input_ids"].numel())
        return compute_loss(model, inputs, *arguments, **options)

    monkeypatch.setattr(trainer, "compute_loss", recorded)
    trainer.train()
    records = [number for number, size in enumerate(sizes) if size > max(sizes[:number], default=0)]
    assert released_before == records and 1 < len(records) < len(sizes)


def test_a_language_without_a_teacher_trains_on_the_task_alone(models: dict[str, str], tmp_path: Path) -> None:
    trainer_of(models, tmp_path / "out", teachers={"aa": models["ta"]}).train()
    events = [event for event in read_metrics(tmp_path / "out" / "metrics.jsonl") if event["event"] == "train"]
    assert all(("transport" in event) == (event["language"] == "aa") for event in events)


def test_a_teachers_weight_scales_its_divergence(models: dict[str, str], tmp_path: Path) -> None:
    weights = []
    for number, (weight, distill_weight) in enumerate(((0.5, 0.4), (1.0, 0.2))):
        teachers = {"aa": Teacher(models["ta"], weight=weight)}
        trainer = trainer_of(models, tmp_path / str(number), {"distill_weight": distill_weight}, teachers=teachers)
        trainer.train()
        weights.append(torch.cat([parameter.flatten() for parameter in trainer.model.parameters()]))
    assert torch.allclose(weights[0], weights[1], atol=1e-5)


def test_without_development_rows_the_last_model_is_the_result(models: dict[str, str], tmp_path: Path) -> None:
    trainer = trainer_of(models, tmp_path / "out", eval_dataset=None)
    trainer.train()
    assert trainer.state.best_global_step is None
    assert "eval_accuracy" in trainer.evaluate(DEV["aa"])
    with pytest.raises(KddaError, match="no eval_dataset was given"):
        trainer.evaluate()


def test_fine_tune_trains_without_teachers(models: dict[str, str], tmp_path: Path) -> None:
    args = DistillationConfig(str(tmp_path / "out"), **QUICK)
    trainer = kdda.fine_tune(models["ta"], train_dataset=TRAIN["aa"], eval_dataset=DEV["aa"], args=args, target="aa")
    predictions = trainer.predict(DEV["aa"])
    assert len(predictions) == 15 and trainer.state.global_step > 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"task": "nlj"}, 'did you mean "nli"'),
        ({"teachers": {"ab": "there"}}, 'teachers: "ab" has no train_dataset; there are aa, bb'),
        ({"train_dataset": {"aa": [{"premise": "a", "hypothesis": "b", "label": "maybe"}]}}, "maybe"),
        ({"train_dataset": {}}, "got no dataset"),
        ({"train_dataset": {"aa": 3}}, r"train_dataset\['aa'\]: got int"),
        ({"target": "cc"}, 'target "cc" has no eval_dataset'),
    ],
)
def test_a_mistake_is_told_before_training(
    models: dict[str, str], tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(KddaError, match=reason):
        trainer_of(models, tmp_path / "out", **options)


def test_a_teacher_of_another_width_is_refused_with_what_would_do(models: dict[str, str], tmp_path: Path) -> None:
    wide = make_model(tmp_path / "wide", width=32)
    with pytest.raises(KddaError, match=r"is 32 wide and the student .* 16; .* one of the objectives gromov, cka"):
        trainer_of(models, tmp_path / "out", teachers={"aa": wide})
    trainer_of(models, tmp_path / "cka", {"objective": "cka"}, teachers={"aa": wide}).train()


def test_removing_checkpoints_leaves_everything_else(models: dict[str, str], tmp_path: Path) -> None:
    trainer = trainer_of(models, tmp_path / "out", teachers=None)
    trainer.train()
    trainer.save_model(str(tmp_path / "out" / "final"))
    (tmp_path / "out" / "runs").mkdir()  # as a tracker writes it
    assert list((tmp_path / "out").glob("checkpoint-*"))
    trainer.remove_checkpoints()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"final", "runs", "metrics.jsonl"}


def test_a_trained_head_is_not_initialized_again(
    models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = []
    trainer = trainer_of(models, tmp_path / "out", {"head": "standardized"}, teachers=None)
    monkeypatch.setattr("kdda.training.trainer.initialize_head", lambda *arguments: heads.append(arguments))
    trainer.train()
    trainer.train()
    assert len(heads) == 1


@pytest.mark.parametrize("arm", ["student", "student-kdda"])
def test_a_training_that_diverges_fails_with_its_step_and_is_no_finished_run(
    arm: str, bench: Bench, command: Any
) -> None:
    out = bench.folder / "runs"
    code, printed, error = command(
        "run", bench.write(), "--out", out, "--arms", arm, "--set", "training.learning_rate=1.0e+30"
    )
    assert code == 1 and "diverged at step " in error and "tries" not in error
    assert "33.3" not in printed
    assert not list(out.rglob("predictions.jsonl"))
    for failure in out.rglob("failure.txt"):
        assert failure.read_text(encoding="utf-8").startswith("diverged at step ")
