"""Weights of one module for another that has more: what is warmed up goes on as a part of the whole.

Nothing is loaded where anything does not fit, and every tensor is compared afterwards: a hand-over that
loaded half of it, or nothing, would look like a training from fresh weights.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def hand_over(given: Mapping[str, Tensor], module: nn.Module) -> int:
    """Load tensors by name; all else of the module stays as it is.

    Args:
        given: Name -> tensor, at least one.
        module: Has all of these names in its state.

    Returns:
        How many tensors were loaded.

    Raises:
        ValueError: None given, or one that the module lacks or has in another shape; nothing was loaded.
    """
    own = module.state_dict()
    if not given:
        raise ValueError("the warm-up has no tensors to hand over")
    for name, value in given.items():
        if name not in own or own[name].shape != value.shape:
            found = tuple(own[name].shape) if name in own else "absent"
            raise ValueError(f"the warm-up has {name} of {tuple(value.shape)}, this network's is {found}")
    module.load_state_dict({**own, **given})
    loaded = module.state_dict()
    assert all(torch.equal(loaded[name], value.to(loaded[name].device)) for name, value in given.items())
    return len(given)
