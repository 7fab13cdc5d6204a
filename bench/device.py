"""An accelerator against the CPU and against other solvers: a tiny training, time and error of the divergence, a step.

    python bench/device.py            # on a machine with an accelerator, at most eight minutes
    python bench/device.py --small    # small shapes, on any machine, about a minute

It prints a line a measurement:

- losses of a tiny training with a teacher, on the device against the CPU;
- the divergence of random clouds: the device against the CPU; every solver of bench/solvers.py, kdda with its Triton
  kernel and by torch alone, and the log-domain loop under torch.compile, value and gradient, with the errors that each
  reached; and how many solves of a text were left to torch, since the kernel's certificate refused them;
- a training step of XLM-R base's size with random weights: the task alone, with stored teacher states, with a live
  teacher, and a plain program (live teacher, geomloss, every row of the vocabulary trained); for each the share of its
  time in which the device runs no kernel, and the device's peak memory.

What would begin after `--minutes` is left out, and said.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from solvers import SOLVERS, Clouds, Solver, by_plans, errors, plain_loop, reference, value_and_gradient, with_geomloss
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification, XLMRobertaModel

from kdda.models.load import load_checkpoint
from kdda.runtime.device import DEVICE_VARIABLE, compute_device, device_name, in_bfloat16, wait_for
from kdda.transport import tile
from kdda.transport.sinkhorn import sinkhorn_divergence

EPSILONS = (0.05, 0.005)
SHAPES = ((48, 40), (128, 96), (384, 256), (512, 512))  # tokens of student and teacher
SMALL_SHAPES = ((16, 12), (24, 20))
STEPS = 3
MINUTES = 8.0

BASE = {"max_position_embeddings": 514, "num_labels": 3}
TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
VOCABULARY, SEEN_VOCABULARY = 250_002, 20_000  # XLM-R's, and about what one task's rows use of it


# A tiny training ------------------------------------------------------------------------------------------------------


def train_tiny(folder: Path) -> None:
    """Train a student of two layers with a teacher on 32 rows, and print its losses as JSON.

    Dropout is 0, since devices draw it differently.
    """
    from kdda import DistillationConfig, DistillationTrainer, Teacher

    torch.manual_seed(0)
    checkpoint = load_checkpoint("mini/multilingual", layers=2)
    checkpoint.model.config.update({"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})
    checkpoint.model.save_pretrained(folder / "student")
    checkpoint.tokenizer.save_pretrained(folder / "student")
    args = DistillationConfig(
        str(folder / "out"),
        distill_weight=1.0,
        learning_rate=1e-3,
        precision="fp32",
        per_device_train_batch_size=8,
        max_length=64,
        max_steps=4,
        logging_steps=1,
    )
    trainer = DistillationTrainer(
        str(folder / "student"),
        {"en": Teacher("mini/english", random=True)},
        task="nli",
        train_dataset={"en": "embedded:nli/en/dev"},
        args=args,
        say=lambda _: None,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    print(json.dumps(losses))


def compare_training(device: torch.device) -> None:
    """Print how far the losses of the tiny training on the device are from the CPU's."""
    losses = {}
    for name in ("cpu", str(device)):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--train-tiny", folder]
            environment = {**os.environ, DEVICE_VARIABLE: name}
            run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        losses[name] = torch.tensor(json.loads(run.stdout.splitlines()[-1]))
    off = ((losses[str(device)] - losses["cpu"]) / losses["cpu"]).abs().max()
    print(f"tiny training, {len(losses['cpu'])} losses: device against CPU {off:.1e}")


# The divergence -------------------------------------------------------------------------------------------------------


def clouds_of(batch: int, n: int, m: int, width: int, device: torch.device) -> Clouds:
    """Random clouds in units of their mean pairwise cost, the last quarter of every second text masked."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(batch, m, width, generator=generator) / width**0.5
    x = y[:, torch.arange(n) % m] + torch.randn(batch, n, width, generator=generator) / (2 * width**0.5)
    masks = []
    for tokens in (n, m):
        mask = torch.ones(batch, tokens, dtype=torch.bool)
        mask[1::2, tokens - tokens // 4 :] = False
        masks.append(mask.to(device))
    return Clouds(x.to(device), y.to(device), *masks)


def seconds_of(run: Callable[[], Any], device: torch.device) -> float:
    """Of the fastest of `STEPS` runs, after one that warms up."""
    times = []
    for _ in range(1 + STEPS):
        wait_for(device)
        started = time.perf_counter()
        run()
        wait_for(device)
        times.append(time.perf_counter() - started)
    return min(times[1:])


def by_torch(clouds: Clouds, epsilon: float) -> tuple[Tensor, Callable[[], Tensor]]:
    """kdda without its Triton kernel."""
    with mock.patch.object(tile, "DEVICES", ()):
        return SOLVERS["kdda"](clouds, epsilon)


def solvers_on(device: torch.device, compiled: bool) -> dict[str, Solver]:
    """The solvers to compare; kdda twice where the kernel may run."""
    solvers = dict(SOLVERS)
    if device.type in tile.DEVICES:
        del solvers["kdda, no numba"]  # which is for CPUs
        solvers = {"kdda": solvers.pop("kdda"), "kdda by torch": by_torch, **solvers}
    if compiled:
        solvers["compiled loop"] = by_plans(torch.compile(plain_loop))
    return solvers


def count_refusals(clouds: Clouds, epsilon: float) -> str:
    """Of how many of the kernel's solves, cross terms and self-terms, the certificate was refused."""
    solves, refused = 0, 0
    read = tile.read_certificate

    def counting(iterations: Tensor, missed: Tensor) -> tuple[int, list[int]]:
        nonlocal solves, refused
        most, rows = read(iterations, missed)
        solves, refused = solves + len(missed), refused + len(rows)
        return most, rows

    with mock.patch.object(tile, "read_certificate", counting):
        value_and_gradient(SOLVERS["kdda"], clouds, epsilon)
    return f"  kernel         {solves} solves, {refused} of them refused and left to torch"


def compare_solvers(batch: int, width: int, n: int, m: int, device: torch.device, compiled: bool) -> None:
    """Print time and errors of every solver at one shape, and how far the device is from the CPU."""
    solvers = solvers_on(device, compiled)
    clouds, on_cpu = (clouds_of(batch, n, m, width, place) for place in (device, torch.device("cpu")))
    for epsilon in EPSILONS:
        truth = reference(on_cpu, epsilon)
        here = value_and_gradient(SOLVERS["kdda"], clouds, epsilon)[0].cpu()
        there = value_and_gradient(SOLVERS["kdda"], on_cpu, epsilon)[0]
        print(f"{batch}x{n}x{m}, eps {epsilon}: device against CPU {((here - there) / there).abs().max():.1e}")
        if device.type in tile.DEVICES:
            print(count_refusals(clouds, epsilon))
        for name, solver in solvers.items():
            try:
                value, gradient, _ = value_and_gradient(solver, clouds, epsilon)
                off, gradient_off = errors(value.cpu(), gradient.cpu(), on_cpu, truth)
                seconds = seconds_of(partial(value_and_gradient, solver, clouds, epsilon), device)
            except RuntimeError as error:  # of memory, or of a compiler
                print(f"  {name:14} {str(error).splitlines()[0][:80]}")
                continue
            print(f"  {name:14} {1000 * seconds:9.1f} ms, errors: value {off:.1e}, gradient {gradient_off:.1e}")


# A step ---------------------------------------------------------------------------------------------------------------


class Step:
    """A training step of a classifier, as kdda or a plain program takes it.

    Args:
        teacher: ``none``, ``stored`` states, ``live``, or ``plain``: live, by geomloss, with XLM-R's whole vocabulary.
    """

    def __init__(self, teacher: str, small: bool, device: torch.device):
        self.teacher, self.device = teacher, device
        batch, tokens = (4, 16) if small else (32, 128)
        sizes = {**BASE, **(TINY if small else {}), "vocab_size": VOCABULARY if teacher == "plain" else SEEN_VOCABULARY}
        torch.manual_seed(0)
        config = XLMRobertaConfig(**sizes)
        self.model = XLMRobertaForSequenceClassification(config).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)
        self.ids = torch.randint(5, SEEN_VOCABULARY, (batch, tokens), device=device)
        self.labels = torch.arange(batch, device=device) % 3
        self.states = torch.randn(batch, tokens, config.hidden_size, device=device, dtype=torch.bfloat16)
        if teacher in ("live", "plain"):
            self.teacher_model = XLMRobertaModel(config).to(device).eval()

    def teacher_states(self) -> torch.Tensor:
        """Stored ones, or those of a forward pass."""
        if self.teacher == "stored":
            return self.states.float()
        with torch.no_grad():
            states: torch.Tensor = self.teacher_model(self.ids).last_hidden_state.float()
        return states

    def divergence(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Of the student's from the teacher's states, in units of the teacher's mean pairwise cost."""
        if self.teacher != "plain":
            return sinkhorn_divergence(states, targets, scale="teacher").value.mean()
        unit = (targets - targets.mean(dim=1, keepdim=True)).square().sum(dim=2).mean().sqrt()
        mask = torch.ones(states.shape[:2], dtype=torch.bool, device=self.device)
        value, _ = with_geomloss(0.9)(Clouds(states / unit, targets / unit, mask, mask), 0.005)
        return value.mean()

    def __call__(self) -> None:
        """Forward, backward and the optimizer's step."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=in_bfloat16("auto")):
            outputs = self.model(self.ids, labels=self.labels, output_hidden_states=True)
            targets = self.teacher_states() if self.teacher != "none" else None
        loss = outputs.loss
        if targets is not None:
            loss = loss + 0.3 * self.divergence(outputs.hidden_states[-1].float(), targets)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def idle_share(run: Callable[[], Any], device: torch.device) -> float | None:
    """The share of a run's time in which the device runs no kernel; None where torch's profiler sees no kernels."""
    if device.type != "cuda":
        return None
    wait_for(device)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        started = time.perf_counter()
        run()
        wait_for(device)
        seconds = time.perf_counter() - started
    busy, end = 0.0, 0.0
    kernels = [event for event in profiler.events() if event.device_type.name == "CUDA"]
    for event in sorted(kernels, key=lambda event: event.time_range.start):
        busy += max(0.0, event.time_range.end - max(end, event.time_range.start))  # kernels of streams may overlap
        end = max(end, event.time_range.end)
    return 1 - busy / (1e6 * seconds)


def time_step(teacher: str, small: bool, device: torch.device) -> None:
    """Print the seconds of a step, its share without a kernel, and the device's peak memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    step = Step(teacher, small, device)
    line = f"step, {teacher:7} {seconds_of(step, device):.3f} s"
    idle = idle_share(step, device)
    if idle is not None:
        line += f", {idle:.0%} without a kernel, peak {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB"
    print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--train-tiny", type=Path, help=argparse.SUPPRESS)  # what `compare_training` starts
    options = parser.parse_args()
    if options.train_tiny:
        train_tiny(options.train_tiny)
        return
    device, small = compute_device(), options.small
    print(f"device {device}: {device_name(device)}")
    measurements: list[Callable[[], None]] = [partial(compare_training, device)]
    for teacher in ("none", "stored", "live", "plain"):
        measurements.append(partial(time_step, teacher, small, device))
    for n, m in SMALL_SHAPES if small else SHAPES:
        batch, width = (4, 32) if small else (32, 768)
        measurements.append(partial(compare_solvers, batch, width, n, m, device, not small))
    started = time.perf_counter()
    for done, measure in enumerate(measurements):
        if time.perf_counter() - started > 60 * options.minutes:
            print(f"{len(measurements) - done} measurements are left out: {options.minutes:g} minutes are over")
            break
        measure()


if __name__ == "__main__":
    main()
