"""By hand, against what the formula says in float64, and the written-out gradient against autograd's."""

import itertools

import pytest
import torch
from torch import Tensor

from stillhand.core.kernels.residual import reference


def operands(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    names = ("f", "target", "x", "other")
    whole = {name: torch.randn(3, 4, 2, generator=generator, dtype=dtype) for name in names}
    parts = {
        name: torch.rand(3, 1, 1, generator=generator, dtype=dtype) for name in ("skip", "out", "weight")
    }
    valid = torch.tensor([[True] * 4, [True, False, True, False], [False, False, False, True]])
    return {**whole, **parts, "valid": valid}


def choice(preconditioned: bool, gap: bool, weighted: str, masked: bool) -> tuple[Tensor | None, ...]:
    all_ = operands()
    weight = {"no": None, "row": all_["weight"], "column": all_["weight"] * torch.tensor([1.0, 2.0])}[
        weighted
    ]
    mixing = [all_[name] if preconditioned else None for name in ("x", "skip", "out")]
    other, valid = all_["other"] if gap else None, all_["valid"] if masked else None
    return all_["f"], all_["target"], *mixing, other, weight, valid


CHOICES = [
    choice(*flags)
    for flags in itertools.product((False, True), (False, True), ("no", "row", "column"), (False, True))
]


@pytest.mark.parametrize("given", CHOICES)
def test_moments_are_the_formula(given: tuple[Tensor | None, ...]) -> None:
    f, target, x, skip, out, other, weight, valid = given
    assert f is not None and target is not None
    answer = f if x is None or skip is None or out is None else skip * x + out * f
    r = answer - target
    g = r if other is None else answer - other
    lead = torch.ones(3, 4, dtype=torch.bool) if valid is None else valid
    found = reference.forward(f, target, x, skip, out, other, weight, valid, 0.7, 1e-5)
    for k in range(3):
        keep = lead[k]
        w = torch.ones(4, 2) if weight is None else weight[k].expand(4, 2)
        product = (w[keep] * g[k][keep] * (r[k][keep] - 0.7 * g[k][keep])).mean()
        norm = 1 / r[k][keep].abs().mean()
        expected = torch.stack([product, (g[k][keep] ** 2).mean(), norm, keep.sum() * 2.0])
        torch.testing.assert_close(torch.stack([v[k] for v in found]), expected.to(r.dtype))


@pytest.mark.parametrize("given", CHOICES)
def test_the_written_gradient_is_autograds(given: tuple[Tensor | None, ...]) -> None:
    leaves = [None if v is None else v.clone().requires_grad_() for v in given[:6]]
    product, _, _, count = reference.forward(*leaves, *given[6:], 0.7, 1e-5)  # type: ignore[arg-type]
    by = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    inputs = [leaf for leaf in leaves if leaf is not None]
    expected = torch.autograd.grad((by * product).sum(), inputs)
    needs = [leaf is not None for leaf in leaves]
    found = reference.backward(by, count, given, 0.7, needs)  # type: ignore[arg-type]
    torch.testing.assert_close(found, list(expected), rtol=1e-12, atol=1e-12)


def test_the_normaliser_by_hand() -> None:
    """1 / mean |r|, the error counting as at least 1e-5."""
    x = torch.tensor([[1.0, -3.0], [0.5, 0.5]])
    real = torch.tensor([[0.0, 0.0], [0.5, 0.5]])
    _, _, scale, _ = reference.forward(real, x, None, None, None, x, None, None, 0.0, 1e-5)
    assert scale.tolist() == pytest.approx([0.5, 1e5])


def test_half_precision_is_summed_in_single() -> None:
    f = torch.full((1, 4096), 0.1, dtype=torch.bfloat16)
    product, *_ = reference.forward(f, torch.zeros_like(f), None, None, None, None, None, None, 0.0, 1e-5)
    assert product.dtype == torch.float32
    assert product.item() == pytest.approx(float(f[0, 0].double() ** 2), rel=1e-6)


def test_what_does_not_count_may_be_no_number() -> None:
    f = torch.tensor([[1.0, torch.nan]])
    valid = torch.tensor([[True, False]])
    product, square, _, count = reference.forward(
        f, torch.zeros(1, 2), None, None, None, None, None, valid, 0.0, 1e-5
    )
    assert product.item() == square.item() == count.item() == 1
    given = (f, torch.zeros(1, 2), None, None, None, None, None, valid)
    gradient, *_ = reference.backward(product, count, given, 0.0, [True] + [False] * 5)
    assert gradient.tolist() == [[2.0, 0.0]]
