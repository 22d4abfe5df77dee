"""A hand-over: all of it arrives and nothing else moves, or nothing does."""

import copy

import pytest
import torch
from torch import nn

from stillhand.core.handover import hand_over


def test_named_tensors_arrive_and_the_rest_stays() -> None:
    whole = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    before, given = copy.deepcopy(whole.state_dict()), nn.Sequential(nn.Linear(3, 4)).state_dict()
    assert hand_over(given, whole) == 2
    for name, value in whole.state_dict().items():
        assert torch.equal(value, given.get(name, before[name]))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no tensors to hand over"),
        ({"weight": torch.zeros(4, 2), "bias": torch.zeros(4)}, r"weight of \(4, 2\), .* is \(4, 3\)"),
        ({"bias": torch.zeros(4), "scale": torch.zeros(4)}, r"scale of \(4,\), this network's is absent"),
    ],
)
def test_what_does_not_fit_loads_nothing(given: dict[str, torch.Tensor], says: str) -> None:
    whole = nn.Linear(3, 4)
    before = copy.deepcopy(whole.state_dict())
    with pytest.raises(ValueError, match=says):
        hand_over(given, whole)
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
