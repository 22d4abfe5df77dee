"""Which domain a task belongs to, and what a stage trains on it."""

from typing import Any

from stillhand.core.training import TrainState, optimize
from stillhand.scripts.actions import Actions
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
