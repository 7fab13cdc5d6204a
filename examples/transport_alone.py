"""Optimal transport alone: the divergence of two batches of point clouds, its certificate, plan and gradient.

    python examples/transport_alone.py

Needs torch and nothing else of kdda.
"""

from __future__ import annotations

import argparse

import torch

from kdda.transport import mean_pairwise_cost, sinkhorn_divergence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epsilon", type=float, default=0.005)
    options = parser.parse_args()

    torch.manual_seed(0)
    student = torch.randn(options.texts, 12, options.width, requires_grad=True)  # 12 student tokens a text
    teacher = torch.randn(options.texts, 9, options.width)  # 9 teacher tokens of the same texts
    teacher_mask = torch.arange(9) < torch.randint(4, 10, (options.texts, 1))  # texts differ in length

    scale = mean_pairwise_cost(teacher, teacher_mask)  # calibrate once, then keep the number
    out = sinkhorn_divergence(student, teacher, y_mask=teacher_mask, scale=scale, epsilon=options.epsilon)
    out.value.mean().backward()

    plan = out.plan()  # [texts, 12, 9]
    assert torch.allclose(plan.sum(dim=2), torch.full((options.texts, 12), 1 / 12), atol=1e-4)
    assert bool((plan[:, :, :] >= 0).all()) and float(plan.masked_select(~teacher_mask[:, None, :]).sum()) == 0
    print(f"divergence {out.value.mean():.4f}")
    print(f"largest marginal error {out.marginal_error.max():.1e} after {out.iterations} iterations")
    print(f"all solved: {bool(out.converged.all())}")
    assert student.grad is not None
    print(f"gradient norm {student.grad.norm():.4f}")


if __name__ == "__main__":
    main()
