"""One step of guided unmasking as a function, and as the operator `stillhand::guided_unmask`.

See `reference.py` for the mathematics and `triton_kernel.py` for the GPU. Nothing here has a gradient.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stillhand.core.kernels import switch
from stillhand.core.kernels.unmask import reference
from stillhand.core.shapes import Law

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
Triple = tuple[Tensor, Tensor, Tensor]


class Choice(NamedTuple):
    """What is chosen at every place.

    Args:
        token: In 0..v-1.
        confidence: Its log-probability under the guided law, before temperature.
        log_z: log Z_w of guidance; 0 without.
    """

    token: Int[Tensor, "b l"]
    confidence: Float[Tensor, "b l"]
    log_z: Float[Tensor, "b l"]


def guided_unmask(
    conditional: Law,
    unconditional: Law | None,
    weight: float,
    *,
    temperature: float = 1.0,
    seed: int,
    offset: int = 0,
) -> Choice:
    """Guide, draw and rate a token for every place in one sweep over the logits.

    Args:
        conditional, unconditional: Logits of v tokens, without the mask; None for no guidance, weight 1.
        weight: Of guidance, w >= 0; 1 reads the conditional logits alone.
        temperature: Of the draw; 0 takes the likeliest token.
        seed: 64 bits. Every step of a sampler takes its own.
        offset: Number of the first row, so that parts of a batch draw what the whole would.

    Raises:
        ValueError: Arguments out of range; shapes, dtypes or devices that do not fit; on a CPU a law that is
            nowhere finite (a GPU answers with a confidence that is no number).
    """
    if switch.takes_operator(conditional):
        arguments = conditional, unconditional, weight, temperature, seed, offset
        return Choice(*torch.ops.stillhand.guided_unmask(*arguments))
    return Choice(*_cpu(conditional, unconditional, weight, temperature, seed, offset))


def check(
    conditional: Tensor,
    unconditional: Tensor | None,
    weight: float,
    temperature: float,
    seed: int,
    offset: int,
) -> None:
    """Raise a ValueError that names the argument at fault and what was expected."""
    if conditional.ndim != 3 or conditional.shape[2] == 0:
        raise ValueError(f"need logits (b, l, v) of at least one token, got {tuple(conditional.shape)}")
    if not 0 <= weight < math.inf:
        raise ValueError(f"a guidance weight must be finite and at least 0 (1 is no guidance), got {weight}")
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be finite and at least 0, got {temperature}")
    if not -(2**63) <= seed < 2**63 or not 0 <= offset < 2**62:
        raise ValueError(f"need a seed of 64 bits and an offset in 0..2^62, got {seed} and {offset}")
    if unconditional is None and weight != 1:
        raise ValueError(f"guidance of weight {weight} needs unconditional logits")
    for name, value in (("conditional", conditional), ("unconditional", unconditional)):
        if value is None:
            continue
        if value.shape != conditional.shape:
            raise ValueError(
                f"{name} of shape {tuple(value.shape)}, conditional of {tuple(conditional.shape)}"
            )
        if value.device != conditional.device:
            raise ValueError(f"{name} is on {value.device}, conditional on {conditional.device}")
        if value.dtype not in DTYPES:
            raise ValueError(f"need {name} of float16, bfloat16, float32 or float64, got {value.dtype}")


# ---- the operator ----

torch.library.define(
    "stillhand::guided_unmask",
    "(Tensor conditional, Tensor? unconditional, float weight, float temperature, int seed, int offset)"
    " -> (Tensor, Tensor, Tensor)",
)


def _cpu(
    conditional: Tensor,
    unconditional: Tensor | None,
    weight: float,
    temperature: float,
    seed: int,
    offset: int,
) -> Triple:
    check(conditional, unconditional, weight, temperature, seed, offset)
    found = reference.forward(conditional, unconditional, weight, temperature, seed, offset)
    if conditional.is_cpu and not bool((found[1] + found[2]).isfinite().all()):
        raise ValueError(f"guidance of weight {weight} needs finite logits: an excluded token has no rate")
    return found


def _cuda(
    conditional: Tensor,
    unconditional: Tensor | None,
    weight: float,
    temperature: float,
    seed: int,
    offset: int,
) -> Triple:
    if not switch.has_triton() or conditional.dtype == torch.float64:
        return _cpu(conditional, unconditional, weight, temperature, seed, offset)
    check(conditional, unconditional, weight, temperature, seed, offset)
    from stillhand.core.kernels.unmask import triton_kernel

    return triton_kernel.forward(conditional, unconditional, weight, temperature, seed, offset)


@torch.library.register_fake("stillhand::guided_unmask")  # type: ignore[untyped-decorator]
def _fake(
    conditional: Tensor,
    unconditional: Tensor | None,
    weight: float,
    temperature: float,
    seed: int,
    offset: int,
) -> Triple:
    check(conditional, unconditional, weight, temperature, seed, offset)
    dtype = torch.promote_types(conditional.dtype, torch.float32)
    places = conditional.shape[:2]
    token = conditional.new_empty(places, dtype=torch.int64)
    return token, conditional.new_empty(places, dtype=dtype), conditional.new_empty(places, dtype=dtype)


torch.library.impl("stillhand::guided_unmask", "cpu", _cpu)
torch.library.impl("stillhand::guided_unmask", "cuda", _cuda)
