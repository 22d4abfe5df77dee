"""The domain of actions: demonstrations, windows of them, and the policies that learn from them."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stillhand.core.checkpoint import Checkpoint
from stillhand.core.one_step.players import Examples
from stillhand.core.shapes import Info
from stillhand.core.training import derived_seed
from stillhand.datasets.batch import Batch
from stillhand.datasets.cache import open_mapped
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.episodes import EpisodeStore
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Spec
from stillhand.policies import checkpoint
from stillhand.policies.base import Border, ChunkPolicy, WindowModel, check_same_task
from stillhand.policies.frame_features import frame_features
from stillhand.policies.one_step import OneStepPolicy
from stillhand.policies.teacher import DiffusionPolicy
from stillhand.policies.vision import VisualEncoder
from stillhand.scripts.running import Run, run_of
from stillhand.scripts.teachers import check_data, check_network, check_same

AUGMENTATION = 11  # purpose of a seed: what changes of the frames in a step
COPIES = 12  # what changes of the frames that a frozen network looks at once


@dataclass(frozen=True)
class Actions:
    """Everything a method needs to train a policy: data, fresh weights, and what the run is.

    `observed` is the border whose conditions teacher and critic see; None means the policy's own. `states`
    are windows of which only the observations count.
    """

    demonstrations: Demonstrations
    loader: WindowLoader
    model: WindowModel
    run: Run
    observed: Border | None = None
    states: WindowLoader | None = None

    @classmethod
    def prepare(cls, config: dict[str, Any]) -> "Actions":
        """Check all settings, open the data and build the policy; the run's folder is not touched.

        Args:
            config: The stage's whole configuration, as plain data.

        Raises:
            ValueError: Names the setting, file or value that is wrong.
        """
        return cls.of(config, demonstrations_of(config))

    @classmethod
    def of(cls, config: dict[str, Any], demonstrations: Demonstrations) -> "Actions":
        """`prepare` with demonstrations that were opened already."""
        _check_goal(config)
        _check_cameras(config, demonstrations.spec)
        seen = _states(config, demonstrations.spec)
        described = checkpoint.describe(border_of(config), config["model"], demonstrations.spec)
        data = {"fingerprint": demonstrations.fingerprint, "episodes": demonstrations.episodes}
        run = run_of(config, described, data)
        if seen is not None:
            run = dataclasses.replace(run, card={**run.card, "states": seen.fingerprint})
        torch.manual_seed(config["seed"])
        policy = checkpoint.build(border_of(config), config["model"], demonstrations.spec)
        if config["distillation"] is None:
            _check_seen(policy)
        horizons = policy.observation_horizon, policy.prediction_horizon
        how = *horizons, config["batch_size"], config["seed"]
        states = None if seen is None else WindowLoader(seen, *how)
        return cls(
            demonstrations, WindowLoader(demonstrations, *how), policy.to(run.device), run, None, states
        )

    def batch(self, number: int) -> Batch:
        """The windows of one batch, on the run's device, frames as a training sees them."""
        return self._of(self.loader, number)

    def met(self, number: int) -> Batch:
        """Where a student meets its teacher: windows of `states`, actions zero, or of the demonstrations."""
        if self.states is None:
            return self.batch(number)
        batch = self._of(self.states, number)
        return dataclasses.replace(batch, action=torch.zeros_like(batch.action))

    def _of(self, loader: WindowLoader, number: int) -> Batch:
        generator = torch.Generator().manual_seed(derived_seed(self.run.seed, 0, AUGMENTATION, number))
        return _moved(self.model.augmented(loader.batch(number), generator), self.run.device)

    def looked(self) -> "Actions":
        """The same; frozen camera networks look at all frames once, and batches hold what they said.

        They do so when the first batch is wanted, and the features stay in memory. A run that was killed
        looks again, by the same draws.
        """
        encoder = self.model.border.encoder if isinstance(self.model, ChunkPolicy) else None
        if not isinstance(encoder, VisualEncoder) or encoder.trained:
            return self
        loader = _looking(self.loader, encoder, derived_seed(self.run.seed, 0, COPIES, 0))
        states = self.states and _looking(self.states, encoder, derived_seed(self.run.seed, 0, COPIES, 1))
        return dataclasses.replace(self, loader=loader, states=states)

    def fit(self) -> None:
        """Measure what is fixed before training."""
        self.model.cpu().fit(self.demonstrations, self.run.seed)
        self.model.to(self.run.device)

    def loss(self, number: int, rng: torch.Generator) -> tuple[Tensor, Info]:
        """The model's own loss on one batch."""
        return self.model.loss(self.batch(number), rng)

    def examples(self, number: int) -> Examples:
        """One batch for a one-step method."""
        batch, border = self.batch(number), self.pupil().border
        own = border.seen(batch)
        with torch.no_grad():
            cond = (self.observed or border).seen(batch)
        return Examples(border.normalized(batch.action), cond, own)

    @property
    def cond_width(self) -> int:
        """Numbers per condition token."""
        return self.pupil().border.cond_shape[1]

    def teacher(self, folder: Path) -> tuple[DiffusionPolicy, Checkpoint]:
        """A diffusion policy of the same task, trained on the same demonstrations.

        Raises:
            ValueError: If it cannot be read, is none, is of another task or other data, or has another
                network than a one-step policy that is to start from it.
        """
        teacher, found = checkpoint.load(folder, self.demonstrations.spec)
        if not isinstance(teacher, DiffusionPolicy):
            raise ValueError(f"{folder}: a {type(teacher).__name__}, but a teacher is a DiffusionPolicy")
        check_data(found, self.run.card)
        theirs, own = (card["border"]["encoder"].get("look") for card in (found.card, self.run.card))
        if theirs and own:
            check_same(found, theirs, own, "policy.encoder.look", checkpoint.ALLOWED, "teacher")
        if isinstance(self.model, OneStepPolicy):
            check_network(found, self.run.card, "policy", checkpoint.ALLOWED)
        return teacher.to(self.run.device), found

    def pupil(self) -> OneStepPolicy:
        """The policy as a one-step generator.

        Raises:
            ValueError: If it is none.
        """
        if not isinstance(self.model, OneStepPolicy):
            raise ValueError(f"model is a {type(self.model).__name__}, expected a OneStepPolicy")
        return self.model

    def taught_by(self, teacher: DiffusionPolicy) -> "Actions":
        """The same, its policy started from the teacher, whose encoder speaks to teacher and critic.

        Networks of cameras that stay as they are then look at every frame.

        Raises:
            ValueError: If task, horizons, normalizers or network differ.
        """
        self.pupil().adopt(teacher)
        return dataclasses.replace(self, observed=teacher.border).looked()


def _check_seen(policy: WindowModel) -> None:
    """Networks that are to stay as they are must have learnt to see; ValueError says who has."""
    encoder = policy.border.encoder if isinstance(policy, ChunkPolicy) else None
    if isinstance(encoder, VisualEncoder) and not encoder.trained:
        raise ValueError(
            "policy.encoder.trained=false leaves camera networks as they are, but without a teacher they are "
            "fresh (after a warm-up: their keypoints): use stillhand distill, or policy.encoder.trained=true"
        )


def demonstrations_of(config: dict[str, Any]) -> Demonstrations:
    """What a stage learns from; ValueError if it is not there or broken."""
    return _demonstrations("data", config["data"], config["mapped"])


def _demonstrations(name: str, place: str, mapped: bool) -> Demonstrations:
    path = Path(place)
    if not path.exists():
        raise ValueError(
            f"{name}={path} does not exist; make one with: stillhand collect data={path}, "
            "or of a file: stillhand prepare"
        )
    return open_mapped(path) if mapped else EpisodeStore.open(path).load()


def _states(config: dict[str, Any], spec: Spec) -> Demonstrations | None:
    """Further states of the same task, where a distillation names them."""
    place = config.get("states")
    if place is None:
        return None
    found = _demonstrations("states", place, config["mapped"])
    check_same_task(found.spec, spec)
    return found


def _check_goal(config: dict[str, Any]) -> None:
    """Raise a ValueError for a policy that would leave out another goal than the task tells."""
    asked, own = config["task"].get("goal_columns", 0), config["model"].get("goal_columns", 0)
    if own not in (0, asked):
        raise ValueError(
            f"model.goal_columns={own}, but an observation of {config['task']['name']} ends with {asked} "
            "numbers of goal; 0: nothing to guide by"
        )


def _check_cameras(config: dict[str, Any], spec: Spec) -> None:
    """Raise a ValueError for frames of other cameras or sizes than those of a task that can be played."""
    env = config["task"]["env"]
    if env is None:
        return
    asked, own = _cameras(env), {camera.name: [*camera.shape[:2]] for camera in spec.cameras}
    if [*asked.items()] != [*own.items()]:  # their order is that of the tokens
        raise ValueError(
            f"data={config['data']}: cameras [height, width] are {own}, but task={config['task']['name']} "
            f"sees {asked}: task.env.cameras"
        )


def _cameras(env: Mapping[str, Any]) -> dict[str, Any]:
    """Of a described task, whatever stands around what sees."""
    inner = env.get("env")
    return dict(env.get("cameras") or (_cameras(inner) if isinstance(inner, Mapping) else {}))


def _moved(batch: Batch, device: torch.device) -> Batch:
    frames, features = (
        {name: seen.to(device) for name, seen in given.items()} for given in (batch.frames, batch.features)
    )
    numbers = batch.observation.to(device), batch.action.to(device), batch.valid.to(device)
    return Batch(*numbers, frames, features)


def _looking(loader: WindowLoader, encoder: VisualEncoder, seed: int) -> WindowLoader:
    """The same windows, with what the networks say in place of the frames."""
    horizons = loader.observation_horizon, loader.prediction_horizon
    look = partial(frame_features, encoder, loader.demonstrations, seed)
    return WindowLoader(loader.demonstrations, *horizons, loader.batch_size, loader.seed, look)


def border_of(config: dict[str, Any]) -> dict[str, Any]:
    """Description of the policy's border: horizons of the task, encoder of the policy."""
    return {
        "_target_": "stillhand.policies.base.Border",
        "observation_horizon": config["task"]["observation_horizon"],
        "prediction_horizon": config["task"]["prediction_horizon"],
        "encoder": config["policy"]["encoder"],
    }
