"""What a mixture says of a chunk, against the mixture itself."""

from functools import partial

import numpy as np
import torch
from torch import nn

from stillhand.core.nets.experts import MixtureHead
from stillhand.core.nets.mlp import MLPTrunk
from stillhand.datasets.schema import Spec
from stillhand.policies.base import Border
from stillhand.policies.encoders import StateEncoder
from stillhand.policies.guard.opinions import Opinions
from stillhand.policies.mixture import MixturePolicy


def small() -> MixturePolicy:
    torch.manual_seed(0)
    spec = Spec(task="toy", observation_dim=2, action_dim=2, control_hz=20.0)
    border = Border(
        spec=spec, observation_horizon=2, prediction_horizon=3, encoder=partial(StateEncoder, octaves=1)
    )
    border.actions.scale.copy_(torch.tensor([0.1, 5.0]))
    head: partial[MixtureHead] = partial(MixtureHead, experts=3)
    policy = MixturePolicy(border=border, trunk=partial(MLPTrunk, width=8, blocks=1), head=head)
    for weights in policy.head.parameters():
        nn.init.normal_(weights, std=0.3)
    return policy.eval()


def test_opinions_are_the_mixtures_own_density_and_gate() -> None:
    policy, rng = small(), np.random.default_rng(0)
    seen = rng.standard_normal((6, 2, 2)).astype(np.float32)
    chunks = (rng.standard_normal((6, 3, 2)) * [0.1, 5.0]).astype(np.float32)
    said = Opinions(policy)(seen, chunks)
    with torch.inference_mode():
        density = policy.log_prob(torch.from_numpy(seen), torch.from_numpy(chunks))
        gate = policy.law(policy.border.condition(torch.from_numpy(seen))).log_gate.exp().amax(dim=1)
    np.testing.assert_allclose(said["likelihood"], -density.numpy(), rtol=1e-5)
    np.testing.assert_allclose(np.exp(-said["gate"]), gate.numpy(), rtol=1e-5)
    assert said["gate"].dtype == said["likelihood"].dtype == np.float64


def test_an_unlikely_chunk_scores_higher() -> None:
    policy, seen = small(), np.zeros((1, 2, 2), dtype=np.float32)
    own = policy.act(seen, [np.random.default_rng(0)]).actions
    said, other = (Opinions(policy)(seen, chunk)["likelihood"][0] for chunk in (own, own + np.float32(50)))
    assert other > said + 100
