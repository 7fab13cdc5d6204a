"""Commands without the packages of an extra: one line that says what to install, before anything is loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from kdda.cli.next_steps import serve_step
from tests.conftest import Bench
from tests.heads import make_judge

CLUSTER = ("--retriever-option", "url=http://127.0.0.1:1")


def without(patch: pytest.MonkeyPatch, *packages: str) -> None:
    """Make packages ones that are not installed, and forget what may have imported them: the room of serving."""
    for name in list(sys.modules):
        if name.startswith("kdda.serve."):
            room, _, file = name.rpartition(".")
            patch.setattr(sys.modules[room], file, sys.modules[name])  # what the import of another sets is undone
    for name in list(sys.modules):
        if name.startswith("kdda.serve."):
            patch.delitem(sys.modules, name)
    for package in packages:
        for name in list(sys.modules):
            if name.startswith(f"{package}."):
                patch.delitem(sys.modules, name)
        patch.setitem(sys.modules, package, None)


@pytest.mark.parametrize("package", ["fastapi", "gradio", "h11", "prometheus_client", "uvicorn"])
def test_serving_names_its_extra_before_a_model_is_looked_for(
    command: Any, bench: Bench, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    without(monkeypatch, package)
    code, printed, errors = command("serve", "no/such/model")
    assert (code, printed) == (2, "") and f'kdda serve needs {package}: pip install "kdda[serve]"' in errors
    code, _, errors = command("run", bench.write(), "--watch", "0")
    assert code == 2 and f'--watch needs {package}: pip install "kdda[serve]"' in errors
    assert serve_step(Path("model"), Path("runs"))[1].endswith('; it needs: pip install "kdda[serve]"')


def test_other_commands_name_their_extras(
    command: Any, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_judge(tmp_path / "model")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("cat sleeps")
    assert command("index", corpus, tmp_path / "index", "--no-segment")[0] == 0
    for package, extra, arguments in (
        ("bm25s", "systems", ("index", corpus, tmp_path / "out", "--no-segment")),
        ("bm25s", "systems", ("ask", tmp_path / "index", model, "cat?")),
        ("bm25s", "systems", ("serve", model, "--index", tmp_path / "index")),
        ("underthesea", "vi", ("index", corpus, tmp_path / "out")),
        ("opensearchpy", "opensearch", ("ask", "name", model, "cat?", "--retriever", "opensearch", *CLUSTER)),
        ("onnx", "export", ("export", model, tmp_path / "out")),
        ("onnxscript", "export", ("export", model, tmp_path / "out")),
        ("onnxruntime", "export", ("export", model, tmp_path / "out")),
        ("ray", "ray", ("run", bench.write(), "--out", tmp_path / "runs", "--ray", "auto")),
    ):
        with monkeypatch.context() as patch:
            without(patch, package)
            code, printed, errors = command(*arguments)
        assert code == 2 and (not printed or package == "ray"), (package, arguments, errors)
        assert f'pip install "kdda[{extra}]"' in errors, (package, arguments, errors)
        assert not (tmp_path / "out").exists(), (package, arguments)
