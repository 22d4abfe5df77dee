"""Samplers of masked diffusion: from a page of masks to tokens.

    leap            fixed times; every token is revealed by its survival probability, independently [N]
    first_hitting   one token after another at the exact times of the process, no step size [FH]
    confident       fixed numbers of tokens per step, the surest first [MaskGIT]

All ask `predict(tokens, t)` for the guided law, so they know neither networks nor conditions. Randomness
comes row by row from a table of uniform numbers, so a page does not depend on what is drawn beside it.
References: [N] Rojas et al. 2025, arXiv 2507.08965; [FH] Zheng et al. 2024, arXiv 2409.02908;
[MaskGIT] Chang et al. 2022, arXiv 2202.04200.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stillhand.core.diffusion.discrete import MaskedShare
from stillhand.core.diffusion.discrete_guidance import Guided, Survival, normalised
from stillhand.core.mixture import choose
from stillhand.core.shapes import Law, Tokens

Predict = Callable[[Tensor, float], Guided]
"""(tokens (b, l), time) -> the guided law of every place."""


class Uniforms:
    """A row of numbers in [0, 1) for every page, handed out from left to right.

    Args:
        table: As many per row as the sampler takes: `Leap.draws` and so on.
    """

    def __init__(self, table: Float[Tensor, "b n"]) -> None:
        self._table, self._next = table, 0

    def take(self, count: int) -> Float[Tensor, "b count"]:
        """The next numbers of every row.

        Raises:
            ValueError: There are no more.
        """
        start, self._next = self._next, self._next + count
        if self._next > self._table.shape[1]:
            raise ValueError(f"need {self._next} uniform numbers per page, got {self._table.shape[1]}")
        return self._table[:, start : self._next]


def even_times(steps: int) -> list[float]:
    """Times of that many steps, from 1 (all masked) to 0; a ValueError below one step."""
    if steps < 1:
        raise ValueError(f"need at least one step, got {steps}")
    return [1 - k / steps for k in range(steps)] + [0.0]


def leap(
    predict: Predict,
    x: Tokens,
    times: Sequence[float],
    schedule: MaskedShare,
    uniforms: Uniforms,
    survival: Survival = normalised,
) -> Tokens:
    """Walk the times; a masked token is revealed with probability 1 - survival, by the law at a step's start.

    Args:
        predict: The guided law.
        x: Tokens; the masked ones are V, as many as the law has tokens.
        times: Falling, within [0, 1]; where the last is 0 nothing stays masked.
        schedule: Masked share over time.
        uniforms: 2 l numbers per step and page.
        survival: `normalised`, `unlocking` or `simple`.

    Raises:
        ValueError: The times do not fall.
    """
    _check_times(times)
    for t, s in pairwise(times):
        guided = predict(x, t)
        share_t, share_s = (float(schedule.share(torch.tensor(time, dtype=torch.float64))) for time in (t, s))
        stay = survival(share_s / share_t, guided.log_z)
        revealed = uniforms.take(x.shape[1]) >= stay
        drawn = inverted(guided.jump, uniforms.take(x.shape[1]))
        x = torch.where((x == _mask(guided)) & revealed, drawn, x)
    return x


def first_hitting(
    predict: Predict, x: Tokens, schedule: MaskedShare, uniforms: Uniforms, unlock: bool = False
) -> Tokens:
    """Reveal one token of every row per call of the network, at the times at which the process itself would.

    With n masked tokens the next is revealed when the share has fallen by U^(1/n): exact, since laws change
    at these events alone (but for a weight that changes with time, which is taken at the last event). Rows
    have times of their own, so `predict` gets the mean of them; a time-free network does not care.

    Args:
        predict: The guided law.
        x: Tokens; the masked ones are V. Every place costs a call, whether it is masked or not.
        schedule: Masked share over time.
        uniforms: 2 + l numbers per place and page.
        unlock: Rates are not normalised: each token's counts Z times.
    """
    share = torch.ones(len(x), dtype=torch.float64, device=x.device)
    for _ in range(x.shape[1]):
        guided = predict(x, float(schedule.time(share).mean()))
        masked = x == _mask(guided)
        rate = torch.where(masked, guided.log_z.exp() if unlock else 1.0, 0.0).double()
        total = rate.sum(1)
        busy = total > 0
        fall = uniforms.take(1)[:, 0] ** (1 / total.where(busy, total.new_ones(())))
        share = torch.where(busy, share * fall, share)
        place = choose(torch.where(busy.unsqueeze(1), rate, 1.0).log(), uniforms.take(1)[:, 0].double())
        chosen = torch.zeros_like(masked).scatter(1, place.unsqueeze(1), True) & masked
        x = torch.where(chosen, inverted(guided.jump, uniforms.take(x.shape[1])), x)
    return x


def confident(
    predict: Predict,
    x: Tokens,
    times: Sequence[float],
    schedule: MaskedShare,
    uniforms: Uniforms,
    temperature: float = 0.0,
    remask: bool = False,
) -> Tokens:
    """Draw all masked tokens, keep the surest, mask the others again; their number is fixed by the schedule.

    Args:
        predict: The guided law.
        x: Tokens; the masked ones are V.
        times: Falling to 0; at time s round(l m(s)) tokens are masked.
        schedule: Masked share over time.
        uniforms: 2 l numbers per step and page.
        temperature: Gumbel noise on the log-probability that ranks, times t as in [MaskGIT]; 0 is greedy.
        remask: Also tokens of earlier steps may be masked again, by the probability they were drawn with.

    Raises:
        ValueError: The times do not fall to 0, or the temperature is negative.
    """
    _check_times(times)
    if times[-1] != 0 or temperature < 0:
        raise ValueError(f"need times down to 0 and temperature >= 0, got {times[-1]} and {temperature}")
    sure = torch.full(x.shape, torch.inf, device=x.device)  # what was given is never masked
    for t, s in pairwise(times):
        guided = predict(x, t)
        masked = x == (mask := _mask(guided))
        drawn = torch.where(masked, inverted(guided.jump, uniforms.take(x.shape[1])), x)
        chance = guided.jump.gather(-1, drawn.clamp_max(mask - 1).unsqueeze(-1)).squeeze(-1)
        uniform = uniforms.take(x.shape[1]).clamp_min(1e-20)  # Gumbel's noise is finite
        ranked = chance - temperature * t * torch.log(-torch.log(uniform)) if temperature else chance
        sure = torch.where(masked, ranked, sure if remask else torch.inf)
        count = round(x.shape[1] * float(schedule.share(torch.tensor(s, dtype=torch.float64))))
        x = drawn.masked_fill(_least(sure, count), mask)
    return x


def _least(values: Float[Tensor, "b l"], count: int) -> Tensor:
    """Where the `count` smallest finite values of every row stand."""
    places = values.argsort(1)[:, :count]
    least = torch.zeros(values.shape, dtype=torch.bool, device=values.device).scatter(1, places, True)
    return least & values.isfinite()


def _mask(guided: Guided) -> int:
    return guided.jump.shape[-1]


def inverted(law: Law, uniform: Float[Tensor, "b l"]) -> Int[Tensor, "b l"]:
    """One token of every place, by inverting its distribution function at `uniform` in [0, 1)."""
    return choose(law.flatten(0, 1), uniform.flatten()).view(uniform.shape)


def _check_times(times: Sequence[float]) -> None:
    falls = len(times) > 1 and all(t > s for t, s in pairwise(times))
    if not falls or times[0] > 1 or times[-1] < 0:
        raise ValueError(f"times must fall within [0, 1], got {list(times)}")
