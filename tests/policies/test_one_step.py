"""One call per plan, started as the teacher's own one-call sampler, and refusals of teachers that differ."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stillhand.core.nets.mlp import DenoisingMLP
from stillhand.policies.one_step import OneStepPolicy, checked_scale

NET = partial(DenoisingMLP, width=8, blocks=1)


def test_one_call_per_plan(toy: Any) -> None:
    policy, calls = toy.one_step(), []
    policy.backbone().register_forward_hook(lambda *_: calls.append(1))
    policy.act(toy.windows(), toy.rngs())
    assert len(calls) == 1


def test_adopted_it_is_the_teachers_sampler_of_one_call(toy: Any) -> None:
    """Same noise, same windows, same normalizers; then it goes its own way."""
    teacher = toy.teacher(intervals=1)
    teacher.sampling = type(teacher.sampling)(intervals=1, sigma_max=2.5)
    student = toy.one_step()
    for parameter in student.parameters():
        nn.init.zeros_(parameter)
    student.border.actions.shift.zero_()
    student.border.encoder.normalizer.shift.zero_()
    student.generator.denoiser.sigma_data.fill_(9.0)
    assert not np.allclose(*(p.act(toy.windows(), toy.rngs()).actions for p in (student, teacher)))
    student.adopt(teacher)
    first, second = (p.act(toy.windows(), toy.rngs()).actions for p in (student, teacher))
    np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-6)
    for parameter in student.parameters():
        nn.init.zeros_(parameter)
    assert np.array_equal(teacher.act(toy.windows(), toy.rngs()).actions, second)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"horizon": 3}, "prediction_horizon: the student has 3, its teacher 4"),
        ({"window": 3}, "observation_horizon: the student has 3, its teacher 2"),
        ({"octaves": 1}, "the teacher's network does not fit the student's: .*size mismatch"),
    ],
)
def test_teachers_that_differ_are_refused(form: dict[str, int], message: str, toy: Any) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        toy.one_step(**form).adopt(toy.teacher())
    with pytest.raises(ValueError, match="'toy'.*'other'|'other'.*'toy'"):
        toy.one_step(spec=toy.other).adopt(toy.teacher())


def test_a_teacher_of_another_network_is_refused(toy: Any) -> None:
    teacher = toy.teacher()
    teacher.denoiser.net.blocks.append(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="(?s)does not fit the student's.*blocks"):
        toy.one_step().adopt(teacher)


def test_fitting_measures_sigma_data_on_normalized_chunks(toy: Any) -> None:
    policy, teacher = toy.one_step(), toy.teacher()
    for one in (policy, teacher):
        one.fit(toy.demonstrations(), seed=0)
    assert torch.equal(policy.generator.denoiser.sigma_data, teacher.denoiser.sigma_data)
    assert policy.generator.denoiser.sigma_data.item() != 1.0


def test_its_own_loss_is_the_teachers(toy: Any) -> None:
    """From scratch a generator first learns what a teacher learns."""
    teacher, student = toy.teacher(), toy.one_step()
    student.adopt(teacher)
    losses = [p.loss(toy.batch(), torch.Generator().manual_seed(0))[0] for p in (teacher, student)]
    assert torch.equal(*losses)


def test_without_noise_every_plan_of_a_window_is_one(toy: Any) -> None:
    windows = toy.windows(1).repeat(4, axis=0)
    rngs = [np.random.default_rng(i) for i in range(4)]
    still, moving = (toy.one_step(noisy=noisy).act(windows, rngs).actions for noisy in (False, True))
    assert np.array_equal(still, still[:1].repeat(4, axis=0))
    assert np.abs(moving - moving[:1])[1:].max(axis=(1, 2)).min() > 1e-3


def test_levels_out_of_order_are_refused(toy: Any) -> None:
    with pytest.raises(ValueError, match="sigma_min < sigma_init < inf, got 3.0 and 2.5"):
        toy.one_step(sigma_min=3.0)


def test_the_noise_is_scaled_when_acting_only(toy: Any) -> None:
    policy = toy.one_step()
    cond = policy.border.condition(torch.from_numpy(toy.windows()))
    noise = torch.ones(len(cond), 4, 2)
    expected = policy.plan(cond, 0.5 * noise)[0]
    policy.noise_scale = 0.5
    assert torch.equal(policy.plan(cond, noise)[0], expected)


def test_a_scale_of_no_noise_is_refused_by_both_ways_to_set_it(toy: Any) -> None:
    policy = toy.one_step(noisy=False)
    with pytest.raises(ValueError, match=r"noise_scale=0.5, expected 1: .*noisy is false"):
        policy.noise_scale = 0.5
    policy.noise_scale = 1.0
    assert policy.noise_scale == 1.0
    form = {"border": policy.border, "net": NET, "levels": policy.levels, "sigma_init": 2.5}
    with pytest.raises(ValueError, match=r"noise_scale=0.9, expected 1"):
        OneStepPolicy(**form, noisy=False, noise_scale=0.9)
    assert OneStepPolicy(**form, noise_scale=0.9).noise_scale == 0.9
    with pytest.raises(ValueError, match="positive finite noise_scale, got inf"):
        toy.one_step().noise_scale = float("inf")


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_bad_scale_of_the_noise_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="positive finite noise_scale, got"):
        checked_scale(value)
