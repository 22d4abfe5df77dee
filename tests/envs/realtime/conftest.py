"""A controller process that plans without a network, and can be told to fail."""

import sys
from collections.abc import Callable

import pytest

PROGRAM = """
import os, sys, time
import numpy as np
from stillhand.envs.realtime.mailbox import Layout, serve
def answering(request):
    {body}
    return np.tile(np.float32([0, 0.005]), ({h}, 1))
{before}
serve(0, 1, Layout({t}, {o}, {h}, 2), answering)
"""


@pytest.fixture
def controller() -> Callable[..., list[str]]:
    """The command of a process that always plans to move up by 5 mm per step."""

    def command(body: str = "pass", t: int = 2, o: int = 4, h: int = 8, before: str = "") -> list[str]:
        return [sys.executable, "-P", "-c", PROGRAM.format(body=body, t=t, o=o, h=h, before=before)]

    return command
