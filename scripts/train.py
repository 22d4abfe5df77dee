"""Stage 3: demonstrations -> teacher, or a baseline that needs none.

`stillhand train task=avoiding policy=transformer seed=3`; started again, it continues where it was killed.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.core.training import Settings
from stillhand.scripts.stage import one_message, plain


@dataclass
class TrainConfig:
    """Settings of a training run.

    Args:
        task, policy: Configuration groups.
        name: The method's name; set by the group `method`.
        model: The policy class and its arguments; set by the group `method`.
        training: Optimization.
        seed: Of weights, batches and noise.
        run: Folder of all runs that belong together.
        data: The demonstrations.
        out: Folder of this run.
        batch_size: Windows per step.
        checkpoint_every: Steps between checkpoints.
        mapped: Read demonstrations through a memory map instead of loading them.
        tensorboard: Write event files too.
        threads: Of torch.
        device: Where the networks are trained, for example cuda.
    """

    task: Any = MISSING
    policy: Any = MISSING
    name: str = MISSING
    model: Any = MISSING
    training: Settings = field(default_factory=Settings)
    seed: int = 0
    run: str = MISSING
    data: str = MISSING
    out: str = MISSING
    batch_size: int = 256
    checkpoint_every: int = 500
    mapped: bool = False
    tensorboard: bool = False
    threads: int = 1
    device: str = "cpu"


ConfigStore.instance().store(name="train_schema", node=TrainConfig)


@hydra.main(version_base="1.3", config_path="pkg://stillhand.configs", config_name="train")
@one_message
def main(config: DictConfig) -> None:
    """Train one policy."""
    from stillhand.scripts.running import prepare, train

    settings = plain(config)
    prepared = prepare(settings)
    prepared.policy.fit(prepared.demonstrations)
    policy = prepared.policy
    last = train(prepared.run, policy, lambda step, rng: policy.loss(prepared.batch(step), rng))
    print(f"trained {settings['name']}: {Path(last)}")


if __name__ == "__main__":
    main()
