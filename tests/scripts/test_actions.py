"""The domain of actions as a one-step method sees it: two sets of conditions, and a teacher's start."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from torch import Tensor, nn

from stillhand.policies.encoders import SeenFrames
from stillhand.scripts import distill
from stillhand.scripts.actions import Actions
from stillhand.scripts.stage import plain


@pytest.fixture
def actions(tiny_store: Path, small: tuple[str, ...], tmp_path: Path) -> Callable[..., Actions]:
    assert distill  # registers its schema

    def prepare(*overrides: str) -> Actions:
        words = (f"data={tiny_store}", f"out={tmp_path / 'out'}", "teacher=none", *small, *overrides)
        with initialize_config_module("stillhand.configs", version_base="1.3"):
            config = compose("distill", [*words])
        return Actions.prepare(plain(config))

    return prepare


class Learned(nn.Module):
    """An encoder with a weight of its own."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.gain = encoder, nn.Parameter(torch.tensor(2.0))

    def forward(self, observation: Tensor, frames: SeenFrames) -> Tensor:
        out: Tensor = self.gain * self.encoder(observation, frames)
        return out


def test_teacher_and_critic_get_the_teachers_conditions_without_a_graph(
    actions: Callable[..., Actions], trained: Path
) -> None:
    domain = actions("method=sid")
    teacher, _ = domain.teacher(trained / "diffusion")
    domain = domain.taught_by(teacher)
    before = domain.examples(3)
    assert torch.equal(before.own, before.cond)
    border = domain.model.border
    border.encoder = Learned(border.encoder)  # type: ignore[assignment]
    examples, batch = domain.examples(3), domain.batch(3)
    assert torch.equal(examples.cond, teacher.border.condition(batch.observation))
    assert not examples.cond.requires_grad
    torch.testing.assert_close(examples.own, 2 * examples.cond)
    assert torch.autograd.grad(examples.own.sum(), border.encoder.gain)[0] == examples.cond.sum()
    assert torch.equal(examples.x0, teacher.border.normalized(batch.action))


def test_from_scratch_the_policys_own_conditions_serve_all(actions: Callable[..., Actions]) -> None:
    domain = actions("method=sid")
    border = domain.model.border
    border.encoder = Learned(border.encoder)  # type: ignore[assignment]
    examples = domain.examples(0)
    assert torch.equal(examples.own, examples.cond)
    assert examples.own.requires_grad and not examples.cond.requires_grad


def test_batches_are_functions_of_their_number(actions: Callable[..., Actions]) -> None:
    one, other = actions("method=sid"), actions("method=sid")
    assert torch.equal(one.batch(7).action, other.batch(7).action)
    assert not torch.equal(one.batch(7).action, one.batch(8).action)


def test_the_pupil_starts_as_its_teacher(actions: Callable[..., Actions], trained: Path) -> None:
    domain = actions("method=sid")
    domain.fit()
    teacher, found = domain.teacher(trained / "diffusion")
    pupil = domain.taught_by(teacher).pupil()
    own, theirs = pupil.generator.denoiser.state_dict(), teacher.denoiser.state_dict()
    assert own.keys() == theirs.keys() and all(torch.equal(own[k], theirs[k]) for k in own)
    assert torch.equal(pupil.border.actions.shift, teacher.border.actions.shift)
    assert found.card["method"] == "diffusion" and not teacher.training
    with pytest.raises(ValueError, match="model is a MixturePolicy, expected a OneStepPolicy"):
        actions("method=vdd", "training.restarts=[]").pupil()
