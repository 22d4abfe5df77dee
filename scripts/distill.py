"""Stage 4: teacher -> mixture of experts, or a generator of one step.

`stillhand distill task=avoiding method=vdd seed=3`; started again, it continues where it was killed.
"""

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
        teacher: Folder of the diffusion model.
        distillation: The objective and its arguments, or the nodes `method` and `turns` of a one-step
            generator; set by the group `method`.
        states: A further store, for method=vdd: after the warm-up teacher and student meet at its
            observations instead of the demonstrations'. Its actions are not read, so the gate must learn from
            the teacher: distillation.gate_data=teacher.
    """

    teacher: str = MISSING
    states: str | None = None


ConfigStore.instance().store(name="distill_schema", node=DistillConfig)


@command("distill")
def main(config: DictConfig) -> None:
    """Distill one student."""
    from stillhand.scripts.actions import Actions
    from stillhand.scripts.aligning import check_taught
    from stillhand.scripts.preparing import prepare
    from stillhand.scripts.running import train
    from stillhand.scripts.students import one_step_training, variational_training

    settings = plain(config)
    check_method("distill", settings)
    check_taught(settings)
    folder, description = Path(settings["teacher"]), settings["distillation"]
    into_mixture = "_target_" in description
    if into_mixture and "images" in settings["task"]:
        raise ValueError(
            f"method={settings['name']} is for actions, task={settings['task']['name']} has images"
        )
    if settings["states"] is not None and not into_mixture:
        raise ValueError(f"states={settings['states']} is for method=vdd, got method={settings['name']}")
    domain = prepare(settings)
    if into_mixture and isinstance(domain, Actions):
        training = variational_training(domain, folder, description)
    else:
        training = one_step_training(domain, folder, description)
    writable_folder(settings["out"])
    print(f"distilled {settings['name']}: {train(*training)}")


if __name__ == "__main__":
    main()
