"""The networks' losses are least at the exact denoiser of the mixture and at the exact log-ratio."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from stillhand.core.losses.score_mixture import Draw, mixture_score_loss, ratio_loss

DOUBLE = torch.float64


def test_s7_the_mixtures_denoiser_is_the_minimum(s1_pair: Callable[..., Any], normals: Any) -> None:
    """S7: stationary at the exact denoiser in every direction tried, and not at that of another alpha."""
    sigma, alpha = 0.8, 0.3
    laws = s1_pair()
    count = len(normals.u)
    real = torch.cat([mean + variance**0.5 * normals.u for _, mean, variance in laws.p.parts])[:, None]
    generated = (0.3 + 1.2 * normals.u).repeat(2)[:, None]
    mass = torch.cat([weight * normals.mass for weight, _, _ in laws.p.parts])
    level, share = (
        torch.full((2 * count,), sigma, dtype=DOUBLE),
        torch.full((2 * count,), alpha, dtype=DOUBLE),
    )
    noise = normals.v.repeat(2)[:, None]
    draw = Draw(real, generated, noise, noise, level, share, torch.ones_like(real))
    along = (torch.ones_like, torch.sin, torch.tanh, lambda x: (-(x**2)).exp())

    def slopes(at: float) -> list[float]:
        knobs = torch.zeros(len(along), dtype=DOUBLE, requires_grad=True)

        def denoise(x: Tensor, sigma: Tensor, share: Tensor) -> Tensor:
            turned = sum(knob * h(x) for knob, h in zip(knobs, along, strict=True))
            return laws.denoise(x, sigma, torch.full_like(share, at)) + turned

        loss, _ = mixture_score_loss(denoise, draw)
        return torch.autograd.grad((mass * loss).sum(), knobs)[0].tolist()

    assert slopes(alpha) == pytest.approx([0] * len(along), abs=1e-9)
    assert min(map(abs, slopes(0.5))) > 1e-3


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_s8_the_ratio_is_the_minimum(variant: str, s1_pair: Callable[..., Any], normals: Any) -> None:
    """S8: excess over the minimum 0 at l*, .0034 at l* + .5, .0018 at 0: E |D_p - D_q|^2 (P - P*)^2."""
    laws, sigma, alpha = s1_pair(), 0.8, 0.3
    real = torch.cat([mean + variance**0.5 * normals.u for _, mean, variance in laws.p.parts])[:, None]
    generated = (0.3 + 1.2 * normals.u).repeat(2)[:, None]
    mass = torch.cat([weight * normals.mass for weight, _, _ in laws.p.parts])
    level, share = (torch.full((len(real),), v, dtype=DOUBLE) for v in (sigma, alpha))
    noise = normals.v.repeat(2)[:, None]
    draw = Draw(real, generated, noise, noise, level, share, (level**-4)[:, None])

    def value(shift: float, scale: float) -> float:
        def ratio(x: Tensor, sigma: Tensor) -> Tensor:
            return scale * laws.log_ratio(x, sigma) + shift

        loss, _ = ratio_loss(laws.p.denoise, laws.q.denoise, ratio, draw, variant)
        return (mass * loss).sum().item()

    best = value(0, 1)
    assert value(0.5, 1) - best == pytest.approx(0.0034, abs=6e-5)
    assert value(0, 0) - best == pytest.approx(0.0018, abs=6e-5)
    assert min(value(1e-3, 1), value(-1e-3, 1), value(0, 1.001), value(0, 0.999)) > best
