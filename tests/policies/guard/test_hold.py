"""What is commanded when nobody acts."""

import numpy as np
import pytest

from stillhand.policies.guard.hold import Hold


def test_displacements_rest_and_a_gripper_keeps_its_command() -> None:
    hold = Hold((0.0, 0.0, -1.0), keeps=(2,))
    assert hold.command(np.array([0.3, 0.4, 1.0])).tolist() == [0.0, 0.0, 1.0]
    assert hold.command(None).tolist() == [0.0, 0.0, -1.0]


def test_a_number_that_an_action_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"keeps \[2\], but an action has the numbers 0 to 1"):
        Hold((0.0, 0.0), keeps=(2,))
