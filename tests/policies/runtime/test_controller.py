"""The robot's loop: the same windows, plans and draws as a rollout's receding horizon."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.envs.receding import RecedingHorizon
from stillhand.policies.exported import ExportedPolicy
from stillhand.policies.runtime.controller import Controller

OBSERVED = np.random.default_rng(3).normal(size=(9, 3)).astype(np.float32)
GRAPHS = {"adding": "normal", "adding_one": "uniform", "adding_all": "nothing"}
BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "jaxtyping", "beartype", "hydra", "mujoco", "scipy", "zarr"}:
            raise ImportError(f"{name} is not on this robot")
sys.meta_path.insert(0, Block())
"""


def played(controller: Controller, seed: int, observed: np.ndarray = OBSERVED) -> np.ndarray:
    controller.reset(seed)
    return np.stack([controller.act(row) for row in observed])


@pytest.mark.parametrize(("graph", "draws"), GRAPHS.items())
@pytest.mark.parametrize("action_horizon", [1, 2, 3, 4])
def test_plays_as_a_rollout_does(
    made: Any, write: Callable[..., Path], graph: str, draws: str, action_horizon: int
) -> None:
    folder = write(getattr(made, graph)(), draws=draws)
    rollout = RecedingHorizon(ExportedPolicy(folder), action_horizon, 1, [0], [np.random.default_rng(5)])
    expected = [rollout.act(row[None], np.ones(1, dtype=bool))[0] for row in OBSERVED]
    controller = Controller(folder, action_horizon)
    np.testing.assert_array_equal(played(controller, 5), np.stack(expected))
    np.testing.assert_array_equal(played(controller, 5), np.stack(expected))  # after a reset too
    assert controller.steps == len(OBSERVED)


def test_the_window_repeats_the_first_observation_and_then_moves(
    made: Any, write: Callable[..., Path]
) -> None:
    controller = Controller(write(made.adding_all(), draws="nothing"), action_horizon=2)
    actions = played(controller, 0)
    np.testing.assert_allclose(actions[::2], 0 * actions[::2])
    np.testing.assert_allclose(actions[1], 2 * OBSERVED[0], rtol=1e-6)
    for t in (2, 4, 6):
        np.testing.assert_allclose(actions[t + 1], OBSERVED[t - 1] + OBSERVED[t], rtol=1e-6)


def test_takes_the_cards_horizon_and_refuses_a_longer_one(made: Any, write: Callable[..., Path]) -> None:
    folder = write(made.adding(), action_horizon=3)
    assert Controller(folder).action_horizon == 3
    for horizon in (0, 5):
        with pytest.raises(ValueError, match=f"need 1 <= action_horizon <= 4, got {horizon}"):
            Controller(folder, horizon)


def test_an_action_is_the_callers_own(made: Any, write: Callable[..., Path]) -> None:
    controller = Controller(write(made.adding()))
    first = controller.act(OBSERVED[0])
    kept = first.copy()
    first += 1
    controller.act(OBSERVED[0])
    controller.act(OBSERVED[1])
    np.testing.assert_array_equal(first, kept + 1)


@pytest.mark.parametrize(
    ("observation", "says"),
    [
        (np.zeros(3), "observation is float64, expected float32"),
        (np.zeros((1, 3), np.float32), r"observation has shape \(1, 3\), expected \(3,\)"),
        (
            np.array([0, np.nan, 0], np.float32),
            r"observation\[1\] is nan at step 0, expected a finite number",
        ),
        (np.array([0, 0, -np.inf], np.float32), r"observation\[2\] is -inf at step 0"),
    ],
)
def test_a_bad_observation_is_named_and_changes_nothing(
    made: Any, write: Callable[..., Path], observation: Any, says: str
) -> None:
    controller = Controller(write(made.adding()))
    with pytest.raises(ValueError, match=says):
        controller.act(observation)
    assert controller.steps == 0


def test_a_plan_that_is_not_finite_never_leaves(made: Any, write: Callable[..., Path]) -> None:
    controller = Controller(write(made.adding_all(), draws="nothing"))
    with pytest.raises(ValueError, match="planned a non-finite action at step 0"):
        controller.act(np.full(3, 3e38, np.float32))


def test_runs_without_torch(made: Any, write: Callable[..., Path]) -> None:
    folder = write(made.adding())
    code = (
        "import numpy as np\nfrom stillhand.policies.runtime.controller import Controller\n"
        f"controller = Controller({str(folder)!r}, seed=5)\n"
        "rows = np.frombuffer(sys.stdin.buffer.read(), np.float32).reshape(-1, 3)\n"
        "sys.stdout.buffer.write(np.stack([controller.act(row) for row in rows]).tobytes())\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", BLOCKED + code], input=OBSERVED.tobytes(), capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()
    actions = np.frombuffer(done.stdout, np.float32).reshape(-1, 3)
    np.testing.assert_array_equal(actions, played(Controller(folder), 5))
