"""Masked diffusion over action tokens, with the goal as the condition that guidance strengthens.

    train   mask tokens with probability t ~ U(0, 1), learn p(token | tokens left, observations)
    act     a blank page, tokens revealed in a few calls by p^w q^(1-w); q knows no goal

An observation ends with the goal: a 1 among zeros, or zeros where none is told (`goal_columns` numbers). In
training a goal is forgotten now and then, so the same network answers both questions. The network knows no
time, so how it is asked - steps, schedule, weight - is chosen when acting.
References: [MDLM] Sahoo et al. 2024, arXiv 2406.07524; [N] Rojas et al. 2025, arXiv 2507.08965 (guidance);
Discrete Diffusion VLA, arXiv 2508.20072 (masked diffusion of action bins).
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from stillhand.core.diffusion.decoding import Decoding, laws_of
from stillhand.core.diffusion.discrete import absorb, spread_times
from stillhand.core.losses.masked import masked_loss
from stillhand.core.nets.tokens import TokenTransformer
from stillhand.core.shapes import Info
from stillhand.datasets.batch import Batch
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Array
from stillhand.policies.base import Border, ChunkPolicy
from stillhand.policies.encoders import SeenFrames
from stillhand.policies.tokenizers import ChunkTokens


class TokenPolicy(ChunkPolicy):
    """Laws of a chunk's tokens, conditioned on a window of observations and, with guidance, on its goal.

    Args:
        border: Specification, horizons, encoder and normalizers.
        tokenizer: Called with `shape`; chunks to tokens.
        net: Called with `places`, `size` and `cond_shape`; without time as an input.
        decoding: How `act` reveals a page.
        goal_columns: Numbers at the end of an observation that are the goal; 0: there is none, and none to
            guide by.
        goal_dropout: Share of the windows whose goal is forgotten in training.

    Raises:
        ValueError: More goal columns than an observation has to spare, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        *,
        border: Border,
        tokenizer: Callable[..., ChunkTokens],
        net: Callable[..., TokenTransformer],
        decoding: Decoding,
        goal_columns: int = 0,
        goal_dropout: float = 0.1,
    ) -> None:
        super().__init__(border)
        if not 0 <= goal_columns < border.spec.observation_dim:
            most = border.spec.observation_dim - 1
            raise ValueError(f"goal_columns must lie in 0..{most}, got {goal_columns}")
        if not 0 <= goal_dropout < 1:
            raise ValueError(f"goal_dropout must lie in [0, 1), got {goal_dropout}")
        self.tokens = tokenizer(shape=border.sample_shape)
        sizes = {"places": self.tokens.places, "size": self.tokens.size}
        self.network = net(**sizes, cond_shape=border.cond_shape)
        self.decoding, self.goal_columns, self.goal_dropout = decoding, goal_columns, goal_dropout

    def backbone(self) -> nn.Module:
        """The network whose calls are counted: a guided step costs two."""
        return self.network

    def fit(self, demonstrations: Demonstrations, seed: int) -> None:
        """Measure the normalizers, then place the bins by every window there is.

        Raises:
            ValueError: As `Border.fit`; a goal of no kind; or bins that lose more than their precision.
        """
        self.border.fit(demonstrations)
        horizons = self.observation_horizon, self.prediction_horizon
        loader = WindowLoader(demonstrations.numbers, *horizons, len(demonstrations.action), seed)
        every = loader.batch(0)
        self._check_goal(every.observation)
        self.tokens.fit(self.border.normalized(every.action))

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Bound of the negative log-likelihood per token (nats), and the likeliest guesses' accuracy.

        Times are stratified over the batch. A row of l tokens, k of them masked, weighs (l + 1) / k: the mean
        of [MDLM]'s 1 / t over the times at which k are masked, so the same bound without its rare, huge rows.
        """
        x0 = self.tokens.encode(self.border.normalized(batch.action))
        cond = self.border.condition(self._forgetful(batch.observation, generator), batch.frames)
        x = absorb(x0, spread_times(len(x0), generator), self.tokens.size, generator)
        masked = x == self.tokens.size
        weight = (x0.shape[1] + 1) / masked.sum(1).clamp_min(1)
        return masked_loss(self.network(x, cond), x0, masked, weight)

    def draw(self, rng: np.random.Generator) -> Array:
        """The seed () of one page."""
        return np.array(rng.integers(2**63 - 1))

    def told(self, observation: Float[Tensor, "b t o"], frames: SeenFrames) -> Float[Tensor, "b k t c"]:
        """Conditions with the goal and, where there are goals, without (k is 2 or 1).

        Raises:
            ValueError: A goal of no kind.
        """
        self._check_goal(observation)
        ways = [observation]
        if self.goal_columns:
            everyone = torch.ones(len(observation), dtype=torch.bool, device=observation.device)
            ways.append(self._without_goal(observation, everyone))
        return torch.stack([self.border.condition(way, frames) for way in ways], dim=1)

    def plan(
        self, cond: Float[Tensor, "b k t c"], noise: Int64[Tensor, " b"]
    ) -> tuple[Float[Tensor, "b h a"], dict[str, Tensor]]:
        """Reveal a page per window and decode it, in physical units.

        Raises:
            ValueError: Guidance where there is no goal.
        """

        def untold() -> Tensor:
            if not self.goal_columns:
                raise ValueError("guidance needs a goal to leave out, but this policy has goal_columns=0")
            return cond[:, 1]

        laws = laws_of(self.network, cond[:, 0], untold)
        blank = torch.full((len(cond), self.tokens.places), self.tokens.size, device=noise.device)
        page = self.decoding(laws, blank, self.tokens.size, noise)
        return self.border.physical(self.tokens.decode(page)), {}

    def _forgetful(
        self, observation: Float[Tensor, "b t o"], generator: torch.Generator
    ) -> Float[Tensor, "b t o"]:
        """The goals of some windows forgotten."""
        if not self.goal_columns:
            return observation
        self._check_goal(observation)
        forgotten = torch.rand(len(observation), generator=generator, device=observation.device)
        return self._without_goal(observation, forgotten < self.goal_dropout)

    def _without_goal(
        self, observation: Float[Tensor, "b t o"], rows: Bool[Tensor, " b"]
    ) -> Float[Tensor, "b t o"]:
        own, goal = observation[..., : -self.goal_columns], observation[..., -self.goal_columns :]
        return torch.cat([own, goal.masked_fill(rows[:, None, None], 0.0)], dim=-1)

    def _check_goal(self, observation: Float[Tensor, "b t o"]) -> None:
        """A goal is a 1 among zeros, or zeros."""
        goal = observation[..., observation.shape[-1] - self.goal_columns :]
        known = ((goal == 0) | (goal == 1)).all(-1) & (goal.sum(-1) <= 1)
        if not bool(known.all()):
            first = goal[~known][0].tolist()
            raise ValueError(
                f"the last {self.goal_columns} numbers of an observation are the goal, a 1 among zeros or "
                f"all zeros, got {first}"
            )
