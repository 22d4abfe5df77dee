"""The mixture-of-experts policy: one network call picks an expert and returns its mean chunk.

    z ~ pi(observations),  a = mu_z(observations)

The covariance never acts: it shapes the responsibilities in training and states how likely a chunk is.
[VDD] arXiv 2406.12538; trained by distillation (`policies/distill.py`) or by likelihood alone.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core import mixture
from stillhand.core.losses.variational import likelihood_loss
from stillhand.core.nets.experts import MixtureHead
from stillhand.core.shapes import Info
from stillhand.datasets.batch import Batch
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Array
from stillhand.policies.base import Border, ChunkPolicy
from stillhand.policies.encoders import NOTHING_SEEN, SeenFrames


class MixturePolicy(ChunkPolicy):
    """Gated experts over action chunks.

    Args:
        border: Specification, horizons, encoder and normalizers.
        trunk: Called with `cond_shape`; features of the observations, with attribute `width`.
        head: Called with `width` and `sample_shape`.
    """

    def __init__(
        self,
        *,
        border: Border,
        trunk: Callable[..., nn.Module],
        head: Callable[..., MixtureHead],
    ) -> None:
        super().__init__(border)
        self.network = trunk(cond_shape=border.cond_shape)
        self.head = head(width=self.network.width, sample_shape=border.sample_shape)

    def backbone(self) -> nn.Module:
        """The network whose calls are counted."""
        return self.network

    def fit(self, demonstrations: Demonstrations, seed: int) -> None:
        """Measure the normalizers, then place the experts at k-means centres of normalized chunks."""
        self.border.fit(demonstrations)
        self.start_at_centres(demonstrations, seed)

    def start_at_centres(self, demonstrations: Demonstrations, seed: int) -> None:
        """Experts start at k-means++ centres of up to 20,000 demonstrated chunks."""
        from scipy.cluster.vq import kmeans2

        rows = min(20_000, len(demonstrations.action))
        horizons = self.observation_horizon, self.prediction_horizon
        loader = WindowLoader(demonstrations.numbers, *horizons, rows, seed)
        chunks = self.border.normalized(loader.batch(0).action).flatten(start_dim=1)
        centres, _ = kmeans2(chunks.numpy(), self.head.experts, minit="++", rng=np.random.default_rng(seed))
        self.head.start_at(torch.from_numpy(centres).to(chunks))

    def law(self, cond: Float[Tensor, "b t c"], detach_gate: bool = False) -> mixture.Mixture:
        """The distribution over normalized, flattened chunks."""
        features: Tensor = self.network(cond)
        law: mixture.Mixture = self.head(features, features.detach() if detach_gate else features)
        return law

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Negative log-likelihood of one batch, in normalized units: the EM baseline."""
        x0 = self.border.normalized(batch.action).flatten(start_dim=1)
        return likelihood_loss(self.law(self.border.seen(batch)), x0)

    def log_prob(
        self,
        observation: Float[Tensor, "b t o"],
        action: Float[Tensor, "b h a"],
        frames: SeenFrames = NOTHING_SEEN,
    ) -> Float[Tensor, " b"]:
        """Exact log-density of chunks in physical units (nats; the normalizer's Jacobian is included)."""
        x = self.border.normalized(action).flatten(start_dim=1)
        log_scale = self.border.actions.scale.log().sum() * self.prediction_horizon
        law = self.law(self.border.condition(observation, frames))
        return law.log_prob(x[:, None])[:, 0] - log_scale

    def draw(self, rng: np.random.Generator) -> Array:
        """A uniform number that picks the expert."""
        return np.asarray(rng.random(dtype=np.float32))

    def plan(
        self, cond: Float[Tensor, "b t c"], noise: Float[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b h a"], dict[str, Tensor]]:
        """Pick an expert per window and return its mean, in physical units, with id and gate probability."""
        features = self.network(cond)
        log_gate = self.head.log_gate(features)
        expert = mixture.choose(log_gate, noise)[:, None]
        # gathered, not indexed by rows and experts: that costs as much as a layer at batch 1
        means = self.head.means(features)
        mean = means.gather(1, expert[:, :, None].expand(-1, 1, means.shape[2]))
        chunk = mean.view(-1, *self.border.sample_shape)
        gate = log_gate.gather(1, expert)[:, 0].exp()
        return self.border.physical(chunk), {"expert": expert[:, 0], "gate": gate}
