"""Runs in the peer's own environment, without this package: times LeRobot's diffusion policy on request.

    stdin    one request per line: {"calls": 20, "rows": 1, "steps": 10}
    stdout   first {"version", "torch", "parameters"}, then {"cpu_ms": [...]} per request

Untrained, its U-Net at the width of `configs/policy/unet.yaml`; observation 20 numbers x 2 steps, action 7,
chunks of 16; DDIM. A request's call is from a batch of observations to the first action, queues emptied
before, so that each of them plans. Without pre- and post-processors, so without units.
"""

import importlib.metadata
import json
import sys
import time
from typing import Any

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy

STATE, AROUND = "observation.state", "observation.environment_state"


def made() -> Any:
    """The policy."""
    config = DiffusionConfig(
        input_features={
            STATE: PolicyFeature(FeatureType.STATE, (10,)),
            AROUND: PolicyFeature(FeatureType.ENV, (10,)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (7,))},
        n_obs_steps=2,
        horizon=16,
        n_action_steps=8,
        down_dims=(64, 128, 256),
        diffusion_step_embed_dim=64,
        noise_scheduler_type="DDIM",
        device="cpu",
    )
    return DiffusionPolicy(config).eval()


WARMUP_CALLS = 20  # that do not count, as in scripts/latency.py, which this environment has not


def timed(policy: Any, calls: int, rows: int, steps: int) -> dict[str, list[float]]:
    """Milliseconds of `calls` plans of `steps` network calls for so many rows."""
    policy.diffusion.num_inference_steps = steps
    batch = {STATE: torch.randn(rows, 10), AROUND: torch.randn(rows, 10)}
    cpu_ms = []
    for call in range(-WARMUP_CALLS, calls):
        policy.reset()
        start = time.thread_time_ns()
        policy.select_action(dict(batch))
        if call >= 0:
            cpu_ms.append((time.thread_time_ns() - start) / 1e6)
    return {"cpu_ms": cpu_ms}


def answer(told: dict[str, Any]) -> None:
    """One line to whoever asked."""
    print(json.dumps(told), flush=True)


def main() -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    policy = made()
    parameters = sum(p.numel() for p in policy.diffusion.unet.parameters())
    version = importlib.metadata.version("lerobot")
    answer({"version": version, "torch": torch.__version__, "parameters": parameters})
    for line in sys.stdin:
        answer(timed(policy, **json.loads(line)))


if __name__ == "__main__":
    main()
