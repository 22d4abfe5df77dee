"""An endless shuffled order of n windows, any stretch of it computed on its own.

Position p lies in epoch p // n, and each epoch is its own permutation of 0 ... n - 1: a Feistel network
(Luby and Rackoff 1988) on pairs (l, r) in Z_a x Z_b with a b >= n,

    l <- l + F_i[r] mod a,   r <- r + G_i[l] mod b,   i = 1, 2, 3

F_i, G_i being tables of random integers drawn from (seed, epoch). Each line can be undone, so the network
permutes Z_ab; a result >= n is sent through again until it is smaller (Black and Rogaway 2002), which
permutes 0 ... n - 1. Since a and b are about sqrt(n), 10^7 windows cost tables of 3163 entries, not 10^7.
"""

from functools import lru_cache
from math import isqrt

import numpy as np
from jaxtyping import Int64

from stillhand.datasets.schema import Array

ROUNDS = 3
# windows computed at once: large enough to hide numpy's overhead per call (88 -> 29 ns a window), small
# enough for the L2 cache
BLOCK = 8192

Tables = tuple[Int64[Array, "rounds b"], Int64[Array, "rounds a"]]


def order(size: int, seed: int, start: int, count: int) -> Int64[Array, " count"]:
    """The windows at positions start ... start + count - 1; a pure function of its arguments.

    Args:
        size: Number of windows n >= 1.
        seed: Non-negative; another seed is another order.
        start: First position, >= 0.
        count: Number of positions, >= 1.
    """
    pieces = []
    while count > 0:
        epoch, position = divmod(start, size)
        block, skip = divmod(position, BLOCK)
        piece = _block(size, seed, epoch, block)[skip : skip + count]
        pieces.append(piece)
        start, count = start + len(piece), count - len(piece)
    return np.concatenate(pieces)


@lru_cache(maxsize=8)
def _block(size: int, seed: int, epoch: int, block: int) -> Int64[Array, " block"]:
    """Positions block * BLOCK ... of one epoch, up to BLOCK of them; read-only since it is kept."""
    positions = np.arange(block * BLOCK, min((block + 1) * BLOCK, size))
    windows = permute(positions, size, _tables(size, seed, epoch))
    windows.setflags(write=False)
    return windows


@lru_cache(maxsize=8)
def _tables(size: int, seed: int, epoch: int) -> Tables:
    a, b = sides(size)
    generator = np.random.default_rng([seed, epoch])
    return generator.integers(a, size=(ROUNDS, b)), generator.integers(b, size=(ROUNDS, a))


def sides(size: int) -> tuple[int, int]:
    """Sides (a, b) of the smallest near-square with a * b >= size."""
    b = max(isqrt(size), 1)
    return -(-size // b), b


def permute(positions: Int64[Array, " n"], size: int, tables: Tables) -> Int64[Array, " n"]:
    """Where each position of an epoch goes; a bijection of 0 ... size - 1."""
    windows = _feistel(positions, size, tables)
    outside = np.flatnonzero(windows >= size)
    while len(outside):
        windows[outside] = _feistel(windows[outside], size, tables)
        outside = outside[windows[outside] >= size]
    return windows


def _feistel(x: Int64[Array, " n"], size: int, tables: Tables) -> Int64[Array, " n"]:
    a, b = sides(size)
    left = x // b
    right = x - left * b
    for f, g in zip(*tables, strict=True):
        # both terms are below the side, so one subtraction is the modulus, at half the time of %
        left += f.take(right)
        left -= a * (left >= a)
        right += g.take(left)
        right -= b * (right >= b)
    mixed: Array = left * b + right
    return mixed
