"""Push-T: a round pusher brings a T-shaped block onto its picture; simulated by the package gym-pusht.

    score = max over time of clip(coverage / 0.95, 0, 1)      success: coverage > 0.95 at some time

Coverage is the share of the target's area that the block covers. The literature reports the score
(Chi et al. 2023, arXiv 2303.04137); success is the environment's own, stricter criterion, at which an
episode ends: of the 206 human demonstrations 7 reach it, and their mean score is .947.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from stillhand.datasets.schema import Array, Spec
from stillhand.envs.base import Shoot, Step
from stillhand.envs.gym_episodes import GymEnv, GymEpisodes, Rules, Start, optional, seeded

CONTROL_HZ = 10.0
HORIZON = 300
# Points of the block in its own frame, pixels. Fitted to state and keypoints of the human data, which they
# reproduce to 2e-5 px in the median; 58 of the 25,650 rows there differ by .1 to 2.1 px.
KEYPOINTS_PX = np.array(
    [
        (9.26979, 90.04097),
        (-60.98347, -1.18673),
        (60.91276, -1.39336),
        (-0.27050, 25.54363),
        (-14.06493, 122.81585),
        (39.00274, 32.85740),
        (-39.96641, 32.72966),
        (-16.82434, 62.86318),
        (23.54146, -1.70029),
    ]
)


def keypoints(state: Float[Array, "*n 5"]) -> Float[Array, "*n 9 2"]:
    """The nine points of the block (pixels) at states of pusher x, y, block x, y (pixels) and angle (rad)."""
    cos, sin = np.cos(state[..., 4]), np.sin(state[..., 4])
    turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
    points: Array = np.einsum("...ij,kj->...ki", turn, KEYPOINTS_PX) + state[..., None, 2:4]
    return points


class PushT:
    """n episodes of the task in one process; implements `stillhand.envs.base.FilmedEnv`.

    Action (2): the pusher's target position, absolute, pixels; the table is the square [0, 512]. A target
    beyond it is followed like any other, as by the environment itself; a non-finite one is an error. A
    seed's start is the environment's own: positions and angle uniform, then the block shifted by the angle.
    Episodes are independent: each one's trajectory is bit-identical whatever runs beside it.

    Args:
        observation: "state" (5): pusher x, y, block x, y, pixels, block angle, rad in [0, 2 pi).
            "keypoints" (20): x, y of nine points of the block, then pusher x, y, pixels.

    Raises:
        ValueError: For another observation, or if gym-pusht is not installed.
    """

    capacity = None
    horizon = HORIZON
    modes = 1

    def __init__(self, observation: Literal["state", "keypoints"] = "state") -> None:
        if observation not in (observations := {"state": _state, "keypoints": _points}):
            raise ValueError(f"observation must be one of {[*observations]}, got {observation!r}")
        make = _simulator()
        rules = Rules(
            observations[observation], lambda info, _: bool(info["is_success"]), True, horizon=HORIZON
        )
        self._episodes = GymEpisodes(make, rules, action_dim=2, room=self.capacity)
        self._observation_dim = 5 if observation == "state" else 20
        self.position_columns = slice(0, 2) if observation == "state" else slice(18, 20)  # the pusher

    @property
    def spec(self) -> Spec:
        """Dimensions and control rate."""
        return Spec("pusht", self._observation_dim, 2, CONTROL_HZ)

    def reset(self, seeds: Sequence[int]) -> Float[Array, "n o"]:
        """Start len(seeds) episodes; an episode's start depends on its own seed alone."""
        return self._episodes.start([seeded(seed) for seed in seeds])

    def restore(self, states: Float[Array, "n 5"]) -> Float[Array, "n o"]:
        """Start one episode at rest at each of these states, as `keypoints` takes them."""
        if not np.isfinite(states).all():
            raise ValueError(f"need finite states, got {states.tolist()}")
        return self._episodes.start([_placed(state) for state in states.astype(np.float64)])

    def step(self, action: Float[Array, "n a"]) -> Step:
        """Advance every running episode by 0.1 s; finished episodes stay as they are."""
        return self._episodes.step(action)

    def mode(self) -> Int[Array, " n"]:
        """Always 0, of 1, at success; -1 before."""
        return np.where(self._episodes.success(), 0, -1)

    def score(self) -> Float[Array, " n"]:
        """Largest clip(coverage / 0.95, 0, 1) so far."""
        return self._episodes.best()

    @contextlib.contextmanager
    def camera(self, width: int, height: int) -> Iterator[Shoot]:
        """The environment's own drawings, see `stillhand.envs.base.FilmedEnv`."""
        yield lambda episodes: np.stack(
            [_drawn(simulator, width, height) for simulator in self._episodes.playing(episodes)]
        )

    def displacement_m(self, action: Float[Array, "t a"]) -> None:
        """Lengths are pixels."""
        return None

    def hold(self, last: Float[Array, "n a"], observation: Float[Array, "n o"]) -> Float[Array, "n a"]:
        """The last target; before the first one, where the pusher is."""
        return np.where(np.isnan(last), observation[:, self.position_columns], last)


def _simulator() -> type[Any]:
    with contextlib.redirect_stdout(io.StringIO()):  # pygame greets whoever imports it
        simulator: type[Any] = optional("gym_pusht.envs.pusht", "pusht").PushTEnv
    return simulator


def _drawn(simulator: Any, width: int, height: int) -> UInt8[Array, "y x 3"]:
    simulator.observation_width, simulator.observation_height = width, height
    drawn: Array = simulator._render()  # `render` adds a cross at an action, at first the last episode's
    return drawn


def _state(raw: Float[Array, " 5"]) -> Float[Array, " 5"]:
    return raw


def _points(raw: Float[Array, " 5"]) -> Float[Array, " 20"]:
    return np.concatenate([keypoints(raw).ravel(), raw[:2]])


def _placed(state: Float[Array, " 5"]) -> Start:
    """Angle before position: turning a block moves its origin, since it turns about its centre of mass."""

    def start(env: GymEnv) -> Float[Array, " 5"]:
        env.reset(seed=0)
        simulator: Any = env
        pusher, block = simulator.agent, simulator.block
        block.angle = float(state[4])
        block.position = state[2:4].tolist()
        pusher.position = state[:2].tolist()
        for body in (block, pusher):
            body.velocity, body.angular_velocity = (0.0, 0.0), 0.0
            simulator.space.reindex_shapes_for_body(body)
        seen: Array = simulator.get_obs()
        return seen

    return start
