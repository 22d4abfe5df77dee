"""A policy on a CUDA device whose plan is one CUDA graph, from windows of observations to physical actions.

For robots whose computer has a GPU, and for policies too large for a CPU: a student of one call is otherwise
slower there than exported on a CPU, because every small kernel is launched on its own.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stillhand.core.capture import Captured
from stillhand.datasets.schema import NO_FRAMES, Array, Chunk, Frames
from stillhand.policies.base import ChunkPolicy
from stillhand.policies.tokens import TokenPolicy


class CapturedPolicy:
    """Plays a policy by replaying its plan; randomness is drawn on the CPU as ever, so plans agree.

    Its graph holds the weights where they lie: do not move the policy afterwards.

    Args:
        policy: On a CUDA device, in evaluation mode.
        rows: Episodes per call; every call has as many.

    Raises:
        ValueError: rows < 1, a policy in training mode or on another device, or one whose work depends on
            what it draws (tokens).
    """

    def __init__(self, policy: ChunkPolicy, rows: int) -> None:
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        if policy.training:
            raise ValueError("this policy is in training mode, expected evaluation mode: call eval() first")
        if isinstance(policy, TokenPolicy):
            raise ValueError("a TokenPolicy fills as many places per step as it draws: no graph holds that")
        self.policy, self.rows = policy, rows
        self._plan = Captured(self._planned, self._blank())

    @property
    def observation_horizon(self) -> int:
        """Observations in a window."""
        return self.policy.observation_horizon

    @property
    def prediction_horizon(self) -> int:
        """Actions in a chunk."""
        return self.policy.prediction_horizon

    def act(
        self,
        observation: Float[Array, "n t o"],
        rngs: Sequence[np.random.Generator],
        frames: Frames = NO_FRAMES,
    ) -> Chunk:
        """One chunk per episode, as `ChunkPolicy.act`.

        Raises:
            ValueError: Windows of another shape, or another number of them than captured.
        """
        self.policy.check_windows(observation, frames, len(rngs))
        if len(rngs) != self.rows:
            raise ValueError(f"this graph plans for {self.rows} episodes at once, got {len(rngs)}")
        noise = np.stack([self.policy.draw(rng) for rng in rngs])
        cameras = self.policy.border.spec.cameras
        given = (observation, noise, *(frames[camera.name] for camera in cameras))
        actions, info = self._plan(*map(torch.from_numpy, given))
        return Chunk(actions.cpu().numpy(), {name: value.cpu().numpy() for name, value in info.items()})

    def _planned(self, observation: Tensor, noise: Tensor, *seen: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        names = [camera.name for camera in self.policy.border.spec.cameras]
        told = self.policy.told(observation, dict(zip(names, seen, strict=True)))
        return self.policy.plan(told, noise)

    def _blank(self) -> list[Tensor]:
        """Arguments of `_planned` that are all zero, but for the noise."""
        spec, ahead = self.policy.border.spec, (self.rows, self.observation_horizon)
        noise = np.stack([self.policy.draw(np.random.default_rng(row)) for row in range(self.rows)])
        numbers = [torch.zeros(*ahead, spec.observation_dim), torch.from_numpy(noise)]
        pictures = [torch.zeros(*ahead, *camera.shape, dtype=torch.uint8) for camera in spec.cameras]
        return [x.to(self.policy.device) for x in (*numbers, *pictures)]
