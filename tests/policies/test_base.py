"""What every policy promises, whatever its method."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from stillhand.policies.base import Border, ChunkPolicy, check_same_task
from stillhand.policies.encoders import StateEncoder


def test_a_plan_is_a_chunk_of_finite_actions_per_window(policy: ChunkPolicy, toy: Any) -> None:
    chunk = policy.act(toy.windows(), toy.rngs())
    assert chunk.actions.shape == (5, 4, 2)
    assert chunk.actions.dtype == np.float32
    assert np.isfinite(chunk.actions).all()
    assert all(len(values) == 5 for values in chunk.info.values())
    assert policy.observation_horizon == 2
    assert policy.prediction_horizon == 4


def test_the_same_generators_give_the_same_plan(policy: ChunkPolicy, toy: Any) -> None:
    first, second = (policy.act(toy.windows(), toy.rngs()) for _ in range(2))
    assert np.array_equal(first.actions, second.actions)
    assert first.info.keys() == second.info.keys()
    assert all(np.array_equal(first.info[key], second.info[key]) for key in first.info)


def test_an_episodes_plan_ignores_its_neighbours(policy: ChunkPolicy, toy: Any) -> None:
    windows = toy.windows()
    together = policy.act(windows, toy.rngs()).actions
    strangers = windows.copy()
    strangers[[0, 1, 3, 4]] += np.float32(0.5)
    rngs = [np.random.default_rng(100 + i) for i in range(5)]
    rngs[2] = toy.rngs()[2]
    assert np.array_equal(policy.act(strangers, rngs).actions[2], together[2])
    alone = policy.act(windows[2:3], toy.rngs()[2:3]).actions[0]
    np.testing.assert_allclose(
        alone, together[2], rtol=1e-4, atol=1e-5
    )  # other matrix sizes round differently


def test_plans_look_at_the_observations(policy: ChunkPolicy, toy: Any) -> None:
    windows, ours, theirs = toy.windows(), toy.rngs(), toy.rngs()
    moved = windows + np.float32([0.1, 0.0, 0.0])
    changed = [  # in one of several plans: a choice of tokens may stay the same for so little
        np.abs(policy.act(windows, ours).actions - policy.act(moved, theirs).actions).max(axis=(1, 2))
        for _ in range(5)
    ]
    assert (np.max(changed, axis=0) > 1e-4).all()


@pytest.mark.parametrize("shape", [(5, 3, 3), (5, 2, 4), (4, 2, 3)])
def test_windows_of_another_shape_are_refused(policy: ChunkPolicy, toy: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes \(5, 2, 3\)") as caught:
        policy.act(np.zeros(shape, dtype=np.float32), toy.rngs())
    assert str(shape) in str(caught.value)


def test_measuring_demonstrations_reads_no_frames(policy: ChunkPolicy, toy: Any) -> None:
    """Windows of frames would not fit: one batch of these would be 80 GiB."""
    plain = toy.demonstrations(policy.border.spec)
    frames = np.broadcast_to(np.uint8(7), (plain.steps, 20_000, 20_000, 3))
    policy.fit(plain, 0)
    measured = {name: value.clone() for name, value in policy.state_dict().items()}
    policy.fit(replace(plain, frames={"top": frames}), 0)
    assert all(torch.equal(value, measured[name]) for name, value in policy.state_dict().items())


def test_demonstrations_of_another_task_are_refused(policy: ChunkPolicy, toy: Any) -> None:
    with pytest.raises(ValueError, match="task='toy'.*task='other'"):
        policy.fit(toy.demonstrations(toy.other), seed=0)


def test_losses_are_per_window_and_repeat_with_their_generator(policy: ChunkPolicy, toy: Any) -> None:
    losses = [policy.loss(toy.batch(), torch.Generator().manual_seed(3))[0] for _ in range(2)]
    assert losses[0].shape == (8,)
    assert losses[0].isfinite().all()
    assert torch.equal(*losses)


def test_every_parameter_learns(policy: ChunkPolicy, toy: Any) -> None:
    loss, _ = policy.loss(toy.batch(), torch.Generator().manual_seed(3))
    loss.mean().backward()
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_acting_leaves_no_gradient(policy: ChunkPolicy, toy: Any) -> None:
    policy.act(toy.windows(), toy.rngs())
    assert all(p.grad is None for p in policy.parameters())


def test_fitting_normalizes_actions_and_observations(toy: Any) -> None:
    border, data = toy.border(octaves=0), toy.demonstrations()
    border.fit(data)
    for values, encoded in (
        (data.action, border.normalized(torch.from_numpy(data.action)[:, None])),
        (data.observation, border.condition(torch.from_numpy(data.observation)[:, None])),
    ):
        assert encoded.mean((0, 1)).abs().max() < 1e-4
        assert (encoded.std((0, 1)) - 1).abs().max() < 0.02, values.std(0)


def test_physical_units_come_back(toy: Any) -> None:
    border = toy.border()
    border.fit(toy.demonstrations())
    action = toy.batch().action
    torch.testing.assert_close(border.physical(border.normalized(action)), action)


def test_shapes_follow_the_specification(toy: Any) -> None:
    border = toy.border(horizon=7, window=3, octaves=1)
    assert border.sample_shape == (7, 2)
    assert border.cond_shape == (3, 9)


@pytest.mark.parametrize("name", ["observation_horizon", "prediction_horizon"])
@pytest.mark.parametrize("value", [0, -1])
def test_empty_horizons_are_refused(toy: Any, name: str, value: int) -> None:
    horizons = {"observation_horizon": 2, "prediction_horizon": 4, name: value}
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
        Border(spec=toy.spec, encoder=partial(StateEncoder, octaves=0), **horizons)


def test_one_task_is_itself(toy: Any) -> None:
    check_same_task(toy.spec, toy.spec)
    with pytest.raises(ValueError, match="other"):
        check_same_task(toy.spec, toy.other)
