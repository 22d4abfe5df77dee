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

from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MOST_OFFSET = 2**32
BLOCK = 2**15  # numbers at once: what stays in a CPU's cache is drawn several times as fast

Words = Tensor | NDArray[np.uint64]
"""64 bits each. On a CPU numpy's, whose shifts copy no sign: few numbers take it a third of torch's time."""
W = TypeVar("W", Tensor, NDArray[np.uint64])


def uniform(seeds: Int64[Tensor, " b"], count: int) -> Float[Tensor, "b {count}"]:
    """A row of numbers in (0, 1) for every seed, never 0 or 1."""
    return _numbers(mix(_words(seeds)), count)


def gumbel(
    seeds: Int64[Tensor, " n"], places: Int64[Tensor, " n"], offset: int, tokens: int
) -> Float[Tensor, "n {tokens}"]:
    """Standard Gumbel noise -log(-log U) of so many tokens at places of pages that have these seeds."""
    keys = _keys(_words(seeds), _words(places), offset)
    made = torch.empty((len(seeds), tokens), device=seeds.device)
    rows = max(1, BLOCK // tokens) if seeds.is_cpu else max(1, len(seeds))
    for first in range(0, len(seeds), rows):
        part = made[first : first + rows]
        torch.log(_numbers(keys[first : first + rows], tokens), out=part)
        part.neg_().log_().neg_()
    return made


def _keys(seeds: W, places: W, offset: int) -> W:
    start: W = mix(seeds + _constant(seeds, GOLDEN * (offset + 1) % 2**64))
    keys: W = mix(start + (places + _constant(places, 1)) * _constant(places, GOLDEN))
    return keys


def page_seed(generator: torch.Generator) -> Int64[Tensor, ""]:
    """A seed from a generator, on its device."""
    return torch.randint(2**63 - 1, (), generator=generator, device=generator.device)


def mix(z: W) -> W:
    """The mixer, on 64 bits whose products wrap."""
    z = _stirred(_stirred(z, 30) * _constant(z, FIRST), 27) * _constant(z, SECOND)
    return _stirred(z, 31)


def _stirred(z: W, by: int) -> W:
    if isinstance(z, Tensor):  # int64: the shift copies the sign
        return z ^ ((z >> by) & ((1 << (64 - by)) - 1))
    return z ^ (z >> np.uint64(by))


def _constant(like: Words, word: int) -> Any:
    """The word as what is computed with takes it; the same 64 bits as an int64 beside a tensor."""
    if isinstance(like, Tensor):
        return word - 2**64 if word >= 2**63 else word
    return np.uint64(word)


def _words(values: Int64[Tensor, " n"]) -> Any:  # Words: which of both, the device says
    return values.numpy().view(np.uint64) if values.is_cpu else values


def _numbers(keys: Words, count: int) -> Float[Tensor, "n {count}"]:
    if isinstance(keys, Tensor):
        steps = torch.arange(1, count + 1, device=keys.device) * _constant(keys, GOLDEN)
        bits = (mix(keys.unsqueeze(1) + steps) >> 41) & (2**23 - 1)
    else:
        steps = np.arange(1, count + 1, dtype=np.uint64) * _constant(keys, GOLDEN)
        bits = torch.from_numpy((mix(keys[:, None] + steps) >> np.uint64(41)).view(np.int64))
    found: Tensor = (bits.float() + 0.5) * 2.0**-23  # exact
    return found
