"""Time, error and memory of the Sinkhorn divergence of `kdda.transport` against geomloss, POT and a plain loop.

    python bench/transport.py --write docs/transport.md     # the table and its figure; about ten minutes
    python bench/transport.py --quick                       # one small batch, half a minute
    python bench/transport.py --folder out --sizes 32x48x40x384 --solvers kdda "geomloss .9"    # a piece of the table

With `--folder` clouds and rows are kept there, and only what is missing is measured, so that the table can be made in
pieces; `--write` then writes all rows of the folder.

Clouds are hidden states of real models: mini/multilingual is the student and mini/english the teacher, each reading
the same English windows (of the LICENSE, or of `--text`) through its tokenizer. 768-wide states are the last two layers
side by side. Two stages of training are measured: "start" takes the student as it is; "end" moves each of its states
90 % of the way to where the plan sends it, which distillation works towards, and for which plans are hard to compute.
bench/solvers.py has the solvers, and how errors are measured.
"""

import ctypes
import gc
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from aims import Aim, publish
from page import arguments, machine
from solvers import SOLVERS, Clouds, errors, marginal_error, reference, value_and_gradient
from torch import Tensor
from transport_report import EPSILONS, Row, figure, table

from kdda.models.load import load_checkpoint
from kdda.transport.cost import mean_pairwise_cost
from kdda.transport.sinkhorn import entropic_transport

ROOT = Path(__file__).parents[1]
SIZES: tuple[tuple[int, ...], ...] = ((32, 48, 40, 384), (32, 128, 96, 384), (8, 384, 256, 768), (32, 512, 512, 768))
STAGES = ("start", "end")
SMALL = SIZES[:2]
# At least: the time of another solver against kdda's, in the setting where it is least.
AIMS = ((SIZES, "geomloss .9", 3.0), (SMALL, "geomloss .9", 4.0), (SMALL, "geomloss .5", 1.0))


# Clouds -------------------------------------------------------------------------------------------------------------


def windows(text: str, count: int, words: int) -> list[str]:
    """`count` windows of about `words` words, spread evenly over the text, of lengths between half and whole."""
    tokens = text.split()
    starts = [i * max(1, len(tokens) - words) // max(1, count - 1) for i in range(count)]
    return [" ".join(tokens[start : start + words - (7 * i) % (words // 2)]) for i, start in enumerate(starts)]


@torch.no_grad()
def states(name: str, texts: list[str], length: int, width: int) -> tuple[Tensor, Tensor]:
    """The last layer's states, or the last two layers' side by side for twice the width, and the mask."""
    checkpoint = load_checkpoint(name)
    tokenizer, model = checkpoint.tokenizer, checkpoint.model
    batch = tokenizer(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    layers = width // model.config.hidden_size
    parts = []
    for ids, mask in zip(batch["input_ids"].split(8), batch["attention_mask"].split(8), strict=True):
        outputs = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        parts.append(torch.cat(outputs.hidden_states[-layers:], dim=2))
    return torch.cat(parts), batch["attention_mask"].bool()


def make_clouds(size: tuple[int, ...], text: str) -> Clouds:
    batch, n, m, width = size
    texts = windows(text, batch, int(0.75 * min(n, m)))
    x, x_mask = states("mini/multilingual", texts, n, width)
    y, y_mask = states("mini/english", texts, m, width)
    unit = mean_pairwise_cost(y, y_mask) ** -0.5
    return Clouds(x * unit, y * unit, x_mask, y_mask)


def distilled(clouds: Clouds) -> Clouds:
    """The student's states moved 90 % of the way to where the plan sends them."""
    plan = entropic_transport(clouds.x, clouds.y, epsilon=0.02, **clouds.masks()).plan()
    target = plan @ clouds.y / plan.sum(dim=2, keepdim=True).clamp(min=1e-9)
    return clouds._replace(x=0.1 * clouds.x + 0.9 * target)


# Measuring ----------------------------------------------------------------------------------------------------------


def measure(row: Row, clouds: Clouds, truth: tuple[Tensor, Tensor], repeats: int) -> Row:
    """Fill a row: memory and errors from the first run, time from the fastest."""
    solver = SOLVERS[row.solver]
    first: list[tuple[Tensor, Tensor, Callable[[], Tensor]]] = []

    def run() -> None:
        first[:] = [value_and_gradient(solver, clouds, row.epsilon)]

    row.memory, row.seconds = peak_memory(run)
    value, gradient, plan = first[0]
    row.marginal = marginal_error(plan(), clouds)
    row.value, row.gradient = errors(value, gradient, clouds, truth)
    for _ in range(repeats - 1):
        row.seconds = min(row.seconds, timed(run))
    return row


def timed(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_memory(run: Callable[[], None]) -> tuple[float, float]:
    """Bytes of a run's peak memory above the memory before it (Linux; NaN elsewhere), and its seconds."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan"), timed(run)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = kilobytes(status, "VmRSS:")
    seconds = timed(run)
    return 1024.0 * (kilobytes(status, "VmHWM:") - before), seconds


def kilobytes(status: Path, key: str) -> int:
    """A line of the process' status in /proc."""
    for line in status.read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise KeyError(key)


class Pieces:
    """Clouds, references and rows, kept in a folder if there is one, so that nothing is computed twice."""

    def __init__(self, folder: Path | None, text: str):
        self.folder = folder
        self.text = text
        self.rows: list[Row] = []
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            for line in self._lines():
                self.rows.append(Row(**{**json.loads(line), "size": tuple(json.loads(line)["size"])}))

    def _lines(self) -> list[str]:
        assert self.folder
        path = self.folder / "rows.jsonl"
        return path.read_text().splitlines() if path.exists() else []

    def clouds(self, size: tuple[int, ...], stage: str) -> Clouds:
        """Those of a stage of training."""
        return Clouds(*self._kept(f"{size_name(size)}-{stage}", lambda: tuple(self._make_clouds(size, stage))))

    def _make_clouds(self, size: tuple[int, ...], stage: str) -> Clouds:
        if stage == "start":
            return make_clouds(size, self.text)
        return distilled(self.clouds(size, "start"))

    def truth(self, size: tuple[int, ...], stage: str, epsilon: float) -> tuple[Tensor, Tensor]:
        """Value and gradient of the first texts in float64."""
        clouds = self.clouds(size, stage)
        value, gradient = self._kept(f"{size_name(size)}-{stage}-{epsilon}", lambda: reference(clouds, epsilon))
        return value, gradient

    def _kept(self, name: str, make: Callable[[], Any]) -> Any:
        if not self.folder:
            return make()
        path = self.folder / f"{name}.pt"
        if not path.exists():
            torch.save(make(), path)
        return torch.load(path)

    def has(self, row: Row) -> bool:
        """Whether such a row has been measured."""
        return any(key(row) == key(other) for other in self.rows)

    def add(self, row: Row) -> None:
        """Keep a row, and print it."""
        self.rows.append(row)
        print(f"{row.size} {row.stage} ε={row.epsilon} {row.solver}: {1e3 * row.seconds:.0f} ms", flush=True)
        if self.folder:
            with (self.folder / "rows.jsonl").open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")


def key(row: Row) -> tuple[Any, ...]:
    """What a row is of; tables are sorted by it."""
    cells = row.size[0] * row.size[1] * row.size[2]
    return (cells, row.size, STAGES.index(row.stage), -row.epsilon, list(SOLVERS).index(row.solver))


def size_name(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))


def measure_all(pieces: Pieces, sizes: Sequence[tuple[int, ...]], solvers: Sequence[str], measuring: bool) -> None:
    """Measure what is missing; or only make the clouds and references."""
    for size in sizes:
        for stage in STAGES:
            for epsilon in EPSILONS:
                clouds, truth = pieces.clouds(size, stage), pieces.truth(size, stage, epsilon)
                for solver in solvers if measuring else ():
                    row = Row(size, epsilon, stage, solver)
                    if not pieces.has(row):
                        pieces.add(measure(row, clouds, truth, repeats_of(solver, size)))


def repeats_of(solver: str, size: tuple[int, ...]) -> int:
    """More runs of what takes a few milliseconds, one of what takes long."""
    if solver in ("POT batch", "plain loop") or size[1] >= 512:
        return 1
    if size == SIZES[0]:
        return 15
    return 5


def aims(rows: list[Row]) -> list[Aim]:
    """What was aimed at, in the setting with the least ratio of each group of sizes."""
    seconds = {(row.size, row.stage, row.epsilon, row.solver): row.seconds for row in rows}
    measured = []
    for sizes, solver, goal in AIMS:
        ratios = []
        for size, stage, epsilon, name in seconds:
            if name == solver and size in sizes:
                ratios.append(seconds[size, stage, epsilon, solver] / seconds[size, stage, epsilon, "kdda"])
        if ratios:
            name = f"divergence, {solver}, least of {len(ratios)} settings up to {'×'.join(map(str, sizes[-1]))}"
            measured.append(Aim(name, min(ratios), "≥", goal, "× kdda's"))
    return measured


def main() -> None:
    parser = arguments(__doc__, "docs/transport.md")
    parser.add_argument("--text", type=Path, default=ROOT / "LICENSE", help="English text to take windows from")
    parser.add_argument("--folder", type=Path, help="where clouds and rows are kept, for a table in pieces")
    parser.add_argument("--sizes", nargs="+", help="B×n×m×d, such as 32x48x40x384; all if not given")
    parser.add_argument("--solvers", nargs="+", choices=list(SOLVERS), default=list(SOLVERS))
    parser.add_argument("--prepare", action="store_true", help="only make the clouds and their references")
    options = parser.parse_args()
    sizes = SIZES
    if options.quick:
        sizes = ((4, *SIZES[0][1:]),)
    if options.sizes:
        sizes = tuple(tuple(map(int, size.split("x"))) for size in options.sizes)
    pieces = Pieces(options.folder, options.text.read_text())
    measure_all(pieces, sizes, options.solvers, not options.prepare)
    rows = sorted(pieces.rows, key=key)
    setting = f"{machine()} {torch.get_num_threads()} threads."
    publish(options, "transport", [setting, "", table(rows)], aims(rows))
    if options.write:
        figure(rows, options.write.with_suffix(".svg"))


if __name__ == "__main__":
    main()
