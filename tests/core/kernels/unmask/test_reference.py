"""Choices against the law they are drawn from."""

import pytest
import torch
from tests.core.diffusion.tokens import seeds, tilted

from stillhand.core.kernels.unmask import reference


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_greedy_choices_are_the_guided_laws_largest(weight: float) -> None:
    c, u = logits(2, 3, 7), logits(2, 3, 7, seed=1)
    token, confidence, log_z = reference.forward(c, u, weight, 0.0, seeds(2), 0, None)
    law, total = tilted(c, u, weight)
    assert torch.equal(token, law.argmax(-1))
    torch.testing.assert_close(confidence, law.amax(-1))
    torch.testing.assert_close(log_z, total)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_law(temperature: float) -> None:
    """40,000 draws of one of five tokens: shares within 4.5 standard errors."""
    c, u, draws = logits(1, 1, 5), logits(1, 1, 5, seed=1), 40_000
    law = ((2.0 * c - u) / temperature).softmax(-1)[0, 0]
    pages = c.expand(draws, 1, 5), u.expand(draws, 1, 5)
    token, _, _ = reference.forward(*pages, 2.0, temperature, seeds(draws), 0, None)
    share = torch.bincount(token.flatten(), minlength=5) / draws
    assert bool(((share - law).abs() < 4.5 * (law * (1 - law) / draws).sqrt()).all())


def test_any_split_of_a_batch_draws_the_same() -> None:
    c, u, pages = logits(5, 3, 11), logits(5, 3, 11, seed=1), seeds(5)
    whole = reference.forward(c, u, 2.0, 1.0, pages, 7, None)
    rows = [slice(k, k + 2) for k in (0, 2, 4)]
    parts = [reference.forward(c[r], u[r], 2.0, 1.0, pages[r], 7, None) for r in rows]
    for one, another in zip(whole, (torch.cat(values) for values in zip(*parts, strict=True)), strict=True):
        assert torch.equal(one, another)


def test_masked_places_choose_as_if_all_did_and_others_choose_nothing() -> None:
    c, u, pages = logits(4, 6, 9), logits(4, 6, 9, seed=1), seeds(4)
    masked = torch.rand(4, 6, generator=torch.Generator().manual_seed(2)) < 0.5
    whole = reference.forward(c, u, 2.0, 1.0, pages, 3, None)
    some = reference.forward(c, u, 2.0, 1.0, pages, 3, masked)
    for value, one, another in zip((reference.NOTHING, 0.0, 0.0), whole, some, strict=True):
        assert torch.equal(another, torch.where(masked, one, value))
    none = reference.forward(c, u, 2.0, 1.0, pages, 3, torch.zeros_like(masked))
    assert (none[0] == reference.NOTHING).all() and not none[1].any() and not none[2].any()
