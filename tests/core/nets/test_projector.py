"""The projector: shapes, and that tokens do not see each other."""

import pytest
import torch

from stillhand.core.nets.projector import Projector


def test_tokens_are_projected_one_by_one() -> None:
    torch.manual_seed(0)
    project, tokens = Projector(6, 10, hidden=12), torch.randn(2, 5, 6)
    whole = project(tokens)
    assert whole.shape == (2, 5, 10)
    torch.testing.assert_close(project(tokens[:, 3:4]), whole[:, 3:4])


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="0"):
        Projector(6, 0, hidden=12)
