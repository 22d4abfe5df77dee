"""A function of tensors as one CUDA graph: its kernels are launched together, without Python in between.

A student of one call is a few dozen kernels of some microseconds each; launched one by one they wait for the
CPU, not for the GPU. Captured, a call is: copy the arguments in, replay, read the results.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

Out = TypeVar("Out")
WARMUPS = 3  # calls before the capture: libraries choose algorithms and Triton compiles in the first ones


class Captured(Generic[Out]):
    """Replays a function at fixed shapes.

    Its work must not depend on values (nothing read back to the CPU) and it may draw no random numbers. What
    it reads beside its arguments is read at every replay where it lay at the capture: weights changed in
    place count, weights replaced do not.

    Args:
        function: Called without gradients.
        examples: Arguments of the shapes and dtypes to come, on one CUDA device.

    Raises:
        ValueError: As `check`.
    """

    outputs: Out
    """What the last call computed, in memory that the next call overwrites."""

    @torch.inference_mode()
    def __init__(self, function: Callable[..., Out], examples: Sequence[Tensor]) -> None:
        self.device = check(examples)
        self.inputs = [example.clone() for example in examples]
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARMUPS):
                    function(*self.inputs)
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(self.graph):
                self.outputs = function(*self.inputs)

    @torch.inference_mode()
    def __call__(self, *arguments: Tensor) -> Out:
        """`outputs` for these arguments, which may lie on the CPU.

        Raises:
            ValueError: Another number of arguments, shape or dtype than captured; names the first.
        """
        check_alike(arguments, self.inputs)
        with torch.cuda.device(self.device):
            for own, given in zip(self.inputs, arguments, strict=True):
                own.copy_(given, non_blocking=True)
            self.graph.replay()
        return self.outputs


def check(examples: Sequence[Tensor]) -> torch.device:
    """The device of all examples; what no graph can be captured of is refused.

    Raises:
        ValueError: No arguments, or one that is not on a CUDA device, or on another one than the first.
    """
    if not examples:
        raise ValueError("a captured function needs at least one argument, got none")
    for place, example in enumerate(examples):
        if not example.is_cuda:
            raise ValueError(f"a CUDA graph needs a CUDA device; argument {place} is on {example.device}")
        if example.device != examples[0].device:
            devices = f"{example.device}, argument 0 on {examples[0].device}"
            raise ValueError(f"a CUDA graph runs on one device; argument {place} is on {devices}")
    return examples[0].device


def check_alike(arguments: Sequence[Tensor], captured: Sequence[Tensor]) -> None:
    """A replay computes what was captured, so a broadcast or a conversion would go unnoticed."""
    if len(arguments) != len(captured):
        raise ValueError(f"captured with {len(captured)} arguments, called with {len(arguments)}")
    for place, (given, own) in enumerate(zip(arguments, captured, strict=True)):
        if given.shape != own.shape or given.dtype != own.dtype:
            raise ValueError(
                f"argument {place} was captured as {own.dtype} of shape {tuple(own.shape)}, got "
                f"{given.dtype} of shape {tuple(given.shape)}"
            )
