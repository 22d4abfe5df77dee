"""Which domain a task belongs to, and what a stage trains on it."""

from pathlib import Path
from typing import Any

from stillhand.core.training import TrainState, optimize
from stillhand.scripts import students
from stillhand.scripts.actions import Actions
from stillhand.scripts.aligning import aligned_training, check_keys
from stillhand.scripts.aligning_frames import frames_training, warmed
from stillhand.scripts.pictures import Pictures
from stillhand.scripts.running import seeded
from stillhand.scripts.students import Training


def prepare(config: dict[str, Any]) -> Actions | Pictures:
    """Data, model and run of a stage's configuration; the run's folder is not touched.

    A task with the key `images` is one of images, any other one of actions.

    Raises:
        ValueError: Names the setting, file or value that is wrong.
    """
    return Pictures.prepare(config) if "images" in config["task"] else Actions.prepare(config)


def own_training(domain: Actions | Pictures) -> Training:
    """A model's own loss, from fresh weights."""
    state = TrainState(domain.model, domain.run.settings)
    return domain.run, state, optimize(state, seeded(domain.run, domain.loss), domain.run.settings)


def training_of(config: dict[str, Any]) -> Training:
    """What `train` does: a model's own loss, the same beside an alignment, or a one-step method.

    Raises:
        ValueError: As `prepare`, or a setting that the method has no use for.
    """
    check_keys(config)
    if config["encoder"] is not None:
        return aligned_training(config) if "images" in config["task"] else frames_training(config)
    domain, scratch = prepare(config), config["scratch"]
    domain.fit()
    if config["warmup"] is not None and isinstance(domain, Actions):
        domain, _ = warmed(domain, Path(config["warmup"]))
    return own_training(domain) if scratch is None else students.one_step_training(domain, None, scratch)
