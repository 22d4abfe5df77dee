"""Guided unmasking in Triton: both laws are read once, and nothing of the size of a law is written.

One program per place walks over the tokens. Every lane keeps its own maximum and sum of exponentials of c, u
and t, each step costing one exponential: with e = exp(-|x - m|) the sum is s e + 1 where x is the new maximum
and s + e elsewhere. Scores need no normaliser, so the best token is known when the sweep ends.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from stillhand.core.kernels.unmask.reference import LOW, ROUNDS

MOST_TOKENS = 1024  # of a step of the sweep
NONE = tl.constexpr(2147483647)
LEAST = tl.constexpr(-3.0e38)  # finite, so that two of them have a difference


@triton.jit
def _gumbel(group, place, row_low, row_high, seed_low, seed_high, ROUNDS: tl.constexpr):
    """Noise of four tokens for every group, interleaved: token 4 k + lane is at that place. Philox-4x32."""
    x0 = group.to(tl.uint32)
    x1 = tl.zeros_like(x0) + tl.cast(place, tl.uint32)
    x2 = tl.zeros_like(x0) + tl.cast(row_low, tl.uint32)
    x3 = tl.zeros_like(x0) + tl.cast(row_high, tl.uint32)
    k0 = tl.zeros_like(x0) + tl.cast(seed_low, tl.uint32)
    k1 = tl.zeros_like(x0) + tl.cast(seed_high, tl.uint32)
    first = tl.full(x0.shape, 0xD2511F53, tl.uint32)
    second = tl.full(x0.shape, 0xCD9E8D57, tl.uint32)
    for _ in tl.static_range(ROUNDS):
        a_high, a_low = tl.umulhi(first, x0), first * x0
        b_high, b_low = tl.umulhi(second, x2), second * x2
        x0 = b_high ^ x1 ^ k0
        x2 = a_high ^ x3 ^ k1
        x1 = b_low
        x3 = a_low
        k0 += tl.full(x0.shape, 0x9E3779B9, tl.uint32)
        k1 += tl.full(x0.shape, 0xBB67AE85, tl.uint32)
    bits = tl.interleave(tl.interleave(x0, x2), tl.interleave(x1, x3))
    uniform = ((bits >> 9).to(tl.float32) + 0.5) * 1.1920928955078125e-07  # 2^-23
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


@triton.jit(do_not_specialize=("seed_low", "seed_high", "offset"))
def choice_kernel(
    conditional, unconditional, token, confidence, log_z, places, v, weight, temperature,
    seed_low, seed_high, offset,
    GUIDED: tl.constexpr, DRAWN: tl.constexpr, BLOCK: tl.constexpr, ROUNDS: tl.constexpr,
):  # fmt: skip
    """Token, confidence and log Z of one place."""
    at = tl.program_id(0).to(tl.int64)
    row = at // places + offset
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
    for start in range(0, v, BLOCK):
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
            group = start // 4 + tl.arange(0, BLOCK // 4)
            noise = _gumbel(group, at % places, row & 0xFFFFFFFF, row >> 32, seed_low, seed_high, ROUNDS)
            score = t + temperature * noise
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
    tl.store(token + at, chosen.to(tl.int64))
    tl.store(confidence + at, value - whole)
    tl.store(log_z + at, scale)


def forward(
    conditional: Tensor,
    unconditional: Tensor | None,
    weight: float,
    temperature: float,
    seed: int,
    offset: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.forward`, for float16, bfloat16 and float32."""
    guided = unconditional is not None and weight != 1
    c = conditional.contiguous()
    u = unconditional.contiguous() if unconditional is not None and guided else None
    b, places, v = c.shape
    token = torch.empty((b, places), dtype=torch.int64, device=c.device)
    confidence, log_z = (torch.empty((b, places), dtype=torch.float32, device=c.device) for _ in range(2))
    block = min(MOST_TOKENS, max(16, 1 << (v - 1).bit_length()))
    if token.numel():
        numbers = (places, v, float(weight), float(temperature), seed & LOW, (seed >> 32) & LOW, offset)
        flags = (guided, temperature > 0, block, ROUNDS)
        choice_kernel[(b * places,)](c, u, token, confidence, log_z, *numbers, *flags)
    return token, confidence, log_z
