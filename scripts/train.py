"""Stage 3: demonstrations -> teacher, or a baseline that needs none.

`stillhand train task=avoiding policy=transformer seed=3`; started again, it continues where it was killed.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.core.settings import Settings
from stillhand.scripts.stage import check_method, command, plain, writable_folder


@dataclass
class TrainConfig:
    """Settings of a training run.

    Args:
        task, policy: Configuration groups.
        name: The method's name; set by the group `method`.
        model: The policy class and its arguments; set by the group `method`.
        distillation: Null: a method with a teacher belongs to the stage `distill`.
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
    distillation: Any = None
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


@command("train")
def main(config: DictConfig) -> None:
    """Train one policy."""
    from stillhand.scripts.running import prepare, train

    settings = plain(config)
    check_method("train", settings)
    prepared = prepare(settings)
    writable_folder(settings["out"])
    prepared.policy.fit(prepared.demonstrations, settings["seed"])
    policy = prepared.policy
    last = train(prepared.run, policy, lambda step, rng: policy.loss(prepared.batch(step), rng))
    print(f"trained {settings['name']}: {last}")


if __name__ == "__main__":
    main()
