"""Stage 1: expert -> demonstrations.

`stillhand collect task=avoiding episodes=2400`: modes in turn, only successes kept, one new EpisodeStore.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import at_least, command, commit, plain, versions, writable_folder


@dataclass
class CollectConfig:
    """Settings of a recording.

    Args:
        task: Configuration group.
        data: The new store; must not exist.
        episodes: Demonstrations to keep.
        seed: Every episode's seed derives from it.
        workers: Processes that play, one simulator and one thread each; 1 plays here. The episodes do not
            depend on it.
    """

    task: Any = MISSING
    data: str = MISSING
    episodes: int = 2400
    seed: int = 0
    workers: int = 1


ConfigStore.instance().store(name="collect_schema", node=CollectConfig)


@command("collect")
def main(config: DictConfig) -> None:
    """Record demonstrations."""
    from tqdm import tqdm

    from stillhand.datasets.episodes import EpisodeStore
    from stillhand.datasets.layout import frame_fields, state_fields
    from stillhand.envs.goals import goals_of, labelled
    from stillhand.envs.record import checked_noise, keep
    from stillhand.scripts.tasks import expert_of, simulator
    from stillhand.scripts.workers import takes

    settings = plain(config)
    at_least(settings, episodes=1, seed=0, workers=1)
    task, path = settings["task"], Path(settings["data"])
    if path.exists():
        raise ValueError(f"data={path} exists already; choose another path (nothing was changed)")
    expert_of(task)  # refuses a task without one
    env = simulator(task)
    noise = checked_noise(task["noise"], env.spec.action_dim, task["noise_recorded"])
    writable_folder(str(path.parent))
    with (
        tqdm(total=settings["episodes"], desc="episodes") as bar,
        takes(task, env, settings["workers"], settings["seed"], noise) as source,
    ):
        recording = keep(source, env.modes, settings["episodes"], bar.update)
    origin = {
        "expert": task["expert"]["_target_"],
        "seed": settings["seed"],
        "noise": task["noise"],
        "noise_recorded": task["noise_recorded"],
        **({"goals": goals} if (goals := goals_of(env)) else {}),
        "task": {key: task[key] for key in ("env", "expert")},
        "versions": versions(),
        "commit": commit(),
    }
    fields = state_fields(env.spec, task["observation_unit"], task["action_unit"]) | frame_fields(env.spec)
    # Written under another name: a store that is there is whole.
    draft = path.with_name(f".{path.name}.writing")
    shutil.rmtree(draft, ignore_errors=True)
    EpisodeStore.create(draft, env.spec, fields, origin).append_many(labelled(env, recording.episodes))
    draft.rename(path)
    print(
        f"recorded {len(recording.episodes)} episodes in {path}, executed noise {task['noise']}; "
        f"discarded {recording.failed} failures and {recording.other_mode} in another mode than asked for"
    )


if __name__ == "__main__":
    main()
