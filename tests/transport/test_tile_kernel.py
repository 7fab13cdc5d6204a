"""The solver's Triton kernel: torch's results in Triton's interpreter, refused where they are not, and code for
accelerators that fits them.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from kdda.transport import tile
from kdda.transport.sinkhorn import entropic_transport, self_term, sinkhorn_divergence

ROOT = Path(__file__).parents[2]
CASES = (
    "easy",
    "more columns than rows",
    "near the end",
    "near the end, more than a tile's least side",
    "different lengths",
    "masses",
    "one token",
    "one token against many",
)


def report(what: str, **environment: str) -> Any:
    """What a process of `kernel_report.py` prints."""
    if not find_spec("triton"):
        pytest.skip("Triton has no package for this system")
    command = [sys.executable, "-m", "tests.transport.kernel_report", what]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    variables = {**os.environ, "PYTHONPATH": path, "TRITON_DEFAULT_FP_FUSION": "1", **environment}
    run = subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def interpreted() -> Any:
    return report("interpret", TRITON_INTERPRET="1")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return report("compile", TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path_factory.mktemp("triton")))


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_is_certified_and_right_in_float32(interpreted, name):
    found = interpreted["cases"][name]
    assert found["left to torch"] == 0
    assert found["converged"]
    assert found["marginal error"] <= 2e-5  # a tenth of the tolerance for each term, and rounding
    assert found["value"] < 1e-5
    assert found["plan"] < 1e-3
    assert max(found["gradients"]) < 1e-3


def test_every_case_is_compared(interpreted):
    assert set(interpreted["cases"]) == set(CASES)


def test_the_kernel_needs_few_more_iterations_than_torch(interpreted):
    for name, case in interpreted["cases"].items():
        by_kernel, by_torch = case["iterations"]
        assert by_kernel <= 1.5 * by_torch + 2, name


def test_a_plan_that_is_not_that_of_its_potentials_or_its_masses_is_solved_again_by_torch(interpreted):
    assert interpreted["refused"] == {"left to torch": [2], "same": True}


@pytest.mark.parametrize("why", ["too few", "unreachable"])
def test_what_is_given_up_says_so_and_stays_finite(interpreted, why):
    found = interpreted["given up"][why]
    assert not found["any converged"]
    assert found["least error"] > 1e-12
    assert found["finite"]


def test_sinkhorn_passes_take_over_where_newton_is_not_allowed(interpreted):
    found = interpreted["without Newton"]
    by_kernel, by_torch = found["iterations"]
    assert found["left to torch"] == 0
    assert by_kernel > by_torch
    assert found["value"] < 1e-5


def test_a_solve_waits_once_for_an_accelerator(interpreted):
    assert interpreted["waits"] == {"solve": 1, "solve_self": 1}


def test_the_kernels_compile_for_accelerators_and_fit_them(compiled):
    assert len({entry["target"] for entry in compiled}) == 3
    for entry in compiled:
        assert entry["shared memory"] <= 48 * 1024  # what every CUDA device gives a block
        assert entry["threads"] * entry.get("registers", 0) <= 65_536  # of a multiprocessor
        assert entry.get("spilled", 0) <= 512  # bytes of a thread; 128 are those of its two tiles


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def without_compiler(monkeypatch, torch_solver):
    """An accelerator, played by the CPU, for which the kernel cannot be compiled; how often it was tried."""
    tried = []

    def fail(name):
        tried.append(name)
        raise RuntimeError("ptxas: no such target")

    monkeypatch.setattr(tile, "DEVICES", ("cpu",))
    monkeypatch.setattr(tile, "_failed", set())
    monkeypatch.setattr(tile, "has_triton", lambda: True)
    monkeypatch.setattr(tile, "import_module", fail)
    return tried


def test_torch_solves_all_where_the_kernel_cannot_be_compiled_after_one_warning(without_compiler, monkeypatch):
    x, y = random(3, 12, 8), random(3, 9, 8, seed=1)
    with pytest.warns(RuntimeWarning, match=r"kernel .* does not start .*no such target.* solved by torch") as warned:
        out = sinkhorn_divergence(x, y)
    assert len(warned) == len(without_compiler) == 1
    monkeypatch.setattr(tile, "DEVICES", ())
    assert torch.equal(out.value, sinkhorn_divergence(x, y).value)
    assert torch.equal(out.y_term, self_term(y))


@pytest.mark.filterwarnings("error")
def test_nothing_is_said_where_there_is_no_triton(without_compiler, monkeypatch):
    monkeypatch.setattr(tile, "has_triton", lambda: False)
    assert sinkhorn_divergence(random(1, 5, 4), random(1, 4, 4, seed=1)).converged.all()
    assert not without_compiler


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("n", "m", "dtype"), [(129, 65, torch.float32), (12, 9, torch.float64)])
def test_texts_beyond_a_tile_and_float64_are_left_to_torch(without_compiler, n, m, dtype):
    x, y = random(1, n, 4).to(dtype), random(1, m, 4, seed=1).to(dtype)
    assert entropic_transport(x, y, epsilon=0.5).converged.all()
    assert not without_compiler
