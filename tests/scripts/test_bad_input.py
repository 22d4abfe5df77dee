"""Bad input ends a stage with one clear message that holds the offending value, and overwrites nothing.

Every case: a stage's overrides, and what its message must say. The stage runs on a copy of a trained run.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhand.core import checkpoint
from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.layout import state_fields

HYDRA_HINT = "Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace."


@pytest.fixture
def refused(
    stage: Callable[..., Any], snapshot: Callable[[Path], dict[str, str]], tmp_path: Path
) -> Callable[..., None]:
    """Run a stage that must fail with these words on stderr and leave `tmp_path` as it was."""

    def check(*command: str, says: tuple[str, ...], may_create: tuple[str, ...] = ()) -> None:
        before = snapshot(tmp_path)
        done = stage(*command)
        assert done.code != 0
        assert "Traceback" not in done.err
        message = done.err.replace(HYDRA_HINT, "").strip()
        assert message
        assert message.count(f"stillhand {command[0]}: error: ") <= 1
        assert not [words for words in says if words not in message], message
        after = snapshot(tmp_path)
        assert before.items() <= after.items()
        assert {*after} - {*before} <= set(may_create)
        assert not done.out

    return check


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


def test_run_of_another_configuration_is_kept(
    refused: Callable[..., None], tiny_store: Path, run: Path, small: tuple[str, ...]
) -> None:
    base = ("train", f"data={tiny_store}", f"out={run / 'diffusion'}", *small)
    refused(*base, "training.steps=21", says=("another configuration", "training.steps: 20 there, 21 here"))
    refused(*base, "method=em", says=("another configuration", "name: 'diffusion' there, 'em' here"))


def test_run_on_other_data_or_from_another_teacher_is_kept(
    refused: Callable[..., None],
    stage: Callable[..., Any],
    tiny_store: Path,
    run: Path,
    small: tuple[str, ...],
    tmp_path: Path,
) -> None:
    other = tmp_path / "other.zarr"
    assert stage("collect", f"data={other}", "episodes=24", "seed=6").code == 0
    train = ("train", f"out={run / 'diffusion'}", *small)
    refused(*train, f"data={other}", says=("another configuration", "dataset.fingerprint"))

    vdd = (
        "distillation.warmup_steps=10",
        "training.restarts=[10]",
        f"out={run / 'vdd'}",
        f"data={tiny_store}",
    )
    (run / "diffusion").rename(run / "first")
    again = stage("train", f"data={tiny_store}", f"out={run / 'diffusion'}", *small, "seed=1")
    assert again.code == 0
    refused(
        *("distill", f"teacher={run / 'diffusion'}", *small, *vdd), says=("another configuration", "teacher:")
    )


@pytest.mark.parametrize("stage_name", ["train", "collect"])
def test_folder_that_cannot_be_written(
    stage_name: str, refused: Callable[..., None], tiny_store: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "x"
    arguments = {
        "train": (f"data={tiny_store}", f"out={out}"),
        "collect": (f"data={out}/d.zarr",),
    }
    refused(stage_name, *arguments[stage_name], says=("cannot write to", str(out)))


@pytest.mark.parametrize("stage_name", ["train", "distill"])
def test_missing_store_says_how_to_make_one(
    stage_name: str, refused: Callable[..., None], tmp_path: Path
) -> None:
    data = tmp_path / "none.zarr"
    says = (f"data={data} does not exist", f"stillhand collect data={data}")
    refused(stage_name, f"data={data}", f"out={tmp_path / 'out'}", says=says)


def test_tensorboard_is_asked_for_before_any_work(
    refused: Callable[..., None], tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    command = ("train", f"data={tiny_store}", f"out={tmp_path / 'out'}", "tensorboard=true")
    refused(*command, says=("tensorboard=true needs: pip install",))


def test_mistyped_run_leaves_no_folder(refused: Callable[..., None], tmp_path: Path) -> None:
    refused("rollout", f"run={tmp_path / 'typo'}", says=("typo", "no checkpoint here"))


@pytest.mark.parametrize(
    ("words", "says"), [((), ("no benchmark named", "data|train")), (("name=x",), ("'x'",))]
)
def test_bench_says_what_there_is(
    words: tuple[str, ...], says: tuple[str, ...], refused: Callable[..., None], tmp_path: Path
) -> None:
    refused("bench", f"out={tmp_path / 'bench' / 'x.json'}", *words, says=says)


def test_store_is_not_overwritten(refused: Callable[..., None], tiny_store: Path, tmp_path: Path) -> None:
    copy = tmp_path / "d.zarr"
    shutil.copytree(tiny_store, copy)
    refused("collect", f"data={copy}", "episodes=24", says=(str(copy), "exists already"))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [(["episodes=0"], ("episodes", "0")), (["seed=-1"], ("seed", "-1")), (["episodes=many"], ("many",))],
)
def test_collect_refuses(
    overrides: list[str], says: tuple[str, ...], refused: Callable[..., None], tmp_path: Path
) -> None:
    refused("collect", f"data={tmp_path / 'new' / 'd.zarr'}", *overrides, says=says)


def damaged(name: str, copy: Path) -> None:
    """Break a store the way disks and hands do."""
    store = EpisodeStore.open(copy)
    chunk = copy / "data" / "observation" / "c" / "0" / "0"
    if name == "truncated chunk":
        chunk.write_bytes(chunk.read_bytes()[:-100])
    elif name == "missing chunk":
        chunk.unlink()
    elif name in ("NaN", "changed value"):
        import zarr

        zarr.open_array(copy / "data/observation", mode="r+")[7, 1] = np.nan if name == "NaN" else 0.25
    elif name == "wrong shape":
        shutil.copytree(copy / "data" / "action", copy / "data" / "observation", dirs_exist_ok=True)
    elif name == "other schema":
        header = json.loads((copy / "zarr.json").read_text())
        header["attributes"]["schema"] = 99
        (copy / "zarr.json").write_text(json.dumps(header))
    elif name == "empty":
        shutil.rmtree(copy)
        EpisodeStore.create(copy, store.spec, store.fields, {})
    elif name == "no store":
        shutil.rmtree(copy)
        copy.mkdir()


STORES = {
    "truncated chunk": ("truncated or corrupt chunk", "observation/c/0/0"),
    "missing chunk": ("missing chunk", "observation/c/0/0"),
    "NaN": ("data/observation", "step 7, component (1)", "nan"),
    "changed value": ("data/observation", "hash", "changed outside of append"),
    "wrong shape": ("data/observation", "(2,)", "(4,)"),
    "other schema": ("schema version 99", "expected 1"),
    "empty": ("no episodes", "empty dataset"),
    "no store": ("is not an episode store",),
}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("name", STORES)
def test_train_refuses_damaged_stores(
    name: str, mapped: bool, refused: Callable[..., None], tiny_store: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "d.zarr"
    shutil.copytree(tiny_store, copy)
    damaged(name, copy)
    overrides = (f"data={copy}", f"out={tmp_path / 'out'}", f"mapped={mapped}")
    refused("train", *overrides, says=STORES[name], may_create=("d.zarr.mapped",))


@pytest.mark.parametrize("bad", ["NaN", "wrong shape"])
def test_append_refuses_and_keeps_the_store(
    bad: str, tiny_store: Path, tmp_path: Path, snapshot: Callable[[Path], dict[str, str]]
) -> None:
    spec = EpisodeStore.open(tiny_store).spec
    store = EpisodeStore.create(tmp_path / "d.zarr", spec, state_fields(spec, "m", "m"), {})
    observation = np.zeros((5, spec.observation_dim + (bad == "wrong shape")), np.float32)
    if bad == "NaN":
        observation[3, 1] = np.nan
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match=r"step 3, component \(1\) is nan" if bad == "NaN" else r"\(5, 5\)"):
        store.append(Episode({"observation": observation, "action": np.zeros((5, 2), np.float32)}, 0, 0))
    assert snapshot(tmp_path) == before


def edit(step: Path, change: Callable[[dict[str, Any]], object]) -> None:
    card = json.loads((step / "card.json").read_text())
    change(card)
    (step / "card.json").write_text(json.dumps(card))


def flip(step: Path) -> None:
    file = step / "policy.safetensors"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncate(step: Path) -> None:
    file = step / "policy.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


CHECKPOINTS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "other task": (
        lambda s: edit(s, lambda c: c["spec"].update(task="pushing")),
        ("'pushing'", "'avoiding'"),
    ),
    "other rate": (lambda s: edit(s, lambda c: c["spec"].update(control_hz=7.5)), ("7.5",)),
    "other size": (lambda s: edit(s, lambda c: c["spec"].update(observation_dim=5)), ("size mismatch",)),
    "other schema": (lambda s: edit(s, lambda c: c.update(schema=99)), ("card schema 99",)),
    "flipped bit": (flip, ("policy.safetensors: corrupt",)),
    "truncated": (truncate, ("policy.safetensors: corrupt",)),
    "class outside the allow-list": (
        lambda s: edit(s, lambda c: c["policy"].update(_target_="os.system")),
        ("'os.system'", "allow-list"),
    ),
    "inner class outside the allow-list": (
        lambda s: edit(s, lambda c: c["policy"]["net"].update(_target_="subprocess.run")),
        ("'subprocess.run'", "allow-list"),
    ),
    "no description": (lambda s: edit(s, lambda c: c.update(policy="os.system")), ("policy='os.system'",)),
    "no spec": (lambda s: edit(s, lambda c: c.pop("spec")), ("spec=None",)),
    "no card": (lambda s: (s / "card.json").unlink(), ("no checkpoint here",)),
    "no tensors": (lambda s: (s / "policy.safetensors").unlink(), ("policy.safetensors: missing",)),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_rollout_refuses_checkpoints(case: str, refused: Callable[..., None], run: Path) -> None:
    damage, says = CHECKPOINTS[case]
    damage(checkpoint.steps(run / "diffusion")[0])
    refused("rollout", f"run={run}", "only=[teacher-10]", says=says)


def test_train_refuses_to_resume_from_a_corrupt_checkpoint(
    refused: Callable[..., None], tiny_store: Path, run: Path, small: tuple[str, ...]
) -> None:
    flip(checkpoint.steps(run / "diffusion")[0])
    command = ("train", f"data={tiny_store}", f"out={run / 'diffusion'}", *small)
    refused(*command, says=("policy.safetensors: corrupt",))


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
        (["controllers.teacher-10.checkpoint=gone"], ("gone", "no checkpoint here")),
        (["task.env._target_=os.system"], ("'os.system'", "allow-list")),
    ],
)
def test_rollout_refuses_settings(
    overrides: list[str], says: tuple[str, ...], refused: Callable[..., None], run: Path
) -> None:
    only = [] if any(o.startswith("only") for o in overrides) else ["only=[teacher-10]"]
    refused("rollout", f"run={run}", *only, *overrides, says=says)
