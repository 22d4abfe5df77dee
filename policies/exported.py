"""An exported policy where a policy in torch would stand: in a rollout, and where latencies are taken."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from jaxtyping import Float

from stillhand.datasets.schema import NO_FRAMES, Array, Chunk, Frames
from stillhand.policies.runtime.folder import GRAPH, Card, load
from stillhand.policies.runtime.planner import Planner


class ExportedPolicy:
    """Plans with an exported graph; episode i draws from its own generator, as in torch.

    Args:
        folder: What `stillhand export` wrote.

    Raises:
        ValueError: The folder is not what its card says.
    """

    def __init__(self, folder: Path) -> None:
        self.card: Card
        self.card, self._graph = load(folder)
        self._folder = folder
        self._planners: dict[int, Planner] = {}  # by rows: their buffers have fixed sizes

    @property
    def observation_horizon(self) -> int:
        """Observations in a window."""
        return self.card.windows[0]

    @property
    def prediction_horizon(self) -> int:
        """Actions in a chunk."""
        return self.card.actions[0]

    def described(self) -> dict[str, str]:
        """Which graph plays, as plain data."""
        return {
            "graph": self.card.files[GRAPH],
            "precision": self.card.precision,
            "onnxruntime": ort.__version__,
        }

    def act(
        self,
        observation: Float[Array, "n t o"],
        rngs: Sequence[np.random.Generator],
        frames: Frames = NO_FRAMES,
    ) -> Chunk:
        """One chunk per episode.

        Raises:
            ValueError: If the windows have another shape than the policy was exported for, there are frames,
                or the graph is for another number of rows.
        """
        if observation.shape != (expected := (len(rngs), *self.card.windows)) or frames:
            seen = f" and frames of {sorted(frames)}" if frames else ""
            raise ValueError(
                f"observation windows have shape {observation.shape}{seen}, this policy takes {expected}"
            )
        planner = self._planner(len(rngs))
        planner.observation[...] = observation
        planner.draw(rngs)
        planner.run()
        return Chunk(planner.actions.copy(), {name: values.copy() for name, values in planner.info.items()})

    def _planner(self, rows: int) -> Planner:
        if rows not in self._planners:
            self._planners[rows] = Planner(self._folder, self.card, self._graph, rows)
        return self._planners[rows]
