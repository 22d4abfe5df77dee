"""A policy's warm-up through the stages: encoder, camera networks, policies that start there; refusals."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from stillhand.core.construct import construct
from stillhand.datasets.schema import Camera, Spec
from stillhand.images import encoders
from stillhand.policies import checkpoint
from stillhand.policies.alignment import FirstLooks
from stillhand.policies.masked_frames import MaskedFrames
from stillhand.policies.teacher import DiffusionPolicy
from stillhand.scripts.aligning_frames import frozen_frames

TASK = ("task=avoiding_pixels", "task.env.cameras.scene=[24,20]")
SMALL = (
    "policy=visual_vit", "policy.encoder.look={width: 8, layers: 1, heads: 2, points: 3}",
    "policy.net.width=16", "batch_size=8", "training.steps=3", "training.warmup_steps=1",
)  # fmt: skip
ENCODER = ("method=encoder_frames", "model.width=16", "model.layers=1", "model.heads=2")
WARM = ("method=warmup_frames", "model.projector_width=8")
ALIGNED = ("method=erw_frames", "alignment.projector_width=8")


# A rate of nothing: what is exported is what was loaded.
STILL = ("training.steps=1", "training.learning_rate=1e-30", "training.weight_decay=0")
TRAININGS = {"diffusion": ("method=diffusion", *STILL), "warmed": ("method=warmed", *STILL),
             "erw_frames": (*ALIGNED, *STILL)}  # fmt: skip


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory, stage: Callable[..., Any]) -> dict[str, str]:
    """Demonstrations, encoder, warm-up, and policies without and with it: what each said."""
    home = tmp_path_factory.mktemp("warm")
    found, where = {"home": str(home)}, (f"data={home / 'd.zarr'}", f"run={home}")
    trainings = {"encoder_frames": ENCODER, "warmup_frames": WARM, **TRAININGS}
    commands = {name: ("train", where[1], *SMALL, *words) for name, words in trainings.items()}
    for name, words in {"recorded": ("collect", "episodes=2", "seed=5"), **commands}.items():
        done = stage(words[0], *TASK, where[0], *words[1:])
        assert done.code == 0, done.err
        found[name] = done.out
    return found


@pytest.fixture(scope="module")
def home(said: dict[str, str]) -> Path:
    """Where all of it lies. Read only."""
    return Path(said["home"])


def card(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = checkpoint.load_model(run)[1].card
    return found


def test_every_checkpoint_holds_its_part(home: Path) -> None:
    kinds = {"encoder_frames": MaskedFrames, "warmup_frames": FirstLooks,
             "warmed": DiffusionPolicy, "erw_frames": DiffusionPolicy}  # fmt: skip
    for name, kind in kinds.items():
        assert type(checkpoint.load_model(home / name)[0]) is kind
    cards = {name: card(home / name) for name in kinds}
    digests = {name: one["files"]["policy.safetensors"] for name, one in cards.items()}
    for name in ("warmed", "erw_frames"):
        assert (cards[name]["warmup"], cards[name]["warmup_steps"]) == (digests["warmup_frames"], 3)
    for name in ("warmup_frames", "erw_frames"):
        assert cards[name]["encoder"] == digests["encoder_frames"]
    with pytest.raises(ValueError, match="a FirstLooks does not act, expected a policy"):
        checkpoint.load(home / "warmup_frames")


def test_the_first_step_starts_from_the_warm_up_and_says_so(home: Path, said: dict[str, str]) -> None:
    """And what a warm-up does not hold is what a plain training of the seed starts with."""
    handed = [name for name in TRAININGS if "17 tensors handed over" in said[name]]
    assert handed == ["warmed", "erw_frames"]
    assert [name for name in TRAININGS if "projectors too" in said[name]] == ["erw_frames"]
    plain, *others = (checkpoint.load(home / name)[0].state_dict() for name in TRAININGS)
    looks = checkpoint.load_model(home / "warmup_frames")[0].state_dict()
    given = {f"border.encoder.{name}": value for name, value in looks.items() if name.startswith("looks.")}
    for name, value in plain.items():
        for end in others:
            torch.testing.assert_close(end[name], given.get(name, value), rtol=0, atol=1e-12)
    assert all(not torch.equal(plain[name], value) for name, value in given.items())


def damaged(source: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a run with its card changed."""
    shutil.copytree(source, target)
    path = next(target.glob("step-*")) / "card.json"
    own = json.loads(path.read_text())
    change(own)
    path.write_text(json.dumps(own))
    return target


@pytest.mark.parametrize("words", [ENCODER, WARM, ALIGNED], ids=lambda words: words[0])
def test_what_was_killed_ends_in_the_same_bytes(
    words: tuple[str, ...], home: Path, tmp_path: Path, continued: Callable[..., None]
) -> None:
    places = (f"data={home / 'd.zarr'}", f"run={home}", "checkpoint_every=2")
    continued(tmp_path, "train", *TASK, *SMALL, *words, *places)


CROP = "looks at crops of {'scene': (24, 20)}, but this policy at"
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "missing": (("warmup=RUN/gone",), "gone: no checkpoint here"),
    "none": (("warmup=RUN/encoder_frames",), "is a MaskedFrames, need a run of method=warmup_frames"),
    "network": (("policy.encoder.look.width=16",), "warm-up's network has width=8, but policy.encoder.look"),
    "task": (("warmup=OTHER",), "a policy for Spec(task='avoiding-unseen'"),
    "unfinished": (("warmup=OTHER",), "this warm-up stopped before its 9 steps"),
    "encoder": ((*ALIGNED, "warmup=OTHER"), "aligned with the encoder 'beef', but this run's is"),
    "crop": (("task.seen.margin=4",), f"warmup_frames/step-00000003: {CROP}"),
    "unfinished encoder": ((*ALIGNED, "encoder=OTHER"), "this encoder stopped before its 9 steps"),
    "encoder's crop": ((*ALIGNED, "task.seen.margin=4"), f"encoder_frames/step-00000003: {CROP}"),
    "blind": (("policy=mlp",), "policy=mlp looks at no frames"),
}  # fmt: skip
CHANGED: dict[str, Callable[[dict[str, Any]], object]] = {
    "task": lambda c: c["spec"].update(task="avoiding-unseen"),
    "unfinished": lambda c: c["run"]["training"].update(steps=9),
    "unfinished encoder": lambda c: c["run"]["training"].update(steps=9),
    "encoder": lambda c: c.update(encoder="beef"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_missing_or_of_something_else_is_refused(
    case: str, refused: Callable[..., None], home: Path, tmp_path: Path
) -> None:
    words, says = REFUSED[case]
    other = tmp_path / "other"
    if case in CHANGED:
        damaged(
            home / ("encoder_frames" if "encoder=OTHER" in words else "warmup_frames"), other, CHANGED[case]
        )
    own = [word.replace("RUN", str(home)).replace("OTHER", str(other)) for word in words]
    base = [word for word in SMALL if case != "blind" or not word.startswith("policy")]
    places = (f"data={home / 'd.zarr'}", f"run={home}", f"out={tmp_path / 'out'}")
    refused("train", *TASK, *base, "method=warmed", *places, *own, says=(says,))


def test_a_student_is_not_warmed_up(refused: Callable[..., None], home: Path, tmp_path: Path) -> None:
    words = (f"data={home / 'd.zarr'}", f"run={home}", f"out={tmp_path / 'out'}", "warmup=somewhere")
    refused("distill", *TASK, *SMALL, "method=sid", *words, says=("warmup: for stillhand train",))


class Transformer(nn.Module):
    """What is asked of a vision transformer of timm: patches of 4 x 4, and one token before them."""

    num_prefix_tokens, num_features = 1, 48
    pretrained_cfg = MappingProxyType({"mean": (0.5,) * 3, "std": (0.25,) * 3, "classifier": "head"})
    patch_embed = SimpleNamespace(patch_size=(4, 4))

    def forward_features(self, x: Tensor) -> Tensor:
        patches = nn.functional.unfold(x, 4, stride=4).transpose(1, 2)
        return torch.cat([patches[:, :1], patches], dim=1)


def test_somebody_elses_encoder_looks_through_every_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "_created", lambda name: Transformer())
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"head.bias": torch.zeros(1)}, path)
    given = {
        "_target_": "stillhand.images.encoders.timm_encoder", "name": "vit", "weights": str(path),
        "grid": [3, 2],
    }  # fmt: skip
    spec = Spec("toy", 1, 1, 20.0, (Camera("top", 24, 20), Camera("hand", 17, 12)))
    look = {"_target_": "stillhand.core.nets.vit.ViT", "_partial_": True}
    state = {"_target_": "stillhand.policies.encoders.StateEncoder", "_partial_": True, "octaves": 0}
    described = {
        "_target_": "stillhand.policies.base.Border", "observation_horizon": 1, "prediction_horizon": 1,
        "encoder": {
            "_target_": "stillhand.policies.vision.VisualEncoder", "_partial_": True, "look": look,
            "state": state, "columns": [],
            "augmentation": {"_target_": "stillhand.policies.vision.Augmentation"},
        },
    }  # fmt: skip
    frozen = frozen_frames(given, construct(described, checkpoint.ALLOWED, spec=spec))
    assert {*frozen.encoders} == {"top", "hand"} and frozen.width == 48 and frozen.found is None
    for camera in spec.cameras:
        pixels = torch.randint(256, (2, 3, camera.height, camera.width)).to(torch.uint8)
        assert frozen.encoders[camera.name].tokens(pixels).shape == (2, 6, 48)
    assert "weights" not in frozen.card and len(frozen.card["sha256"]) == 64
