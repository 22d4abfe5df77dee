"""Targets of an alignment: what is taken off an encoder's tokens, and models of timm from local files."""

import sys
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from stillhand.core.losses.alignment import TokenEncoder
from stillhand.datasets.pixels import ImageSpec
from stillhand.images import encoders
from stillhand.images.encoders import TimmEncoder, centred_targets, fits, looked, timm_encoder

CPU = torch.device("cpu")


class Brightness(nn.Module):
    """Mean of every 2 x 2 patch, beside a constant."""

    grid, width = (2, 2), 2

    def tokens(self, pixels: Tensor) -> Tensor:
        mean = nn.functional.avg_pool2d(pixels.float(), 2).flatten(2).transpose(1, 2)
        return torch.cat([mean, torch.full_like(mean, 50.0)], dim=2)


class Mute(Brightness):
    said = 0.1  # whose mean over many is not .1

    def tokens(self, pixels: Tensor) -> Tensor:
        return torch.full((len(pixels), 4, 2), self.said)


class Mad(Mute):
    said = float("nan")


def test_what_all_images_share_is_taken_off(halves: Any) -> None:
    images = halves.images()
    pixels = torch.from_numpy(images.pixels)
    targets = centred_targets(Brightness(), images, 0, CPU)(pixels)
    assert targets.shape == (600, 4, 2) and not targets.requires_grad
    torch.testing.assert_close(targets.mean(0), torch.zeros(4, 2), rtol=0, atol=1e-4)
    plain = Brightness().tokens(pixels)
    torch.testing.assert_close(targets[1] - targets[0], plain[1] - plain[0])
    assert not targets[..., 1].any()


@pytest.mark.parametrize("n", [100, 130])
def test_all_images_are_looked_at_once_in_calls_of_one_size(halves: Any, n: int) -> None:
    images, rows = halves.images(n), []
    targets = centred_targets(Brightness(), images, 0, CPU)

    def asked(pixels: Tensor) -> Tensor:
        rows.append(len(pixels))
        return targets(pixels)

    said = looked(Brightness(), asked, images, CPU)
    assert rows == [100] * len(rows) and len(said) == n
    torch.testing.assert_close(torch.from_numpy(said), targets(torch.from_numpy(images.pixels)))


def test_images_are_looked_at_in_float32_whatever_is_computed_around(halves: Any) -> None:
    images, weight = halves.images(10), torch.rand(4, 1)

    def said(pixels: Tensor) -> Tensor:
        return (pixels.float().flatten(1)[:, :4] @ weight).expand(-1, 8).unflatten(1, (4, 2))

    with torch.autocast("cpu", torch.bfloat16):
        mixed = looked(Brightness(), said, images, CPU)
    assert np.array_equal(mixed, looked(Brightness(), said, images, CPU))


def test_what_does_not_fit_into_memory_is_not_kept(halves: Any) -> None:
    class Large(Brightness):
        width = 10**6

    assert fits(Brightness(), halves.images()) and not fits(Large(), halves.images())


def test_an_encoder_that_says_nothing_is_refused(halves: Any) -> None:
    with pytest.raises(ValueError, match="encoder: this Mute says the same of all 600 samples"):
        centred_targets(Mute(), halves.images(), 0, CPU)
    with pytest.raises(ValueError, match="encoder: tokens of this Mad are not finite"):
        centred_targets(Mad(), halves.images(), 0, CPU)


def test_a_file_must_be_there_and_be_safetensors(tmp_path: Path, halves: Any) -> None:
    pickled = tmp_path / "model.bin"
    torch.save({}, pickled)
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(b"nothing")
    for path, says in (
        (tmp_path / "gone.safetensors", "no such file"),
        (pickled, "pickled weights are not read"),
        (broken, "not a safetensors file"),
    ):
        with pytest.raises(ValueError, match=says):
            timm_encoder(name="vit_tiny_patch16_224", weights=str(path), grid=(2, 2), spec=halves.spec)


def test_without_timm_it_says_what_to_install(
    tmp_path: Path, halves: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"vit_tiny needs timm: pip install 'stillhand\[timm\]'"):
        timm_encoder(name="vit_tiny", weights=str(path), grid=(2, 2), spec=halves.spec)


class Transformer(nn.Module):
    """What is asked of a vision transformer of timm: here patches of 3 x 3, and one token before them."""

    num_prefix_tokens, num_features = 1, 27
    pretrained_cfg = MappingProxyType(
        {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.5, 1.0), "classifier": "head"}
    )
    patch_embed = SimpleNamespace(patch_size=(3, 3))

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward_features(self, x: Tensor) -> Tensor:
        patches = nn.functional.unfold(x, 3, stride=3).transpose(1, 2)
        return self.scale * torch.cat([torch.full_like(patches[:, :1], 99.0), patches], dim=1)


def test_images_become_so_many_patches_of_three_colours(halves: Any) -> None:
    encoder = TimmEncoder(Transformer(), halves.spec, (2, 5))
    assert isinstance(encoder, TokenEncoder) and (encoder.width, encoder.size) == (27, (6, 15))
    grey = torch.full((1, 1, 4, 4), 150).to(torch.uint8)  # .75 of the peak
    tokens = encoder.tokens(grey)
    assert tokens.shape == (1, 10, 27) and not any(p.requires_grad for p in encoder.parameters())
    colours = torch.tensor([1.0, 0.5, 0.25]).repeat_interleave(9)
    torch.testing.assert_close(tokens[0, 0], colours)


def test_images_and_networks_that_do_not_fit_are_refused() -> None:
    for network, spec, grid, says in (
        (nn.Linear(1, 1), ImageSpec("a", 1, 4, 4, 2, 9), (2, 2), "a Linear has no patch tokens"),
        (Transformer(), ImageSpec("a", 2, 4, 4, 2, 9), (2, 2), "1 or 3 channels, got 2"),
        (Transformer(), ImageSpec("a", 1, 4, 4, 2, 9), (0, 2), "at least 1"),
    ):
        with pytest.raises(ValueError, match=says):
            TimmEncoder(network, spec, grid)


def test_weights_are_all_loaded_but_a_classifier(
    tmp_path: Path, halves: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "_created", lambda name: Transformer())
    path = tmp_path / "w.safetensors"
    ask: dict[str, Any] = {"name": "tiny", "weights": str(path), "grid": (2, 2), "spec": halves.spec}
    safetensors.torch.save_file({"scale": torch.tensor(2.0), "head.weight": torch.zeros(3)}, path)
    assert timm_encoder(**ask).network.scale.item() == 2
    for tensors in ({"scale": torch.zeros(2)}, {}, {"scale": torch.tensor(1.0), "more": torch.zeros(1)}):
        safetensors.torch.save_file(tensors, path)
        with pytest.raises(ValueError, match="w.safetensors: no weights of tiny: "):
            timm_encoder(**ask)


def test_a_model_of_timm_itself(tmp_path: Path) -> None:
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # the latter when torchvision is of another torch
        pytest.skip(f"no timm: {error}")
    spec, name = ImageSpec("a", 1, 28, 28, 2, 255), "test_vit.r160_in1k"
    torch.manual_seed(0)
    made = timm.create_model(name, pretrained=False)
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file(made.state_dict(), path)
    encoder = timm_encoder(name=name, weights=str(path), grid=(7, 7), spec=spec)
    tokens = encoder.tokens(torch.randint(255, (2, 1, 28, 28)).to(torch.uint8))
    assert tokens.shape == (2, 49, encoder.width) and bool(tokens.isfinite().all())
    with pytest.raises(ValueError, match="timm makes no vision transformer 'resnet18'"):
        timm_encoder(name="resnet18", weights=str(path), grid=(7, 7), spec=spec)
    with pytest.raises(ValueError, match="timm makes no vision transformer 'vit_none'"):
        timm_encoder(name="vit_none", weights=str(path), grid=(7, 7), spec=spec)
