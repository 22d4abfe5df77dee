import importlib.util
from collections.abc import Iterator
from unittest import mock

import pytest
import torch

from stillhand.core.kernels import switch


@pytest.fixture(autouse=True)
def _switch() -> Iterator[None]:
    yield
    switch.choose("auto")
    switch.has_triton.cache_clear()


def test_a_cpu_takes_the_reference_directly() -> None:
    assert not switch.takes_operator(torch.zeros(1))
    switch.choose("reference")
    assert switch.chosen() == "reference"
    assert not switch.takes_operator(torch.zeros(1))


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="one of auto, triton, reference, got 'fast'"):
        switch.choose("fast")


def test_triton_is_never_replaced_quietly() -> None:
    switch.choose("triton")
    with pytest.raises(ValueError, match="needs tensors on a CUDA device, got one on cpu"):
        switch.takes_operator(torch.zeros(1))
    switch.has_triton.cache_clear()
    with (
        mock.patch.object(importlib.util, "find_spec", return_value=None),
        pytest.raises(ValueError, match="triton is not installed"),
    ):
        switch.choose("triton")
