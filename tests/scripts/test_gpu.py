"""A CUDA device computes the losses that the CPU computes, and all stages of training run on it."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stillhand.core.diffusion.schedule import lognormal
from stillhand.core.losses.denoising import denoising_loss
from stillhand.core.losses.variational import likelihood_loss
from stillhand.datasets.episodes import EpisodeStore
from stillhand.datasets.loader import WindowLoader
from stillhand.policies import checkpoint

DEVICE = "cuda"
needs_device = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
pytestmark = needs_device


def loss_and_gradient(policy: Any, loss: torch.Tensor) -> tuple[float, torch.Tensor]:
    gradients = torch.autograd.grad(loss, list(policy.backbone().parameters()), allow_unused=True)
    return loss.item(), torch.cat([g.flatten().cpu() for g in gradients if g is not None])


@pytest.mark.parametrize("method", ["diffusion", "em"])
def test_one_batch_has_one_loss_and_one_gradient_on_both(
    method: str, trained: Path, tiny_store: Path
) -> None:
    """Draws differ between devices, so batch, level and noise are made on the CPU and moved."""
    policy, _ = checkpoint.load(trained / method)
    policy.requires_grad_(True)
    batch = WindowLoader(EpisodeStore.open(tiny_store).load(), 2, 8, 64, seed=0).batch(0)
    generator = torch.Generator().manual_seed(0)
    sigma = lognormal(64, -0.4, 1.3, 0.02, 20.0, generator)
    noise = torch.randn(batch.action.shape, generator=generator)
    found = []
    for device in ("cpu", DEVICE):
        policy: Any = policy.to(device)
        observation, x0 = batch.observation.to(device), policy.border.normalized(batch.action.to(device))
        if method == "diffusion":
            cond = policy.border.condition(observation)
            losses, _ = denoising_loss(policy.denoiser, x0, noise.to(device), sigma.to(device), cond)
        else:
            losses, _ = likelihood_loss(
                policy.law(policy.border.condition(observation)), x0.flatten(start_dim=1)
            )
        found.append(loss_and_gradient(policy, losses.mean()))
    (loss, gradient), (other_loss, other_gradient) = found
    assert other_loss == pytest.approx(loss, rel=1e-4)
    assert (other_gradient - gradient).norm() < 1e-3 * gradient.norm()


def test_training_and_distillation_run_and_their_policies_act_on_the_cpu(
    stage: Callable[..., Any], trained: Path, tiny_store: Path, tmp_path: Path, small: tuple[str, ...]
) -> None:
    base = (f"data={tiny_store}", f"device={DEVICE}", *small, "training.steps=3")
    warm = ("distillation.warmup_steps=1", "training.restarts=[1]", f"teacher={trained / 'diffusion'}")
    for name, more in (("train", ()), ("distill", warm)):
        out = tmp_path / name
        done = stage(name, *base, *more, f"out={out}")
        assert done.code == 0, done.err
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert len(rows) == 3 and all(math.isfinite(row["loss"]) for row in rows)
        policy, found = checkpoint.load(out)
        assert found.card["run"]["device"] == DEVICE
        assert all(parameter.device.type == "cpu" for parameter in policy.parameters())
