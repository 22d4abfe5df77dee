"""The mixer against published answers; numbers of the right law, by seed, offset and place alone."""

import math

import numpy as np
import pytest
import torch

from stillhand.core import splitmix

SEEDS = torch.arange(20) * 2**40 + 5  # high and low bits count


def plain(z: int) -> int:
    """The mixer with numbers of any length."""
    z = (z ^ z >> 30) * splitmix.FIRST % 2**64
    z = (z ^ z >> 27) * splitmix.SECOND % 2**64
    return z ^ z >> 31


def test_known_answers() -> None:
    """The generator that steps by the golden ratio and mixes, from seed 1234567: widely published."""
    words = [(1234567 + splitmix.GOLDEN * k) % 2**64 for k in (1, 2, 3)]
    steps = torch.tensor(words, dtype=torch.uint64)
    found = [x % 2**64 for x in splitmix.mix(steps.view(torch.int64)).tolist()]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_a_cpus_words_and_other_devices_tensors_are_mixed_alike() -> None:
    words = torch.arange(-500, 500) * 2**54 + 3
    own = words.numpy().view(np.uint64)
    mixed = splitmix.mix(own)
    assert mixed.dtype == np.uint64
    assert torch.equal(torch.from_numpy(mixed.view(np.int64)), splitmix.mix(words))
    assert torch.equal(splitmix._numbers(words, 7), splitmix._numbers(own, 7))
    keys = [
        splitmix._keys(x, y, 2**32 - 1) for x, y in ((words, words), (words.numpy().view(np.uint64),) * 2)
    ]
    assert torch.equal(keys[0], torch.from_numpy(keys[1].view(np.int64)))


def test_a_number_is_what_the_formula_says() -> None:
    seed, place, offset, number = -(2**40) - 7, 3, 2**32 - 1, 4
    key = plain((seed + splitmix.GOLDEN * (offset + 1)) % 2**64)
    key = plain((key + splitmix.GOLDEN * (place + 1)) % 2**64)
    bits = plain((key + splitmix.GOLDEN * (number + 1)) % 2**64) >> 41
    noise = splitmix.gumbel(torch.tensor([seed]), torch.tensor([place]), offset, 5)
    assert noise[0, number].item() == pytest.approx(-math.log(-math.log((bits + 0.5) / 2**23)), rel=1e-5)


def test_uniform_numbers_are_uniform() -> None:
    numbers = splitmix.uniform(SEEDS, 5001)
    assert numbers.shape == (20, 5001) and numbers.min() > 0 and numbers.max() < 1
    counts = torch.histc(numbers, 10, 0.0, 1.0)
    assert (counts / numbers.numel() - 0.1).abs().max() < 4.5 * (0.09 / numbers.numel()) ** 0.5


def gumbel(seeds: torch.Tensor, offset: int, tokens: int = 503) -> torch.Tensor:
    """At ten places of every page."""
    return splitmix.gumbel(seeds.repeat_interleave(10), torch.arange(10).repeat(len(seeds)), offset, tokens)


def test_gumbels_noise() -> None:
    noise = gumbel(SEEDS, 0)
    assert noise.isfinite().all()
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)  # Euler's constant
    assert noise.var().item() == pytest.approx(torch.pi**2 / 6, rel=0.03)
    assert noise.unique().numel() > 0.97 * noise.numel()  # of 2^23 numbers


def test_numbers_differ_between_seeds_offsets_places_and_streams() -> None:
    noise = gumbel(SEEDS, 0)
    assert len(noise.unique(dim=0)) == len(noise)
    assert not torch.equal(noise, gumbel(SEEDS, 1)) and not torch.equal(noise, gumbel(SEEDS + 1, 0))
    uniform = splitmix.uniform(SEEDS, 503)
    assert not torch.isclose(-torch.log(-torch.log(uniform)), noise[::10]).any(1).all()


def test_numbers_do_not_depend_on_what_is_drawn_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gumbel(SEEDS, 2)
    assert torch.equal(whole[30:], gumbel(SEEDS[3:], 2))
    assert torch.equal(whole[:, :7], gumbel(SEEDS, 2, 7))
    assert torch.equal(splitmix.uniform(SEEDS, 9)[3:, :5], splitmix.uniform(SEEDS[3:], 5))
    monkeypatch.setattr(splitmix, "BLOCK", 1100)  # blocks of two rows
    assert torch.equal(whole, gumbel(SEEDS, 2))


def test_nothing_is_drawn_for_nobody() -> None:
    assert gumbel(SEEDS[:0], 0).shape == (0, 503) and splitmix.uniform(SEEDS[:0], 3).shape == (0, 3)


def test_a_seed_is_the_generators() -> None:
    made = [splitmix.page_seed(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert made[0].shape == () and made[0] == made[1] != made[2]
