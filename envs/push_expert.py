"""Scripted demonstrator of `push`: round the cube at a distance until behind it, then push.

    e = rod - cube,  u = unit vector to the target,  lateral = e - (e.u) u
    behind the cube:  action = v(distance to the target) (1 - (|lateral|/w)^2)+ u - gain lateral
    else:             towards  cube - r u,  sliding round circles of radius r about both cubes

The action is a function of what is seen, of the episode's own radius and pace, and of which cube's turn it
is; so the expert finds back from wherever noise takes it. A cube's turn ends at `PLACED_M` from its target
and comes again when it is farther than `LOST_M`. Nothing random is drawn after the start.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from stillhand.datasets.schema import Array
from stillhand.envs.push import TARGETS_M, decode_mode

RADIUS_M = (0.066, 0.076)  # of the way round a cube; a cube's corner and the rod need 0.041
PACE = (0.85, 1.15)  # factor of both speeds
TRAVEL_M = 0.014  # per control step, away from cubes
PUSH_M = (0.005, 0.012)  # per control step, at the target and far from it
SLOW_DOWN = 0.15  # speed per metre to the target
BEHIND_M = 0.018  # lateral distance up to which the rod is behind a cube
GAIN = 0.4  # of the lateral correction, and of the one back onto a circle
CORRECTION_M = 0.008  # most of either, per control step
PLACED_M = 0.03
LOST_M = 0.045


class PushExpert:
    """Demonstrates one requested mode per episode; all episodes at once, one call per control step.

    Args:
        modes: Requested mode 0..3 of each episode.
        seeds: One per episode, for radius and pace.
    """

    def __init__(self, modes: Sequence[int], seeds: Sequence[int]) -> None:
        if len(modes) != len(seeds) or not len(modes):
            raise ValueError(f"need one seed per mode and at least one, got {len(modes)} and {len(seeds)}")
        rngs = [np.random.default_rng(np.random.SeedSequence(s, spawn_key=(1,))) for s in seeds]
        self._radius, self._pace = (
            np.array([rng.uniform(*bounds) for rng in rngs]) for bounds in (RADIUS_M, PACE)
        )
        first, crossed = decode_mode(np.asarray(modes, dtype=np.int64)).T
        self._first = first
        own = np.arange(2) ^ crossed[:, None]  # target of cubes 0 and 1
        self._target = np.array(TARGETS_M)[own]
        self._placed = np.zeros((len(rngs), 2), dtype=bool)

    def act(self, observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """Action (metres) for each episode's observation."""
        if len(observation) != len(self._first):
            raise ValueError(f"need {len(self._first)} observations, got {len(observation)}")
        seen = observation.astype(np.float64)
        rod, cubes = seen[:, 2:4], seen[:, 4:].reshape(-1, 2, 6)[..., :2]
        every, turn = np.arange(len(seen)), self._turn(cubes)
        to_target = self._target[every, turn] - cubes[every, turn]
        distance = np.linalg.norm(to_target, axis=1)
        ahead = to_target / np.maximum(distance, 1e-9)[:, None]
        away = rod - cubes[every, turn]
        along = (away * ahead).sum(axis=1)
        lateral = away - along[:, None] * ahead
        behind = (along < 0) & (np.linalg.norm(lateral, axis=1) < BEHIND_M)
        near = np.linalg.norm(away, axis=1) < self._radius + CORRECTION_M
        goal = cubes[every, turn] - self._radius[:, None] * ahead
        push = self._push(ahead, lateral, distance)
        action = np.where((behind & near)[:, None], push, self._approach(rod, cubes, goal))
        return action.astype(np.float32)

    def _turn(self, cubes: Float[Array, "n 2 2"]) -> Int[Array, " n"]:
        """The first cube until it is placed, then the other one."""
        distance = np.linalg.norm(cubes - self._target, axis=-1)
        self._placed = (distance < PLACED_M) | (self._placed & (distance < LOST_M))
        turn: Array = np.where(self._placed[np.arange(len(cubes)), self._first], 1 - self._first, self._first)
        return turn

    def _push(
        self, ahead: Float[Array, "n 2"], lateral: Float[Array, "n 2"], distance: Float[Array, " n"]
    ) -> Float[Array, "n 2"]:
        speed = self._pace * np.clip(SLOW_DOWN * distance, *PUSH_M)
        off = np.linalg.norm(lateral, axis=1) / BEHIND_M
        speed = speed * np.maximum(1 - off**2, 0)
        push: Array = speed[:, None] * ahead - _at_most(GAIN * lateral, CORRECTION_M)
        return push

    def _approach(
        self, rod: Float[Array, "n 2"], cubes: Float[Array, "n 2 2"], goal: Float[Array, "n 2"]
    ) -> Float[Array, "n 2"]:
        """Straight to the goal, but round the cubes."""
        move = _at_most(goal - rod, self._pace[:, None] * TRAVEL_M)
        for cube in np.moveaxis(cubes, 1, 0):
            move = self._round(move, rod - cube, goal - cube)
        return move

    def _round(
        self, move: Float[Array, "n 2"], away: Float[Array, "n 2"], goal: Float[Array, "n 2"]
    ) -> Float[Array, "n 2"]:
        """Where a move would enter a cube's circle, follow the circle on the goal's side instead."""
        distance = np.linalg.norm(away, axis=1)
        outward = away / np.maximum(distance, 1e-9)[:, None]
        entering = np.linalg.norm(away + move, axis=1) < self._radius
        side = np.where(outward[:, 0] * goal[:, 1] < outward[:, 1] * goal[:, 0], -1.0, 1.0)
        tangent = side[:, None] * np.stack([-outward[:, 1], outward[:, 0]], axis=1)
        pace = np.linalg.norm(move, axis=1)
        back = np.clip(GAIN * (self._radius - distance), -CORRECTION_M, CORRECTION_M)
        around = pace[:, None] * tangent + back[:, None] * outward
        return np.where(entering[:, None], around, move)


def _at_most(vector: Float[Array, "n 2"], limit: Float[Array, "n 1"] | float) -> Float[Array, "n 2"]:
    length = np.linalg.norm(vector, axis=1, keepdims=True)
    shortened: Array = vector * (limit / np.maximum(length, limit))
    return shortened
