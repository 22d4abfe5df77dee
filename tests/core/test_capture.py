"""What no graph can be captured of; on a CUDA device, replays against the function itself."""

import pytest
import torch
from torch import Tensor

from stillhand.core.capture import Captured, check, check_alike


def test_a_graph_needs_arguments_on_a_device() -> None:
    with pytest.raises(ValueError, match="at least one argument"):
        Captured(torch.relu, [])
    with pytest.raises(ValueError, match="argument 0 is on cpu"):
        check([torch.zeros(2)])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([torch.zeros(2)], "with 2 arguments, called with 1"),
        ([torch.zeros(2), torch.zeros(1)], r"argument 1 was captured .* shape \(3,\), got .* shape \(1,\)"),
        ([torch.zeros(2).double(), torch.zeros(3)], "argument 0 .*float32 .* got torch.float64"),
    ],
)
def test_a_call_must_look_like_the_capture(given: list[Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_alike(given, [torch.zeros(2), torch.zeros(3)])
    check_alike([torch.ones(2), torch.ones(3)], [torch.zeros(2), torch.zeros(3)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_replay_computes_the_function_of_new_arguments_and_of_weights_changed_in_place() -> None:
    net = torch.nn.Linear(3, 2).cuda()
    captured = Captured(lambda x, scale: net(x) * scale, [torch.zeros(4, 3).cuda(), torch.zeros(1).cuda()])
    for seed in range(3):
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))
        found = captured(x, torch.full((1,), 2.0)).clone()
        torch.testing.assert_close(found, 2 * net(x.cuda()))
        with torch.no_grad():
            net.weight.add_(1)
