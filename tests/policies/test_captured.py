"""Plans that read no values, and a captured policy in the place of a policy.

Without a GPU the capture itself is replaced by a call of the function; on one, the real thing is compared.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stillhand.core.capture import check_alike
from stillhand.envs.base import Policy
from stillhand.policies import captured
from stillhand.policies.base import ChunkPolicy
from stillhand.policies.captured import CapturedPolicy

ROWS = 5


class Called:
    """`Captured` without a graph: checks its arguments and calls."""

    def __init__(self, function: Callable[..., Any], examples: Sequence[Tensor]) -> None:
        self.function, self.examples = function, examples

    @torch.inference_mode()
    def __call__(self, *arguments: Tensor) -> Any:
        check_alike(arguments, self.examples)
        return self.function(*arguments)


def fixed_work(toy: Any) -> dict[str, ChunkPolicy]:
    return {name: policy for name, policy in toy.every_policy().items() if name != "tokens"}


@pytest.mark.parametrize("name", ["teacher", "regression", "mip", "mixture", "one_step", "without_noise"])
def test_plays_as_the_policy_does(name: str, toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "Captured", Called)
    policy = fixed_work(toy)[name]
    player = CapturedPolicy(policy, ROWS)
    assert isinstance(player, Policy)
    assert (player.observation_horizon, player.prediction_horizon) == (2, 4)
    found, expected = (one.act(toy.windows(), toy.rngs()) for one in (player, policy))
    np.testing.assert_array_equal(found.actions, expected.actions)
    assert found.info.keys() == expected.info.keys()
    assert all(np.array_equal(found.info[key], expected.info[key]) for key in found.info)


def test_no_plan_reads_a_value(toy: Any) -> None:
    """Tensors of the device meta have none, so whatever asks for one fails."""
    for policy in fixed_work(toy).values():
        moved = policy.to("meta")
        noise = torch.stack([torch.from_numpy(moved.draw(rng)) for rng in toy.rngs()]).to("meta")
        actions, _ = moved.plan(moved.told(torch.zeros(ROWS, 2, 3, device="meta"), {}), noise)
        assert actions.shape == (ROWS, 4, 2) and actions.is_meta
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.zeros(1, device="meta").item()


def test_refuses_what_a_graph_cannot_hold(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="a CUDA graph needs a CUDA device; argument 0 is on cpu"):
        CapturedPolicy(toy.student(), 1)
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        CapturedPolicy(toy.student(), 0)
    with pytest.raises(ValueError, match="training mode"):
        CapturedPolicy(toy.student().train(), 1)
    with pytest.raises(ValueError, match="TokenPolicy fills as many places"):
        CapturedPolicy(toy.tokens(), 1)
    monkeypatch.setattr(captured, "Captured", Called)
    player = CapturedPolicy(toy.student(), 2)
    with pytest.raises(ValueError, match="plans for 2 episodes at once, got 5"):
        player.act(toy.windows(), toy.rngs())
    with pytest.raises(ValueError, match=r"this policy takes \(2, 2, 3\)"):
        player.act(toy.windows(2)[:, :1], toy.rngs(2))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_graphs_plan_what_a_cpu_plans(toy: Any) -> None:
    for name, policy in fixed_work(toy).items():
        expected = policy.act(toy.windows(), toy.rngs()).actions
        moved = policy.to("cuda")
        for player in (moved, CapturedPolicy(moved, ROWS)):
            for _ in range(2):
                found = player.act(toy.windows(), toy.rngs()).actions
                np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3, err_msg=name)
