"""The function and the operator: the same choices, and clear refusals."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from stillhand.core.kernels.unmask.op import guided_unmask

OPERATOR = torch.ops.stillhand.guided_unmask


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


SEEDS = torch.tensor([3, -4])
LAYOUTS = {
    "contiguous": logits(2, 3, 5),
    "sliced": logits(4, 3, 7)[::2, :, 1:6],
    "permuted": logits(5, 2, 3).permute(1, 2, 0),
    "empty": logits(0, 3, 5),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_opcheck(layout: str, weight: float) -> None:
    c = LAYOUTS[layout]
    u = logits(*c.shape, seed=1) if weight != 1 else None
    masked = torch.arange(c.shape[0] * 3).view(-1, 3) % 2 == 0 if weight != 1 else None
    torch.library.opcheck(OPERATOR.default, (c, u, weight, 1.0, SEEDS[: len(c)], 0, masked))


def test_the_operator_and_the_function_say_the_same() -> None:
    c, u = logits(2, 3, 5), logits(2, 3, 5, seed=1)
    masked = torch.tensor([[True, False, True], [False, True, True]])
    direct = guided_unmask(c, u, 2.0, seeds=SEEDS, temperature=0.5, offset=4, masked=masked)
    for one, another in zip(OPERATOR(c, u, 2.0, 0.5, SEEDS, 4, masked), direct, strict=True):
        assert torch.equal(one, another)


LAW = logits(2, 3, 5)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "axes": ({"conditional": LAW[0]}, "need logits (b, l, v) of at least one token, got (3, 5)"),
    "shape": ({"unconditional": LAW[:, :2]}, "unconditional of shape (2, 2, 5), expected (2, 3, 5)"),
    "device": ({"unconditional": LAW.to("meta")}, "unconditional is on meta, conditional on cpu"),
    "dtype": ({"conditional": LAW.long()}, "need conditional of float16"),
    "weight": (
        {"weight": -0.5},
        "a guidance weight must be finite and at least 0 (1 is no guidance), got -0.5",
    ),
    "no law": ({"unconditional": None}, "guidance of weight 2.0 needs unconditional logits"),
    "temperature": ({"temperature": -1.0}, "temperature must be finite and at least 0, got -1.0"),
    "offset": ({"offset": -1}, "an offset in 0..2^32-1, got -1"),
    "seeds": ({"seeds": SEEDS[:1]}, "seeds of shape (1,), expected (2,) beside conditional of (2, 3, 5)"),
    "seeds' dtype": ({"seeds": SEEDS.int()}, "need seeds of int64, got torch.int32"),
    "masked": ({"masked": torch.ones(2, 3)}, "need masked of bool, got torch.float32"),
    "masked's shape": ({"masked": SEEDS > 0}, "masked of shape (2,), expected (2, 3)"),
    "no number": (
        {"conditional": LAW * torch.nan, "unconditional": None, "weight": 1.0},
        "a token with a finite logit, and none that is no number",
    ),
    "infinite": ({"unconditional": LAW - torch.inf}, "guidance of weight 2.0 needs finite logits"),
}


@pytest.mark.parametrize("case", BAD)
def test_the_operator_says_what_does_not_fit(case: str) -> None:
    changed, message = BAD[case]
    given = {
        "conditional": LAW,
        "unconditional": LAW,
        "weight": 2.0,
        "temperature": 1.0,
        "seeds": SEEDS,
        "offset": 0,
        "masked": None,
    }
    with pytest.raises(ValueError, match=re.escape(message)):
        OPERATOR(*(given | changed).values())
