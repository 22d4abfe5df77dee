"""Settings a stage cannot use end it with one clear message that holds the offending value.

Every case: a stage's overrides, and what its message must say. Nothing is written.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

TRAIN_CASES = {
    "unknown key": (["batch_sise=3"], ("batch_sise",)),
    "unknown nested key": (["training.step=3"], ("step", "training.step")),
    "mistyped integer": (["training.steps=ten"], ("ten", "training.steps")),
    "mistyped float": (["training.learning_rate=fast"], ("fast", "training.learning_rate")),
    "fraction for an integer": (["batch_size=3.5"], ("3.5", "batch_size")),
    "mistyped net": (["policy.net.width=wide"], ("width", "'wide'", "int")),
    "unknown net key": (["policy.net.widht=3"], ("widht",)),
    "forced unknown net key": (["+policy.net.widht=3"], ("widht", "'width'", "DenoisingMLP")),
    "unknown group option": (["policy=resnet"], ("resnet", "mlp")),
    "class outside the allow-list": (["policy.net._target_=os.system"], ("'os.system'", "allow-list")),
    "expert outside the allow-list": (["model._target_=os.remove"], ("'os.remove'", "allow-list")),
    "no steps": (["training.steps=0"], ("steps", "0")),
    "no experts": (["method=em", "model.head.experts=0"], ("experts=0",)),
    "negative experts": (["method=em", "model.head.experts=-2"], ("experts=-2",)),
    "empty batch": (["batch_size=0"], ("batch_size", "0")),
    "negative seed": (["seed=-1"], ("seed", "-1")),
    "no threads": (["threads=0"], ("threads", "0")),
    "never a checkpoint": (["checkpoint_every=0"], ("checkpoint_every", "0")),
    "horizon longer than episodes": (["task.prediction_horizon=5000"], ("prediction_horizon", "5000")),
    "mistyped horizon": (["task.prediction_horizon=long"], ("prediction_horizon", "'long'")),
    "no horizon": (["task.observation_horizon=0"], ("observation_horizon", "0")),
    "covariance of no kind": (["method=em", "model.head.covariance=full"], ("covariance", "'full'")),
    "method with a teacher": (["method=vdd"], ("method=vdd is distilled: use stillhand distill method=vdd",)),
    "restarts beyond the end": (["training.restarts=[9,12000]"], ("restarts", "steps=12000", "[9, 12000]")),
    "device of no kind": (["device=abacus"], ("device='abacus'",)),
    "kernels of no kind": (["kernels=fast"], ("kernels", "auto, triton, reference", "'fast'")),
    "t_star outside": (["method=mip", "model.t_star=1.5"], ("t_star", "1.5")),
}


@pytest.mark.parametrize("case", TRAIN_CASES)
def test_train_refuses_settings(
    case: str, refused: Callable[..., None], tiny_store: Path, tmp_path: Path
) -> None:
    overrides, says = TRAIN_CASES[case]
    refused("train", f"data={tiny_store}", f"out={tmp_path / 'out'}", *overrides, says=says)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["method=em"], ("method=em is trained: use stillhand train method=em",)),
        (["~distillation.sigma.low"], ("sigma", "argument", "'low'")),
        (["distillation.warmup_steps=4000", "training.restarts=[]"], ("warmup_steps=4000", "steps=3500")),
        (["device=abacus"], ("device='abacus'",)),
        (["distillation.samples=0"], ("samples", "0")),
        (["distillation.recipe=dirty"], ("recipe", "'dirty'")),
        (["distillation.sigma.high=x"], ("high", "'x'")),
        (["teacher=nowhere"], ("nowhere", "no checkpoint")),
        (["teacher=RUN/em"], ("em", "MixturePolicy")),
        (["task.prediction_horizon=4"], ("prediction_horizon", "4", "8")),
        (["model.head.experts=0"], ("experts=0",)),
    ],
)
def test_distill_refuses(
    overrides: list[str],
    says: tuple[str, ...],
    refused: Callable[..., None],
    tiny_store: Path,
    tmp_path: Path,
    trained: Path,
) -> None:
    base = (f"data={tiny_store}", f"out={tmp_path / 'out'}", f"teacher={trained / 'diffusion'}")
    refused("distill", *base, *(o.replace("RUN", str(trained)) for o in overrides), says=says)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["episodes=0"], ("episodes", "0")),
        (["seed=-1"], ("seed", "-1")),
        (["episodes=many"], ("many",)),
        (["task.expert=null"], ("avoiding has no expert", "stillhand prepare")),
    ],
)
def test_collect_refuses(
    overrides: list[str], says: tuple[str, ...], refused: Callable[..., None], tmp_path: Path
) -> None:
    refused("collect", f"data={tmp_path / 'new' / 'd.zarr'}", *overrides, says=says)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["only=[nobody]"], ("nobody", "teacher-10")),
        (["starts=0"], ("starts", "0")),
        (["rollouts=some"], ("some",)),
        (["latency_calls=-1"], ("latency_calls", "-1")),
        (["threads=0"], ("threads", "0")),
        (["action_horizon=0"], ("action_horizon", "0")),
        (["action_horizon=9"], ("action_horizon", "9")),
        (["task.action_horizon=two"], ("action_horizon", "'two'")),
        (["controllers.teacher-10.sampling.intervals=ten"], ("teacher-10.sampling", "intervals", "'ten'")),
        (["controllers.teacher-10.sampling.intervals=0"], ("n = 0",)),
        (["+controllers.teacher-10.sampling.interval=3"], ("teacher-10.sampling", "interval")),
        (["+controllers.em.sampling.intervals=3", "only=[em]"], ("em.sampling", "MixturePolicy")),
        (["+controllers.sid.sampling.noise_scale=0", "only=[sid]"], ("noise_scale, got 0.0",)),
        (["+controllers.sid.sampling.intervals=3", "only=[sid]"], ("sid.sampling", "noise_scale: NUMBER")),
        (["controllers.teacher-10.checkpoint=gone"], ("gone", "no checkpoint here")),
        (["task.env._target_=os.system"], ("'os.system'", "allow-list")),
    ],
)
def test_rollout_refuses_settings(
    overrides: list[str], says: tuple[str, ...], refused: Callable[..., None], run: Path
) -> None:
    only = [] if any(o.startswith("only") for o in overrides) else ["only=[teacher-10]"]
    refused("rollout", f"run={run}", *only, *overrides, says=says)


@pytest.mark.parametrize(
    ("words", "says"), [((), ("no benchmark named", "data|train")), (("name=x",), ("'x'",))]
)
def test_bench_says_what_there_is(
    words: tuple[str, ...], says: tuple[str, ...], refused: Callable[..., None], tmp_path: Path
) -> None:
    refused("bench", f"out={tmp_path / 'bench' / 'x.json'}", *words, says=says)


def test_tensorboard_is_asked_for_before_any_work(
    refused: Callable[..., None], tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    command = ("train", f"data={tiny_store}", f"out={tmp_path / 'out'}", "tensorboard=true")
    refused(*command, says=("tensorboard=true needs: pip install",))
