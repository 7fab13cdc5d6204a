"""What the solver's Triton kernels do without an accelerator, as JSON: `interpret` runs them in Triton's interpreter
beside torch, `compile` compiles them for accelerators. Triton reads TRITON_INTERPRET when it is imported, so that each
is a process of its own, which `test_tile_kernel.py` starts.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from kdda.transport import compiled, solver, symmetric, tile, tile_kernels
from kdda.transport.problem import SolverSettings
from kdda.transport.sinkhorn import entropic_transport, sinkhorn_divergence

TEXTS = 3

# Triton's backend, the architecture, and the threads of a warp: A100, H100 and H200, MI300.
TARGETS = (("cuda", 80, 32), ("cuda", 90, 32), ("hip", "gfx942", 64))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def near_the_end(n: int, m: int) -> tuple[Tensor, Tensor]:
    """A student that was moved nine tenths of the way to where the plan sends it."""
    x, y = random(TEXTS, n, 6), random(TEXTS, m, 6, seed=1)
    plan = entropic_transport(x, y).plan()
    return x + 0.9 * (plan @ y / plan.sum(dim=2, keepdim=True) - x), y


def mask(tokens: int, *lengths: int) -> Tensor:
    return torch.arange(tokens) < torch.tensor(lengths)[:, None]


def masses(tokens: int, seed: int) -> Tensor:
    mass = random(TEXTS, tokens, seed=seed).exp()
    mass[0, -2:] = 0
    mass[1, 0] = 1e-4
    return mass


# Clouds, and the options of the solve.
EASY = (random(TEXTS, 12, 6), random(TEXTS, 9, 6, seed=1) + 0.3, {"epsilon": 0.5})
CASES: dict[str, tuple[Tensor, Tensor, dict[str, Any]]] = {
    "easy": EASY,
    "more columns than rows": (EASY[1], EASY[0], {"epsilon": 0.05}),
    "near the end": (*near_the_end(12, 9), {"epsilon": 0.005}),
    "near the end, more than a tile's least side": (*near_the_end(20, 17), {"epsilon": 0.005}),
    "different lengths": (*EASY[:2], {"epsilon": 0.05, "x_mask": mask(12, 12, 3, 7), "y_mask": mask(9, 9, 5, 1)}),
    "masses": (*EASY[:2], {"epsilon": 0.05, "x_mask": masses(12, 3), "y_mask": masses(9, 4)}),
    "one token": (random(TEXTS, 1, 6), random(TEXTS, 1, 6, seed=1), {"epsilon": 0.005}),
    "one token against many": (random(TEXTS, 1, 6), random(TEXTS, 9, 6, seed=1), {"epsilon": 0.005}),
}


@contextmanager
def by_the_kernel() -> Iterator[list[int]]:
    """All that fits is solved by the kernel; the list grows by how many texts torch is asked for."""
    asked = []

    def counted(solve: Callable[..., Any]) -> Callable[..., Any]:
        def counting(cost: Tensor, *rest: Tensor, **settings: Any) -> Any:
            asked.append(len(cost))
            return solve(cost, *rest, **settings)

        return counting

    patches = (
        mock.patch.object(tile, "DEVICES", ("cpu",)),
        mock.patch.object(solver, "solve", counted(solver.solve)),
        mock.patch.object(symmetric, "solve_self", counted(symmetric.solve_self)),
    )
    with patches[0], patches[1], patches[2]:
        yield asked


def solved(x: Tensor, y: Tensor, **options: Any) -> tuple[Any, Tensor, Tensor]:
    """The divergence with both gradients."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    out = sinkhorn_divergence(x, y, **options)
    return out, *torch.autograd.grad(out.value.sum(), (x, y))


def relative(found: Tensor, want: Tensor) -> float:
    """The largest norm of a text's difference, relative to that of what is wanted."""
    found, want = found.detach().double(), want.detach()
    off = (found - want).flatten(1).norm(dim=1)
    return float((off / want.flatten(1).norm(dim=1).clamp(min=1e-6)).max())


def compare(x: Tensor, y: Tensor, options: dict[str, Any]) -> dict[str, Any]:
    """Kernel and torch, both against torch in float64."""
    want, *gradients = solved(x.double(), y.double(), tolerance=1e-9, **options)
    with by_the_kernel() as asked:
        out, *found = solved(x, y, **options)
    return {
        "left to torch": sum(asked),
        "converged": bool(out.converged.all()),
        "marginal error": float(out.marginal_error.max()),
        "value": relative(out.value[:, None], want.value[:, None]),
        "plan": relative(out.plan(), want.plan()),
        "gradients": [relative(*pair) for pair in zip(found, gradients, strict=True)],
        "iterations": [out.iterations, sinkhorn_divergence(x, y, **options).iterations],
    }


def refuse() -> dict[str, Any]:
    """Kernels that spoil the plan of text 0, and the potentials of text 1."""
    x, y, options = EASY
    kernel = tile_kernels.solve_kernel

    class Spoilt:
        def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
            def run(*arguments: Any, **settings: Any) -> None:
                kernel[grid](*arguments, **settings)
                f, _, plan = arguments[3:6]
                plan[0] *= 1.001
                f[1] += 0.01

            return run

    with by_the_kernel() as asked, mock.patch.object(tile_kernels, "solve_kernel", Spoilt()):
        out = entropic_transport(x, y, **options)
    want = entropic_transport(x, y, **options)
    return {
        "left to torch": asked,
        "same": bool(torch.allclose(out.value[:2], want.value[:2]) and torch.allclose(out.f[:2], want.f[:2])),
    }


def give_up() -> dict[str, Any]:
    """Too few iterations, and a tolerance that float32 cannot reach."""
    x, y, _ = CASES["near the end"]
    report = {}
    for name, options in (("too few", {"max_iterations": 2}), ("unreachable", {"tolerance": 1e-12})):
        with by_the_kernel():
            out = sinkhorn_divergence(x, y, epsilon=0.005, **{"max_iterations": 25, **options})
        report[name] = {
            "any converged": bool(out.converged.any()),
            "least error": float(out.marginal_error.min()),
            "finite": bool(out.value.isfinite().all() and out.plan().isfinite().all()),
        }
    return report


def without_newton() -> dict[str, Any]:
    x, y, _ = EASY
    with by_the_kernel() as asked, mock.patch.object(solver, "NEWTON_STEPS", 2):
        out = entropic_transport(x, y, epsilon=0.2, max_iterations=400)
    want = entropic_transport(x, y, epsilon=0.2)
    return {
        "left to torch": sum(asked),
        "iterations": [out.iterations, want.iterations],
        "value": relative(out.value[:, None], want.value[:, None].double()),
    }


def count_waits() -> dict[str, int]:
    """How often a solve reads a number of a tensor, as a host that waits for an accelerator would."""
    x, y, _ = EASY
    cost = 0.5 * torch.cdist(x, y).square()
    a, b = torch.full(x.shape[:2], 1 / 12), torch.full(y.shape[:2], 1 / 9)
    settings = SolverSettings(epsilon=0.05, tolerance=1e-4, max_iterations=100)
    own_cost = 0.5 * torch.cdist(x, x).square()
    seen: list[str] = []
    launch = type(tile_kernels.solve_kernel).__getitem__

    def unseen(kernel: Any, grid: tuple[int, ...]) -> Callable[..., None]:
        def run(*arguments: Any, **options: Any) -> None:
            before = len(seen)
            launch(kernel, grid)(*arguments, **options)
            del seen[before:]  # what the interpreter reads

        return run

    def counted(name: str) -> Callable[..., Any]:
        read = getattr(Tensor, name)

        def reading(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return read(*args, **kwargs)

        return reading

    names = ("__bool__", "__int__", "__float__", "__index__", "item", "tolist", "nonzero", "cpu")
    reads = mock.patch.multiple(Tensor, **{name: counted(name) for name in names})
    launches = mock.patch.object(type(tile_kernels.solve_kernel), "__getitem__", unseen)
    with by_the_kernel(), reads, launches:
        tile.solve(cost, a, b, settings)
        by_solve = len(seen)
        tile.solve_self(own_cost, a, settings)
    return {"solve": by_solve, "solve_self": len(seen) - by_solve}


def interpret() -> dict[str, Any]:
    return {
        "cases": {name: compare(x, y, options) for name, (x, y, options) in CASES.items()},
        "refused": refuse(),
        "given up": give_up(),
        "without Newton": without_newton(),
        "waits": count_waits(),
    }


def signature(kernel: Any) -> dict[str, str]:
    """The types of a kernel's arguments, by their names."""
    types = {}
    for name in kernel.arg_names:
        if name.startswith("BLOCK"):
            types[name] = "constexpr"
        elif name.endswith("_ptr"):
            types[name] = "*i32" if name == "iterations_ptr" else "*fp32"
        else:
            types[name] = "i32" if name in ("n", "m", "max_iterations", "newton_steps") else "fp32"
    return types


def registers(cubin: bytes) -> tuple[int, int]:
    """How many a thread has, and the bytes that it spills."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(cubin)
        used = subprocess.run([tool, "-res-usage", binary], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", used)
    assert found
    return int(found[1]), int(found[2])


def compile_all() -> list[dict[str, Any]]:
    """Both kernels at the largest tile, for each target."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    report = []
    size = int(tile.LARGEST_TILE**0.5)
    for backend, architecture, warp in TARGETS:
        for kernel in (tile_kernels.solve_kernel, tile_kernels.solve_self_kernel):
            sides = {name: size for name in kernel.arg_names if name.startswith("BLOCK")}
            source = ASTSource(kernel, signature(kernel), constexprs=sides)
            options = {"num_warps": size * size // (tile.ENTRIES_PER_THREAD * warp), "enable_fp_fusion": True}
            binary = triton.compile(source, target=GPUTarget(backend, architecture, warp), options=options)
            entry = {"target": str(architecture), "threads": options["num_warps"] * warp}
            entry["shared memory"] = binary.metadata.shared
            if backend == "cuda":
                entry["registers"], entry["spilled"] = registers(binary.asm["cubin"])
            report.append(entry)
    return report


if __name__ == "__main__":
    torch.set_num_threads(1)
    compiled.is_installed = lambda: False  # numba would solve short texts on a CPU
    print(json.dumps({"interpret": interpret, "compile": compile_all}[sys.argv[1]]()))
