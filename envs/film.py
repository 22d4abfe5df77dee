"""Rollouts that are looked at: the same episodes as `rollout` plays, and pictures of each.

One picture before the first action, then one after every k-th control step for as long as an episode goes on;
k is such that a film in real time has at most 25 a second.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, UInt8

from stillhand.datasets.schema import Array
from stillhand.envs.base import FilmedEnv, Policy, Shoot
from stillhand.envs.ledger import Ledger, Row
from stillhand.envs.results import EpisodeResult
from stillhand.envs.rollout import rollout

MOST_FPS = 25.0


@dataclass(frozen=True)
class Filmed:
    """An episode and its pictures, the first one before any action."""

    result: EpisodeResult
    frames: UInt8[Array, "t y x 3"] = field(compare=False, repr=False)


class _Reel:
    """Pictures by episode, as a `Watch` of a rollout."""

    def __init__(self, shoot: Shoot, every: int) -> None:
        self._shoot, self._every = shoot, every
        self._looks: dict[int, int] = {}
        self.pictures: dict[int, list[UInt8[Array, "y x 3"]]] = {}

    def look(self, rows: Sequence[Row], moved: Bool[Array, " n"]) -> None:
        """Take pictures of the episodes whose turn it is."""
        due = []
        for i in np.flatnonzero(moved):
            looks = self._looks.get(rows[i].episode, 0)
            self._looks[rows[i].episode] = looks + 1
            if looks % self._every == 0:
                due.append(int(i))
        if due:
            for i, picture in zip(due, self._shoot(np.array(due)), strict=True):
                self.pictures.setdefault(rows[i].episode, []).append(picture)


def steps_per_frame(control_hz: float) -> int:
    """Control steps from one picture to the next."""
    return math.ceil(control_hz / MOST_FPS)


def film(
    env: FilmedEnv,
    policy: Policy,
    ledger: Ledger,
    action_horizon: int,
    batch_rows: int,
    size: tuple[int, int],
) -> list[Filmed]:
    """Play every row of the ledger once, as `rollout` does, and look on.

    Args:
        size: Width and height of a picture, pixels.

    Raises:
        ValueError: As `rollout`; or, as NoGraphics, if this machine cannot draw.
    """
    with env.camera(*size) as shoot:
        reel = _Reel(shoot, steps_per_frame(env.spec.control_hz))
        results = rollout(env, policy, ledger, action_horizon, batch_rows, watch=reel.look)
    return [Filmed(result, np.stack(reel.pictures[result.episode])) for result in results]
