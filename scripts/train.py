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
        task, policy, image: Configuration groups; a task's `backbone` is one of the latter two.
        name: The method's name; set by the group `method`.
        model: The policy class and its arguments; set by the group `method`.
        tokenizer: Run of the trained tokenizer (method=vq) that a model of image tokens takes over; null
            where `model.tokenizer` says one that needs no training.
        encoder: Run of the frozen encoder (method=encoder, of policies encoder_frames) that hidden tokens are
            aligned with, or the description of a model of timm; null aligns with nothing.
        warmup: Run of the first layers (method=warmup) that an aligned training starts from, or of camera
            networks (method=warmup_frames) that any policy that sees does; null: fresh weights.
        distillation: Null: a method with a teacher belongs to the stage `distill`.
        alignment: Loss and weight (and depth) of the term beside the model's own loss; null for none.
        scratch: The nodes `method` and `turns` of a one-step generator without a teacher; null trains the
            model's own loss.
        training: Optimization.
        seed: Of weights, batches and noise.
        run: Folder of all runs that belong together.
        data: The demonstrations; a task of images names its own.
        out: Folder of this run.
        batch_size: Windows or images per batch.
        checkpoint_every: Steps between checkpoints.
        keep: Latest checkpoints that stay on disk.
        mapped: Read demonstrations through a memory map instead of loading them.
        tensorboard: Write event files too.
        threads: Of torch.
        device: Where the networks are trained, for example cuda.
        kernels: auto, triton (or an error) or reference (plain PyTorch); see core/kernels/switch.py.
    """

    task: Any = MISSING
    policy: Any = MISSING
    image: Any = MISSING
    name: str = MISSING
    model: Any = MISSING
    tokenizer: str | None = None
    encoder: Any = None
    warmup: str | None = None
    alignment: Any = None
    distillation: Any = None
    scratch: Any = None
    training: Settings = field(default_factory=Settings)
    seed: int = 0
    run: str = MISSING
    data: str = MISSING
    out: str = MISSING
    batch_size: int = 256
    checkpoint_every: int = 500
    keep: int = 1
    mapped: bool = False
    tensorboard: bool = False
    threads: int = 1
    device: str = "cpu"
    kernels: str = "auto"


ConfigStore.instance().store(name="train_schema", node=TrainConfig)


@command("train")
def main(config: DictConfig) -> None:
    """Train one model."""
    from stillhand.scripts.preparing import training_of
    from stillhand.scripts.running import train

    settings = plain(config)
    check_method("train", settings)
    if settings["tokenizer"] is not None and "images" not in settings["task"]:
        raise ValueError(
            f"tokenizer={settings['tokenizer']} is for images, and task={settings['task']['name']}"
        )
    training = training_of(settings)
    writable_folder(settings["out"])
    print(f"trained {settings['name']}: {train(*training)}")


if __name__ == "__main__":
    main()
