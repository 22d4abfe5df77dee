"""How a model of masked tokens acts: which sampler, in how many calls, guided how.

    Decoding(way=Leap(steps=8), schedule=Linear(), weight=Ramp(2.0))(laws, blank, mask, seeds)

A network that is asked with and without its condition is evaluated twice per step; where the weight is 1 it
is asked with the condition alone, once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from stillhand.core.diffusion import unmasking
from stillhand.core.diffusion.discrete import Cosine, Linear, MaskedShare, check_tokens
from stillhand.core.diffusion.discrete_guidance import (
    Constant,
    Interval,
    Ramp,
    Survival,
    Weight,
    clipped_euler,
    normalised,
    poisson,
    simple,
    unlocking,
)
from stillhand.core.diffusion.unmasking import Predict, even_times
from stillhand.core.kernels.unmask.op import Choice, guided_unmask
from stillhand.core.shapes import Condition, Tokens

Laws = Callable[[Tensor, bool], tuple[Tensor, Tensor]]
"""(tokens (b, l), guided) -> logits with and without the condition; twice the former where not guided."""


def laws_of(net: Callable[[Tensor, Tensor], Tensor], told: Condition, untold: Callable[[], Tensor]) -> Laws:
    """What a decoding asks, of one network; where guided, side by side in one pass of twice the rows.

    Args:
        net: (tokens (b, l), condition) -> logits (b, l, V).
        told: The condition.
        untold: What stands for none, alike; called at the first guided step, so it may refuse.
    """
    both = cache(lambda: torch.cat([told, untold()]))

    def laws(x: Tensor, guided: bool) -> tuple[Tensor, Tensor]:
        if not guided:
            law = net(x, told)
            return law, law
        conditional, unconditional = net(x.repeat(2, 1), both()).chunk(2)
        return conditional, unconditional

    return laws


@runtime_checkable  # for the shape checks of the tests
class Way(Protocol):
    """A sampler with its settings."""

    def calls(self, places: int) -> int:
        """How often a page of that many tokens asks `predict`."""
        ...

    def __call__(
        self, predict: Predict, x: Tokens, mask: int, schedule: MaskedShare, seeds: Int64[Tensor, " b"]
    ) -> Tokens:
        """Reveal every masked token."""
        ...


@dataclass(frozen=True)
class Leap:
    """`unmasking.leap` at even times.

    Args:
        steps: Calls.
        survival: `normalised`, `unlocking`, `simple`, `clipped_euler` or `poisson`.
    """

    steps: int
    survival: Survival = normalised

    def __post_init__(self) -> None:
        even_times(self.steps)

    def calls(self, places: int) -> int:
        """One per step."""
        return self.steps

    def __call__(
        self, predict: Predict, x: Tokens, mask: int, schedule: MaskedShare, seeds: Int64[Tensor, " b"]
    ) -> Tokens:
        """Reveal every masked token."""
        return unmasking.leap(predict, x, mask, even_times(self.steps), schedule, seeds, self.survival)


@dataclass(frozen=True)
class FirstHitting:
    """`unmasking.first_hitting`: exact, a call per token.

    Args:
        unlock: Guidance without normalised rates.
    """

    unlock: bool = False

    def calls(self, places: int) -> int:
        """One per place."""
        return places

    def __call__(
        self, predict: Predict, x: Tokens, mask: int, schedule: MaskedShare, seeds: Int64[Tensor, " b"]
    ) -> Tokens:
        """Reveal every masked token."""
        return unmasking.first_hitting(predict, x, mask, schedule, seeds, self.unlock)


@dataclass(frozen=True)
class Confident:
    """`unmasking.confident` at even times.

    Args:
        steps: Calls.
        temperature: Of the noise on the ranking.
        remask: Whether revealed tokens may be masked again.
    """

    steps: int
    temperature: float = 0.0
    remask: bool = False

    def __post_init__(self) -> None:
        even_times(self.steps)
        if not self.temperature >= 0:
            raise ValueError(f"temperature must be at least 0, got {self.temperature}")

    def calls(self, places: int) -> int:
        """One per step."""
        return self.steps

    def __call__(
        self, predict: Predict, x: Tokens, mask: int, schedule: MaskedShare, seeds: Int64[Tensor, " b"]
    ) -> Tokens:
        """Reveal every masked token."""
        times = even_times(self.steps)
        return unmasking.confident(predict, x, mask, times, schedule, seeds, self.temperature, self.remask)


@dataclass(frozen=True)
class Decoding:
    """From a blank page to tokens.

    Args:
        way: `Leap`, `FirstHitting` or `Confident`.
        schedule: Masked share over time. Of the process alone: a network without time fits every schedule.
        weight: Guidance over time; 1 is none. Any function of t; for `FirstHitting` a `Constant`: its pages
            have times of their own, and are guided together.

    Raises:
        ValueError: `FirstHitting` with another weight.
    """

    way: Way
    schedule: MaskedShare = field(default_factory=Linear)
    weight: Weight = field(default_factory=lambda: Constant(1.0))

    def __post_init__(self) -> None:
        if isinstance(self.way, FirstHitting) and not isinstance(self.weight, Constant):
            raise ValueError(f"FirstHitting needs a Constant weight of guidance, got {self.weight}")

    def __call__(self, laws: Laws, blank: Tokens, mask: int, seeds: Int64[Tensor, " b"]) -> Tokens:
        """Tokens of every page.

        Args:
            laws: Logits with and without the condition.
            blank: Pages.
            mask: The token that stands for none.
            seeds: Of the pages; a page is a function of its own.

        Raises:
            ValueError: A token of a page, or a weight, out of range.
        """
        check_tokens(blank, mask + 1)

        def predict(x: Tensor, t: float, call: int) -> Choice:
            weight = self.weight(t)
            conditional, unconditional = laws(x, weight != 1)
            return guided_unmask(
                conditional,
                unconditional if weight != 1 else None,
                weight,
                seeds=seeds,
                offset=call,
                masked=x == mask,
            )

        return self.way(predict, blank, mask, self.schedule, seeds)


PARTS = (
    *(Decoding, Leap, FirstHitting, Confident, Linear, Cosine),
    *(Constant, Ramp, Interval, normalised, unlocking, simple, clipped_euler, poisson),
)
"""What a description of a decoding may name."""
