"""One step of guided unmasking in plain PyTorch: the specification, and what a CPU runs.

    t = w c + (1 - w) u                     logits with (c) and without (u) the condition; w = 1 leaves u out
    log Z = lse t - w lse c - (1 - w) lse u            how much likelier guidance reveals       [N]
    token = argmax of t + temperature * Gumbel         a draw from softmax(t / temperature); 0 is greedy
    confidence = t_token - lse t                       its log-probability under the guided law

Gumbel noise is a function of a page's seed, the step and the place (core/splitmix.py), so a page's choice is
the same whatever is drawn beside it, and wherever. The kernel's logarithms may differ in the last bit:
choices agree but where two scores are that close.
Reference: [N] Rojas et al. 2025, arXiv 2507.08965.
"""

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from stillhand.core.shapes import Law
from stillhand.core.splitmix import gumbel

NOTHING = -1  # the token of a place that is not asked for


def forward(
    conditional: Law,
    unconditional: Law | None,
    weight: float,
    temperature: float,
    seeds: Int64[Tensor, " b"],
    offset: int,
    masked: Bool[Tensor, "b l"] | None,
) -> tuple[Int[Tensor, "b l"], Float[Tensor, "b l"], Float[Tensor, "b l"]]:
    """Token, confidence and log Z of every masked place; NOTHING, 0 and 0 elsewhere.

    Numbers in float32, or in float64 for such logits. Places that are not masked cost nothing.
    """
    dtype = torch.promote_types(conditional.dtype, torch.float32)
    shape = conditional.shape[:2]
    asked = torch.ones(shape, dtype=torch.bool, device=seeds.device) if masked is None else masked
    row, place = asked.nonzero(as_tuple=True)
    mixed = c = conditional[row, place].to(dtype)
    log_z = c.new_zeros(len(c))
    if unconditional is not None and weight != 1:
        u = unconditional[row, place].to(dtype)
        mixed = weight * c + (1 - weight) * u
        log_z = mixed.logsumexp(-1) - weight * c.logsumexp(-1) - (1 - weight) * u.logsumexp(-1)
    score = mixed
    if temperature:
        score = mixed + temperature * gumbel(seeds[row], place, offset, mixed.shape[1]).to(dtype)
    token = score.argmax(-1)
    confidence = mixed.gather(-1, token.unsqueeze(-1)).squeeze(-1) - mixed.logsumexp(-1)
    at = row, place
    return (
        torch.full(shape, NOTHING, device=c.device).index_put_(at, token),
        c.new_zeros(shape).index_put_(at, confidence),
        c.new_zeros(shape).index_put_(at, log_z),
    )
