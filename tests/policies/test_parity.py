"""What the comparison counts, on planners that are wrong by a known amount."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from jaxtyping import config

from stillhand.policies import parity
from stillhand.policies.encoders import NOTHING_SEEN


class Shifted:
    """Plans as torch does, then adds `shift` to actions and to the experts' numbers of every second row."""

    def __init__(self, policy: Any, rows: int, shift: float, expert: int = 0) -> None:
        self.policy, self.rows, self.shift, self.expert = policy, rows, shift, expert
        border = policy.border
        self.observation = np.zeros((rows, border.observation_horizon, 3), np.float32)
        self.noise: Any = np.zeros((rows, *policy.draw(np.random.default_rng(0)).shape), np.float32)
        self.actions = np.zeros((rows, *border.sample_shape), np.float32)
        self.info: dict[str, Any] = {}

    @torch.inference_mode()
    def run(self) -> None:
        told = self.policy.told(torch.from_numpy(self.observation), NOTHING_SEEN)
        actions, info = self.policy.plan(told, torch.from_numpy(self.noise))
        self.actions = actions.numpy() + np.float32(self.shift)
        self.info = {name: value.numpy().copy() for name, value in info.items()}
        if "expert" in self.info:
            self.info["expert"][::2] += self.expert

    @torch.inference_mode()
    def denoise(self, sample: np.ndarray, sigma: float) -> np.ndarray:
        told = self.policy.told(torch.from_numpy(self.observation), NOTHING_SEEN)
        level = torch.full((self.rows,), sigma)
        own: np.ndarray = self.policy.denoiser(torch.from_numpy(sample), level, told).numpy()
        return own + np.float32(self.shift)


@pytest.fixture(scope="module", autouse=True)
def _unchecked() -> Iterator[None]:
    """The stand-in is no `Planner`, as the checks of types would notice."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def compared(toy: Any, policy: Any, **wrong: Any) -> dict[str, Any]:
    windows = parity.random_windows(policy.border, 20, seed=0)
    planner: Any = Shifted(policy, 4, **wrong)
    return parity.compare(policy, planner, windows, 0)


def test_nothing_wrong_is_zero(toy: Any) -> None:
    found = compared(toy, toy.student(), shift=0.0)
    assert found == {
        "inputs": 20, "max_abs": 0.0, "max_abs_in_std": 0.0, "mean_abs_in_std": 0.0, "other_expert": 0,
        "call_in_std": 0.0, "call_relative": 0.0,
    }  # fmt: skip


def test_a_shift_is_found_in_both_units(toy: Any) -> None:
    policy = toy.one_step()
    found = compared(toy, policy, shift=0.25)
    scale = policy.border.actions.scale.numpy()
    assert found["max_abs"] == pytest.approx(0.25, rel=1e-5)
    assert found["max_abs_in_std"] == pytest.approx(0.25 / scale.min(), rel=1e-4)
    assert found["mean_abs_in_std"] == pytest.approx((0.25 / scale).mean(), rel=1e-4)
    assert found["call_in_std"] == pytest.approx(found["max_abs_in_std"], rel=1e-6)
    assert 0 < found["call_relative"] <= found["call_in_std"]


def test_large_numbers_are_judged_by_their_size() -> None:
    error, own = np.array([1e-5, 2e-5, 0.5e-5], np.float32), np.array([0.5, -10.0, 1.0], np.float32)
    assert parity._largest(error, own) == pytest.approx((2e-5, 1e-5))
    assert parity._largest(error[:0], own[:0]) == (0.0, 0.0)


def test_rows_of_another_expert_are_counted_apart(toy: Any) -> None:
    found = compared(toy, toy.student(), shift=0.0, expert=1)
    assert (found["other_expert"], found["max_abs"]) == (10, 0.0)


def test_a_sampler_is_judged_by_its_calls(toy: Any) -> None:
    found = compared(toy, toy.teacher(), shift=0.125)
    assert found["call_in_std"] == pytest.approx(0.125, rel=1e-5)
    assert found["call_in_std"] != found["max_abs_in_std"]


def test_random_windows_have_the_demonstrated_mean_and_deviation(toy: Any) -> None:
    border = toy.student().border
    windows = parity.random_windows(border, 4000, seed=1)
    assert windows.shape == (4000, 2, 3) and windows.dtype == np.float32
    normalizer = border.encoder.normalizer
    z = (windows.reshape(-1, 3) - normalizer.shift.numpy()) / normalizer.scale.numpy()
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=0.05)
    np.testing.assert_array_equal(windows[:10], parity.random_windows(border, 4000, seed=1)[:10])


def test_demonstrated_windows_are_windows_of_the_data_and_repeat_when_few(toy: Any) -> None:
    border, data = toy.student().border, toy.demonstrations()
    windows = parity.demonstrated_windows(border, data, 200, seed=0)
    assert windows.shape == (200, 2, 3)
    rows = {row.tobytes() for row in data.observation}
    assert {row.tobytes() for row in windows.reshape(-1, 3)} == rows


@pytest.mark.parametrize("kind", ["one_step", "teacher"])
def test_a_graph_that_says_nothing_is_not_equal(toy: Any, kind: str) -> None:
    found = compared(toy, getattr(toy, kind)(), shift=float("nan"))
    assert np.isnan(found["call_relative"]) and np.isnan(found["call_in_std"])
