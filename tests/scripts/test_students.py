"""One-step students by their stages: one entry for both domains, divergence, and what is refused."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import safetensors.torch
import torch

from stillhand.core import checkpoint
from stillhand.core.losses import consistency, distribution_matching, score_identity, score_mixture
from stillhand.scripts import students

PICTURES = (
    "task=digits",
    "image.net.channels=[8]",
    "image.net.blocks=1",
    "batch_size=8",
    "training.warmup_steps=1",
)
LOSSES = {
    "sid": (score_identity, ("fake_loss", "generator_loss")),
    "dmd": (distribution_matching, ("generator_loss",)),
    "smd": (score_mixture, ("ratio_loss", "distilled_generator_loss")),
    "onedp_d": (distribution_matching, ("deterministic_generator_loss",)),
    "cd": (consistency, ("consistency_loss",)),
    "smt": (score_mixture, ("mixture_score_loss", "mixture_generator_loss")),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any]) -> Path:
    """A run's folder with a teacher of digits, trained for two steps. Read only."""
    run = tmp_path_factory.mktemp("pictures")
    done = stage("train", *PICTURES, f"run={run}", "training.steps=2")
    assert done.code == 0, done.err
    return run


@contextmanager
def watched(method: str) -> Iterator[list[tuple[str, int]]]:
    """Axes of the samples that reach a method's losses in `core/losses`, and calls of the one entry."""
    module, names = LOSSES[method]
    seen: list[tuple[str, int]] = []

    def spy(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            parts = [part.real if isinstance(part, score_mixture.Draw) else part for part in args]
            seen.append((name, next(part.ndim for part in parts if isinstance(part, torch.Tensor))))
            return result

        return call

    def entry(*args: Any) -> Any:
        seen.append(("entry", 0))
        return whole(*args)

    whole = students.one_step_training
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(module, name, spy(name, getattr(module, name))))
        stack.enter_context(mock.patch.object(students, "one_step_training", entry))
        yield seen


@pytest.mark.parametrize("method", LOSSES)
def test_one_entry_and_one_set_of_losses_train_actions_and_images(
    method: str,
    stage: Callable[..., Any],
    pictures: Path,
    trained: Path,
    tiny_store: Path,
    small: tuple[str, ...],
    tmp_path: Path,
) -> None:
    """Chunks have the axes (b, h, a), images (b, c, y, x); the functions called are the same."""
    command = "train" if method == "smt" else "distill"
    warm = ["scratch.turns.warmup_steps=1", "scratch.turns.lead_steps=0"] if method == "smt" else []
    steps = ("training.steps=3", f"method={method}", f"out={tmp_path / 'out'}", *warm)
    seen, weights = {}, {}
    for domain, axes, words in (
        ("actions", 3, (f"data={tiny_store}", f"run={trained}", *small)),
        ("images", 4, (*PICTURES, f"run={pictures}")),
    ):
        out = tmp_path / domain
        with watched(method) as calls:
            done = stage(command, *words, *steps, f"out={out}")
        assert done.code == 0, done.err
        assert calls[0] == ("entry", 0)
        assert {found for _, found in calls[1:]} == {axes}
        seen[domain] = [name for name, _ in calls]
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [1, 2, 3]
        weights[domain] = checkpoint.load(out).tensors("policy")
    assert seen["actions"] == seen["images"]
    assert {*seen["images"]} == {"entry", *LOSSES[method][1]}
    for tensors in weights.values():
        assert any(name.startswith("generator.denoiser.net.") for name in tensors)


@pytest.fixture
def distill(
    pictures: Path, trained: Path, tiny_store: Path, small: tuple[str, ...], tmp_path: Path
) -> dict[str, tuple[str, ...]]:
    """The words of a distillation of either domain, into `tmp_path/out`."""
    out = f"out={tmp_path / 'out'}"
    return {
        "actions": (f"data={tiny_store}", f"teacher={trained / 'diffusion'}", *small, out),
        "images": (*PICTURES, "training.steps=6", f"teacher={pictures / 'diffusion'}", out),
    }


@pytest.mark.parametrize(("domain", "method"), [("actions", "sid"), ("images", "smd"), ("images", "cd")])
def test_divergence_keeps_the_last_checkpoint_and_the_batch(
    domain: str,
    method: str,
    distill: dict[str, tuple[str, ...]],
    stage: Callable[..., Any],
    snapshot: Callable[[Path], dict[str, str]],
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    module, names = LOSSES[method]
    real, calls = getattr(module, names[-1]), iter(range(99))
    before: dict[str, str] = {}

    def explodes(*args: Any) -> Any:
        loss, info = real(*args)
        if next(calls) < 3:
            return loss, info
        before.update(snapshot(checkpoint.steps(out)[-1]))
        return loss * torch.tensor(1e30), info

    with mock.patch.object(module, names[-1], explodes):
        done = stage("distill", f"method={method}", *distill[domain], "checkpoint_every=1")
    assert done.code == 1
    assert done.err.count("\n") == 1 and "Traceback" not in done.err
    good = out / "step-00000003"
    for words in (
        "stillhand distill: error: generator diverged at step 3: loss=",
        " at sigma=",
        "expected at most 10000",
        f"the batch is in {out / 'diverged.safetensors'}",
        f"the last good checkpoint is {good}",
    ):
        assert words in done.err, done.err
    assert ("alpha=" in done.err) == (method == "smd")
    assert checkpoint.steps(out) == [good] and snapshot(good) == before
    batch = safetensors.torch.load_file(out / "diverged.safetensors")
    assert {"x0", "cond", "sigma", "loss", "sample_rms"} <= set(batch)
    assert batch["loss"].abs().max() > 1e4 and len({len(value) for value in batch.values()}) == 1
    assert f"at sigma={batch['sigma'][int((batch['loss'].abs() > 1e4).int().argmax())]:g}" in done.err

    again = stage("distill", f"method={method}", *distill[domain], "checkpoint_every=1")
    assert again.code == 0, again.err  # from the last good checkpoint


REFUSED: dict[str, tuple[str, list[str], tuple[str, ...]]] = {
    "other network": (
        "actions", ["policy.net.width=16"], ("has width=32, but model.net has width=16", "needs its network"),
    ),
    "another encoder": ("actions", ["policy.encoder.octaves=1"], ("does not fit", "size mismatch")),
    "cd without an end": ("actions", ["method=cd", "model.sigma_min=0"], ("sigma_min > 0, got 0.0",)),
    "onedp_d with noise": ("images", ["method=onedp_d", "model.noisy=true"], ("noisy=true, expected",)),
    "other horizon": ("actions", ["task.prediction_horizon=4"], ("prediction_horizon", "4", "8")),
    "no diffusion model": ("actions", ["teacher=RUN/em"], ("em", "MixturePolicy", "DiffusionPolicy")),
    "a student as teacher": ("actions", ["teacher=RUN/sid"], ("OneStepPolicy", "DiffusionPolicy")),
    "no teacher": ("actions", ["teacher=nowhere"], ("nowhere", "no checkpoint here")),
    "unknown key of the loss": ("actions", ["+distillation.method.beta=1"], ("['beta']", "ScoreIdentity")),
    "unknown node": ("actions", ["+distillation.critic={}"], ("unknown or missing: ['critic']",)),
    "missing node": ("actions", ["~distillation.turns"], ("unknown or missing: ['turns']",)),
    "class outside the allow-list": (
        "actions", ["distillation.method._target_=os.system"], ("'os.system'", "allow-list"),
    ),
    "no method": (
        "actions",
        ["~distillation.method", "+distillation.method=${distillation.turns}"],
        ("method and turns are Turns and Turns",),
    ),
    "warm-up with a teacher": ("actions", ["+distillation.turns.warmup_steps=3"], ("=3, expected 0",)),
    "no critic updates": ("actions", ["distillation.turns.critic_updates=0"], ("critic_updates >= 1",)),
    "bad levels": ("actions", ["task.levels.generator.low=9"], ("low < high", "9.0")),
    "bad sigma_init": ("images", ["model.sigma_init=0"], ("sigma_init", "0.0")),
    "another domain's teacher": ("images", ["teacher=RUN/diffusion"], ("diffusion", "images=None")),
    "other network of images": (
        "images", ["image.net.channels=[16]"], ("has channels=(8,), but model.net has channels=(16,)",),
    ),
    "another network of equal shapes": (
        "images", ["+image.net.groups=4"], ("has groups=8, but model.net has groups=4", "needs its network"),
    ),
    "a method for actions": (
        "images", ["method=vdd"], ("method=vdd is for actions, task=digits has images",),
    ),
    "a method from scratch": ("images", ["method=smt"], ("use stillhand train method=smt",)),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_distill_refuses(
    case: str, refused: Callable[..., None], distill: dict[str, tuple[str, ...]], trained: Path
) -> None:
    domain, overrides, says = REFUSED[case]
    words = [word.replace("RUN", str(trained)) for word in overrides]
    refused("distill", "method=sid", *distill[domain], *words, says=says)


@pytest.mark.parametrize("domain", ["actions", "images"])
def test_distill_refuses_a_teacher_of_other_data(
    domain: str,
    refused: Callable[..., None],
    stage: Callable[..., Any],
    distill: dict[str, tuple[str, ...]],
    trained: Path,
    pictures: Path,
    tmp_path: Path,
) -> None:
    """The same task and the same network, but other demonstrations, or other images."""
    run = {"actions": trained, "images": pictures}[domain]
    (step,) = (run / "diffusion").glob("step-*")
    copy = tmp_path / "teacher"
    copy.mkdir()
    for path in step.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    card = json.loads((copy / "card.json").read_text())
    own, card["dataset"]["fingerprint"] = card["dataset"]["fingerprint"], "0123456789abcdef"
    (copy / "card.json").write_text(json.dumps(card))
    says = ("0123456789abcdef", own, "use what the teacher was trained on")
    refused("distill", "method=sid", *distill[domain], f"teacher={copy}", says=says)


def test_train_refuses_what_needs_a_teacher_and_a_warm_up_without_an_end(
    refused: Callable[..., None], tiny_store: Path, small: tuple[str, ...], tmp_path: Path
) -> None:
    base = (f"data={tiny_store}", f"out={tmp_path / 'out'}", *small)
    refused("train", "method=sid", *base, says=("method=sid is distilled: use stillhand distill method=sid",))
    smt = ("train", "method=smt", *base, "training.restarts=[]")
    refused(*smt, says=("turns.warmup_steps=12000 leaves nothing of training.steps=20",))
    refused(*smt, "scratch.turns.warmup_steps=20", says=("warmup_steps=20 leaves nothing",))
    refused(*smt, "scratch.turns.warmup_steps=5", says=("lead_steps=100 leave the generator nothing",))
    score = "stillhand.core.one_step.score_identity.ScoreIdentity"
    sid = ["~scratch.method.alpha_weighting", "~scratch.method.least_alpha", "~scratch.method.at_ends"]
    words = (*sid, f"scratch.method._target_={score}", "scratch.turns.warmup_steps=1")
    refused(*smt, *words, says=("ScoreIdentity learns from a teacher: use stillhand distill",))


def test_a_run_of_another_teacher_is_kept(
    distill: dict[str, tuple[str, ...]],
    stage: Callable[..., Any],
    refused: Callable[..., None],
    pictures: Path,
    tmp_path: Path,
) -> None:
    words = ("method=onedp_d", *distill["images"], "training.steps=2")
    assert stage("distill", *words).code == 0
    other = tmp_path / "other"
    assert (
        stage("train", *PICTURES, f"out={other}", "training.steps=2", "training.learning_rate=0.1").code == 0
    )
    refused("distill", *words, f"teacher={other}", says=("another configuration", "teacher:"))
    card = checkpoint.load(tmp_path / "out").card
    assert card["teacher"] == checkpoint.load(pictures / "diffusion").card["files"]["policy.safetensors"]
