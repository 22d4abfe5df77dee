"""Hash chains: one link per episode, however the episodes come in."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.datasets.fingerprint import extend, first_link


def test_a_link_is_the_hash_of_the_last_link_and_the_rows() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    start = hashlib.sha256(b"x:float32:(2,)").hexdigest()
    assert first_link("x", rows.dtype, (2,)) == start
    one = hashlib.sha256(bytes.fromhex(start) + rows[:1].tobytes()).digest()
    two = hashlib.sha256(one + rows[1:].tobytes()).hexdigest()
    assert extend(start, rows, np.array([1, 3])) == two


@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), st.data())
def test_a_chain_can_be_continued_at_any_episode(lengths: list[int], data: st.DataObject) -> None:
    rows = np.random.default_rng(0).normal(size=(sum(lengths), 2))
    ends = np.cumsum(lengths)
    cut = data.draw(st.integers(1, len(lengths) - 1))
    start = first_link("x", rows.dtype, (2,))
    middle = extend(start, rows[: ends[cut - 1]], ends[:cut])
    assert extend(middle, rows[ends[cut - 1] :], ends[cut:] - ends[cut - 1]) == extend(start, rows, ends)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int64", "float32"])
def test_every_dtype_and_byte_order_is_hashed_by_value(dtype: str) -> None:
    rows = np.arange(24).reshape(2, 3, 4).astype(dtype)
    start = first_link("x", rows.dtype, (3, 4))
    ends = np.array([2])
    assert extend(start, rows.astype(rows.dtype.newbyteorder(">")), ends) == extend(start, rows, ends)
    changed = rows.copy()
    changed[1, 2, 3] = not changed[1, 2, 3]
    assert extend(start, changed, ends) != extend(start, rows, ends)
