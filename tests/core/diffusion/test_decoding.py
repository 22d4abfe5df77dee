"""Decodings: what they cost, that guidance reaches the sampler, and that nothing is asked in vain."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from tests.core.diffusion.tokens import MASK, P, Q, logits, seeds

from stillhand.core.diffusion.decoding import Confident, Decoding, FirstHitting, Leap, Way, laws_of
from stillhand.core.diffusion.discrete_guidance import Constant, Interval, Ramp, unlocking

WAYS: list[Way] = [Leap(3), Leap(3, unlocking), FirstHitting(), Confident(3), Confident(2, 1.0, True)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("weight", "guided"), [(1.0, False), (2.0, True)])
def test_calls_and_conditions(way: Way, weight: float, guided: bool) -> None:
    asked: list[bool] = []

    def laws(x: torch.Tensor, both: bool) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(both)
        conditional = logits(P, x)
        return conditional, logits(Q, x) if both else conditional

    x = Decoding(way, weight=Constant(weight))(laws, torch.full((5, 2), MASK), MASK, seeds(5))
    assert (x < MASK).all() and asked == [guided] * way.calls(2)


def test_guidance_tilts_the_law() -> None:
    """With many steps pages go where only the condition would have them."""

    pages = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    tables = logits(P, pages), logits(Q, pages)

    def laws(x: torch.Tensor, both: bool) -> tuple[torch.Tensor, torch.Tensor]:
        page = 3 * x[:, 0] + x[:, 1]
        return tables[0][page], tables[1][page]

    first = []
    for weight in (1.0, 3.0):
        blank = torch.full((20_000, 2), MASK)
        x = Decoding(Leap(50), weight=Constant(weight))(laws, blank, MASK, seeds(20_000))
        first.append(float((x == 0).all(1).float().mean()))
    np.testing.assert_allclose(
        first, [0.4, 0.589], atol=0.02
    )  # tests/core/diffusion/test_discrete_guidance.py


def test_an_interval_asks_twice_only_inside() -> None:
    asked: list[bool] = []

    def laws(x: torch.Tensor, both: bool) -> tuple[torch.Tensor, torch.Tensor]:
        asked.append(both)
        return logits(P, x), logits(Q, x)

    Decoding(Leap(4), weight=Interval(2.0, 0.4, 0.8))(laws, torch.full((1, 2), MASK), MASK, seeds(1))
    assert asked == [False, True, True, False]  # at 1, .75, .5, .25


def test_one_pass_asks_with_and_without_the_condition() -> None:
    """A network of its rows: the answers must come back in order, and nothing be made for nothing."""
    seen: list[torch.Tensor] = []
    told, made = torch.tensor([[[1.0]], [[2.0]]]), []

    def net(x: torch.Tensor, cond: torch.Tensor) -> torch.Tensor:
        seen.append(cond[:, 0, 0])
        return x[:, :, None] + 10.0 * cond

    def untold() -> torch.Tensor:
        made.append(True)
        return torch.zeros_like(told)

    laws, x = laws_of(net, told, untold), torch.tensor([[0, 1], [2, 1]])
    for law in laws(x, False):
        torch.testing.assert_close(law[..., 0], torch.tensor([[10.0, 11.0], [22.0, 21.0]]))
    assert not made
    for _ in range(2):
        conditional, unconditional = laws(x, True)
    torch.testing.assert_close(conditional[..., 0], torch.tensor([[10.0, 11.0], [22.0, 21.0]]))
    torch.testing.assert_close(unconditional[..., 0], x.float())
    assert [row.tolist() for row in seen] == [[1, 2], [1, 2, 0, 0], [1, 2, 0, 0]] and len(made) == 1


def decoded(
    weight: Callable[[float], float] = lambda t: 2.0, page: Sequence[int] = (MASK, MASK)
) -> torch.Tensor:
    """A page of two tokens in two steps."""

    def laws(x: torch.Tensor, both: bool) -> tuple[torch.Tensor, torch.Tensor]:
        return logits(P, x), logits(Q, x)

    return Decoding(Leap(2), weight=weight)(laws, torch.tensor([page]), MASK, seeds(1))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Leap(0), "at least one step, got 0"),
        (lambda: Confident(0), "at least one step, got 0"),
        (lambda: Confident(1, -1.0), "temperature must be at least 0, got -1"),
        (lambda: Decoding(Leap(1), weight=Constant(-0.5)), "finite and at least 0"),
        (lambda: Decoding(FirstHitting(), weight=Ramp(2.0)), "FirstHitting needs a Constant weight .* Ramp"),
        (lambda: decoded(weight=lambda t: -t), "finite and at least 0 .*, got -1"),
        (lambda: decoded(weight=lambda t: float("nan")), "finite and at least 0 .*, got nan"),
        (lambda: decoded(page=[0, 7]), r"a token must lie in 0\.\.2, got 7"),
        (lambda: decoded(page=[-1, MASK]), r"a token must lie in 0\.\.2, got -1"),
    ],
)
def test_bad_settings(make: object, says: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=says):
        make()
