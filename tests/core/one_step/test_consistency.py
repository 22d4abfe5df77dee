"""Consistency distillation in the loop: the answer is the end of the teacher's own trajectory."""

import re
from typing import Any

import pytest
import torch
from torch import Generator

from stillhand.core.diffusion.schedule import karras
from stillhand.core.one_step.consistency import ConsistencyDistillation
from stillhand.core.one_step.players import Players


def test_it_reaches_the_end_of_the_teachers_ode(lab: Any) -> None:
    data = lab(sigma_init=2.0)
    method = ConsistencyDistillation(intervals=6)
    duel = data.train(method, learning_rate=5e-3, ema_decay=0.9)
    z = torch.randn(2000, generator=Generator().manual_seed(1))
    shrink = ((data.std**2 + 0.02**2) / (data.std**2 + data.sigma_init**2)) ** 0.5
    for c in (-1.0, 1.0):
        mean = data.slope * c
        end = mean + shrink * (data.sigma_init * z - mean)  # the probability flow in closed form
        reached = data.answers(duel, c)
        assert torch.corrcoef(torch.stack([reached, end]))[0, 1] > 0.975
        assert (reached - end).square().mean().sqrt() < 0.2  # one call of the teacher itself: 0.37
        start = torch.full((2000, 1, 1), c)
        level = torch.full((2000,), data.sigma_init)
        once = data.teacher(data.sigma_init * z[:, None, None], level, start).flatten()
        assert (once - end).square().mean().sqrt() > 0.3


def test_levels_are_neighbours_on_the_karras_grid_down_to_the_least() -> None:
    method, rng = ConsistencyDistillation(intervals=4), Generator().manual_seed(0)
    sigma, later = method._levels(400, 20.0, 0.02, rng)
    grid = karras(4, 0.02, 20.0)[:-1].float()
    pairs = set(zip(sigma.tolist(), later.tolist(), strict=True))
    assert pairs == set(zip(grid[:-1].tolist(), grid[1:].tolist(), strict=True))


def test_only_the_target_is_the_average(lab: Any) -> None:
    """With target=student the average is never asked; the teacher takes one call per step, or two."""
    form = {"sigma_min": 0.02}
    players = Players(lab().generator(0, **form), lab().generator(1, **form), lab().teacher, None)
    calls: list[str] = []
    for name in ("average", "teacher"):
        net = getattr(players, name)
        net = net.denoiser if name == "average" else net
        net.register_forward_hook(lambda *_, name=name: calls.append(name))
    batch = lab(rows=4).examples(0)
    for target, solver, expected in (
        ("average", "heun", ["average", "teacher", "teacher"]),
        ("student", "euler", ["teacher"]),
    ):
        calls.clear()
        method = ConsistencyDistillation(target=target, solver=solver)
        method.generator_loss(players, batch, Generator().manual_seed(0))
        assert sorted(calls) == expected


def test_refuses_what_is_no_trajectory(lab: Any) -> None:
    with pytest.raises(ValueError, match="intervals >= 2, got 1"):
        ConsistencyDistillation(intervals=1)
    with pytest.raises(ValueError, match=re.escape("needs sigma_min > 0, got 0.0")):
        lab().duel(ConsistencyDistillation(), generator=lab().generator())
    players = Players(lab().generator(0), lab().generator(1), lab().teacher, None)
    with pytest.raises(ValueError, match=re.escape("0 < sigma_min < sigma_max < inf, got 0.0")):
        ConsistencyDistillation().generator_loss(players, lab().examples(0), Generator().manual_seed(0))
