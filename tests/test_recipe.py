"""Recipes are strict, and say where a mistake is."""

import sys
from pathlib import Path

import pytest
import yaml

from kdda.errors import KddaError
from kdda.experiment.languages import language_warnings
from kdda.recipe.load import built_in, load_recipe
from tests.conftest import Bench

TEXT = """\
task: nli
target: vi
student: mini/multilingual
teachers:
  vi: mini/vietnamese
data:
  vi: {train: "embedded:nli/vi/train", dev: "embedded:nli/vi/dev", test: "embedded:nli/vi/test"}
training:
  epochs: 3
  lerning_rate: 1.0e-4
"""


def written(folder: Path, text: str) -> str:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(KddaError) as error:
        load_recipe(written(folder, text), overrides)
    return str(error.value)


def test_a_misspelt_key_is_named_with_its_line_and_the_right_one(tmp_path: Path) -> None:
    message = refused(tmp_path, TEXT)
    assert 'own.yaml:10: unknown key "training.lerning_rate" — did you mean "learning_rate"?' in message


def test_a_wrong_type_is_named_with_path_line_found_and_expected(tmp_path: Path) -> None:
    message = refused(tmp_path, TEXT.replace("lerning_rate", "learning_rate").replace("epochs: 3", "epochs: many"))
    assert "own.yaml:9: training.epochs: got 'many', expected: " in message and "integer" in message


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    message = refused(tmp_path, TEXT.replace("epochs: 3", "epochs: 0").replace("task: nli\n", ""))
    assert len(message.splitlines()) == 3 and '"task" is missing' in message


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("distill", "{form: convex}", '"distill.form" is now "distill.combine", and "convex" is "interpolate"'),
        ("distill", "{logits: 1}", '"distill.logits" is now "distill.logit_weight"'),
        ("distill", "{depths: [1.0]}", '"distill.depths" is now "distill.layers"'),
        ("distill", "{shuffled: true}", '"distill.shuffled" is now "distill.shuffle_teacher"'),
        ("distill", "{gate: correct}", 'now "distill.example_weighting", and "correct" is "teacher_correct"'),
        ("distill", "{schedule: falling}", 'distill.schedule: "falling" is now "linear_decay"'),
        ("training", "{micro_batch: 4}", '"training.micro_batch" is now "training.micro_batch_size"'),
        ("store_gb", "3", '"store_gb" is now "teacher_cache_gb"'),
        ("arms", "{a: {distill: {form: sum}}}", '"arms.a.distill.form" is now "arms.a.distill.combine"'),
    ],
)
def test_an_old_field_is_refused_with_its_new_name_and_its_line(tmp_path: Path, field: str, old: str, new: str) -> None:
    text = TEXT.partition("training:")[0] + f"{field}: {old}\n"
    message = refused(tmp_path, text)
    assert "own.yaml:8: " in message and new in message


def test_an_old_field_on_the_command_line_is_refused_with_its_new_name(tmp_path: Path) -> None:
    text = TEXT.partition("training:")[0]
    message = refused(tmp_path, text, "distill.gate=confident")
    assert message.startswith("--set distill.gate: ") and "teacher_confidence" in message


def test_text_that_is_not_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    assert "own.yaml:2: not YAML" in refused(tmp_path, "task: nli\n target: vi\n")


def test_an_unknown_recipe_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(KddaError, match='did you mean "mini-nli"'):
        load_recipe("mini-nil")


LANGUAGES = """\
task: nli
target: vi
student: mini/multilingual
teachers: {vi: mini/vietnamese}
data:
  vi: {train: "embedded:nli/vi/train", dev: "embedded:nli/vi/dev", test: "embedded:nli/vi/test"}
  en: {train: "embedded:nli/en/train", dev: "embedded:nli/en/dev"}
"""


def test_a_language_without_a_teacher_trains_on_the_task_alone_and_is_warned_of(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, LANGUAGES))
    assert recipe.languages("student-kdda") == ["vi", "en"]
    assert [language for language, _ in recipe.teachers_of("student-kdda")] == ["vi"]
    warnings = language_warnings(recipe, list(recipe.arms))
    assert warnings == ["en has no teacher: student-kdda trains on the task's loss alone in this language"]
    disabled = load_recipe(written(tmp_path, LANGUAGES), ["arms.student-kdda={distill: true, teachers: {en: null}}"])
    assert not language_warnings(disabled, list(disabled.arms))


def test_an_arm_that_repeats_another_is_warned_of(tmp_path: Path) -> None:
    text = "task: nli\ntarget: vi\nstudent: s\nteachers: {vi: t}\ndata: {vi: {train: a, dev: b, test: c}}\n"
    recipe = load_recipe(written(tmp_path, text))
    assert language_warnings(recipe, ["student", "student-da", "student-kdda"]) == [
        "student-da repeats student: both train the same student on vi alike"
    ]
    assert not language_warnings(recipe, ["student-da", "student-kdda"])


def test_numbers_are_names_of_labels(tmp_path: Path) -> None:
    numbered = load_recipe(written(tmp_path, LANGUAGES), ["labels=[1, 2]", "data.vi.labels={neg: 1, pos: 2}"])
    assert (numbered.labels, numbered.data["vi"].labels) == (["1", "2"], {"neg": "1", "pos": "2"})


def test_an_arm_trains_on_the_languages_that_teach_it_something(tmp_path: Path) -> None:
    unlabelled = load_recipe(written(tmp_path, LANGUAGES), ["data.vi.labels=none", "teachers.vi.train=en"])
    assert list(unlabelled.arms) == ["student-da", "student-kdda"]  # `student` has no labels of the target
    assert unlabelled.languages("student-da") == ["en"] and unlabelled.languages("student-kdda") == ["vi", "en"]
    zero_shot = load_recipe(written(tmp_path, LANGUAGES), ["data.vi.train=null", "teachers={en: mini/english}"])
    assert list(zero_shot.arms) == ["student-da", "student-kdda"]
    assert zero_shot.languages("student-kdda") == ["en"]
    assert load_recipe(written(tmp_path, zero_shot.to_yaml())) == zero_shot


def test_one_target_in_a_list_is_that_target_and_several_are_a_list(tmp_path: Path) -> None:
    assert load_recipe(written(tmp_path, LANGUAGES), ["target=[vi]"]).target == "vi"
    several = load_recipe(
        written(tmp_path, LANGUAGES),
        ["target=[vi, en]", "data.en.test=embedded:nli/en/test", "teachers.en=mini/english"],
    )
    assert several.target == ["vi", "en"] and several.languages("student") == ["vi", "en"]


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["target=[vi, vi]"], "target: got ['vi', 'vi'], expected: every entry once"),
        (["target=[]"], "target: got [], expected: a language, or a list of languages"),
        (["target=[vi, xx]"], 'target: got "xx", expected one of data\'s vi, en'),
        (["target=[vi, en]"], "data.en.test is missing: the target language's test rows make the table"),
        (["data.en.dev=null"], "expected: development rows: dev: SOURCE"),
        (
            ["data.vi.labels=none", "data.vi.dev=null", "data.vi.holdout={dev: 0.1}"],
            "training rows with labels, of which",
        ),
        (["data.vi.train=null", "data.vi.dev=null"], "data.vi.dev is missing: the target language's"),
        (["data.xx={columns: {premise: a}}"], "data.xx: no rows"),
        (["teachers.ei=mini/english"], 'teachers: language "ei" has no entry under data'),
        (["data.en.labels=none"], 'no arm is distilled from a teacher of "en"'),
        (["data.en.labels=some"], "data.en.labels: got 'some', expected: a mapping"),
        (
            ["data.vi.labels=none"],
            'teachers.vi: "mini/vietnamese" is to be fine-tuned, and "vi" has no labelled training rows; say '
            "finetuned: true of a teacher that is fine-tuned already, or train: LANGUAGE, whose rows it is fine-tuned "
            "on (en)",
        ),
        (["data.vi.labels=none", "teachers.vi.train=ne"], 'teachers.vi.train: language: got "ne"'),
        (["teachers.vi.train=en", "teachers.vi.finetuned=true"], "this teacher is not fine-tuned here"),
        (
            ["data.vi.labels=none", "teachers.vi.train=en", "arms={a: {train: [vi]}, b: {distill: true}}"],
            'arms.a.train: language "vi" has no labels, and the arm is distilled from no teacher of it',
        ),
        (["data.vi.train=null", "arms={a: {train: target}}"], "arms.a: there are no labelled rows to train on"),
        (["data.vi.train=null", "arms={a: {train: [vi]}}"], 'arms.a.train: language "vi" has no data.vi.train'),
        (["arms={a: {train: [en], distill: true}}"], 'arm "a" distils, but its languages have no teacher'),
        (
            ["target=[vi, en]", "data.en.test=embedded:nli/en/test", "systems={s: {arm: student}}"],
            "systems search the passages of one language, and target names vi, en",
        ),
    ],
)
def test_languages_that_do_not_fit_together_are_refused(tmp_path: Path, overrides: list[str], reason: str) -> None:
    assert reason in refused(tmp_path, LANGUAGES, *overrides)


def test_overrides_change_fields_and_models_may_be_given_as_a_name(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT.replace("lerning_rate", "learning_rate"))
    recipe = load_recipe(
        path, ["teachers.vi=some/model", "training.epochs=7", "student.layers=6", "distill.lambda=0.5"]
    )
    assert recipe.teachers["vi"].model == "some/model"
    assert (recipe.training.epochs, recipe.student.layers, recipe.distill.weight) == (7, 6, 0.5)
    assert recipe.student.model == "mini/multilingual"


def test_a_bad_override_is_named_as_such(tmp_path: Path) -> None:
    text = TEXT.replace("lerning_rate", "learning_rate")
    assert "--set training.epochs: training.epochs: got -1" in refused(tmp_path, text, "training.epochs=-1")
    assert "expected key.path=value" in refused(tmp_path, text, "training.epochs")


def test_an_arm_may_change_the_distillation_and_is_checked_too(tmp_path: Path) -> None:
    text = TEXT.replace("lerning_rate", "learning_rate")
    arms = "arms:\n  half: {train: target, distill: {lambda: 0.15}}\n"
    recipe = load_recipe(written(tmp_path, text + arms))
    found = recipe.distillation("half")
    assert found is not None and (found.weight, found.epsilon) == (0.15, recipe.distill.epsilon)
    assert "arms.half.distill.lamda" in refused(tmp_path, text + arms.replace("lambda", "lamda"))


def test_a_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = load_recipe("mini-nli")
    again = load_recipe(written(tmp_path, recipe.of_run("student-kdda", 2).to_yaml()))
    assert again == recipe.of_run("student-kdda", 2)


def test_paths_are_read_from_the_recipes_own_folder(tmp_path: Path) -> None:
    (tmp_path / "my-teacher").mkdir()
    text = TEXT.replace("lerning_rate", "learning_rate").replace("mini/vietnamese", "my-teacher")
    recipe = load_recipe(written(tmp_path, text.replace('"embedded:nli/vi/dev"', "own.dev.csv")))
    assert recipe.teachers["vi"].model == str(tmp_path / "my-teacher")
    assert recipe.data["vi"].dev == str(tmp_path / "own.dev.csv")


def test_every_built_in_recipe_loads() -> None:
    assert "mini-nli" in built_in()
    for name in built_in():
        assert load_recipe(name).to_yaml()


def test_teachers_and_transport_do_not_belong_to_an_arm_that_does_not_listen() -> None:
    recipe = load_recipe("mini-nli")
    other = load_recipe("mini-nli", ["distill.epsilon=0.5", "teachers.en=another"])
    assert recipe.of_run("student-da", 1) == other.of_run("student-da", 1)
    assert recipe.of_run("student-kdda", 1) != other.of_run("student-kdda", 1)


def test_a_recipe_is_plain_yaml() -> None:
    assert yaml.safe_load(load_recipe("mini-nli").to_yaml())["distill"]["lambda"] == 0.3


def test_a_recipes_plugins_are_imported_when_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugin_of_a_recipe.py").write_text("LOADED = True\n")
    text = TEXT.partition("training:")[0]
    recipe = load_recipe(written(tmp_path, text + "plugins: [plugin_of_a_recipe]\n"))
    assert recipe.plugins == ["plugin_of_a_recipe"] and sys.modules["plugin_of_a_recipe"].LOADED
    assert 'plugin "no_such_plugin" could not be imported' in refused(tmp_path, text + "plugins: [no_such_plugin]\n")


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("training: {epochs: 2}", '10: the key "training" is given twice (first in line 8)'),
        ("distill: {lambda: 0.3, lambda: 0.1}", '10: the key "lambda" is given twice'),
        ('note: "a"\narms:\n  a: {}\n  a: {}', '13: the key "a" is given twice (first in line 12)'),
        ("note: \x07", "10: not YAML: the character U+0007"),
        ("note: &a [*a]", "10: nested more than 30 levels deep"),
        ("note: " + "[" * 5000, "1: nested too deeply"),
        ("note: " + "[" * 40 + "]" * 40, "10: nested more than 30 levels deep"),
        ("seeds: [" + "9" * 5000 + "]", "10: a number of 5,000 digits"),
        ("note: !!binary aGk=", "10: a value of the type !!binary"),
        ("note: !!set {a}", "10: a value of the type !!set"),
        ("note: !!int x", '10: "x" is not of the type !!int'),
        ("note: !!bool x", '10: "x" is not of the type !!bool'),
        ("note: !other x", "10: a value of the type !other"),
        ("? [a, b]\n: c", "10: a list or a mapping as a key"),
        ('note: "\\ud83d"', "10: an unpaired surrogate"),
        ("note: [*b]", "10: not YAML: found undefined alias"),
        (
            "a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n"
            + "".join(f"{y}: &{y} [{', '.join([f'*{x}'] * 10)}]\n" for x, y in ("ab", "bc", "cd", "de")),
            "14: more than 100,000 values",
        ),
    ],
)
def test_what_no_recipe_can_hold_is_one_message_with_its_line(tmp_path: Path, addition: str, message: str) -> None:
    text = TEXT.partition("training:")[0] + "training:\n  epochs: 3\n" + addition + "\n"
    refusal = refused(tmp_path, text)
    assert message in refusal and len(refusal.splitlines()) == 1


def test_a_file_in_another_encoding_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(TEXT, encoding="utf-16")
    with pytest.raises(KddaError, match=r"own\.yaml:1: its first bytes say UTF-16"):
        load_recipe(str(tmp_path / "own.yaml"))
    (tmp_path / "own.yaml").write_bytes(b"task: nli\nnote: \xe1\n")
    with pytest.raises(KddaError, match=r"own\.yaml:2: not UTF-8"):
        load_recipe(str(tmp_path / "own.yaml"))


def test_what_looks_like_a_date_is_a_text(tmp_path: Path) -> None:
    text = TEXT.partition("training:")[0]
    assert load_recipe(written(tmp_path, text + "note: 2024-02-30\n")).note == "2024-02-30"
    assert load_recipe(written(tmp_path, text), ["note=2024-02-28"]).note == "2024-02-28"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs.x=3", 'training.epochs.x=3: "epochs" is 3, which has no fields'),
        ("training={epochs: 1, epochs: 2}", 'the key "epochs" is given twice'),
        ("note=[", "not YAML"),
        ("note=" + "[" * 5000, "nested too deeply"),
        ("seeds=[" + "9" * 5000 + "]", "a number of 5,000 digits"),
    ],
)
def test_an_override_that_no_recipe_can_hold_is_refused(tmp_path: Path, override: str, message: str) -> None:
    text = TEXT.partition("training:")[0] + "training:\n  epochs: 3\n"
    refusal = refused(tmp_path, text, override)
    assert refusal.startswith("--set ") and message in refusal


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize(
    "field",
    [
        "training.learning_rate",
        "training.warmup",
        "training.weight_decay",
        "training.max_grad_norm",
        "training.attention_dropout",
        "training.arguments.adam_epsilon",
        "distill.lambda",
        "distill.epsilon",
        "distill.scale",
        "distill.tolerance",
        "distill.temperature",
        "distill.logit_weight",
        "distill.options.bandwidth",
        "teacher_cache_gb",
    ],
)
def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(field: str, number: str, tmp_path: Path) -> None:
    text = TEXT.replace("  lerning_rate: 1.0e-4\n", "")
    assert f"--set {field}: {field}: got " in refused(tmp_path, text, f"{field}={number}")


@pytest.mark.parametrize(
    "override",
    [
        "seeds=[-1]",
        "seeds=[4294967296]",
        "seeds=[1, 1]",
        "seeds=[]",
        "learning_rates=[1.0e-5, .nan]",
        "learning_rates=[1.0e-5, 1.0e-5]",
        "labels=[]",
        "labels=[entailment]",
        "labels=[entailment, neutral, entailment]",
        'labels=[entailment, ""]',
        "data.vi.limit={train: -1}",
        "data.vi.limit={train: 0}",
        "teachers.vi.seed=-1",
        "teachers.vi.weight=.nan",
        "distill.scale=-1",
        "distill.scale=0",
        "distill.tolerance=3",
        "distill.layers=[]",
        "distill.layers=[.nan]",
        "distill={combine: interpolate, lambda: 2}",
        "arms.student-kdda={train: [vi, vi]}",
        "arms.student-kdda={distill: {epsilon: .inf}}",
        "training.epochs=100000000000000000000",
        "training={sampling: temperature, sampling_temperature: 0.5}",
        "training={sampling: temperature, sampling_temperature: .inf}",
        "training={sampling: heated}",
        "training.sampling_temperature=3",
        "arms.student-kdda={training: {sampling_temperature: 3}}",
    ],
)
def test_a_number_or_list_out_of_its_bounds_is_refused_with_its_field(override: str, tmp_path: Path) -> None:
    text = TEXT.replace("  lerning_rate: 1.0e-4\n", "")
    field = override.partition("=")[0]
    assert field.split(".")[-1] in refused(tmp_path, text, override)


def test_a_line_of_the_file_is_named_for_a_number_that_is_not_finite(tmp_path: Path) -> None:
    message = refused(tmp_path, TEXT.replace("lerning_rate: 1.0e-4", "learning_rate: .nan"))
    assert "own.yaml:10: training.learning_rate: got nan, expected: a finite number" in message


def test_a_recipe_that_was_written_is_read_again(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, TEXT.replace("  lerning_rate: 1.0e-4\n", "")))
    assert load_recipe(written(tmp_path, recipe.to_yaml())) == recipe


@pytest.mark.parametrize("name", ["x" * 300, "data/" + "x" * 300 + ".jsonl"])
def test_a_name_that_is_too_long_for_a_file_is_no_file(bench: Bench, name: str) -> None:
    bench.values["student"] = name
    bench.values["data"]["aa"]["train"] = name
    assert load_recipe(str(bench.write())).data["aa"].train


def test_a_change_of_the_command_line_is_refused_by_its_name_with_how_yaml_is_written() -> None:
    with pytest.raises(KddaError) as refused:
        load_recipe("mini-nli", ["data.vi.limit={train:100}"])
    (line,) = str(refused.value).splitlines()
    assert line.startswith('--set data.vi.limit: data.vi.limit: got the key "train:100", expected: ')
    assert line.endswith('; YAML needs a space after the colon: "train: 100"')
