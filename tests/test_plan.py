"""What a recipe needs is told before it runs: what there is, what it will cost, and what is missing, all at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Regex, pre_tokenizers
from transformers import BertConfig, BertModel

from kdda.experiment import doctor, estimate, profile
from kdda.experiment.context import labelled_rows, task_of, with_labels
from kdda.experiment.few_steps import FewSteps
from kdda.experiment.profile import ModelCost, Profiler, TeacherCost, TimedSeconds
from kdda.experiment.splits import SplitReader
from kdda.hub.licences import LICENCES, warning_of
from kdda.recipe.load import built_in, load_recipe
from kdda.report.few_steps import FEW_STEPS
from kdda.teachers.shards import bytes_of_state
from tests.conftest import Bench, make_model, make_rows, make_sentences, make_tokenizer, write_rows
from tests.draft.conftest import NoEstimate


def test_a_plan_names_models_rows_steps_time_memory_and_disk(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "peak_memory", lambda device: 3 * 2**30)  # as on an accelerator
    monkeypatch.setattr(estimate, "total_memory", lambda device: 8 * 2**30)
    out = bench.folder / "runs"
    code, text, _ = command("plan", bench.write(), "--out", out, "--seeds", "1,2", "--workers", "2")
    assert code == 0 and "6 runs" in text and not out.exists()
    rows = {
        line.split("|")[1].strip(): [c.strip() for c in line.split("|")[2:-1]]
        for line in text.splitlines()
        if line.startswith("| ")
    }
    student = bench.values["student"]
    assert rows[f"student, {student}"] == ["2", "16", "unknown"] and rows["aa"] == ["45", "15", "18"]
    assert rows[f"{student}, aa"][:2] == ["45", "330"]  # windows and tokens, as the run itself says
    assert rows["student"][:2] == ["2", "12"] and rows["student-da"][:2] == [
        "2",
        "24",
    ]  # 45 rows: 6 batches of 8, twice
    for sentence in ("Time: about", "Memory: about", "Disk: about", "Memory of cpu: about 3.0 of 8.0 GB"):
        assert any(line.startswith(sentence) for line in text.splitlines())


@pytest.mark.parametrize("task", ["nli", "tag"])
def test_a_plan_measures_an_objective_that_compares_logits_alone(task: str, bench: Bench, command: Any) -> None:
    bench.values |= {"task": task, "distill": {"objective": "kd-logits"}}
    if task == "tag":
        for data in bench.values["data"].values():
            for seed, split in enumerate(("train", "dev", "test")):
                data[split] = write_rows(bench.folder / f"{split}.jsonl", make_sentences("aa", 12, seed))
    code, text, error = command("plan", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    assert code == 0 and "| student-kdda " in text, error


class Costs:
    """In place of measurements: a window takes a tenth of a second to read, and nothing else costs anything."""

    device = torch.device("cpu")
    read = 0.1
    step = TimedSeconds(0.0, 0.0, 0.0)

    def __init__(self, *_: Any):
        pass

    def model(self, spec: Any, languages: list[str]) -> ModelCost:
        one = dict.fromkeys(languages, 1.0)
        return ModelCost(
            load=0.0,
            encode=0.0,
            step=self.step,
            read=self.read,
            tokens=one,
            windows=one,
            items=one,
            saved=0,
            trained=0,
            lengths={},
        )

    def teacher(self, *_: Any) -> TeacherCost:
        return TeacherCost(solve=0.0, run=0.0, stored=0.0)


class CostsOfStates(Costs):
    """The bytes of a row's states are as many as its tokens take, here one of a width of 16 each."""

    def __init__(self, *arguments: Any):
        super().__init__()
        self.stored_in = arguments[-1]

    def teacher(self, *_: Any) -> TeacherCost:
        return TeacherCost(solve=0.0, run=0.0, stored=bytes_of_state(16, self.stored_in))


class CostsOfSteps(Costs):
    """A step takes a minute, from half a minute to 64 seconds, and nothing else costs anything."""

    read = 0.0
    step = TimedSeconds(60.0, 30.0, 64.0)


def test_the_first_step_that_is_timed_is_of_middle_length(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []

    def timed(_: Any, loaded: Any, optimizer: Any, batch: Any) -> float:
        lengths.append(batch.length)
        return 0.01

    monkeypatch.setattr(Profiler, "_seconds_of_step", timed)
    rows = make_rows("aa", 90, 0)
    for number, row in enumerate(rows):
        row["premise"] = " ".join([row["premise"]] * (1 + number // 30))
    bench.values["data"]["aa"]["train"] = write_rows(bench.folder / "lengths.jsonl", rows)
    code, _, errors = command("plan", bench.write(), "--out", bench.folder / "runs", "--arms", "student")
    assert code == 0, errors
    warm, middle, short, long = lengths[:4]
    assert short < middle < long == warm


def test_steps_are_timed_with_the_kernels_that_training_computes_with(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[torch.device] = []

    @contextmanager
    def kernels(device: torch.device) -> Iterator[None]:
        entered.append(device)
        yield
        entered.pop()

    def timed(_: Any, loaded: Any, optimizer: Any, batch: Any) -> float:
        assert entered, "a step is timed without the kernels"
        return 0.01

    monkeypatch.setattr(profile, "fast_cpu_kernels", kernels)
    monkeypatch.setattr(Profiler, "_seconds_of_step", timed)
    code, text, errors = command("plan", bench.write(), "--out", bench.folder / "runs", "--arms", "student")
    assert code == 0 and "Time: about" in text, errors


def test_the_time_of_a_plan_is_a_range_by_the_spread_of_timed_steps_and_says_of_what(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "Profiler", CostsOfSteps)
    _, text, _ = command("plan", bench.write(), "--out", bench.folder / "runs")
    # 12 steps of the student and of each teacher, 24 of the other arms
    time = "about 84 min, 42 to 90 min by the spread of the timed steps, for 3 unfinished runs and 2 teachers"
    assert f"Time: {time}. The measurement took" in text
    _, text, _ = command("plan", bench.write(), "--out", bench.folder / "runs", "--arms", "student", "--workers", "2")
    assert "Time: about 6 min, 3 to 6 min by the spread of the timed steps, for 1 unfinished run, 2 at once." in text


def test_the_disk_of_a_plan_is_that_of_the_precision_in_which_states_are_stored(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "Profiler", CostsOfStates)
    monkeypatch.setattr(estimate, "GB", 1)
    bench.values["teacher_cache_precision"] = "int8"
    bench.values["teachers"] = {"aa": bench.values["teachers"]["aa"]}
    code, text, error = command("plan", bench.write(), "--out", bench.folder / "runs", "--arms", "student-kdda")
    assert code == 0 and f" {45 * (16 + 4)}.00 of them teacher states" in text, error


def test_development_rows_are_read_in_each_epoch_that_a_teacher_or_an_arm_has(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "Profiler", Costs)
    bench.values["teachers"]["aa"] = {"model": bench.values["teachers"]["aa"], "training": {"epochs": 4}}
    bench.values["arms"] = {"short": {}, "long": {"distill": True, "training": {"epochs": 6}}}
    code, text, error = command("plan", bench.write(), "--out", bench.folder / "runs")
    assert code == 0, error
    times = {}
    for line in text.split("## Work")[1].splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 4:
            times[cells[0].split(",")[0]] = cells[3]
    # 15 development rows an epoch, 30 at the end, and of students 36 test rows
    assert (times["teacher aa"], times["teacher bb"]) == ("9 s", "6 s")
    assert (times["short"], times["long"]) == ("10 s", "16 s")


@pytest.mark.parametrize(
    ("max_length", "positions", "advice"),
    [
        (16, 64, "; training.max_length: {longest} would do."),
        (16, 17, "; training.max_length: 17, all that its positions allow, would leave {beyond_positions}."),
        (128, 16, ", and its positions allow no more; the longest has {longest}."),
    ],
)
def test_a_plan_says_how_many_rows_a_teachers_tokenizer_truncates_and_which_window_would_do(
    max_length: int, positions: int, advice: str, bench: Bench, command: Any
) -> None:
    teacher = Path(bench.values["teachers"]["aa"])
    config = BertConfig.from_pretrained(teacher, max_position_embeddings=positions)
    BertModel(config).save_pretrained(teacher)
    tokenizer = make_tokenizer()
    characters = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("."), "isolated")]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(characters)
    tokenizer.save_pretrained(teacher)
    bench.values["training"]["max_length"] = max_length
    lengths = []
    for row in make_rows("aa", 45, seed=0):
        lengths.append(3 + len(f"{row['premise']}{row['hypothesis']}".replace(" ", "")))  # a token a character
    code, text, error = command("plan", bench.write(), "--out", bench.folder / "runs")
    assert code == 0, error
    (line,) = (line for line in text.splitlines() if line.startswith("Teacher "))
    too_long = sum(length > 16 for length in lengths)
    assert 0 < too_long < 45
    beyond = sum(length > positions for length in lengths)
    sentence = f"truncates or splits {too_long} of 45 sampled rows at 16 tokens (the student's 0)"
    advice = advice.format(longest=max(lengths), beyond_positions=beyond)
    assert line == f"Teacher aa, {teacher}: its tokenizer {sentence}{advice}"


def test_a_teacher_that_two_languages_have_is_fine_tuned_once(bench: Bench, command: Any) -> None:
    teachers, data = bench.values["teachers"], bench.values["data"]
    data["more"] = {"train": data["aa"]["train"], "labels": "none"}
    teachers["more"] = {"model": teachers["aa"], "train": "aa"}
    code, text, _ = command("plan", bench.write(), "--arms", "student-kdda", "--out", bench.folder / "runs")
    work = text.split("## Work")[1]
    assert code == 0 and work.count("| teacher aa, ") == 1 and "| teacher more, " not in work


def test_finished_runs_cost_nothing_more(bench: Bench, command: Any) -> None:
    out = bench.folder / "runs"
    command("run", bench.write(), "--out", out)
    _, text, _ = command("plan", bench.write(), "--out", out)
    assert "3 runs" in text and "3 of them finished" in text and "Time: 0 s, since all runs are finished." in text
    assert "| teacher aa" not in text.split("## Work")[1]  # it is made already
    worth = [line for line in text.splitlines() if line.startswith("WARNING: this teacher")]
    _, table, _ = command("run", bench.write(), "--out", out)
    assert worth == [line for line in table.splitlines() if line.startswith("WARNING: this teacher")]


def test_everything_that_is_missing_is_said_at_once_with_how_to_get_it(bench: Bench, command: Any) -> None:
    bench.values["data"]["aa"] |= {"test": "nowhere.jsonl", "access": "ask its authors"}
    bench.values["teachers"]["bb"] = str(bench.folder / "no-model")
    code, text, _ = command("plan", bench.write(), "--out", bench.folder / "runs")
    assert code == 1 and text.count("MISSING") == 2
    assert "nowhere.jsonl" in text and "ask its authors" in text and "no-model" in text and "Time:" not in text


def test_models_that_do_not_fit_are_refused_as_the_run_would(bench: Bench, command: Any) -> None:
    bench.values["teachers"]["bb"] = make_model(bench.folder / "wide", width=24)
    code, _, error = command("plan", bench.write(), "--out", bench.folder / "runs")
    assert code == 2 and "24 wide" in error and "16" in error
    code, _, error = command("plan", bench.write(), "--set", "distill.objective=sinkhon")
    assert code == 2 and 'did you mean "sinkhorn"' in error


def test_licences_that_bind_whoever_passes_a_model_on_are_warned_of(bench: Bench, command: Any) -> None:
    folder = Path(make_model(bench.folder / "bound"))
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    bench.values["teachers"]["bb"] = str(folder)
    _, text, _ = command("plan", bench.write(), "--out", bench.folder / "runs")
    assert f"WARNING: teacher bb, {folder}: licence cc-by-nc-4.0: a model made of it is not for commercial use" in text
    assert "offer its source" in warning_of(LICENCES["vinai/phobert-base-v2"])


@pytest.mark.parametrize("name", built_in())
def test_every_built_in_recipe_is_whole(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.seeds and recipe.note
    for arm in recipe.arms:
        assert recipe.languages(arm)
        assert bool(recipe.teachers_of(arm)) == (recipe.distillation(arm) is not None)


def test_the_papers_recipes_ask_for_what_the_paper_does() -> None:
    for name in ("paper/nli-base", "paper/qa-base", "paper/nli-large", "paper/qa-large"):
        recipe = load_recipe(name)
        size = name.rsplit("-", 1)[1]
        assert list(recipe.arms) == ["phobert", "xlmr", "xlmr-da", "xlmr-kdda"]
        assert recipe.student_of("phobert").model == f"vinai/phobert-{size}" and recipe.languages("phobert") == ["vi"]
        assert recipe.student_of("xlmr-kdda").model == f"FacebookAI/xlm-roberta-{size}"
        assert {own.model for _, own in recipe.teachers_of("xlmr-kdda")} == {
            f"vinai/phobert-{size}",
            f"FacebookAI/roberta-{size}",
        }
        assert recipe.learning_rates == [1e-5, 2e-5, 3e-5] and recipe.seeds == [1, 2, 3]
        assert (recipe.training.epochs, recipe.training.batch_size) == (2, 32)
        assert (recipe.distill.weight, recipe.distill.epsilon, recipe.distill.objective) == (0.3, 0.005, "sinkhorn")


def test_rows_that_must_be_asked_for_are_refused_with_whom_to_ask(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("student", "teachers.vi", "teachers.en"):
        make_model(tmp_path / name)
    models = [x for name in ("student", "teachers.vi", "teachers.en") for x in ("--set", f"{name}={tmp_path / name}")]
    code, _, error = command("run", "paper/nli-base", "--arms", "xlmr-kdda", *models, "--out", tmp_path / "runs")
    assert code == 2 and "UIT_ViNLI_1.0_train.jsonl" in error and "given out by its authors on request" in error


def test_the_doctor_names_versions_devices_and_what_extras_lack(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "devices", lambda: [torch.device("mps:0")])
    monkeypatch.setattr(doctor, "total_memory", lambda device: 16 * 2**30)
    code, text, _ = command("doctor")
    assert code == 0 and all(f"| {name} " in text for name in ("torch", "transformers", "cpu", "mini"))
    assert "mps, 16 GB" in text and "| bench " not in text


def test_the_time_of_systems_is_part_of_the_plan(bench: Bench, command: Any) -> None:
    bench.read()
    bench.values |= {
        "arms": {"student": {"train": "target"}, "short": {"train": "target", "sentences": 1}},
        "systems": {
            "reader": {"arm": "student", "passages": [1, 3]},
            "mixed": {"arm": "student", "passages": [3], "mu": [0.5]},
            "short": {"arm": "short", "passages": [2]},
        },
    }
    code, text, _ = command("plan", bench.write(), "--out", bench.folder / "runs", "--seeds", "1,2")
    work = text.split("## Work")[1]
    assert code == 0 and "| systems: index of " in work and "| systems reader, mixed: 3 passages" in work
    (line,) = (line for line in work.splitlines() if line.startswith("| systems short: 2 passages a question, by bm25"))
    assert line.split("|")[2].strip() == "2"


def test_arms_and_teachers_of_few_steps_are_noted_by_plan_and_run_with_the_epochs_that_would_do(
    bench: Bench, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdda.experiment.plan.Estimate", NoEstimate)
    bench.values["training"]["epochs"] = 1
    taught = {"train": "target", "distill": True, "training": {"epochs": 2}}
    bench.values["arms"] = {"student": {"train": "target"}, "student-kdda": taught}
    little = "a model learns little in so few: raise"
    teacher = f"teacher aa, {bench.values['teachers']['aa']}"
    expected = [
        f"WARNING: student: 6 steps in all; {little} training.epochs to 20",
        f"WARNING: student-kdda: 12 steps in all; {little} arms.student-kdda.training.epochs to 20",
        f"WARNING: {teacher}: 6 steps in all; {little} the epochs of teachers.aa to 20",
    ]
    recipe = bench.write()
    for call in ("plan", "run"):
        code, text, errors = command(call, recipe, "--out", bench.folder / "runs")
        assert code == 0, errors
        assert [line.strip() for line in text.splitlines() if "steps in all" in line] == expected
    _, text, _ = command("run", recipe, "--out", bench.folder / "runs")  # the teacher is fine-tuned now
    assert [line.strip() for line in text.splitlines() if "steps in all" in line] == expected[:2]


def test_windows_of_long_passages_are_steps_too(bench: Bench, command: Any) -> None:
    bench.read()
    bench.values["training"] |= {"epochs": 8, "batch_size": 8, "max_length": 8, "stride": 1}
    code, text, errors = command("plan", bench.write(), "--out", bench.folder / "runs", "--arms", "student")
    (steps,) = [line.split("|")[3].strip() for line in text.splitlines() if line.startswith("| student ")]
    assert code == 0, errors
    assert int(steps) >= FEW_STEPS > 64  # 60 rows alone would be 8 batches, 64 steps
    assert "steps in all" not in text


def test_the_first_try_has_steps_enough() -> None:
    recipe = with_labels(load_recipe("try"))
    reader = SplitReader(recipe, task_of(recipe))
    data, _ = reader.read_all()
    task = reader.task.fitted(labelled_rows(recipe, data))
    assert FewSteps(reader, task, data, Path("runs")).notes(list(recipe.arms)) == []
