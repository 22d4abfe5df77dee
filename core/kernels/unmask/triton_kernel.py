"""Guided unmasking in Triton: both laws are read once, and nothing of the size of a law is written.

One program per place walks over the tokens, or over none where the place is not masked. Every lane keeps its
own maximum and sum of exponentials of c, u and t, each step costing one exponential: with e = exp(-|x - m|)
the sum is s e + 1 where x is the new maximum, s + e elsewhere. Scores need no normaliser, so the best token
is known when the sweep ends.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from stillhand.core import splitmix

MOST_TOKENS = 1024  # of a step of the sweep
NONE = tl.constexpr(2147483647)
GOLDEN = tl.constexpr(splitmix.GOLDEN)
FIRST = tl.constexpr(splitmix.FIRST)
SECOND = tl.constexpr(splitmix.SECOND)
LEAST = tl.constexpr(-3.0e38)  # finite, so that two of them have a difference


@triton.jit
def _mixed(z):
    """Of 64 bits: see core/splitmix.py."""
    z = (z ^ (z >> 30)) * FIRST
    z = (z ^ (z >> 27)) * SECOND
    return z ^ (z >> 31)


@triton.jit
def _gumbel(number, place, offset, seed):
    """Noise of these tokens at a place."""
    start = _mixed(seed.to(tl.uint64) + (offset.to(tl.uint64) + 1) * GOLDEN)
    key = _mixed(start + (place.to(tl.uint64) + 1) * GOLDEN)
    bits = _mixed(key + (number.to(tl.uint64) + 1) * GOLDEN) >> 41
    uniform = (bits.to(tl.uint32).to(tl.float32) + 0.5) * 1.1920928955078125e-07  # 2^-23
    return -tl.log(-tl.log(uniform))


@triton.jit
def _gathered(x, most, total):
    """A lane's maximum and sum of exponentials with one more number."""
    e = tl.exp(-tl.abs(x - most))
    return tl.maximum(x, most), tl.where(x > most, total * e + 1.0, total + e)


@triton.jit
def _log_sum(most, total):
    """Log-sum-exp over lanes."""
    top = tl.max(most, axis=0)
    return top + tl.log(tl.sum(total * tl.exp(most - top), axis=0))


@triton.jit(do_not_specialize=("offset",))
def choice_kernel(
    conditional, unconditional, seeds, masked, token, confidence, log_z, places, v, weight, temperature,
    offset,
    GUIDED: tl.constexpr, MASKED: tl.constexpr, DRAWN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Token, confidence and log Z of one place."""
    at = tl.program_id(0).to(tl.int64)
    seed = tl.load(seeds + at // places)
    end = v
    if MASKED:
        asked = tl.load(masked + at).to(tl.int32) != 0
        end = tl.where(asked, v, 0)
    lanes = tl.arange(0, BLOCK)
    top_c = tl.full([BLOCK], LEAST, tl.float32)
    top_u = tl.full([BLOCK], LEAST, tl.float32)
    top_t = tl.full([BLOCK], LEAST, tl.float32)
    sum_c = tl.zeros([BLOCK], tl.float32)
    sum_u = tl.zeros([BLOCK], tl.float32)
    sum_t = tl.zeros([BLOCK], tl.float32)
    best = tl.full([BLOCK], -float("inf"), tl.float32)
    best_t = tl.zeros([BLOCK], tl.float32)
    best_token = tl.full([BLOCK], NONE, tl.int32)
    for start in range(0, end, BLOCK):
        i = start + lanes
        c = tl.load(conditional + at * v + i, mask=i < v, other=-float("inf")).to(tl.float32)
        t = c
        if GUIDED:
            u = tl.load(unconditional + at * v + i, mask=i < v, other=-float("inf")).to(tl.float32)
            t = tl.where(i < v, weight * c + (1.0 - weight) * u, -float("inf"))
            top_c, sum_c = _gathered(c, top_c, sum_c)
            top_u, sum_u = _gathered(u, top_u, sum_u)
        top_t, sum_t = _gathered(t, top_t, sum_t)
        score = t
        if DRAWN:
            score = t + temperature * _gumbel(i, at % places, offset, seed)
        better = score > best
        best = tl.where(better, score, best)
        best_t = tl.where(better, t, best_t)
        best_token = tl.where(better, i, best_token)
    winner = tl.max(best, axis=0)
    chosen = tl.min(tl.where(best == winner, best_token, NONE), axis=0)
    value = tl.sum(tl.where(best_token == chosen, best_t, 0.0), axis=0)
    whole = _log_sum(top_t, sum_t)
    scale = 0.0
    if GUIDED:
        scale = whole - weight * _log_sum(top_c, sum_c) - (1.0 - weight) * _log_sum(top_u, sum_u)
    sure = value - whole
    if MASKED:
        chosen = tl.where(asked, chosen, -1)
        sure = tl.where(asked, sure, 0.0)
        scale = tl.where(asked, scale, 0.0)
    tl.store(token + at, chosen.to(tl.int64))
    tl.store(confidence + at, sure)
    tl.store(log_z + at, scale)


def forward(
    conditional: Tensor,
    unconditional: Tensor | None,
    weight: float,
    temperature: float,
    seeds: Tensor,
    offset: int,
    masked: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.forward`, for float16, bfloat16 and float32."""
    guided = unconditional is not None and weight != 1
    c = conditional.contiguous()
    u = unconditional.contiguous() if unconditional is not None and guided else None
    asked = None if masked is None else masked.contiguous().view(torch.uint8)
    b, places, v = c.shape
    token = torch.empty((b, places), dtype=torch.int64, device=c.device)
    confidence, log_z = (torch.empty((b, places), dtype=torch.float32, device=c.device) for _ in range(2))
    block = min(MOST_TOKENS, max(16, 1 << (v - 1).bit_length()))
    if token.numel():
        given = c, u, seeds.contiguous(), asked, token, confidence, log_z
        numbers = (places, v, float(weight), float(temperature), offset)
        flags = (guided, asked is not None, temperature > 0, block)
        choice_kernel[(b * places,)](*given, *numbers, *flags)
    return token, confidence, log_z
