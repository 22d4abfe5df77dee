"""Stage 5 of images: generators -> sample grids and distances beside their floor.

`stillhand generate task=fmnist run=RUN`: every generator of the group `generators` makes the same number of
images of every class, each from noise of its own number alone. They are compared with the test split, and so
are as many real training images: the floor.

    RUN/generated/floor.json, real.png   RUN/generated/NAME/{generator.json, grid.png}
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import at_least, command, plain, writable_folder

FEWEST = 100  # images: below, a covariance of features says nothing


@dataclass
class GenerateConfig:
    """Settings of a generation.

    Args:
        task, image: Configuration groups; `image` only names the run's folder.
        generators: Name -> checkpoint, method and sampling.
        run: Folder with the checkpoints.
        out: Folder of the results, normally the same.
        seed: Training seed, which only names the run's folder.
        only: Sample these generators and leave the others' results alone.
        n: Images per generator, at least 100, and at most as many as the floor finds training images.
        sample_seed: Of noise, of the floor's images and of the scores' subsets.
        again: Also make what lies there: of the same training, made and scored alike.
    """

    task: Any = MISSING
    image: Any = MISSING
    generators: Any = MISSING
    run: str = MISSING
    out: str = MISSING
    seed: int = 0
    only: list[str] = field(default_factory=list)
    n: int = 5000
    sample_seed: int = 0
    again: bool = True


ConfigStore.instance().store(name="generate_schema", node=GenerateConfig)


@command("generate")
def main(config: DictConfig) -> None:
    """Sample and score generators, the teacher first."""
    import torch

    from stillhand.report.generated import TEACHER
    from stillhand.scripts import entries, generation
    from stillhand.scripts.image_sets import image_set
    from stillhand.scripts.judge import Judge

    if "images" not in config.task:  # before its backbone is looked up, which a task of images names
        raise ValueError(f"task={config.task.name} has no images; expected one such as task=fmnist")
    settings = plain(config)
    at_least(settings, n=FEWEST, sample_seed=0)
    torch.set_num_threads(1)  # the CPU time of an image is that of one thread
    chosen = entries.choose("generators", settings["generators"], settings["only"])
    train, test = image_set(settings["task"])
    run, out = Path(settings["run"]), Path(settings["out"])
    generators = [generation.load(name, entry, run, train) for name, entry in chosen.items()]
    judge = Judge.prepare(train, test, settings["n"], settings["sample_seed"])
    generation.check_others(out, chosen, judge)
    writable_folder(settings["out"])
    generation.write_floor(judge, out)
    for generator in sorted(generators, key=lambda one: one.name != TEACHER):
        if settings["again"] or not generation.made(generator, judge, out):
            generation.generate(generator, judge, out)
    print(f"generated {', '.join(chosen)}: {out / 'generated'}")


if __name__ == "__main__":
    main()
