"""Where bfloat16 is worth its rounding: mixed precision under one condition for every training loop.

A processor without instructions for it computes bfloat16 convolutions by an unblocked fallback: one step of
the digits' U-Net took 3.8 s instead of 0.17 s on an AVX2 processor (docs/LOG.md, 2026-11-23).
"""

import functools
import warnings

import torch


@functools.cache
def has_bfloat16(device: str) -> bool:
    """Whether a kind of device (as `torch.device.type`) has bfloat16 arithmetic of its own."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":  # what oneDNN, which computes the products, asks of the processor
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return True


def mixed(device: str, wanted: bool) -> torch.autocast:
    """Context in which networks run: under bfloat16 where that is wanted and the device has it.

    Args:
        device: As `torch.device.type`.
        wanted: `Settings.bfloat16`. A device without it computes in float32, which is as good and there much
            faster; a warning says so once.
    """
    return torch.autocast(device, torch.bfloat16, enabled=wanted and _granted(device))


@functools.cache
def _granted(device: str) -> bool:
    granted = has_bfloat16(device)
    if not granted:
        warnings.warn(f"this {device} has no bfloat16: float32 instead", RuntimeWarning, stacklevel=3)
    return granted
