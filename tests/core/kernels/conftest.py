"""Checks that need a process of their own: Triton reads TRITON_INTERPRET when a kernel is defined."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _device(request: pytest.FixtureRequest) -> None:
    """A test marked gpu needs one."""
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")


@pytest.fixture
def apart(tmp_path: Path) -> Callable[..., None]:
    """Run a script beside the test in a new process; its last words if it fails."""

    def run(script: str, *, interpreted: bool = False) -> None:
        keep = {k: v for k, v in os.environ.items() if not k.startswith("TRITON_")}
        environment = keep | {"TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(HERE.parents[2] / "src")}
        if interpreted:
            environment["TRITON_INTERPRET"] = "1"
        done = subprocess.run(
            [sys.executable, str(HERE / script)],
            env=environment,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]

    return run
