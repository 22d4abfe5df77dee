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
from stillhand.datasets.batch import Batch
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.normalize import Normalizer
from stillhand.datasets.schema import NO_FRAMES, Array, Chunk, Frames, Spec
from stillhand.policies.encoders import NOTHING_SEEN, SeenFrames, StateEncoder
from stillhand.policies.vision import VisualEncoder


class Border(nn.Module):
    """What every policy knows of its task.

    Args:
        spec: Dimensions and control rate.
        observation_horizon: Observations in a window, the current one included.
        prediction_horizon: Actions in a chunk.
        encoder: Called with `spec`; turns windows of observations into condition tokens.

    Raises:
        ValueError: If a horizon is below 1, or the task has cameras and the encoder looks at none.
    """

    def __init__(
        self,
        *,
        spec: Spec,
        observation_horizon: int,
        prediction_horizon: int,
        encoder: Callable[..., StateEncoder | VisualEncoder],
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
        if spec.cameras and not isinstance(self.encoder, VisualEncoder):
            raise ValueError(
                f"{spec.task} is seen by {[camera.name for camera in spec.cameras]}, which a "
                f"{type(self.encoder).__name__} does not look at; take a policy with a VisualEncoder"
            )
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

    def condition(
        self, observation: Float[Tensor, "b t o"], frames: SeenFrames = NOTHING_SEEN
    ) -> Float[Tensor, "b t c"]:
        """Condition tokens of windows in physical units, and of what every camera saw in them."""
        tokens: Tensor = self.encoder(observation, frames)
        return tokens

    def seen(self, batch: Batch) -> Float[Tensor, "b t c"]:
        """Condition tokens of a batch."""
        if isinstance(self.encoder, VisualEncoder) and batch.features:
            return self.encoder.tokens(batch.observation, batch.features)
        return self.condition(batch.observation, batch.frames)

    @property
    def draws(self) -> int:
        """Levels and noises that a denoiser sees in training for every window: more where looking is dear."""
        return self.encoder.draws if isinstance(self.encoder, VisualEncoder) else 1

    def normalized(self, action: Float[Tensor, "b h a"]) -> Float[Tensor, "b h a"]:
        """Chunks as the networks see them."""
        return self.actions.encode(action)

    def physical(self, chunk: Float[Tensor, "b h a"]) -> Float[Tensor, "b h a"]:
        """Chunks in the task's units."""
        return self.actions.decode(chunk)


class WindowModel(nn.Module, ABC):
    """What can be trained on windows of demonstrations: a policy, or a part of one before there is any."""

    @property
    @abstractmethod
    def observation_horizon(self) -> int:
        """Observations in a window."""

    @property
    @abstractmethod
    def prediction_horizon(self) -> int:
        """Actions in a chunk."""

    @abstractmethod
    def augmented(self, batch: Batch, generator: torch.Generator) -> Batch:
        """A batch as a training sees it."""

    @abstractmethod
    def fit(self, demonstrations: Demonstrations, seed: int) -> None:
        """Measure on demonstrations whatever is fixed before training; `seed` picks the windows looked at."""

    @abstractmethod
    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Loss per window, mean over elements; all randomness comes from the generator."""


class ChunkPolicy(WindowModel):
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

    def augmented(self, batch: Batch, generator: torch.Generator) -> Batch:
        """A batch as a training sees it; one of numbers alone as it is."""
        encoder = self.border.encoder
        return encoder.augmented(batch, generator) if isinstance(encoder, VisualEncoder) else batch

    @abstractmethod
    def backbone(self) -> nn.Module:
        """The module whose evaluations count as network calls; its first argument has a row for each."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Array:
        """The randomness of one plan of one episode."""

    @abstractmethod
    def plan(self, cond: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What `told` says (b, ...) and draws (b, ...) -> physical chunks (b, h, a), and diagnostics (b,)."""

    def told(self, observation: Tensor, frames: SeenFrames) -> Tensor:
        """What a plan depends on: condition tokens (b, t, c) of windows."""
        return self.border.condition(observation, frames)

    def act(
        self,
        observation: Float[Array, "n t o"],
        rngs: Sequence[np.random.Generator],
        frames: Frames = NO_FRAMES,
    ) -> Chunk:
        """One chunk per episode; episode i draws from rngs[i] alone, so its plan ignores the others.

        The policy may lie on any device; windows, draws and chunks are numpy's.

        Raises:
            ValueError: If the windows have another shape than the policy was trained on.
        """
        self.check_windows(observation, frames, len(rngs))
        noise = np.stack([self.draw(rng) for rng in rngs])
        with torch.inference_mode():
            seen = {name: self.here(windows) for name, windows in frames.items()}
            actions, info = self.plan(self.told(self.here(observation), seen), self.here(noise))
        return Chunk(actions.cpu().numpy(), {name: value.cpu().numpy() for name, value in info.items()})

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.border.actions.shift.device

    def here(self, values: Array) -> Tensor:
        """An array as a tensor on the policy's device."""
        return torch.from_numpy(values).to(self.device)

    def check_windows(self, observation: Array, frames: Frames, n: int) -> None:
        """Refuse windows of another shape than the policy was trained on, or another number of them.

        Args:
            observation: (n, t, o).
            frames: Of every camera, (n, t, y, x, 3).
            n: Episodes that plan.

        Raises:
            ValueError: Names both shapes.
        """
        spec, ahead = self.border.spec, (n, self.observation_horizon)
        if observation.shape != (expected := (*ahead, spec.observation_dim)):
            raise ValueError(
                f"observation windows have shape {observation.shape}, this policy takes {expected}"
            )
        shapes = {name: windows.shape for name, windows in frames.items()}
        if shapes != (wanted := {camera.name: (*ahead, *camera.shape) for camera in spec.cameras}):
            raise ValueError(f"windows of frames have shapes {shapes}, this policy takes {wanted}")


def check_same_task(own: Spec, other: Spec) -> None:
    """Refuse data or checkpoints of another task.

    Raises:
        ValueError: Names both.
    """
    if own != other:
        raise ValueError(f"this policy is for {own}, but got {other}")
