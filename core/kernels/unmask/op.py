"""One step of guided unmasking as a function, and as the operator `stillhand::guided_unmask`.

See `reference.py` for the mathematics and `triton_kernel.py` for the GPU. Nothing here has a gradient.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from stillhand.core.kernels import switch
from stillhand.core.kernels.unmask import reference
from stillhand.core.shapes import Law
from stillhand.core.splitmix import MOST_OFFSET

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
Triple = tuple[Tensor, Tensor, Tensor]


class Choice(NamedTuple):
    """What is chosen at every place that was asked for; NOTHING, 0 and 0 elsewhere.

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
    seeds: Int64[Tensor, " b"],
    temperature: float = 1.0,
    offset: int = 0,
    masked: Bool[Tensor, "b l"] | None = None,
) -> Choice:
    """Guide, draw and rate a token for every masked place in one sweep over the logits.

    Args:
        conditional, unconditional: Logits of v tokens, without the mask; None for no guidance, weight 1.
        weight: Of guidance, w >= 0; 1 reads the conditional logits alone.
        seeds: Of every page.
        temperature: Of the draw; 0 takes the likeliest token.
        offset: Which draw of a page this is: every step of a sampler takes its own.
        masked: Where tokens are wanted; None: everywhere.

    Raises:
        ValueError: Arguments out of range; shapes, dtypes or devices that do not fit; on a CPU a law that is
            nowhere finite (a GPU answers with a confidence that is no number).
    """
    arguments = conditional, unconditional, weight, temperature, seeds, offset, masked
    if switch.takes_operator(conditional):
        return Choice(*torch.ops.stillhand.guided_unmask(*arguments))
    return Choice(*_cpu(*arguments))


def checked_weight(weight: float) -> float:
    """The weight of guidance; a ValueError for a negative or non-finite one."""
    if not 0 <= weight < math.inf:
        raise ValueError(f"a guidance weight must be finite and at least 0 (1 is no guidance), got {weight}")
    return weight


def check(
    conditional: Tensor,
    unconditional: Tensor | None,
    weight: float,
    temperature: float,
    seeds: Tensor,
    offset: int,
    masked: Tensor | None,
) -> None:
    """Raise a ValueError that names the argument at fault and what was expected."""
    if conditional.ndim != 3 or conditional.shape[2] == 0:
        raise ValueError(f"need logits (b, l, v) of at least one token, got {tuple(conditional.shape)}")
    checked_weight(weight)
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be finite and at least 0, got {temperature}")
    if not 0 <= offset < MOST_OFFSET:
        raise ValueError(f"need an offset in 0..2^32-1, got {offset}")
    if unconditional is None and weight != 1:
        raise ValueError(f"guidance of weight {weight} needs unconditional logits")
    shape = conditional.shape
    _fits("conditional", conditional, conditional, shape, DTYPES)
    _fits("unconditional", unconditional, conditional, shape, DTYPES)
    _fits("seeds", seeds, conditional, shape[:1], (torch.int64,))
    _fits("masked", masked, conditional, shape[:2], (torch.bool,))


def _fits(
    name: str, value: Tensor | None, like: Tensor, shape: torch.Size, dtypes: tuple[torch.dtype, ...]
) -> None:
    if value is None:
        return
    if value.shape != shape:
        raise ValueError(
            f"{name} of shape {tuple(value.shape)}, expected {tuple(shape)} beside conditional of "
            f"{tuple(like.shape)}"
        )
    if value.device != like.device:
        raise ValueError(f"{name} is on {value.device}, conditional on {like.device}")
    if value.dtype not in dtypes:
        names = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise ValueError(f"need {name} of {names}, got {value.dtype}")


# ---- the operator ----

torch.library.define(
    "stillhand::guided_unmask",
    "(Tensor conditional, Tensor? unconditional, float weight, float temperature, Tensor seeds, int offset,"
    " Tensor? masked) -> (Tensor, Tensor, Tensor)",
)


def _cpu(
    conditional: Tensor,
    unconditional: Tensor | None,
    weight: float,
    temperature: float,
    seeds: Tensor,
    offset: int,
    masked: Tensor | None,
) -> Triple:
    check(conditional, unconditional, weight, temperature, seeds, offset, masked)
    found = reference.forward(conditional, unconditional, weight, temperature, seeds, offset, masked)
    if conditional.is_cpu and not bool((found[1] + found[2]).isfinite().all()):
        if weight == 1:
            raise ValueError("every page needs a token with a finite logit, and none that is no number")
        raise ValueError(f"guidance of weight {weight} needs finite logits: an excluded token has no rate")
    return found


def _cuda(
    conditional: Tensor,
    unconditional: Tensor | None,
    weight: float,
    temperature: float,
    seeds: Tensor,
    offset: int,
    masked: Tensor | None,
) -> Triple:
    arguments = conditional, unconditional, weight, temperature, seeds, offset, masked
    if not switch.has_triton() or conditional.dtype == torch.float64:
        return _cpu(*arguments)
    check(*arguments)
    from stillhand.core.kernels.unmask import triton_kernel

    return triton_kernel.forward(*arguments)


@torch.library.register_fake("stillhand::guided_unmask")  # type: ignore[untyped-decorator]
def _fake(
    conditional: Tensor,
    unconditional: Tensor | None,
    weight: float,
    temperature: float,
    seeds: Tensor,
    offset: int,
    masked: Tensor | None,
) -> Triple:
    check(conditional, unconditional, weight, temperature, seeds, offset, masked)
    dtype = torch.promote_types(conditional.dtype, torch.float32)
    places = conditional.shape[:2]
    token = conditional.new_empty(places, dtype=torch.int64)
    return token, conditional.new_empty(places, dtype=dtype), conditional.new_empty(places, dtype=dtype)


torch.library.impl("stillhand::guided_unmask", "cpu", _cpu)
torch.library.impl("stillhand::guided_unmask", "cuda", _cuda)
