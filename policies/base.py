"""What all policies share: the border between physical units and networks, and how a plan becomes an act.

Windows in, conditions out; normalized chunks in, actions out.
The normalizers live here, as buffers, so they travel inside every checkpoint. Nothing downstream of
`condition` sees metres, and nothing upstream of `physical` sees normalized numbers.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.shapes import Info
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.normalize import Normalizer
from stillhand.datasets.schema import Array, Batch, Chunk, Spec
from stillhand.policies.encoders import StateEncoder


class Border(nn.Module):
    """What every policy knows of its task.

    Args:
        spec: Dimensions and control rate.
        observation_horizon: Observations in a window, the current one included.
        prediction_horizon: Actions in a chunk.
        encoder: Called with `spec`; turns windows of observations into condition tokens.

    Raises:
        ValueError: If a horizon is below 1.
    """

    def __init__(
        self,
        *,
        spec: Spec,
        observation_horizon: int,
        prediction_horizon: int,
        encoder: Callable[..., StateEncoder],
    ) -> None:
        super().__init__()
        for name, value in (
            ("observation_horizon", observation_horizon),
            ("prediction_horizon", prediction_horizon),
        ):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.spec = spec
        self.observation_horizon, self.prediction_horizon = observation_horizon, prediction_horizon
        self.encoder = encoder(spec=spec)
        self.actions = Normalizer(spec.action_dim)

    @property
    def sample_shape(self) -> tuple[int, int]:
        """(h, a) of a chunk."""
        return self.prediction_horizon, self.spec.action_dim

    @property
    def cond_shape(self) -> tuple[int, int]:
        """(t, c) of a condition."""
        return self.observation_horizon, self.encoder.width

    def fit(self, demonstrations: Demonstrations) -> None:
        """Measure both normalizers on demonstrations: per dimension, zero mean and unit deviation.

        Raises:
            ValueError: If the demonstrations are of another task or other dimensions.
        """
        check_same_task(self.spec, demonstrations.spec)
        self.encoder.fit(demonstrations.observation)
        self.actions = Normalizer.fit_zscore(demonstrations.action)

    def condition(self, observation: Float[Tensor, "b t o"]) -> Float[Tensor, "b t c"]:
        """Condition tokens of windows in physical units."""
        tokens: Tensor = self.encoder(observation)
        return tokens

    def normalized(self, action: Float[Tensor, "b h a"]) -> Float[Tensor, "b h a"]:
        """Chunks as the networks see them."""
        return self.actions.encode(action)

    def physical(self, chunk: Float[Tensor, "b h a"]) -> Float[Tensor, "b h a"]:
        """Chunks in the task's units."""
        return self.actions.decode(chunk)


class ChunkPolicy(nn.Module, ABC):
    """A policy: a border, a network, and a plan that is a function of its randomness.

    Args:
        border: Specification, horizons, encoder and normalizers.
    """

    def __init__(self, border: Border) -> None:
        super().__init__()
        self.border = border

    @property
    def observation_horizon(self) -> int:
        """Observations in a window."""
        return self.border.observation_horizon

    @property
    def prediction_horizon(self) -> int:
        """Actions in a chunk."""
        return self.border.prediction_horizon

    @abstractmethod
    def backbone(self) -> nn.Module:
        """The module whose evaluations count as network calls; its first argument has a row for each."""

    @abstractmethod
    def fit(self, demonstrations: Demonstrations, seed: int) -> None:
        """Measure on demonstrations whatever is fixed before training; `seed` picks the windows looked at."""

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Loss per window, mean over elements; all randomness comes from the generator."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Array:
        """The randomness of one plan of one episode."""

    @abstractmethod
    def plan(self, observation: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Windows (b, t, o) and draws (b, ...) -> physical chunks (b, h, a), and diagnostics (b,)."""

    def act(self, observation: Float[Array, "n t o"], rngs: Sequence[np.random.Generator]) -> Chunk:
        """One chunk per episode; episode i draws from rngs[i] alone, so its plan ignores the others.

        Raises:
            ValueError: If the windows have another shape than the policy was trained on.
        """
        expected = (len(rngs), self.observation_horizon, self.border.spec.observation_dim)
        if observation.shape != expected:
            raise ValueError(
                f"observation windows have shape {observation.shape}, this policy takes {expected}"
            )
        noise = np.stack([self.draw(rng) for rng in rngs])
        with torch.inference_mode():
            actions, info = self.plan(torch.from_numpy(observation), torch.from_numpy(noise))
        return Chunk(actions.numpy(), {name: value.numpy() for name, value in info.items()})


def check_same_task(own: Spec, other: Spec) -> None:
    """Refuse data or checkpoints of another task.

    Raises:
        ValueError: Names both.
    """
    if own != other:
        raise ValueError(f"this policy is for {own}, but got {other}")
