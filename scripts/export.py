"""A trained policy -> a folder that a robot plays with numpy and onnxruntime alone.

`stillhand export runs/avoiding/mlp-seed0/vdd data=runs/avoiding/demonstrations.zarr`: the graph, a card that
says how to call it, and how far it is from the policy in torch. docs/robot.md goes on from there.

    OUT/{policy.onnx, card.json, parity.json}
"""

import importlib.metadata
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import at_least, command, plain

if TYPE_CHECKING:
    from stillhand.core.checkpoint import Checkpoint
    from stillhand.datasets.demonstrations import Demonstrations
    from stillhand.policies.base import ChunkPolicy
    from stillhand.policies.runtime.folder import Card

TOOLS = ("onnx", "onnxscript", "onnxruntime")
ROWS = 100  # of a call when many inputs are compared


@dataclass
class ExportConfig:
    """Settings of an export.

    Args:
        checkpoint: Folder of a trained policy, such as runs/avoiding/mlp-seed0/vdd, or one of its steps.
        out: The new folder; must not exist.
        data: The store it learnt from: the card then holds the range of its actions, and parity is measured
            on its windows too. Null compares on random inputs alone.
        sampling: Of a diffusion model or a one-step generator, set anew, as {intervals: 20}; null keeps it.
        batch: Rows of every call; null leaves them open, which costs some speed.
        int8: Weights of matrix products in 8 bits: faster, and off by percents.
        action_horizon: Actions to execute of each chunk; null takes the task's.
        inputs: How many random and how many demonstrated inputs are compared with torch.
        tolerance: Largest difference that float32 may show in a call, in standard deviations of an action, or
            of the action's own size where that is more.
        seed: Of these inputs.
    """

    checkpoint: str = MISSING
    out: str = MISSING
    data: str | None = None
    sampling: Any = None
    batch: int | None = None
    int8: bool = False
    action_horizon: int | None = None
    inputs: int = 10_000
    tolerance: float = 1e-5
    seed: int = 0


ConfigStore.instance().store(name="export_schema", node=ExportConfig)


@command("export")
def main(config: DictConfig) -> None:
    """Export one policy."""
    import torch

    _check_installed()
    from stillhand.policies import checkpoint, export
    from stillhand.policies.runtime import folder
    from stillhand.scripts.evaluation import resample

    settings = plain(config)
    at_least(settings, inputs=1)
    torch.set_num_threads(1)
    out = Path(settings["out"])
    if out.exists():
        raise ValueError(f"out={out} exists already; remove it, or give another folder")
    policy, found = checkpoint.load(Path(settings["checkpoint"]))
    if settings["sampling"] is not None:
        resample(policy, "sampling", settings["sampling"])
    export.draws_of(policy)  # refuses before anything is read or computed
    demonstrations = _demonstrations(settings["data"], found)
    graph = export.graph_of(policy, settings["batch"])
    graph = export.quantized(graph) if settings["int8"] else graph
    card = _card(policy, found, demonstrations, settings)
    parity = _parity(policy, card, graph, demonstrations, settings)
    folder.save(out, card, graph, parity)
    for name, one in parity.items():
        print(f"{name}: {_told(one)}")
    print(f"exported {card.policy}, {len(graph) / 1e6:.1f} MB, {card.calls} calls a plan: {out}")


def _check_installed() -> None:
    missing = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"needs {', '.join(missing)}: pip install 'stillhand[export]'")


def _demonstrations(place: str | None, found: "Checkpoint") -> "Demonstrations | None":
    """What the policy learnt from, if it is to be had.

    Raises:
        ValueError: If the store is another one.
    """
    from stillhand.datasets.episodes import EpisodeStore

    if place is None:
        return None
    if not Path(place).exists():
        raise ValueError(f"data={place} does not exist; give the store the policy learnt from, or null")
    demonstrations = EpisodeStore.open(Path(place)).load()
    learnt = found.card["dataset"]["fingerprint"]
    if demonstrations.fingerprint != learnt:
        raise ValueError(
            f"data={place} has the fingerprint {demonstrations.fingerprint[:16]}..., but {found.folder} "
            f"learnt from {learnt[:16]}..."
        )
    return demonstrations


def _card(
    policy: "ChunkPolicy", found: "Checkpoint", data: "Demonstrations | None", settings: Mapping[str, Any]
) -> "Card":
    from stillhand.policies import export
    from stillhand.policies.runtime.folder import KEY, Card
    from stillhand.scripts.evaluation import count_calls

    border, chosen = policy.border, settings["action_horizon"]
    trained = found.card["run"]["task"].get("action_horizon", border.prediction_horizon)
    horizon = trained if chosen is None else chosen
    if not 1 <= horizon <= border.prediction_horizon:
        raise ValueError(f"need 1 <= action_horizon <= {border.prediction_horizon}, got {horizon}")
    return Card(
        task=border.spec.task,
        policy=type(policy).__name__,
        control_hz=border.spec.control_hz,
        observations={KEY: (border.observation_horizon, border.spec.observation_dim)},
        actions=border.sample_shape,
        action_low=() if data is None else tuple(data.action.min(axis=0).tolist()),
        action_high=() if data is None else tuple(data.action.max(axis=0).tolist()),
        action_horizon=horizon,
        draws=export.draws_of(policy),
        sigmas=export.sigmas_of(policy),
        info=export.info_of(policy),
        batch=settings["batch"],
        calls=count_calls(policy),
        precision="int8" if settings["int8"] else "float32",
        about=_about(policy, found),
        files={},
    )


def _about(policy: "ChunkPolicy", found: "Checkpoint") -> dict[str, Any]:
    """Where an exported policy came from."""
    from stillhand.scripts.evaluation import sampling_of
    from stillhand.scripts.stage import commit, versions

    return {
        "policy_sha256": found.card["files"]["policy.safetensors"],
        "step": found.card["step"],
        "method": found.card["method"],
        "dataset": found.card["dataset"]["fingerprint"],
        "sampling": sampling_of(policy),
        "training_commit": found.card["commit"],
        "commit": commit(),
        "versions": {**versions(), **{name: importlib.metadata.version(name) for name in TOOLS}},
    }


def _parity(
    policy: "ChunkPolicy",
    card: "Card",
    graph: bytes,
    data: "Demonstrations | None",
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Differences from torch on random and on demonstrated inputs.

    Raises:
        ValueError: If float32 is further off than the tolerance.
    """
    from stillhand.policies import parity
    from stillhand.policies.runtime.planner import Planner

    rows = card.batch or min(ROWS, settings["inputs"])
    planner = Planner(Path(settings["out"]), card, graph, rows)
    count = -(-settings["inputs"] // planner.rows) * planner.rows
    seed, border = settings["seed"], policy.border
    windows = {"random": parity.random_windows(border, count, seed)}
    if data is not None:
        windows["demonstrated"] = parity.demonstrated_windows(border, data, count, seed)
    found = {name: parity.compare(policy, planner, each, seed) for name, each in windows.items()}
    for name, one in found.items():
        worst = one["call_relative"]
        if card.precision == "float32" and not worst <= settings["tolerance"]:
            raise ValueError(
                f"on {name} inputs a call of the graph is {worst:.2g} standard deviations of an "
                f"action, or of its size, off torch, tolerance={settings['tolerance']}"
            )
    return found


def _told(one: Mapping[str, Any]) -> str:
    other = f"; {one['other_expert']} times another expert" if one["other_expert"] else ""
    return (
        f"{one['inputs']} inputs, at most {one['max_abs']:.2g} from torch in physical units, "
        f"{one['max_abs_in_std']:.2g} in standard deviations of an action{other}"
    )


if __name__ == "__main__":
    main()
