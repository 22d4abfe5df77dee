"""A pair of Gaussians around K c as data, its exact denoiser as teacher, and tiny generators in the loop.

a = K c +- half + std n,   c = +-1;   half = 0 is one Gaussian per condition
"""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from jaxtyping import config
from torch import Generator, Tensor, nn

from stillhand.core.diffusion.one_step import OneStep
from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.schedule import LogNormal
from stillhand.core.losses.denoising import denoising_loss
from stillhand.core.nets.mlp import DenoisingMLP
from stillhand.core.one_step.consistency import ConsistencyDistillation
from stillhand.core.one_step.distribution_matching import DeterministicMatching, DistributionMatching
from stillhand.core.one_step.players import Examples, Players, normal_like
from stillhand.core.one_step.score_identity import ScoreIdentity
from stillhand.core.one_step.score_mixture import ScoreMixtureDistillation, ScoreMixtureTraining
from stillhand.core.one_step.turns import Duel, Supply, Turns
from stillhand.core.settings import Settings
from stillhand.core.training import TrainState, derived_seed


@contextmanager
def shapes_unchecked() -> Iterator[None]:
    """Checking shapes costs more than networks this small; other tests check the same calls."""
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", False)


LEVELS = {"levels": LogNormal(high=3.0), "critic_levels": LogNormal()}
METHODS: dict[str, Any] = {
    "sid": ScoreIdentity(**LEVELS),
    "sida": ScoreIdentity(**LEVELS, adversarial=0.5),
    "dmd": DistributionMatching(**LEVELS),
    "onedp_s": DistributionMatching(**LEVELS, weighting="none"),
    "onedp_d": DeterministicMatching(LEVELS["levels"]),
    "smd": ScoreMixtureDistillation(**LEVELS),
    "smd_paper": ScoreMixtureDistillation(**LEVELS, variant="paper"),
    "smt": ScoreMixtureTraining(**LEVELS),
    "smt_none": ScoreMixtureTraining(**LEVELS, alpha_weighting="none"),
    "cd": ConsistencyDistillation(),
}
WITHOUT_CRITIC = ("cd", "onedp_d")


class Exact(Denoiser):
    """E[a | x, c] of the data in closed form."""

    def __init__(self, slope: float, half: float, std: float) -> None:
        super().__init__(nn.Linear(1, 1), math.hypot(slope, half, std))
        self.slope, self.half, self.std = slope, half, std

    def forward(self, x: Tensor, sigma: Tensor, cond: Tensor) -> Tensor:
        noise = sigma[:, None, None] ** 2
        variance, centre = self.std**2 + noise, self.slope * cond[..., :1]
        e = x - centre
        mode = self.half * torch.tanh(self.half * e / variance)
        return centre + (self.std**2 * e + noise * mode) / variance


class Spy(DenoisingMLP):
    """Remembers the conditions it was asked with."""

    def _hidden(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
        self.__dict__.setdefault("seen", []).append(cond.detach().clone())
        return super()._hidden(x, c_noise, cond)


class Pupil(nn.Module):
    """A generator behind a learned encoder of its observations."""

    def __init__(self, generator: OneStep, channels: int = 1) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = nn.Linear(channels, channels)
        with torch.no_grad():
            nn.init.eye_(self.encoder.weight)
            self.encoder.bias.zero_()


@dataclass
class Lab:
    """The data, and whatever a test trains on them."""

    slope: float = 1.5
    half: float = 0.0
    std: float = 0.5
    rows: int = 128
    width: int = 32
    sigma_init: float = 2.5
    channels: int = 1  # in which a condition is repeated; SMT adds its share to them and must not hide it

    @property
    def teacher(self) -> Exact:
        return Exact(self.slope, self.half, self.std).requires_grad_(False).eval()

    def exact(self, slope: float, half: float, std: float) -> Exact:
        """The denoiser of other data of the same kind."""
        return Exact(slope, half, std).requires_grad_(False)

    def net(self, seed: int, kind: type[DenoisingMLP] = DenoisingMLP) -> DenoisingMLP:
        """Weights away from the zeros that some layers start at."""
        torch.manual_seed(seed)
        net = kind(sample_shape=(1, 1), cond_shape=(1, self.channels), width=self.width, blocks=1)
        nn.init.normal_(net.leave[1].weight, std=0.1)
        return net

    def denoiser(self, seed: int = 0, kind: type[DenoisingMLP] = DenoisingMLP) -> Denoiser:
        return Denoiser(self.net(seed, kind), self.teacher.sigma_data)

    def generator(self, seed: int = 0, **kwargs: Any) -> OneStep:
        return OneStep(self.denoiser(seed), self.sigma_init, **kwargs)

    def data(self, rng: Generator, cond: Tensor) -> Tensor:
        cond = cond[..., :1]
        sign = 2.0 * torch.randint(2, cond.shape, generator=rng) - 1
        return self.slope * cond + self.half * sign + self.std * normal_like(cond, rng)

    def examples(self, number: int, seed: int = 0, encoder: nn.Module | None = None) -> Examples:
        rng = Generator().manual_seed(derived_seed(seed, number, 99))
        observed = (2.0 * torch.randint(2, (self.rows, 1, 1), generator=rng) - 1).repeat(1, 1, self.channels)
        own = observed if encoder is None else encoder(observed)
        return Examples(self.data(rng, observed), own.detach(), own)

    def duel(
        self,
        method: Any,
        *,
        turns: Turns | None = None,
        seed: int = 0,
        teacher: Denoiser | None = None,
        examples: Callable[[int], Examples] | None = None,
        generator: OneStep | None = None,
        **settings: Any,
    ) -> Duel[Any]:
        """The loop from its first step; a method that needs a teacher has the exact one."""
        chosen = Settings(
            **{"steps": 4, "warmup_steps": 2, "betas": (0.0, 0.999), "clip_norm": 10.0, **settings}
        )
        pupil = Pupil(generator or self.generator(seed, **self._form(method)), self.channels)
        state = TrainState(pupil, chosen)
        taught = (teacher or self.teacher) if method.needs_teacher else None
        critic = method.critic(pupil.generator.denoiser, self.channels)
        players = Players(pupil.generator, state.average.generator, taught, critic)  # type: ignore[arg-type]
        levels = LogNormal()

        def own(number: int) -> Examples:
            return self.examples(number, seed, pupil.encoder)

        def warmup(number: int, rng: Generator) -> Any:
            batch = own(number)
            sigma, noise = levels(self.rows, rng), normal_like(batch.x0, rng)
            return denoising_loss(pupil.generator.denoiser, batch.x0, noise, sigma, batch.own)

        supply = Supply(examples or own, warmup, seed)
        return Duel(state, players, method, supply, turns or Turns(), chosen)

    def unchecked(self) -> AbstractContextManager[None]:
        return shapes_unchecked()

    def train(self, method: Any, **settings: Any) -> Duel[Any]:
        """To the end of a short training: a little denoising, then the method."""
        warm = 60
        own = {
            "steps": 260,
            "learning_rate": 3e-3,
            "ema_decay": 0.99,
            "warmup_steps": 20,
            "restarts": (warm,),
        }
        duel = self.duel(method, **{"turns": Turns(warmup_steps=warm), **own, **settings})
        with shapes_unchecked():
            assert sum(1 for _ in duel.run()) == duel.settings.steps
        return duel

    def check_gaussian(self, duel: Duel[Any], mean: float = 0.1, std: float = 0.12) -> None:
        """The student's law is the data's at both conditions, whose means are 3 apart."""
        for c in (-1.0, 1.0):
            a = self.answers(duel, c)
            assert abs(a.mean() - self.slope * c) < mean
            assert abs(a.std() - self.std) < std

    def check_modes(self, duel: Duel[Any]) -> None:
        """P1: each mode has its share, and the samples lie around the modes."""
        for c in (-1.0, 1.0):
            e = self.answers(duel, c) - self.slope * c
            assert 0.4 <= (e > 0).float().mean() <= 0.6
            assert abs(e.abs().mean() - self.half) < 0.2

    def _form(self, method: Any) -> dict[str, Any]:
        """The kind of generator a method is for."""
        method = getattr(method, "method", method)
        if isinstance(method, ConsistencyDistillation):
            return {"sigma_min": 0.02}
        return {"noisy": False} if isinstance(method, DeterministicMatching) else {}

    @torch.no_grad()
    def answers(self, duel: Duel[Any], c: float, n: int = 2000) -> Tensor:
        """Samples of the trained average at one condition, flat."""
        z = torch.randn(n, 1, 1, generator=Generator().manual_seed(1))
        model: Any = duel.average
        out: Tensor = model.generator(z, model.encoder(torch.full((n, 1, self.channels), c)))
        return out.flatten()


@pytest.fixture
def lab() -> type[Lab]:
    return Lab


@pytest.fixture
def spy() -> type[Spy]:
    return Spy


@pytest.fixture
def methods() -> dict[str, Any]:
    """Every method of the configurations, and SiDA."""
    return METHODS


CASES = [
    (name, turn)
    for name in sorted(METHODS)
    for turn in ("critic_loss", "generator_loss")
    if turn == "generator_loss" or name not in WITHOUT_CRITIC
]


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> Any:
    """Every method's name with each of its losses."""
    return request.param


@pytest.fixture(params=sorted(METHODS))
def method(request: pytest.FixtureRequest) -> Any:
    return METHODS[request.param]
