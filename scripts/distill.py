"""Stage 4: teacher -> mixture of experts, by variational distillation.

`stillhand distill task=avoiding method=vdd seed=3`; started again, it continues where it was killed.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig

from stillhand.scripts.stage import check_method, command, plain, writable_folder
from stillhand.scripts.train import TrainConfig


@dataclass
class DistillConfig(TrainConfig):
    """Settings of a distillation.

    Args:
        teacher: Folder of the diffusion policy.
        distillation: The objective and its arguments; set by the group `method`.
    """

    teacher: str = MISSING


ConfigStore.instance().store(name="distill_schema", node=DistillConfig)


@command("distill")
def main(config: DictConfig) -> None:
    """Distill one student."""
    from stillhand.scripts.running import prepare, train
    from stillhand.scripts.students import variational_objective

    settings = plain(config)
    check_method("distill", settings)
    prepared = prepare(settings)
    folder = Path(settings["teacher"])
    objective, digest = variational_objective(prepared, folder, settings["distillation"])
    writable_folder(settings["out"])
    # A run killed here must not continue from another teacher's score.
    run = dataclasses.replace(prepared.run, card={**prepared.run.card, "teacher": digest})
    last = train(run, prepared.policy, objective)
    print(f"distilled {settings['name']}: {last}")


if __name__ == "__main__":
    main()
