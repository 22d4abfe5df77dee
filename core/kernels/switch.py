"""One switch for all kernels.

    auto        CUDA tensors: Triton where it is installed, else the reference; CPU tensors: the reference
    triton      Triton or an error
    reference   plain PyTorch on every device

On a CPU `auto` calls the plain reference, not the registered operator that would call it: the dispatcher's
way through Python takes 150 us, more than the work itself for a batch of actions.
"""

import importlib.util
from functools import cache
from typing import Literal, get_args

import torch
from torch import Tensor

Choice = Literal["auto", "triton", "reference"]
_CHOSEN: list[Choice] = ["auto"]


def choose(choice: str) -> None:
    """Set the switch, for the whole process.

    Raises:
        ValueError: An unknown choice, or `triton` where it is not installed.
    """
    for known in get_args(Choice):
        if choice == known:
            if choice == "triton" and not has_triton():
                raise ValueError("kernels=triton, and triton is not installed: pip install 'triton>=3.6,<4'")
            _CHOSEN[0] = known
            return
    raise ValueError(f"kernels must be one of {', '.join(get_args(Choice))}, got {choice!r}")


def chosen() -> Choice:
    """The switch."""
    return _CHOSEN[0]


@cache
def has_triton() -> bool:
    """Whether Triton is installed; it comes with CUDA builds of torch alone."""
    return importlib.util.find_spec("triton") is not None


def takes_operator(x: Tensor) -> bool:
    """Whether the registered operator serves this tensor; otherwise the reference is called as it is.

    Under `torch.compile` an operator stays one node, so checks of values inside break no graph.

    Raises:
        ValueError: `triton` was chosen and the tensor is not on a CUDA device.
    """
    if chosen() == "triton" and not x.is_cuda:
        raise ValueError(f"kernels=triton needs tensors on a CUDA device, got one on {x.device}")
    return chosen() != "reference" and (x.is_cuda or torch.compiler.is_compiling())
