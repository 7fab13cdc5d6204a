"""Exports: the same answers as the checkpoint they were made of, through the same interface."""

import itertools
import json
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import kdda
from kdda.cli.shared import main
from kdda.errors import KddaError
from kdda.inference.onnx import Exported, export
from kdda.runtime.live import updates_to
from tests.conftest import make_questions, make_rows, write_rows
from tests.heads import make_judge, make_phobert_head, make_reader, make_tagger

pytest.importorskip("onnxruntime", reason='needs pip install "kdda[export]"')

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader and its export, a judge and its export in 8 bits."""
    folder = tmp_path_factory.mktemp("exports")
    export(make_reader(folder / "qa", sharp=20), folder / "qa-onnx", data=rows(folder, "qa"))
    stages: list[str] = []
    with updates_to(lambda update: stages.append(update["stage"])):
        export(make_judge(folder / "nli", sharp=20), folder / "nli-int8", int8=True, data=rows(folder, "nli"))
    (folder / "stages.json").write_text(json.dumps(stages))
    return folder


def rows(folder: Path, task: str) -> str:
    made = make_questions("bb", 40, 0) if task == "qa" else make_rows("bb", 40, 0)
    return write_rows(folder / f"{task}.jsonl", made)


def test_an_exported_reader_answers_as_its_checkpoint_does(folders: Path) -> None:
    contexts = [row["context"] for row in make_questions("bb", 30, 1)] + ["dog runs " * 200]
    ours, theirs = (kdda.load(folders / n, precision="fp32").answer("cat", contexts) for n in ("qa", "qa-onnx"))
    assert [own.text for own in ours] == [own.text for own in theirs]
    assert [own.score for own in ours] == pytest.approx([own.score for own in theirs], abs=1e-4)


def test_an_export_in_8_bits_labels_nearly_as_its_checkpoint_does(folders: Path) -> None:
    pairs = [(row["premise"], row["hypothesis"]) for row in make_rows("bb", 40, 1)]
    ours, theirs = (kdda.load(folders / n).entails(*map(list, zip(*pairs, strict=True))) for n in ("nli", "nli-int8"))
    assert sum(a.label == b.label for a, b in zip(ours, theirs, strict=True)) >= 36
    assert (folders / "nli-int8" / "model.onnx").stat().st_size > 0


def test_an_export_computes_as_many_batches_at_once_as_there_are_threads(folders: Path) -> None:
    contexts = [row["context"] for row in make_questions("bb", 30, 2)] + ["dog runs " * 800]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            export = kdda.load(folders / "qa-onnx")
            run, both = export.engine, threading.Barrier(threads, timeout=60)

            class Together:
                """The same engine, whose first batches wait until so many are computed at once."""

                count = itertools.count()

                def __getattr__(self, name: str, run: Any = run) -> Any:
                    return getattr(run, name)

                def __call__(self, inputs: Any, run: Any = run, both: Any = both, threads: int = threads) -> Any:
                    if next(self.count) < threads:
                        both.wait()
                    return run(inputs)

            export.engine = Together()
            found.append(export.answer("cat", contexts))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    one, two = found
    assert [own.text for own in one] == [own.text for own in two]
    assert [own.score for own in one] == pytest.approx([own.score for own in two], abs=1e-5)


def test_a_graph_spends_no_time_on_texts_without_tokens_and_divides_shared_inputs_once(folders: Path) -> None:
    """Queries, keys and values of a layer read the same inputs."""
    onnx = pytest.importorskip("onnx")
    for name in ("qa-onnx", "nli-int8"):
        nodes = onnx.load(folders / name / "model.onnx").graph.node
        assert not [node for node in nodes if node.op_type == "IsNaN"]
        readers = Counter(node.input[0] for node in nodes if node.op_type.startswith("MatMul"))
        assert max(readers.values()) >= 3


def test_an_export_says_how_well_it_agrees_and_remembers_it(folders: Path) -> None:
    record = json.loads((folders / "qa-onnx" / "export.json").read_text())
    assert record["rows"] == 40 and record["agreement"] == 100 and 0 <= record["max_logit_difference"] < 1e-4
    assert not json.loads((folders / "qa-onnx" / "export.json").read_text())["int8"]


def test_a_picture_is_told_what_an_export_is_at(folders: Path) -> None:
    stages = json.loads((folders / "stages.json").read_text())
    assert stages == ["inputs of the layers", "writing the graph", "8-bit weights", "both read 40 rows"]


def test_phobert_can_be_exported_with_its_slow_tokenizer(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "in.jsonl", [{"premise": "Hà Nội là thủ đô.", "hypothesis": "Mưa lớn."}] * 3)
    name = make_phobert_head(tmp_path / "phobert", "nli")
    export(name, tmp_path / "out", data=data)
    both = (kdda.load(own, precision="fp32") for own in (name, tmp_path / "out"))
    ours, theirs = (own.entails("Sông Hồng chảy qua Hà Nội.", "Mưa.") for own in both)
    assert list(ours.probabilities.values()) == pytest.approx(list(theirs.probabilities.values()), abs=1e-5)


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(folders: Path, tmp_path: Path) -> None:
    for name, form, data, said in (
        ("qa", "onx", "", 'did you mean "onnx"'),
        ("qa-onnx", "onnx", "", "an export already"),
        ("qa", "onnx", str(folders / "nli.jsonl"), "no column for question, context, and the columns are premise"),
        ("qa", "onnx", "no.jsonl", "no file"),
    ):
        with pytest.raises(KddaError, match=said):
            export(str(folders / name), tmp_path / "out", form, data=data)
    with pytest.raises(KddaError, match="not empty"):
        export(str(folders / "qa"), folders)
    assert not list(tmp_path.iterdir())


def test_rows_to_check_on_have_the_columns_that_the_command_names(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    monkeypatch.setattr("kdda.inference.onnx._write", lambda predictor, out, int8, rows: read.extend(rows))
    monkeypatch.setattr("kdda.inference.onnx._check", lambda *_: Exported("m", False, 1, 0.0, 100.0, 1.0))
    chooser = make_judge(tmp_path / "m", id2label={0: "score"}, label2id={"score": 0}, kdda_task="choose")
    data = tmp_path / "in.csv"
    data.write_text("cat runs,cat,dog\ndog runs,hen,\n", encoding="utf-8")
    arguments = ("export", chooser, tmp_path / "out", "--data", data, "--header", "a,b,c")
    code, _, error = command(*arguments)
    assert code == 2 and f"--data {data}:1: no column for context" in error
    code, _, error = command(*arguments, "--columns", "context=a,options=b,c")
    assert code == 2 and f'--data {data}:2: "options": got 1 option' in error and not read
    data.write_text("cat runs,cat,dog\ndog runs,hen,fish\n", encoding="utf-8")
    code, _, error = command(*arguments, "--columns", "context=a,options=b,c")
    assert code == 0 and sorted(read) == [("cat runs", "", "cat", "dog"), ("dog runs", "", "hen", "fish")], error
    code, _, error = command("export", chooser, tmp_path / "again", "--columns", "context=a")
    assert code == 2 and "--columns and --header name those of the file of --data" in error
    read.clear()
    words = write_rows(tmp_path / "in.jsonl", [{"tokens": ["cat", "runs"]}])
    export(make_tagger(tmp_path / "tagger"), tmp_path / "tags", data=words)
    assert read == [("cat runs",)]


def test_a_damaged_or_unfinished_export_is_named(folders: Path, tmp_path: Path) -> None:
    for name, said in (("export.json", "not finished"), ("model.onnx", "cannot be run")):
        folder = tmp_path / name
        folder.mkdir()
        for path in (folders / "qa-onnx").iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        if name == "export.json":
            (folder / name).unlink()
        else:
            (folder / name).write_bytes((folder / name).read_bytes()[:1000])
        with pytest.raises(KddaError, match=said):
            kdda.load(folder)


def test_without_onnxruntime_the_message_names_what_to_install(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    monkeypatch.setattr("sys.argv", ["kdda", "export", str(folders / "qa"), str(folders / "again")])
    with pytest.raises(SystemExit):
        main()
    assert 'pip install "kdda[export]"' in capsys.readouterr().err
