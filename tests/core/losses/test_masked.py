"""Cross-entropy of masked tokens: a bound that exact laws reach."""

import math

import pytest
import torch
from numpy.polynomial.legendre import leggauss
from tests.core.diffusion.tokens import MASK, P, logits

from stillhand.core.diffusion.discrete import Cosine, Linear, MaskedShare
from stillhand.core.losses.masked import masked_loss


@pytest.mark.parametrize("schedule", [Linear(), Cosine()])
@pytest.mark.parametrize("x0", [(0, 0), (0, 1), (1, 0)])
def test_exact_laws_reach_the_likelihood(schedule: MaskedShare, x0: tuple[int, int]) -> None:
    """Mean over times and masks of the weighted loss = -log P(x_0) per token, whatever the schedule."""
    clean = torch.tensor([x0])
    nodes, weights = leggauss(64)
    total = 0.0
    for node, width in zip((nodes + 1) / 2, weights / 2, strict=True):
        t = torch.tensor([node], dtype=torch.float64)
        share, rate = schedule.share(t), schedule.reveal_rate(t)
        for hidden in ([True, False], [False, True], [True, True]):
            masked = torch.tensor([hidden])
            chance = math.prod(float(share if h else 1 - share) for h in hidden)
            law = logits(P, clean.masked_fill(masked, MASK))
            loss, _ = masked_loss(law, clean, masked, rate.float())
            total += width * chance * loss.item()
    assert total == pytest.approx(-math.log(P[x0]) / 2, abs=1e-5)


def test_only_masked_tokens_count() -> None:
    x0 = torch.tensor([[0, 1, 1]])
    law = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]], requires_grad=True)
    masked = torch.tensor([[True, False, True]])
    loss, info = masked_loss(law, x0, masked)
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(3))) / 3
    assert loss.tolist() == pytest.approx([expected])
    assert info["masked/accuracy"].tolist() == [0.5]
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert law.grad is not None and not law.grad[0, 1].any() and law.grad[0, 0].any()


def test_the_weight_is_the_rows() -> None:
    law, x0, masked = torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 3).bool()
    loss, _ = masked_loss(law, x0, masked, torch.tensor([1.0, 2.5]))
    assert loss.tolist() == pytest.approx([math.log(4), 2.5 * math.log(4)])


def test_tokens_must_exist() -> None:
    with pytest.raises(ValueError, match=r"a token must lie in 0\.\.3, got 4"):
        masked_loss(torch.zeros(1, 1, 4), torch.tensor([[4]]), torch.ones(1, 1).bool())
