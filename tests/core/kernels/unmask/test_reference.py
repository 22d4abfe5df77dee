"""Philox against its published answers, choices against the law they are drawn from."""

import pytest
import torch

from stillhand.core.diffusion.discrete_guidance import guide
from stillhand.core.kernels.unmask import reference

CPU = torch.device("cpu")


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers_of_philox(counter: str, key: str, answer: str) -> None:
    numbers = tuple(torch.tensor([int(word, 16)]) for word in counter.split())
    k0, k1 = (int(word, 16) for word in key.split())
    assert [f"{x.item():08x}" for x in reference.philox(numbers, (k0, k1))] == answer.split()


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_greedy_choices_are_the_guided_laws_largest(weight: float) -> None:
    c, u = logits(2, 3, 7), logits(2, 3, 7, seed=1)
    token, confidence, log_z = reference.forward(c, u, weight, 0.0, 0, 0)
    guided = guide(c, u, weight)
    assert torch.equal(token, guided.jump.argmax(-1))
    torch.testing.assert_close(confidence, guided.jump.amax(-1), check_dtype=False, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(log_z, guided.log_z, check_dtype=False, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_follow_the_tempered_law(temperature: float) -> None:
    """40,000 draws of one of five tokens: shares within 4.5 standard errors."""
    c, u, draws = logits(1, 1, 5), logits(1, 1, 5, seed=1), 40_000
    law = ((2.0 * c - u) / temperature).softmax(-1)[0, 0]
    pages = c.expand(draws, 1, 5), u.expand(draws, 1, 5)
    token, _, _ = reference.forward(*pages, 2.0, temperature, 99, 0)
    share = torch.bincount(token.flatten(), minlength=5) / draws
    assert bool(((share - law).abs() < 4.5 * (law * (1 - law) / draws).sqrt()).all())


def test_any_split_of_a_batch_draws_the_same() -> None:
    c, u = logits(5, 3, 11), logits(5, 3, 11, seed=1)
    whole = reference.forward(c, u, 2.0, 1.0, 7, 10)
    parts = [reference.forward(c[k : k + 2], u[k : k + 2], 2.0, 1.0, 7, 10 + k) for k in (0, 2, 4)]
    for one, another in zip(whole, (torch.cat(values) for values in zip(*parts, strict=True)), strict=True):
        assert torch.equal(one, another)


def test_noise_is_gumbels_and_differs_between_seeds_pages_and_places() -> None:
    noise = reference.gumbel(5, 0, (20, 10, 503), CPU)
    assert noise.isfinite().all()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)  # Euler's constant
    assert noise.var().item() == pytest.approx(torch.pi**2 / 6, rel=0.03)
    assert noise.unique().numel() > 0.97 * noise.numel()  # of 2^23 numbers
    assert not torch.equal(noise, reference.gumbel(6, 0, (20, 10, 503), CPU))
    torch.testing.assert_close(noise[3:], reference.gumbel(5, 3, (17, 10, 503), CPU), rtol=0, atol=0)
