import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stillhand.core.losses.variational import annealed, fixed, gate_loss, uniform
from stillhand.core.mixture import Mixture
from stillhand.datasets.demonstrations import Demonstrations, from_arrays
from stillhand.datasets.loader import WindowLoader
from stillhand.policies.distill import Variational, _judged, adopt, loss, warmup_loss
from stillhand.policies.mixture import MixturePolicy

LEVEL = partial(fixed, sigma=0.3)
PARTS = ("network", "head.gate", "head.mean", "head.triangle")


def settings(**changes: Any) -> Variational:
    return Variational(**{"warmup_steps": 0, "recipe": "consistent", "sigma": LEVEL, "samples": 2, **changes})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Remembering(nn.Module):
    """Answers a fixed pull towards a point and remembers what it was asked."""

    def __init__(self, target: float = 0.0) -> None:
        super().__init__()
        self.target = target
        self.asked: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor) -> Tensor:
        self.asked.append((x, sigma, cond))
        return 0.5 * x + self.target


def pair(toy: Any, **border: Any) -> tuple[MixturePolicy, Any]:
    teacher, student = toy.teacher(**border), toy.student(**border)
    adopt(student, teacher)
    return student, teacher


def test_the_student_adopts_the_teachers_units(toy: Any) -> None:
    student, teacher = toy.student(octaves=0), toy.teacher(octaves=2)
    teacher.border.actions.shift.add_(1.0)
    teacher.border.encoder.normalizer.scale.mul_(2.0)
    adopt(student, teacher)
    action, observation = toy.batch().action, toy.batch().observation
    assert torch.equal(student.border.normalized(action), teacher.border.normalized(action))
    own, other = (p.border.encoder.normalizer.encode(observation) for p in (student, teacher))
    assert torch.equal(own, other)
    teacher.border.actions.shift.add_(1.0)  # copies, not the same buffers
    assert not torch.equal(student.border.actions.shift, teacher.border.actions.shift)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"horizon": 5}, "prediction_horizon: the student has 4, its teacher 5"),
        ({"window": 3}, "observation_horizon: the student has 2, its teacher 3"),
    ],
)
def test_other_horizons_are_refused(toy: Any, other: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adopt(toy.student(), toy.teacher(**other))


def test_another_task_is_refused(toy: Any) -> None:
    with pytest.raises(ValueError, match="task='toy'.*task='other'"):
        adopt(toy.student(), toy.teacher(spec=toy.other))


@pytest.mark.parametrize("recipe", ["clean", "consistent"])
@pytest.mark.parametrize("gate_data", ["demonstrations", "teacher"])
def test_losses_are_finite_per_row_and_repeat(toy: Any, recipe: str, gate_data: str) -> None:
    student, teacher = pair(toy)
    chosen = settings(recipe=recipe, gate_data=gate_data)
    values = [loss(student, teacher, chosen, 0.5, toy.batch(), generator(s)) for s in (0, 0, 1)]
    assert values[0][0].shape == (8,)
    assert values[0][0].isfinite().all()
    assert all(v.isfinite().all() and not v.requires_grad for v in values[0][1].values())
    assert torch.equal(values[0][0], values[1][0])
    assert not torch.equal(values[0][0], values[2][0])


@pytest.mark.parametrize("recipe", ["clean", "consistent"])
def test_the_student_learns_and_the_teacher_does_not(toy: Any, recipe: str) -> None:
    student, teacher = pair(toy)
    value, _ = loss(student, teacher, settings(recipe=recipe), 0.5, toy.batch(), generator())
    value.mean().backward()
    assert all(p.grad is None for p in teacher.parameters())
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("detached", [True, False])
def test_experts_follow_the_teacher_alone_the_gate_the_data_alone(toy: Any, detached: bool) -> None:
    """Other actions change the gate's gradient, and the trunk's if it is shared; another teacher the rest."""
    student, teacher = pair(toy)
    batch = toy.batch()
    shifted = type(batch)(batch.observation, batch.action.roll(1, 0), batch.valid)

    def gradients(data: Any, target: float) -> dict[str, Tensor]:
        student.zero_grad()
        teacher.denoiser = Remembering(target)
        loss(student, teacher, settings(detach_gate=detached), 0.5, data, generator())[0].mean().backward()
        named = dict(student.named_parameters())
        return {
            part: torch.cat([p.grad.flatten() for n, p in named.items() if n.startswith(part)])
            for part in PARTS
        }

    first, other_data, other_teacher = (
        gradients(*case) for case in ((batch, 0.0), (shifted, 0.0), (batch, 1.0))
    )
    for part in ("network", "head.mean", "head.triangle"):
        shared = part == "network" and not detached
        assert torch.equal(first[part], other_data[part]) is not shared, part
        assert not torch.equal(first[part], other_teacher[part]), part
    assert not torch.equal(first["head.gate"], other_data["head.gate"])
    assert torch.equal(first["head.gate"], other_teacher["head.gate"])


def test_the_likelihood_stands_beside_both_losses(toy: Any) -> None:
    student, teacher = pair(toy)
    plain, more = (
        loss(student, teacher, settings(likelihood=w), 0.5, toy.batch(), generator())[0] for w in (0.0, 3.0)
    )
    torch.testing.assert_close(more - plain, 3 * warmup_loss(student, settings(), toy.batch())[0])


def test_the_teacher_is_asked_about_every_draw_under_its_own_condition(toy: Any) -> None:
    student, teacher = pair(toy)
    teacher.denoiser = Remembering()
    batch = toy.batch()

    seen = []

    def levels(progress: float, rows: int, generator: torch.Generator) -> Tensor:
        seen.append(progress)
        return torch.linspace(0.1, 0.8, rows)

    loss(student, teacher, settings(recipe="clean", sigma=levels), 0.25, batch, generator())
    assert seen[-1] == 0.25
    x, sigma, cond = teacher.denoiser.asked[0]
    draws = 4 * 2  # experts x samples
    assert x.shape == (8 * draws, 4, 2)
    assert torch.equal(sigma, torch.linspace(0.1, 0.8, 8).repeat_interleave(draws))
    own = teacher.border.condition(batch.observation)
    assert torch.equal(cond, own.repeat_interleave(draws, dim=0))
    law = student.law(student.border.seen(batch))
    noise = torch.randn((8, 4, 2, 8), generator=generator())
    torch.testing.assert_close(x.view(8, 4, 2, 8), law.sample_experts(noise))


def test_consistent_draws_carry_the_level(toy: Any) -> None:
    student, teacher = pair(toy)
    asked = []
    for recipe in ("clean", "consistent"):
        teacher.denoiser = Remembering()
        loss(student, teacher, settings(recipe=recipe, samples=64), 0.5, toy.batch(), generator())
        asked.append(teacher.denoiser.asked[0][0])
    assert (asked[1] - asked[0]).std().item() == pytest.approx(0.3, rel=0.05)


def test_the_gate_may_learn_from_the_teachers_samples(toy: Any) -> None:
    student, teacher = pair(toy)
    batch = toy.batch()
    values = {}
    for source, calls in (("demonstrations", 1), ("teacher", 1 + teacher.sampling.intervals)):
        teacher.denoiser = Remembering(0.3)
        values[source], _ = loss(student, teacher, settings(gate_data=source), 0.5, batch, generator())
        assert len(teacher.denoiser.asked) == calls
    cond = teacher.border.condition(batch.observation)
    stream = generator()
    torch.randn((2, 8, 4, 2, 8), generator=stream)  # noise and jitter come first
    chunks = teacher.sample(cond, torch.randn(8, 4, 2, generator=stream))
    law = student.law(student.border.seen(batch))
    demonstrated = student.border.normalized(batch.action)
    change = gate_loss(law, chunks.flatten(1))[0] - gate_loss(law, demonstrated.flatten(1))[0]
    torch.testing.assert_close(values["teacher"] - values["demonstrations"], change, rtol=1e-4, atol=1e-4)


def test_a_noisy_gate_asks_whose_mean_is_near_not_who_is_widest(toy: Any) -> None:
    """Chunks at +1, a narrow expert at +0.9, a wide one at -1: under noise the near one is found."""
    rows, dims = 1000, 8
    mean = torch.stack([torch.full((rows, dims), 0.9), torch.full((rows, dims), -1.0)], dim=1)
    std = torch.tensor([0.01, 2.0]).view(1, 2, 1, 1, 1).expand(rows, 2, dims, 1, 1)
    law = Mixture(torch.full((rows, 2), 0.5).log(), mean, std)
    chunks = torch.ones(rows, dims)
    for sigma, first in ((0.0, 0.0), (0.5, 1.0)):
        judged, seen = _judged(law, chunks, sigma, generator())
        whose = judged.log_responsibilities(seen[:, None])[:, 0].exp().mean(dim=0)
        assert whose[0].item() == pytest.approx(first, abs=0.02)


def test_without_noise_the_gate_draws_no_numbers(toy: Any) -> None:
    student, teacher = pair(toy)
    sources = [generator(), generator()]
    for source, sigma in zip(sources, (0.0, 0.5), strict=True):
        loss(student, teacher, settings(gate_sigma=sigma), 0.5, toy.batch(), source)
    fresh = generator()
    loss(student, teacher, settings(), 0.5, toy.batch(), fresh)
    assert torch.equal(sources[0].get_state(), fresh.get_state())
    assert not torch.equal(sources[1].get_state(), fresh.get_state())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gate_sigma": -0.1}, "gate_sigma must be finite and at least 0, got -0.1"),
        ({"gate_sigma": math.inf}, "gate_sigma must be finite"),
        ({"likelihood": -1.0}, "likelihood must be finite and at least 0, got -1.0"),
        ({"warmup_steps": -1}, "warmup_steps >= 0, got -1"),
        ({"samples": 0}, "samples and experts >= 1, got 0 and"),
        ({"experts": 0}, "samples and experts >= 1, got .* and 0"),
        ({"sigma": partial(fixed, sigma=-0.1)}, "noise levels.*got -0.1"),
        ({"sigma": partial(uniform, low=0.5, high=0.2)}, "noise levels.*got 0.5 and 0.2"),
        ({"sigma": partial(annealed, high=0.5, low=0.1, until=0.0)}, "until <= 1.*got 0.0"),
    ],
)
def test_bad_settings_are_refused_before_any_step(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)


class Modes(nn.Module):
    """The exact denoiser of four equal Gaussians around centres that depend on the condition."""

    std = 0.15

    def centres(self, cond: Tensor) -> Tensor:
        """(b, 4, 2): corners of a square that moves with the first number of the last observation."""
        corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        return corners + 0.3 * cond[:, -1, :1, None]

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor) -> Tensor:
        variance = self.std**2 + sigma[:, None] ** 2
        offset = x - self.centres(cond)  # a chunk of one action broadcasts over the centres
        weight = torch.softmax(-offset.square().sum(-1) / (2 * variance), dim=1)[..., None]
        shrunk = sigma[:, None, None] ** 2 / variance[..., None] * offset
        return x - (weight * shrunk).sum(1, keepdim=True)


def square(toy: Any) -> Demonstrations:
    """Episodes of one observation number that matters and an action beside one of four corners."""
    rng = np.random.default_rng(0)
    n = 600
    observation = rng.normal(size=(n, 3)).astype(np.float32)
    corner = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]])[rng.integers(4, size=n)]
    action = corner + 0.3 * observation[:, :1] + Modes.std * rng.normal(size=(n, 2))
    ends = np.arange(10, n + 1, 10, dtype=np.int64)
    labels = np.zeros(len(ends), dtype=np.int64)
    return from_arrays(observation, action.astype(np.float32), ends, labels, labels, toy.spec)


def distilled(toy: Any, data: Demonstrations, steps: int) -> MixturePolicy:
    """A student of `Modes`; physical units are the normalized ones here."""
    teacher = toy.teacher(horizon=1, window=1, octaves=0)
    student: MixturePolicy = toy.student(
        horizon=1, window=1, octaves=0, experts=4, covariance="step", initial_std=0.5
    )
    for normalizer in (teacher.border.actions, teacher.border.encoder.normalizer):
        normalizer.shift.zero_()
        normalizer.scale.fill_(1.0)
    adopt(student, teacher)
    teacher.denoiser = Modes()
    student.start_at_centres(data, seed=0)
    chosen = settings(sigma=partial(annealed, high=0.5, low=0.05), samples=4)
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    loader, stream = WindowLoader(data, 1, 1, 64, seed=0), generator()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 0.01 * 0.5 * (1 + math.cos(math.pi * step / steps))
        value, _ = loss(student, teacher, chosen, step / steps, loader.batch(step), stream)
        optimizer.zero_grad()
        value.mean().backward()
        optimizer.step()
    return student


def test_a_conditional_mixture_is_recovered_from_its_exact_denoiser(toy: Any) -> None:
    """End to end: k-means start, annealed levels, gate from data; centres, spread and weights come out."""
    data = square(toy)
    student = distilled(toy, data, steps=150)
    batch = WindowLoader(data, 1, 1, 200, seed=1).batch(0)
    with torch.no_grad():
        law = student.law(student.border.seen(batch))
        distance = torch.cdist(law.mean, Modes().centres(student.border.condition(batch.observation)))
    assert distance.amin(1).max() < 0.25  # every corner has an expert, at every observation
    assert distance.amin(1).mean() < 0.08
    deviation = (law.factor @ law.factor.mT).diagonal(dim1=-2, dim2=-1).sqrt()
    assert deviation.mean().item() == pytest.approx(Modes.std, abs=0.03)
    assert (law.log_gate.exp().mean(0) - 0.25).abs().max() < 0.08
