"""The function and the operator: the same numbers, the same gradients, and clear refusals."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from stillhand.core.kernels import switch
from stillhand.core.kernels.residual import reference
from stillhand.core.kernels.residual.op import weighted_residual

OPERATOR = torch.ops.stillhand.weighted_residual


@pytest.fixture(autouse=True)
def _switch() -> Iterator[None]:
    yield
    switch.choose("auto")


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def full(f: Tensor) -> tuple[Any, ...]:
    """All operands, f given."""
    lead = len(f), *[1] * (f.ndim - 1)
    like = [normal(*f.shape, seed=k, dtype=f.dtype).requires_grad_() for k in (1, 2, 3)]
    coefficients = [normal(*lead, seed=k, dtype=f.dtype) for k in (4, 5, 6)]
    valid = torch.ones(f.shape[:1], dtype=torch.bool)
    target, x, other = like
    return (
        f,
        target,
        x,
        coefficients[0].requires_grad_(),
        coefficients[1],
        other,
        coefficients[2],
        valid,
        0.7,
        1e-5,
    )


LAYOUTS = {
    "contiguous": normal(3, 4, 2),
    "sliced": normal(6, 4, 5)[::2, :, 1:3],
    "permuted": normal(4, 2, 3).permute(2, 0, 1),
    "empty": normal(0, 4, 2),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_opcheck(layout: str) -> None:
    arguments = full(LAYOUTS[layout].requires_grad_())
    torch.library.opcheck(OPERATOR.default, arguments)


def test_opcheck_without_options() -> None:
    f, target = normal(3, 5).requires_grad_(), normal(3, 5, seed=1)
    torch.library.opcheck(OPERATOR.default, (f, target, *[None] * 6, 0.0, 1e-5))


@pytest.mark.parametrize("choice", ["auto", "reference"])
def test_gradcheck(choice: str) -> None:
    switch.choose(choice)
    arguments = full(normal(3, 2, 2, dtype=torch.float64).requires_grad_())

    def product(f: Tensor, target: Tensor, x: Tensor, skip: Tensor, other: Tensor) -> Tensor:
        return weighted_residual(
            f, target, x=x, skip=skip, out=arguments[4], other=other, weight=arguments[6], alpha=0.7
        ).product

    assert torch.autograd.gradcheck(product, [arguments[k] for k in (0, 1, 2, 3, 5)])


def by_name(*given: Any) -> tuple[Tensor, ...]:
    named = dict(
        zip(("x", "skip", "out", "other", "weight", "valid", "alpha", "floor"), given[2:], strict=True)
    )
    return tuple(weighted_residual(*given[:2], **named))


def test_the_operator_and_the_function_say_the_same() -> None:
    results = []
    for call in (OPERATOR, by_name):
        arguments = full(normal(3, 4, 2).requires_grad_())
        product, square, normaliser, *_ = call(*arguments)
        assert product.requires_grad and not normaliser.requires_grad
        leaves = [arguments[k] for k in (0, 1, 2, 3, 5)]
        results.append([product, square, normaliser, *torch.autograd.grad(product.sum(), leaves)])
    for one, another in zip(*results, strict=True):
        torch.testing.assert_close(one, another, rtol=1e-5, atol=1e-6)


def test_only_asked_gradients_are_made() -> None:
    f, target = normal(3, 5).requires_grad_(), normal(3, 5, seed=1)
    count = torch.full((3,), 5.0)
    given = (f.detach(), target, None, None, None, None, None, None)
    needs = [False, True, False, False, False, False]
    found = reference.backward(torch.ones(3), count, given, 0.0, needs)
    torch.testing.assert_close(found, [-2 * (f.detach() - target) / 5])


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "shape": ({"target": normal(3, 5)}, "target of shape (3, 5) does not fit f of (3, 4)"),
    "batch": ({"weight": torch.ones(1, 4)}, "weight of shape (1, 4) does not fit f of (3, 4)"),
    "axes": ({"weight": torch.ones(3)}, "weight of shape (3,) does not fit f of (3, 4)"),
    "mask": ({"valid": torch.ones(4, dtype=torch.bool)}, "valid of shape (4,) does not fit f of (3, 4)"),
    "dtype": ({"f": torch.ones(3, 4, dtype=torch.int64)}, "need f of dtype float16"),
    "number": ({"target": torch.ones(3, 1)}, "target of shape (3, 1) does not fit f of (3, 4)"),
    "narrow mask": (
        {"valid": torch.ones(3, 1, dtype=torch.bool)},
        "valid of shape (3, 1) does not fit f of (3, 4)",
    ),
    "mask dtype": ({"valid": torch.ones(3)}, "need valid of dtype bool, got torch.float32"),
    "device": ({"other": torch.ones(3, 4, device="meta")}, "other is on meta, f on cpu"),
    "scalars": (
        {"f": torch.ones(3), "target": torch.ones(3)},
        "f needs a batch axis and at least one number",
    ),
    "nothing": (
        {"f": torch.ones(3, 0), "target": torch.ones(3, 0)},
        "at least one number per sample, got (3, 0)",
    ),
    "half mixed": ({"x": normal(3, 4)}, "x, skip and out belong together"),
    "weight's gradient": ({"weight": torch.ones(3, 1, requires_grad=True)}, "weight has no gradient"),
    "column's gradient": (
        {"x": normal(3, 4), "skip": torch.ones(3, 4, requires_grad=True), "out": torch.ones(3, 1)},
        "a gradient to skip needs one number per sample, got (3, 4)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_the_operator_says_what_does_not_fit(case: str) -> None:
    changed, message = BAD[case]
    names = ("f", "target", "x", "skip", "out", "other", "weight", "valid")
    given = {**dict.fromkeys(names), "f": normal(3, 4), "target": normal(3, 4, seed=1), **changed}
    with pytest.raises(ValueError, match=re.escape(message)):
        OPERATOR(*(given[name] for name in names), 0.0, 1e-5)


def test_a_sample_without_a_valid_element_is_refused() -> None:
    valid = torch.tensor([[True, False], [False, False]])
    with pytest.raises(ValueError, match=re.escape("samples [1] have no valid element")):
        weighted_residual(normal(2, 2), normal(2, 2, seed=1), valid=valid)
