"""A small task with uneven units, demonstrations of it, and one small policy of every kind."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from stillhand.core.diffusion import samplers
from stillhand.core.diffusion.decoding import Decoding, Leap
from stillhand.core.diffusion.samplers import Sampling
from stillhand.core.diffusion.schedule import LogNormal
from stillhand.core.nets.experts import MixtureHead
from stillhand.core.nets.mlp import DenoisingMLP, MLPTrunk
from stillhand.core.nets.tokens import TokenTransformer
from stillhand.datasets.batch import Batch
from stillhand.datasets.demonstrations import Demonstrations, from_arrays
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Spec
from stillhand.policies.base import Border, ChunkPolicy
from stillhand.policies.encoders import StateEncoder
from stillhand.policies.mixture import MixturePolicy
from stillhand.policies.one_step import OneStepPolicy
from stillhand.policies.regression import RegressionPolicy
from stillhand.policies.teacher import DiffusionPolicy
from stillhand.policies.tokenizers import ChunkTokens, uniform
from stillhand.policies.tokens import TokenPolicy

NET = partial(DenoisingMLP, width=16, blocks=1)
TRUNK = partial(MLPTrunk, width=16, blocks=1)
LENGTHS = [11, 14, 9, 16, 12, 10]


class Toy:
    """Everything a policy test needs; actions are metres far from 0 beside tenths of a radian."""

    spec = Spec(task="toy", observation_dim=3, action_dim=2, control_hz=20.0)
    other = Spec(task="other", observation_dim=3, action_dim=2, control_hz=20.0)

    def demonstrations(self, spec: Spec | None = None) -> Demonstrations:
        rng = np.random.default_rng(0)
        steps = sum(LENGTHS)
        observation = rng.normal([0.3, -4.0, 100.0], [0.05, 2.0, 30.0], (steps, 3))
        action = rng.normal([5.0, -1.0], [3.0, 0.1], (steps, 2))
        return from_arrays(
            observation.astype(np.float32),
            action.astype(np.float32),
            np.cumsum(LENGTHS, dtype=np.int64),
            np.full(len(LENGTHS), -1, dtype=np.int64),
            np.arange(len(LENGTHS), dtype=np.int64),
            spec or self.spec,
        )

    def batch(self, rows: int = 8, horizon: int = 4, window: int = 2) -> Batch:
        return WindowLoader(self.demonstrations(), window, horizon, rows, seed=1).batch(0)

    def windows(self, n: int = 5) -> np.ndarray[Any, np.dtype[np.float32]]:
        return self.batch(n).observation.numpy()

    def rngs(self, n: int = 5) -> list[np.random.Generator]:
        return [np.random.default_rng([7, i]) for i in range(n)]

    def border(
        self, *, horizon: int = 4, window: int = 2, octaves: int = 2, spec: Spec | None = None
    ) -> Border:
        return Border(
            spec=spec or self.spec,
            observation_horizon=window,
            prediction_horizon=horizon,
            encoder=partial(StateEncoder, octaves=octaves),
        )

    def teacher(self, *, intervals: int = 3, solver: Any = samplers.euler, **border: Any) -> DiffusionPolicy:
        sampling = Sampling(intervals=intervals, solver=solver)
        return self._ready(
            DiffusionPolicy(border=self.border(**border), net=NET, levels=LogNormal(), sampling=sampling)
        )

    def regression(self, t_star: float | None = None, **border: Any) -> RegressionPolicy:
        return self._ready(RegressionPolicy(border=self.border(**border), net=NET, t_star=t_star))

    def student(
        self, *, experts: int = 4, covariance: str = "diagonal", initial_std: float = 1.0, **border: Any
    ) -> MixturePolicy:
        head = partial(MixtureHead, experts=experts, covariance=covariance, initial_std=initial_std)
        return self._ready(MixturePolicy(border=self.border(**border), trunk=TRUNK, head=head))

    def one_step(
        self, *, sigma_init: float = 2.5, sigma_min: float = 0.0, noisy: bool = True, **border: Any
    ) -> OneStepPolicy:
        form = {"sigma_init": sigma_init, "sigma_min": sigma_min, "noisy": noisy}
        return self._ready(OneStepPolicy(border=self.border(**border), net=NET, levels=LogNormal(), **form))

    def tokens(self, **border: Any) -> TokenPolicy:
        """Laws uneven enough that a little of the observation changes a token."""
        tokenizer = partial(ChunkTokens, size=64, binning=uniform, precision=0.5, frequencies=4)
        net = partial(TokenTransformer, width=16, layers=1, heads=2)
        made: TokenPolicy = self._ready(
            TokenPolicy(
                border=self.border(**border), tokenizer=tokenizer, net=net, decoding=Decoding(Leap(3))
            )
        )
        for parameter in made.network.parameters():
            nn.init.normal_(parameter, std=1.0)
        return made

    def _ready(self, policy: Any) -> Any:
        """Fitted, and with weights away from the zeros that some layers start at."""
        policy.fit(self.demonstrations(policy.border.spec), seed=0)
        torch.manual_seed(0)
        for name, parameter in policy.named_parameters():
            if not name.endswith("mean.bias"):  # where k-means put the experts
                nn.init.normal_(parameter, std=0.1)
        return policy.eval()

    def every_policy(self) -> dict[str, ChunkPolicy]:
        return {
            "teacher": self.teacher(),
            "regression": self.regression(),
            "mip": self.regression(0.9),
            "mixture": self.student(),
            "one_step": self.one_step(),
            "consistency": self.one_step(sigma_min=0.02),
            "without_noise": self.one_step(noisy=False),
            "tokens": self.tokens(),
        }


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()


@pytest.fixture(params=[*Toy().every_policy()])
def policy(request: pytest.FixtureRequest, toy: Toy) -> ChunkPolicy:
    return toy.every_policy()[request.param]
