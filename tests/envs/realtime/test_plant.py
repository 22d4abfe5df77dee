"""A plant on the wall clock, with a controller that knows one way. Bounds are those of a busy machine."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stillhand.datasets.schema import Camera, Spec
from stillhand.envs.avoiding import Avoiding
from stillhand.envs.ledger import Ledger
from stillhand.envs.push import Push
from stillhand.envs.realtime.mailbox import Layout
from stillhand.envs.realtime.plant import Plant, Settings
from stillhand.envs.realtime.strategies import Asynchronous, Strategy, Synchronous
from stillhand.envs.realtime.supervisor import Supervisor

LEDGER = Ledger.grouped(starts=2, rollouts=1, seed=0)


def played(command: list[str], strategy: Strategy, settings: Settings, **more: Any) -> dict[str, Any]:
    with tempfile.TemporaryFile() as log:
        supervisor = Supervisor(command, Layout(2, 4, 8, 2), log, **more)
        try:
            supervisor.wait_ready(60.0)
            return Plant(Avoiding(), strategy, supervisor, LEDGER, settings, 2, 8).run().summary()
        finally:
            supervisor.close()


def test_the_clock_is_kept_and_everything_is_counted(controller: Callable[..., list[str]]) -> None:
    found = played(controller(), Asynchronous(2), Settings(control_hz=50.0, seconds=2.0))
    assert found["steps"] == 100
    assert found["simulated_seconds_per_second"] == pytest.approx(50 * 0.035)
    assert 1 <= found["plans"] <= 100 and found["missed"] < 100
    assert found["latency_ms"]["p50"] > 0 and found["age_ms"]["max"] >= found["age_ms"]["p50"] > 0
    assert found["jitter_ms"]["p50"] >= 0
    assert found["restarts"] == []
    assert len(found["memory"]["rows"]) == 2 and found["memory"]["rows"][0][2] > 1
    # straight up at 5 mm per step meets an obstacle or the goal: episodes end, and the clock goes on
    assert found["episodes"]["n"] >= 1


def test_injected_delays_are_measured_and_make_a_synchronous_plant_hold(
    controller: Callable[..., list[str]],
) -> None:
    settings = Settings(control_hz=50.0, seconds=1.0, delay_ms=100.0)
    found = played(controller(), Synchronous(2), settings)
    assert found["latency_ms"]["p50"] >= 100
    assert found["missed"] >= found["plans"] * 4  # of five periods at the least four are over


def test_a_killed_controller_costs_held_steps_and_then_answers(controller: Callable[..., list[str]]) -> None:
    found = played(controller(), Asynchronous(1), Settings(50.0, 5.0, kill_at_s=[0.5]))
    (restart,) = found["restarts"]
    assert restart["down_s"] > 0 and restart["held_steps"] <= restart["down_steps"]
    assert restart["held_steps"] > 0
    assert restart["first_ms"] is not None and restart["noticed_ms"] >= 0
    assert found["memory"]["growth_mb_per_hour"]["controller"] is None


def test_a_standby_plans_on_where_a_restart_holds(controller: Callable[..., list[str]]) -> None:
    """To load takes half a second and more, a chunk lasts eight steps of 20 ms."""
    slow = controller(before="time.sleep(0.5)")
    settings = Settings(50.0, 2.0, kill_at_s=[0.5])
    (alone,), (covered,) = (
        played(slow, Asynchronous(1), settings, standby=standby)["restarts"] for standby in (False, True)
    )
    assert alone["held_steps"] >= 15 and alone["uncovered_s"] is None
    assert covered["down_s"] < 0.1 and covered["held_steps"] <= 5 and covered["resumed_ms"] > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("control_hz", 0.0),
        ("seconds", np.inf),
        ("delay_ms", -1.0),
        ("patience_ms", 60.0),
        ("kill_at_s", [3.0]),
    ],
)
def test_refuses_clocks_that_cannot_be(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        replace(Settings(control_hz=20.0, seconds=2.0), **{name: value})


class Seen(Avoiding):
    """With a camera."""

    @property
    def spec(self) -> Spec:
        return replace(super().spec, cameras=(Camera("top", 8, 8),))


def test_refuses_tasks_that_are_seen(controller: Callable[..., list[str]]) -> None:
    with tempfile.TemporaryFile() as log:
        supervisor = Supervisor(controller(), Layout(2, 4, 8, 2), log)
        with pytest.raises(ValueError, match="numbers alone"):
            Plant(Seen(), Asynchronous(1), supervisor, LEDGER, Settings(20.0, 1.0), 2, 8)
        supervisor.close()


@pytest.mark.parametrize("env", [Avoiding(), Push()])
def test_a_late_command_moves_less_and_a_punctual_one_as_ever(env: Avoiding | Push) -> None:
    moved = []
    for late in (None, 0, 10, env.physics_steps - 1):
        env.reset([3])
        action = np.array([[0.0, 0.008]])
        step = env.step(action) if late is None else env.step(action, late)
        moved.append(step.observation[0, :4].astype(float))
    np.testing.assert_array_equal(moved[0], moved[1])
    np.testing.assert_array_equal(moved[0][:2], moved[3][:2])  # what is desired is the same in the end
    assert moved[1][3] > moved[2][3] > moved[3][3]
    with pytest.raises(ValueError, match="need 0 <= late"):
        env.step(action, env.physics_steps)
