"""One step of guided unmasking in plain PyTorch: the specification, and what a CPU runs.

    t = w c + (1 - w) u                     logits with (c) and without (u) the condition; w = 1 leaves u out
    log Z = lse t - w lse c - (1 - w) lse u            how much likelier guidance reveals       [N]
    token = argmax of t + temperature * Gumbel         a draw from softmax(t / temperature); 0 is greedy
    confidence = t_token - lse t                       its log-probability under the guided law

Gumbel noise is -log(-log U), U from Philox-4x32-10 [R]: key (seed), counter (v div 4, place, offset + row).
So a page's choice depends on its row's number alone, whatever is drawn beside it and wherever. The kernel's
logarithms may differ in the last bit: choices agree but where two scores are that close.
References: [N] Rojas et al. 2025, arXiv 2507.08965; [R] Salmon et al. 2011, doi 10.1145/2063384.2063405.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stillhand.core.shapes import Law

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
LOW = 0xFFFFFFFF


def forward(
    conditional: Law,
    unconditional: Law | None,
    weight: float,
    temperature: float,
    seed: int,
    offset: int,
) -> tuple[Int[Tensor, "b l"], Float[Tensor, "b l"], Float[Tensor, "b l"]]:
    """Token, confidence and log Z of every place; numbers in float32, or in float64 for such logits."""
    dtype = torch.promote_types(conditional.dtype, torch.float32)
    c = conditional.to(dtype)
    mixed, log_z = c, c.new_zeros(c.shape[:2])
    if unconditional is not None and weight != 1:
        u = unconditional.to(dtype)
        mixed = weight * c + (1 - weight) * u
        log_z = mixed.logsumexp(-1) - weight * c.logsumexp(-1) - (1 - weight) * u.logsumexp(-1)
    score = mixed
    if temperature:
        score = mixed + temperature * gumbel(seed, offset, mixed.shape, mixed.device).to(dtype)
    token = score.argmax(-1)
    chosen = mixed.gather(-1, token.unsqueeze(-1)).squeeze(-1)
    return token, chosen - mixed.logsumexp(-1), log_z


def gumbel(seed: int, offset: int, shape: tuple[int, ...], device: torch.device) -> Float[Tensor, "b l v"]:
    """Standard Gumbel noise for pages offset, offset + 1, ... of shape[1] places and shape[2] tokens."""
    b, places, tokens = shape
    groups = (tokens + 3) // 4
    c0, place, row = (torch.arange(n, device=device) for n in (groups, places, b))
    row = (row + offset)[:, None, None].expand(b, places, groups)
    place = place[None, :, None].expand_as(row)
    counter = c0.expand_as(row), place, row & LOW, (row >> 32) & LOW
    bits = torch.stack(philox(counter, (seed & LOW, (seed >> 32) & LOW)), dim=-1).flatten(2)[..., :tokens]
    uniform = ((bits >> 9).float() + 0.5) * 2.0**-23  # exact, and never 0 or 1
    return -torch.log(-torch.log(uniform))


def philox(counter: tuple[Tensor, ...], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Four 32-bit numbers, held in int64, of every counter of four. [R]."""
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        a, b = x0 * MULTIPLIERS[0], x2 * MULTIPLIERS[1]  # wraps; the bits are right, and so is a masked shift
        x0, x1, x2, x3 = ((b >> 32) & LOW) ^ x1 ^ k0, b & LOW, ((a >> 32) & LOW) ^ x3 ^ k1, a & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return x0, x1, x2, x3
