"""The machine that runs an expert's phases, on a hand that goes where it is told to."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from stillhand.envs.manipulation import (
    DRAWS,
    ROTATION_STEP_RAD,
    Machine,
    Phase,
    Plan,
    Pose,
    Situation,
    command,
    reached,
    run_each,
    turn_between,
    upright,
)

STEP_M = 0.05
OPEN, CLOSED = -1.0, 1.0
A, B, C = np.array([0.0, 0.0, 0.3]), np.array([0.2, 0.0, 0.3]), np.array([0.2, 0.1, 0.1])


def seen(position: np.ndarray, turn: Rotation | None = None, held: float = 1.0) -> np.ndarray:
    """Hand's position, its quaternion, opening, and one number that says whether something is held."""
    quaternion = ((turn or Rotation.identity()) * Rotation.from_quat([1, 0, 0, 0])).as_quat()
    return np.concatenate([position, quaternion, [0.08, held]]).astype(np.float32)


def situation(observation: np.ndarray) -> Situation:
    now = observation.astype(np.float64)
    return Situation(now, now, now, 0, np.zeros(DRAWS))


def at(position: np.ndarray, yaw: float = 0.0) -> Callable[[Situation], Pose]:
    return lambda situation: upright(position, yaw)


def holding(situation: Situation) -> bool:
    return bool(situation.now[-1] > 0)


class Hand:
    """Obeys a part of every command, in position and attitude."""

    def __init__(self, position: np.ndarray, turn: Rotation | None = None) -> None:
        self.position, self.turn, self.held = position.copy(), turn or Rotation.identity(), 1.0

    def obey(self, action: np.ndarray) -> None:
        assert np.abs(action).max() <= 1
        self.position += 0.3 * STEP_M * action[:3]
        self.turn = Rotation.from_rotvec(0.3 * ROTATION_STEP_RAD * action[3:6]) * self.turn

    def see(self) -> np.ndarray:
        return seen(self.position, self.turn, self.held)


def follow(machine: Machine, hand: Hand, steps: int) -> list[float]:
    """What the fingers do while the hand obeys."""
    fingers = []
    for _ in range(steps):
        action = machine.act(hand.see())
        fingers.append(float(action[6]))
        hand.obey(action)
    return fingers


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(1.5, 0.0, 0.0), (-1.2, 0.5, -0.3), (0.3, -0.5, 0.5)])
def test_a_hand_that_obeys_reaches_position_and_attitude(yaw: float, pitch: float, roll: float) -> None:
    hand = Hand(A, Rotation.from_euler("xyz", [roll, pitch, 0.0]))
    phase = Phase(at(C, yaw), closed=False, within=(0.002, 0.002, 0.01))
    follow(Machine(Plan((phase,)), 0, 0), hand, 120)
    assert reached(situation(hand.see()), phase)
    np.testing.assert_allclose(hand.position, C, atol=0.002)
    np.testing.assert_allclose((Rotation.from_euler("z", yaw).inv() * hand.turn).magnitude(), 0, atol=0.02)


def test_commands_are_proportional_near_the_target_and_saturate_far_away() -> None:
    near = command(situation(seen(A)), upright(A + np.array([0.01, 0, 0]), 0.1), closed=True)
    np.testing.assert_allclose(near, [0.6, 0, 0, 0, 0, np.sin(0.1) / ROTATION_STEP_RAD, CLOSED], atol=1e-5)
    far = command(situation(seen(A)), upright(A + np.array([1, -1, 0]), 1.5), closed=False)
    np.testing.assert_allclose(far, [1, -1, 0, 0, 0, 1, OPEN], atol=1e-5)


def test_phases_follow_each_other_and_the_last_one_stays() -> None:
    plan = Plan((Phase(at(B), closed=False), Phase(at(C), closed=True), Phase(at(A), closed=False)))
    hand = Hand(A)
    fingers = follow(Machine(plan, 0, 0), hand, 100)
    changes = [b for a, b in pairwise(fingers) if a != b]
    assert fingers[0] == OPEN and changes == [CLOSED, OPEN]
    np.testing.assert_allclose(hand.position, A, atol=0.005)


def test_a_phase_takes_its_least_number_of_steps() -> None:
    wait = Phase(at(A), closed=True, within=(1.0, 1.0, 7.0), least=9)
    fingers = follow(Machine(Plan((wait, Phase(at(A), closed=False))), 0, 0), Hand(A), 15)
    assert fingers == [CLOSED] * 9 + [OPEN] * 6


def test_a_phase_waits_for_its_condition() -> None:
    machine = Machine(
        Plan((Phase(at(A), closed=True, until=lambda s: not holding(s)), Phase(at(A), closed=False))), 0, 0
    )
    hand = Hand(A)
    assert follow(machine, hand, 5) == [CLOSED] * 5
    hand.held = 0.0
    assert follow(machine, hand, 2) == [OPEN] * 2


@pytest.mark.parametrize(("firm", "then"), [(True, OPEN), (False, CLOSED)])
def test_a_late_phase_has_failed_or_just_ends(firm: bool, then: float) -> None:
    never = Phase(at(A + 1), closed=False, limit=4, firm=firm)
    plan = Plan((Phase(at(A), closed=False), never, Phase(at(A), closed=True)))
    assert follow(Machine(plan, 0, 0), Hand(A), 6)[5] == then


def test_the_last_phase_may_fail_too() -> None:
    plan = Plan((Phase(at(A), closed=False), Phase(at(A + 1), closed=True, limit=3)))
    assert follow(Machine(plan, 0, 0), Hand(A), 4) == [CLOSED, CLOSED, CLOSED, OPEN]


def test_what_is_lost_is_fetched_again() -> None:
    carry = Phase(at(C), closed=True, holds=holding, limit=100)
    plan = Plan((Phase(at(B), closed=True), Phase(at(B), closed=False), carry), again=1)
    hand = Hand(B)
    machine = Machine(plan, 0, 0)
    follow(machine, hand, 3)
    assert follow(machine, hand, 1) == [CLOSED]
    hand.held = 0.0
    assert follow(machine, hand, 1) == [OPEN]  # the plan's phase `again`, not its first one
    hand.held = 1.0
    follow(machine, hand, 60)
    np.testing.assert_allclose(hand.position, C, atol=0.005)


def test_draws_belong_to_the_seed() -> None:
    drawn: list[np.ndarray] = []

    def note(situation: Situation) -> Pose:
        drawn.append(situation.draws)
        return upright(A, 0.0)

    for seed in (3, 3, 4):
        Machine(Plan((Phase(note, closed=False),)), 0, seed).act(seen(A))
    first, same, other = drawn
    np.testing.assert_array_equal(first, same)
    assert (first != other).all() and (np.abs(first) <= 1).all()


def test_every_episode_has_its_own_machine() -> None:
    machines = [Machine(Plan((Phase(at(goal), closed=False),)), 0, 0) for goal in (B, C)]
    both = run_each(machines, np.stack([seen(A), seen(A)]))
    np.testing.assert_array_equal(both[1], Machine(Plan((Phase(at(C), closed=False),)), 0, 0).act(seen(A)))
    with pytest.raises(ValueError, match="need 2 observations, got 1"):
        run_each(machines, seen(A)[None])


@pytest.mark.parametrize("angle", [0.0, 0.4, 3.0])
def test_the_turn_between_two_frames(angle: float) -> None:
    one, other = (upright(A, yaw).axes for yaw in (0.3, 0.3 - angle))
    assert turn_between(one, other) == pytest.approx(angle, abs=1e-7)
