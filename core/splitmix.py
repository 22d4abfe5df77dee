"""Random numbers by counting: every one is a function of a seed, an offset, a place and its number alone.

    mix(z): z = (z ^ z >> 30) A;  z = (z ^ z >> 27) B;  z ^ z >> 31        modulo 2^64      [S]
    bits = mix(key + G (number + 1)),   U = (its highest 23 bits + 1/2) / 2^23
    `uniform`   key = mix(seed)
    `gumbel`    key = mix(mix(seed + G (offset + 1)) + G (place + 1)), a number for each token of a law

A page of tokens has a seed of its own, and every call of a sampler an offset: so a page is the same in any
batch, on any device, and whether a kernel or plain PyTorch draws it (but for the last bit of a logarithm).
Philox did as well and took a CPU five times as long: docs/LOG.md, 2026-11-23.
Reference: [S] Steele, Lea & Flood 2014, doi 10.1145/2660193.2660195, the mixer of its java.util form.
"""

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MOST_OFFSET = 2**32
BLOCK = 2**15  # numbers at once: what stays in a CPU's cache is drawn several times as fast


def uniform(seeds: Int64[Tensor, " b"], count: int) -> Float[Tensor, "b {count}"]:
    """A row of numbers in (0, 1) for every seed, never 0 or 1."""
    return _numbers(mix(seeds), count)


def gumbel(
    seeds: Int64[Tensor, " n"], places: Int[Tensor, " n"], offset: int, tokens: int
) -> Float[Tensor, "n {tokens}"]:
    """Standard Gumbel noise -log(-log U) of so many tokens at places of pages that have these seeds."""
    start = mix(seeds + _signed(GOLDEN * (offset + 1) % 2**64))
    keys = mix(start + (places + 1) * _signed(GOLDEN))
    made = torch.empty((len(keys), tokens), device=keys.device)
    rows = max(1, BLOCK // tokens) if keys.is_cpu else max(1, len(keys))
    for key, part in zip(keys.split(rows), made.split(rows), strict=True):
        torch.log(_numbers(key, tokens), out=part)
        part.neg_().log_().neg_()
    return made


def page_seed(generator: torch.Generator) -> Int64[Tensor, ""]:
    """A seed from a generator, on its device."""
    return torch.randint(2**63 - 1, (), generator=generator, device=generator.device)


def mix(z: Tensor) -> Tensor:
    """The mixer, on 64 bits held in int64, whose products wrap and whose shifts must not copy the sign."""
    z = _stirred(_stirred(z, 30) * _signed(FIRST), 27) * _signed(SECOND)
    return _stirred(z, 31)


def _stirred(z: Tensor, by: int) -> Tensor:
    return z ^ ((z >> by) & ((1 << (64 - by)) - 1))


def _signed(word: int) -> int:
    """The same 64 bits as an int64."""
    return word - 2**64 if word >= 2**63 else word


def _numbers(keys: Tensor, count: int) -> Tensor:
    steps = torch.arange(1, count + 1, device=keys.device) * _signed(GOLDEN)
    bits = (mix(keys.unsqueeze(1) + steps) >> 41) & (2**23 - 1)
    return (bits.float() + 0.5) * 2.0**-23  # exact
