"""What a mixture says of a chunk about to be played: how sure its gate is, and how likely the chunk.

    gate        -log max_e pi_e(observations)          0 where one expert has all the weight
    likelihood  -log q(chunk | observations)           nats, physical units

Any controller's chunk can be judged, also another student's or the mixture's own. These need the network, so
they are computed in torch only; an exported graph tells the probability of the expert it chose, no density.
"""

import numpy as np
import torch

from stillhand.datasets.schema import NO_FRAMES, Array, Frames
from stillhand.policies.mixture import MixturePolicy


class Opinions:
    """A mixture beside a controller.

    Args:
        mixture: Trained on the controller's task, with its horizons.
    """

    def __init__(self, mixture: MixturePolicy) -> None:
        self._mixture = mixture

    def __call__(self, observation: Array, actions: Array, frames: Frames = NO_FRAMES) -> dict[str, Array]:
        """Scores of chunks at windows.

        Args:
            observation: (n, t, o), physical units, float32, finite.
            actions: (n, h, a), physical units.
            frames: (n, t, y, x, 3) of every camera.
        """
        with torch.inference_mode():
            here = self._mixture.here
            told = self._mixture.told(here(observation), {name: here(seen) for name, seen in frames.items()})
            law = self._mixture.law(told)
            border = self._mixture.border
            x = border.normalized(here(actions)).flatten(start_dim=1)
            scale = border.actions.scale.log().sum() * border.prediction_horizon
            likelihood = scale - law.log_prob(x[:, None])[:, 0]
            gate = -law.log_gate.max(dim=1).values
        return {
            "gate": gate.cpu().numpy().astype(np.float64),
            "likelihood": likelihood.cpu().numpy().astype(np.float64),
        }
