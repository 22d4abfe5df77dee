"""Samplers of masked diffusion: from a page of masks to tokens.

    leap            fixed times; every token is revealed by its survival probability, independently [N]
    first_hitting   one token after another at the exact times of the process, no step size [FH]
    confident       fixed numbers of tokens per step, the surest first [MaskGIT]

All ask `predict(tokens, t, call)` for a choice at every masked place (core/kernels/unmask), so they know
neither networks nor conditions. Further randomness is drawn by counting too, from the page's own seed and the
number of the call (core/splitmix.py): a page does not depend on what is drawn beside it.
References: [N] Rojas et al. 2025, arXiv 2507.08965; [FH] Zheng et al. 2024, arXiv 2409.02908;
[MaskGIT] Chang et al. 2022, arXiv 2202.04200.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from stillhand.core.diffusion.discrete import MaskedShare
from stillhand.core.diffusion.discrete_guidance import Survival, normalised
from stillhand.core.kernels.unmask.op import Choice
from stillhand.core.mixture import choose
from stillhand.core.shapes import Tokens
from stillhand.core.splitmix import uniform

Predict = Callable[[Tensor, float, int], Choice]
"""(tokens (b, l), time, number of the call) -> what is chosen at the masked places."""


def even_times(steps: int) -> list[float]:
    """Times of that many steps, from 1 (all masked) to 0; a ValueError below one step."""
    if steps < 1:
        raise ValueError(f"need at least one step, got {steps}")
    return [(steps - k) / steps for k in range(steps)] + [0.0]  # 3 of 10 is .3 to the bit


def leap(
    predict: Predict,
    x: Tokens,
    mask: int,
    times: Sequence[float],
    schedule: MaskedShare,
    seeds: Int64[Tensor, " b"],
    survival: Survival = normalised,
) -> Tokens:
    """Walk the times; a masked token is revealed with probability 1 - survival, by the law at a step's start.

    Args:
        predict: Of the guided law.
        x: Tokens.
        mask: The token that stands for none.
        times: Falling, within [0, 1]; where the last is 0 nothing stays masked.
        schedule: Masked share over time.
        seeds: Of the pages.
        survival: How likely a token stays masked, one of discrete_guidance.py.

    Raises:
        ValueError: The times do not fall.
    """
    _check_times(times)
    numbers = uniform(seeds, (len(times) - 1) * x.shape[1]).split(x.shape[1], dim=1)
    for call, (t, s) in enumerate(pairwise(times)):
        choice = predict(x, t, call)
        share_t, share_s = (float(schedule.share(torch.tensor(time, dtype=torch.float64))) for time in (t, s))
        stay = survival(share_s / share_t, choice.log_z)
        revealed = numbers[call] >= stay
        x = torch.where((x == mask) & revealed, choice.token, x)
    return x


def first_hitting(
    predict: Predict,
    x: Tokens,
    mask: int,
    schedule: MaskedShare,
    seeds: Int64[Tensor, " b"],
    unlock: bool = False,
) -> Tokens:
    """Reveal one token of every row per call of the network, at the times at which the process itself would.

    With n masked tokens the next is revealed when the share has fallen by U^(1/n): exact, since laws change
    at these events alone. Rows have times of their own, and `predict` gets the mean of them: what it says
    must not depend on time, neither by the network nor by the weight of guidance.

    Args:
        predict: Of the guided law.
        x: Tokens. Every place costs a call, whether it is masked or not.
        mask: The token that stands for none.
        schedule: Masked share over time.
        seeds: Of the pages.
        unlock: Rates are not normalised: each token's counts Z times.
    """
    share = torch.ones(len(x), dtype=torch.float64, device=x.device)
    numbers = uniform(seeds, 2 * x.shape[1]).double().split(2, dim=1)
    for call in range(x.shape[1]):
        choice = predict(x, float(schedule.time(share).mean()), call)
        masked = x == mask
        busy = masked.any(1)
        # logarithms: Z of laws that disagree is larger than any float, or smaller
        log_rate = choice.log_z.double() if unlock else torch.zeros_like(choice.log_z, dtype=torch.float64)
        log_rate = torch.where(busy.unsqueeze(1), log_rate.masked_fill(~masked, -torch.inf), 0.0)
        total = log_rate.logsumexp(1)
        fall, which = numbers[call].unbind(1)
        share = torch.where(busy, share * fall ** torch.exp(-total), share)
        place = choose(log_rate - total.unsqueeze(1), which)
        chosen = torch.zeros_like(masked).scatter(1, place.unsqueeze(1), True) & masked
        x = torch.where(chosen, choice.token, x)
    return x


def confident(
    predict: Predict,
    x: Tokens,
    mask: int,
    times: Sequence[float],
    schedule: MaskedShare,
    seeds: Int64[Tensor, " b"],
    temperature: float = 0.0,
    remask: bool = False,
) -> Tokens:
    """Draw all masked tokens, keep the surest, mask the others again; their number is fixed by the schedule.

    Args:
        predict: Of the guided law.
        x: Tokens.
        mask: The token that stands for none.
        times: Falling to 0; at time s round(l m(s)) tokens are masked.
        schedule: Masked share over time.
        seeds: Of the pages.
        temperature: Gumbel noise on the log-probability that ranks, times t as in [MaskGIT]; 0 is greedy.
        remask: Also tokens of earlier steps may be masked again, by the probability they were drawn with.

    Raises:
        ValueError: The times do not fall to 0, or the temperature is negative.
    """
    _check_times(times)
    if times[-1] != 0 or temperature < 0:
        raise ValueError(f"need times down to 0 and temperature >= 0, got {times[-1]} and {temperature}")
    numbers = uniform(seeds, (len(times) - 1) * x.shape[1]).split(x.shape[1], dim=1)
    sure = torch.full(x.shape, torch.inf, device=x.device)  # what was given is never masked
    for call, (t, s) in enumerate(pairwise(times)):
        choice = predict(x, t, call)
        masked = x == mask
        ranked = choice.confidence
        if temperature:
            ranked = ranked - temperature * t * torch.log(-torch.log(numbers[call]))
        sure = torch.where(masked, ranked, sure if remask else torch.inf)
        count = round(x.shape[1] * float(schedule.share(torch.tensor(s, dtype=torch.float64))))
        x = torch.where(masked, choice.token, x).masked_fill(_least(sure, count), mask)
    return x


def _least(values: Float[Tensor, "b l"], count: int) -> Tensor:
    """Where the `count` smallest finite values of every row stand."""
    places = values.argsort(1)[:, :count]
    least = torch.zeros(values.shape, dtype=torch.bool, device=values.device).scatter(1, places, True)
    return least & values.isfinite()


def _check_times(times: Sequence[float]) -> None:
    falls = len(times) > 1 and all(t > s for t, s in pairwise(times))
    if not falls or times[0] > 1 or times[-1] < 0:
        raise ValueError(f"times must fall within [0, 1], got {list(times)}")
