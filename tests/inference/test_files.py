"""Files: answered row by row, in bounded memory, resumable after any kill, with bad rows named."""

import csv
import gzip
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kdda
from kdda.cli.shared import main
from kdda.data.examples import Schema
from kdda.errors import Interrupted, KddaError
from kdda.inference import files
from kdda.inference.files import FileJob, predict_file
from kdda.inference.output_fingerprint import fingerprint_path
from kdda.inference.predictor import Predictor
from tests.conftest import make_questions, make_rows, write_rows
from tests.heads import make_judge, make_reader, make_tagger


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return kdda.load(make_reader(tmp_path_factory.mktemp("qa"), sharp=20))


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return kdda.load(make_judge(tmp_path_factory.mktemp("nli")))


def asked(folder: Path, count: int = 60) -> Path:
    return Path(write_rows(folder / "in.jsonl", make_questions("bb", count, 0)))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_rows_are_answered_in_their_order(reader: Predictor, tmp_path: Path) -> None:
    source, out = asked(tmp_path), tmp_path / "out.jsonl"
    said = predict_file(reader, FileJob(source, out))
    rows = read(source)
    found = read(out)
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert all(f["answer"] == r["context"][f["start"] : f["end"]] for f, r in zip(found, rows, strict=True))
    assert set(found[0]) == {"id", "answer", "start", "end", "score"} and "60 rows" in said and "rows/s" in said


def test_pairs_are_labelled_and_rows_without_an_id_get_their_line(judge: Predictor, tmp_path: Path) -> None:
    source, out = Path(write_rows(tmp_path / "in.jsonl", make_rows("bb", 9, 0))), tmp_path / "out.jsonl"
    predict_file(judge, FileJob(source, out))
    found = read(out)
    assert [row["id"] for row in found] == list(range(1, 10))
    assert all(max(row["probabilities"], key=row["probabilities"].get) == row["label"] for row in found)


@pytest.mark.parametrize("kept", [0, 1, 333, 1000, -1])
def test_a_stopped_job_goes_on_and_ends_with_the_same_file(
    reader: Predictor, tmp_path: Path, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ROWS", 7)
    source, out = asked(tmp_path), tmp_path / "out.jsonl"
    predict_file(reader, FileJob(source, out))
    whole = out.read_bytes()
    out.write_bytes(whole[:kept] if kept >= 0 else whole)  # killed at any byte
    said = predict_file(reader, FileJob(source, out))
    assert read(out) == [json.loads(line) for line in whole.splitlines()]
    assert ("were predicted before" in said) == (kept > 333 or kept < 0 or b"\n" in whole[:kept])


def test_ctrl_c_leaves_whole_rows(reader: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROWS", 10)
    source, out = asked(tmp_path), tmp_path / "out.jsonl"
    read_pairs, calls = reader.read, []

    def stops(pairs: Any) -> Any:
        calls.append(pairs)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read_pairs(pairs)

    monkeypatch.setattr(reader, "read", stops)
    with pytest.raises(Interrupted, match="continues after them"):
        predict_file(reader, FileJob(source, out))
    assert len(read(out)) == 20
    predict_file(reader, FileJob(source, out))
    assert len(read(out)) == 60 and sum(map(len, calls)) == 70


BAD = [
    (b"not json", "not JSON: Expecting value at column 1"),
    (b"[1]", "got list, expected an object"),
    (b"\xff\xfe", "not UTF-8"),
    (b'{"question": "cat", "contxt": "dog"}', 'no field "context" — did you mean "contxt"'),
    (b'{"question": "cat", "context": 5}', '"context": got 5, expected text'),
    (b'{"question": "  ", "context": "dog"}', '"question" is empty'),
    (b'{"question": "\\ud800", "context": "dog"}', "an unpaired surrogate"),
    (b"[" * 100_000, "nested more than"),
    (b'{"id": ' + b"9" * 5000 + b', "question": "cat", "context": "dog"}', "a number of more than"),
]

BAD += [
    (b'{"question": "cat", "context": "dog", "context": "dog"}', 'the key "context" is given twice'),
    (b'{"id": "\\ud800", "question": "cat", "context": "dog"}', "cannot be written as JSON in UTF-8"),
    (b'{"id": Infinity, "question": "cat", "context": "dog"}', "cannot be written as JSON in UTF-8"),
]


@pytest.mark.parametrize(("line", "said"), BAD)
def test_a_bad_row_is_named_before_any_is_answered(reader: Predictor, tmp_path: Path, line: bytes, said: str) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b'{"question": "cat", "context": "dog"}\n\n' + line + b"\n")
    with pytest.raises(KddaError) as caught:
        predict_file(reader, FileJob(source, out))
    assert f"{source}:3: " in str(caught.value) and said in str(caught.value) and not out.exists()
    assert "1 bad row skipped" in predict_file(reader, FileJob(source, out, "skip"))
    assert [row["id"] for row in read(out)] == [1]


def test_a_skipped_row_does_not_shift_those_that_a_resumed_job_answers(reader: Predictor, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    good = b'{"question": "cat", "context": "dog runs"}\r\n'
    source.write_bytes(b"\xef\xbb\xbf" + good + b"nonsense\n" + good + b"\xc2\x85\n" + good.strip())
    predict_file(reader, FileJob(source, out, "skip"))
    first = out.read_bytes()
    assert [row["id"] for row in read(out)] == [1, 3, 5]
    out.write_bytes(b"".join(first.splitlines(True)[:2]) + b'{"id": 5, "ans')
    predict_file(reader, FileJob(source, out, "skip"))
    assert out.read_bytes() == first


def test_anothers_output_is_not_written_into(reader: Predictor, judge: Predictor, tmp_path: Path) -> None:
    source, out = asked(tmp_path, 5), tmp_path / "out.jsonl"
    out.write_text('{"id": "other", "answer": "x"}\n')
    with pytest.raises(KddaError, match=r"out\.jsonl:1: expected the id 'bb0'"):
        predict_file(reader, FileJob(source, out))
    out.write_text('{"id": "bb0", "label": "neutral"}\n')
    refusal = r'out\.jsonl:1: predictions of another task.* has "answer", and this one has id, label; choose another'
    with pytest.raises(KddaError, match=refusal):
        predict_file(reader, FileJob(source, out))
    out.write_text("{}\n")
    with pytest.raises(KddaError, match=r"out\.jsonl:1: no prediction, which kdda did not write"):
        predict_file(reader, FileJob(source, out))
    out.unlink()
    predict_file(reader, FileJob(source, out))
    shorter = Path(write_rows(tmp_path / "short.jsonl", read(source)[:3]))
    with pytest.raises(KddaError, match="holds predictions of another input"):
        predict_file(reader, FileJob(shorter, out))


def test_paths_that_cannot_be_meant_are_refused(reader: Predictor, tmp_path: Path) -> None:
    source = asked(tmp_path, 3)
    for job, said in (
        (FileJob(tmp_path / "no.jsonl", tmp_path / "out"), "no file"),
        (FileJob(source, source), "is the input"),
        (FileJob(source, tmp_path / "no" / "out"), "no folder"),
        (FileJob(source, tmp_path), "is a folder, expected a file"),
    ):
        with pytest.raises(KddaError, match=said):
            predict_file(reader, job)
    source.write_text("\n")
    with pytest.raises(KddaError, match="no row to predict"):
        predict_file(reader, FileJob(source, tmp_path / "out"))


def test_two_processes_do_not_write_one_output(reader: Predictor, tmp_path: Path) -> None:
    from filelock import FileLock

    source, out = asked(tmp_path, 3), tmp_path / "out.jsonl"
    with FileLock(tmp_path / ".out.jsonl.lock"), pytest.raises(KddaError, match="another process"):
        predict_file(reader, FileJob(source, out))


def test_the_lock_of_an_output_goes_with_the_command(reader: Predictor, tmp_path: Path) -> None:
    source, out = asked(tmp_path, 3), tmp_path / "out.jsonl"
    before = set(tmp_path.iterdir())
    predict_file(reader, FileJob(source, out))
    assert set(tmp_path.iterdir()) - before == {out, fingerprint_path(out)}


def test_memory_does_not_grow_with_the_file(reader: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "ROWS", 16)
    at_once = []
    read_pairs = reader.read
    monkeypatch.setattr(reader, "read", lambda pairs: at_once.append(len(pairs)) or read_pairs(pairs))
    predict_file(reader, FileJob(asked(tmp_path, 100), tmp_path / "out.jsonl"))
    assert max(at_once) == 16 and sum(at_once) == 100


def test_the_command_line_predicts_and_names_mistakes_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_reader(tmp_path / "qa", sharp=20)
    capsys.readouterr()

    def run(*options: str) -> tuple[str, str]:
        monkeypatch.setattr("sys.argv", ["kdda", "predict", model, *options])
        try:
            main()
        except SystemExit as ended:
            assert ended.code in (0, 2)
        out = capsys.readouterr()
        return out.out, out.err

    assert json.loads(run("--question", "cat", "--context", "cat sleeps", "--json")[0])["text"] in "cat sleeps"
    assert "%" in run("--question", "cat", "--context", "cat sleeps")[0]
    refusal = f'kdda: got hypothesis, premise: "{model}" answers questions: answer(question, context); expected: '
    assert run("--premise", "cat", "--hypothesis", "dog")[1].startswith(refusal)
    assert '--text: "question" is empty, expected its text' in run("--text", "question=")[1]
    twice = run("--question", "cat", "--text", "question=dog", "--context", "cat sleeps")[1]
    assert twice == 'kdda: "question" is given 2 times, and it holds one text\nSee docs/use.md\n'
    for wrong in (("--question", "cat"), (), ("--input", "x"), ("--question", "a", "--context", "b", "--premise", "c")):
        assert run(*wrong)[1].startswith("kdda: ")
    source, out = asked(tmp_path, 3), tmp_path / "out.jsonl"
    assert "3 rows" in run("--input", str(source), "--output", str(out))[0]


def test_predictions_of_a_file_are_printed_where_no_output_is_named(tmp_path: Path, command: Any) -> None:
    model, source = make_reader(tmp_path / "model"), asked(tmp_path, 2)
    code, out, error = command("predict", model, "--input", source)
    assert code == 0 and len([json.loads(line) for line in out.splitlines()]) == 2, error
    code, _, error = command("predict", model)
    assert code == 2 and '--question "…" --context "…"' in error and "--premise" not in error


UNNAMED = [{"question": "cat", "context": "dog runs"}, {"question": "dog", "context": "cat sleeps"}]


def test_an_output_remembers_what_it_was_made_from(reader: Predictor, tmp_path: Path) -> None:
    source, out = Path(write_rows(tmp_path / "in.jsonl", UNNAMED)), tmp_path / "out.jsonl"
    predict_file(reader, FileJob(source, out))
    first = out.read_bytes()
    other = kdda.load(make_reader(tmp_path / "other", sharp=19))
    with pytest.raises(KddaError, match=r"out\.jsonl holds predictions of another model; choose another --output"):
        predict_file(other, FileJob(source, out))
    longer = Path(write_rows(tmp_path / "longer.jsonl", [*reversed(UNNAMED), *UNNAMED]))
    with pytest.raises(KddaError, match="predictions of another input"):
        predict_file(reader, FileJob(longer, out))
    short = Predictor(reader.name, reader.engine, replace(reader.encoder, max_length=16), reader.task, reader.labels)
    with pytest.raises(KddaError, match="predictions of max_length"):
        predict_file(short, FileJob(source, out))
    assert out.read_bytes() == first
    with source.open("a") as file:
        file.write(json.dumps(UNNAMED[0]) + "\n")
    assert "2 were predicted before" in predict_file(reader, FileJob(source, out))
    assert out.read_bytes().startswith(first) and len(read(out)) == 3


@pytest.mark.parametrize("text", [None, "", "[1]", '{"a": 1}', "\ud800".encode("utf-8", "surrogatepass")])
def test_an_output_of_unknown_origin_is_left_as_it_is(reader: Predictor, tmp_path: Path, text: Any) -> None:
    source, out = Path(write_rows(tmp_path / "in.jsonl", UNNAMED)), tmp_path / "out.jsonl"
    predict_file(reader, FileJob(source, out))
    fingerprint = tmp_path / "out.jsonl.fingerprint.json"
    fingerprint.unlink()
    if text is not None:
        fingerprint.write_bytes(text if isinstance(text, bytes) else text.encode())
    for content in (out.read_bytes(), b"a text without an end of line"):
        out.write_bytes(content)
        with pytest.raises(KddaError, match="choose another --output"):
            predict_file(reader, FileJob(source, out))
        assert out.read_bytes() == content
    out.unlink()
    predict_file(reader, FileJob(source, out))


def test_an_id_that_says_nothing_is_no_id(reader: Predictor, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    row = '{"id": %s, "question": "cat", "context": "dog runs"}\n'
    source.write_text("".join(row % value for value in ("null", "NaN", '""', '"x"')), encoding="utf-8")
    predict_file(reader, FileJob(source, out))
    assert [row["id"] for row in read(out)] == [1, 2, 3, "x"]


def test_an_input_in_another_encoding_is_told_by_its_first_bytes(reader: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"question": "cat", "context": "dog"}', encoding="utf-16")
    with pytest.raises(KddaError, match="its first bytes say UTF-16"):
        predict_file(reader, FileJob(source, tmp_path / "out.jsonl", "skip"))


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def test_an_input_of_every_format_that_data_have_is_predicted_alike(reader: Predictor, tmp_path: Path) -> None:
    questions = make_questions("bb", 6, 0)
    expected = tmp_path / "expected.jsonl"
    predict_file(reader, FileJob(Path(write_rows(tmp_path / "in.jsonl", questions)), expected))
    lines = (tmp_path / "in.jsonl").read_bytes()
    squad = {"data": [{"paragraphs": [{"context": row["context"], "qas": [row]} for row in questions]}]}
    contents = {
        "in.jsonl.gz": gzip.compress(lines),
        "lines.json": lines,
        "one.json": lines.splitlines()[0],
        "in.txt": lines,
        "in.unknown": lines,
        "in.csv": as_csv(questions),
        "in.csv.gz": gzip.compress(as_csv(questions)),
        "in.json": json.dumps(questions).encode(),
        "squad.json": json.dumps(squad).encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        out = tmp_path / f"{name}.out"
        predict_file(reader, FileJob(tmp_path / name, out))
        count = 1 if name == "one.json" else 6
        assert read(out) == read(expected)[:count], name
        assert f"0 rows, {count} were predicted before" in predict_file(reader, FileJob(tmp_path / name, out))


def test_a_torn_or_renamed_compressed_input_is_named(reader: Predictor, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl.gz"
    content = gzip.compress(b'{"question": "cat", "context": "dog"}\n' * 99)
    for written, message in (
        (content[:-20], r"in\.jsonl\.gz: ends in the middle"),
        (b"{}\n", "broken as a compressed"),
    ):
        source.write_bytes(written)
        with pytest.raises(KddaError, match=message):
            predict_file(reader, FileJob(source, tmp_path / "out.jsonl"))
    (tmp_path / "in.jsonl").write_bytes(content)
    with pytest.raises(KddaError, match="compressed"):
        predict_file(reader, FileJob(tmp_path / "in.jsonl", tmp_path / "out.jsonl"))


def test_rows_without_an_id_get_their_number_and_bad_ones_their_place(reader: Predictor, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text('hỏi,context\ncat,"dog\nruns"\ncat,\ndog,cat sleeps\n', encoding="utf-8")
    schema = Schema(columns={"question": "hỏi"})
    with pytest.raises(KddaError, match=r'1 of 3 rows is bad.*\n.*in\.csv:4: "context" is empty'):
        predict_file(reader, FileJob(source, out, schema=schema))
    predict_file(reader, FileJob(source, out, "skip", schema))
    assert [row["id"] for row in read(out)] == [1, 3]
    with pytest.raises(KddaError, match=r"out\.jsonl holds predictions of columns \{'question': 'hỏi'\}"):
        predict_file(reader, FileJob(source, out, "skip", Schema(columns={"question": "context"})))


def test_the_command_line_maps_the_columns_of_an_input(tmp_path: Path, command: Any) -> None:
    model, source, out = make_judge(tmp_path / "m"), tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("key,s1,s2\na,cat,dog\n", encoding="utf-8")
    arguments = ("predict", model, "--input", source, "--output", out)
    code, _, error = command(*arguments)
    assert code == 2 and "in.csv: no column for premise, hypothesis, and the columns are key, s1, s2" in error
    code, _, error = command(*arguments, "--columns", "premise=s1,hypothesis=s2,id=key")
    assert code == 0 and read(out)[0]["id"] == "a", error
    code, _, error = command("predict", model, "--premise", "a", "--hypothesis", "b", "--columns", "id=key")
    assert code == 2 and "--columns and --header name those of the file of --input" in error
    source.write_text("cat,dog\nhen,fish\n", encoding="utf-8")
    arguments = ("predict", model, "--input", source, "--output", tmp_path / "unnamed.jsonl")
    code, text, error = command(*arguments, "--header", "premise,hypothesis")
    assert code == 0 and text.startswith("2 rows"), error
    code, text, error = command(*arguments, "--header", "hypothesis,premise")
    assert code == 2 and "holds predictions of header ['premise', 'hypothesis']" in error


def test_words_alone_are_tagged(tmp_path: Path) -> None:
    tagger = kdda.load(make_tagger(tmp_path / "m"))
    rows = [{"words": ["cat", "runs"]}, {"words": "cat runs"}, {"words": None, "text": "cat runs"}]
    source, out = Path(write_rows(tmp_path / "in.jsonl", rows)), tmp_path / "out.jsonl"
    predict_file(tagger, FileJob(source, out, schema=Schema(columns={"tokens": "words"})))
    expected = tagger.tag("cat runs").as_row()["spans"]
    assert [row["spans"] for row in read(out)] == [expected] * 3
    source.write_text('{"words": []}\n{"word": ["cat"]}\n{"words": 5}\n', encoding="utf-8")
    with pytest.raises(KddaError) as caught:
        predict_file(tagger, FileJob(source, tmp_path / "bad.jsonl", schema=Schema(columns={"tokens": "words"})))
    lines = str(caught.value).splitlines()
    assert ':1: "words" is empty' in lines[1] and ':3: "words": got 5, expected a list' in lines[3]
    assert ':2: no field "text"' in lines[2] and 'a list of words may stand in "words" instead' in lines[2]
