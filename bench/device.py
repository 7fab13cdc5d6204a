"""An accelerator against the CPU and against other solvers: equality, time and error of the divergence, time of a step.

    python bench/device.py            # on a machine with an accelerator
    python bench/device.py --small    # small shapes, on any machine, in less than a minute

Clouds are random. It prints one line a measurement: the divergence on the device against the CPU; every solver of
bench/solvers.py and the log-domain loop under torch.compile, value and gradient, with errors; and a training step of
XLM-R base's size with random weights, without and with a divergence of stored states, with the device's peak memory.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from solvers import SOLVERS, Clouds, by_plans, errors, plain_loop, reference, value_and_gradient
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from kdda.runtime.device import compute_device, device_name, in_bfloat16, wait_for
from kdda.transport.sinkhorn import sinkhorn_divergence

EPSILONS = (0.05, 0.005)
SHAPES = ((48, 40), (128, 96), (384, 256), (512, 512))  # tokens of student and teacher
SMALL_SHAPES = ((16, 12), (24, 20))
STEPS = 3


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


def compare_solvers(batch: int, width: int, shapes: Any, device: torch.device, compiled: bool) -> None:
    """Print time and errors of every solver, and how far the device is from the CPU."""
    solvers = dict(SOLVERS)
    if compiled:
        solvers["compiled loop"] = by_plans(torch.compile(plain_loop))
    for n, m in shapes:
        clouds, on_cpu = (clouds_of(batch, n, m, width, place) for place in (device, torch.device("cpu")))
        for epsilon in EPSILONS:
            truth = reference(on_cpu, epsilon)
            here = value_and_gradient(SOLVERS["kdda"], clouds, epsilon)[0].cpu()
            there = value_and_gradient(SOLVERS["kdda"], on_cpu, epsilon)[0]
            print(f"{batch}x{n}x{m}, eps {epsilon}: device against CPU {((here - there) / there).abs().max():.1e}")
            for name, solver in solvers.items():
                try:
                    value, gradient, _ = value_and_gradient(solver, clouds, epsilon)
                    off, gradient_off = errors(value.cpu(), gradient.cpu(), on_cpu, truth)
                    seconds = seconds_of(partial(value_and_gradient, solver, clouds, epsilon), device)
                except RuntimeError as error:  # of memory, or of a compiler
                    print(f"  {name:14} {str(error).splitlines()[0][:80]}")
                    continue
                print(f"  {name:14} {1000 * seconds:9.1f} ms, errors: value {off:.1e}, gradient {gradient_off:.1e}")


def time_steps(small: bool, device: torch.device) -> None:
    """Print the seconds of a training step, and the device's peak memory where torch counts it."""
    sizes: dict[str, int] = {"vocab_size": 20_000, "max_position_embeddings": 514}
    batch, tokens = 32, 128
    if small:
        sizes |= {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
        batch, tokens = 4, 16
    torch.manual_seed(0)
    model = XLMRobertaForSequenceClassification(XLMRobertaConfig(num_labels=3, **sizes)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    ids = torch.randint(5, 20_000, (batch, tokens), device=device)
    labels = torch.arange(batch, device=device) % 3
    teacher = torch.randn(batch, tokens, model.config.hidden_size, device=device)

    def step(weight: float) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=in_bfloat16("auto")):
            outputs = model(ids, labels=labels, output_hidden_states=True)
        loss = outputs.loss
        if weight:
            states = outputs.hidden_states[-1].float()
            loss = loss + weight * sinkhorn_divergence(states, teacher, scale="teacher").value.mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    for name, weight in (("task alone", 0.0), ("stored states", 0.3)):
        print(f"step, {name:14} {seconds_of(partial(step, weight), device):.3f} s")
    if device.type == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    device = compute_device()
    print(f"device {device}: {device_name(device)}")
    if small:
        compare_solvers(4, 32, SMALL_SHAPES, device, compiled=False)
    else:
        compare_solvers(32, 768, SHAPES, device, compiled=True)
    time_steps(small, device)


if __name__ == "__main__":
    main()
