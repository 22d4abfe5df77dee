"""Stage 5b: rollouts -> films.

`stillhand film task=lift run=runs/lift`: plays a few recorded episodes again, with the same seeds, before a
camera. What is filmed is what was measured: an episode that ends otherwise than recorded is an error.

    RUN/films/NAME.{mp4, jpg, json}
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import at_least, command, plain


@dataclass
class FilmConfig:
    """Settings of films.

    Args:
        task, policy: Configuration groups; `policy` only names the run's folder.
        controllers: Name -> checkpoint, method and sampling.
        run: Folder with the checkpoints and their rollouts; films go there too.
        seed: Training seed, which only names the run's folder.
        only: Film these controllers; none names the reference and the student.
        reference: Controller that the report compares with.
        student: Controller of the report's headline; null takes the first mixture that is no baseline.
        episodes: The first episode of each of so many starts.
        width, height: Of the picture of one episode, pixels.
        threads: Of torch; as in the rollout.
    """

    task: Any = MISSING
    policy: Any = MISSING
    controllers: Any = MISSING
    run: str = MISSING
    seed: int = 0
    only: list[str] = field(default_factory=list)
    reference: str = "teacher-10"
    student: str | None = None
    episodes: int = 4
    width: int = 240
    height: int = 240
    threads: int = 1


ConfigStore.instance().store(name="film_schema", node=FilmConfig)


@command("film")
def main(config: DictConfig) -> None:
    """Film controllers, one after the other."""
    import torch

    from stillhand.report.results import load_run
    from stillhand.scripts import evaluation, filming
    from stillhand.scripts.tasks import simulator

    settings = plain(config)
    at_least(settings, threads=1, episodes=1, width=1, height=1)
    torch.set_num_threads(settings["threads"])
    only, folder = settings["only"], Path(settings["run"])
    env = filming.with_camera(simulator(settings["task"]))
    run = load_run(folder, only[0] if only else settings["reference"])
    names = only or filming.cast(run, settings["student"])
    filming.check_named(names, settings["controllers"])
    chosen = evaluation.choose(settings["controllers"], names)
    recorded = {name: filming.recorded_of(run, name) for name in chosen}
    for name, entry in chosen.items():
        controller = evaluation.load(name, entry, folder, env.spec)
        size = settings["width"], settings["height"]
        filmed = filming.played_again(env, controller, recorded[name], settings["episodes"], size)
        written = filming.write(folder, recorded[name], filmed, env.spec.control_hz)
        print(f"filmed {len(filmed)} episodes of {name}: {written}")


if __name__ == "__main__":
    main()
