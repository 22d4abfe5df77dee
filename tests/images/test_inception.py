"""The way to the real FID: weights found or refused, images handed over as Inception wants them."""

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stillhand.datasets.pixels import Digits
from stillhand.images import inception
from stillhand.images.inception import FILE, VARIABLE, InceptionFid, as_rgb, import_extractors, weights
from stillhand.images.metrics import frechet

needs_torch_fidelity = pytest.mark.skipif(
    importlib.util.find_spec("torch_fidelity") is None, reason="needs torch-fidelity: the extra fid"
)


def test_weights_are_found_through_the_variable(tmp_path: Path) -> None:
    assert weights({}) is None
    environment = {VARIABLE: str(tmp_path)}
    with pytest.raises(ValueError, match=rf"STILLHAND_WEIGHTS=.*: {FILE} is missing; unset it"):
        weights(environment)
    (tmp_path / FILE).touch()
    assert weights(environment) == tmp_path / FILE


def test_rgb_reaches_white_and_repeats_grey() -> None:
    grey = torch.tensor([0, 8, 16], dtype=torch.uint8).view(3, 1, 1, 1)
    assert as_rgb(grey, peak=16).flatten(1).tolist() == [[0] * 3, [128] * 3, [255] * 3]
    colour = torch.randint(256, (2, 3, 4, 5), dtype=torch.uint8)
    assert torch.equal(as_rgb(colour, peak=255), colour)


class MeanColour(nn.Module):
    """A stand-in for Inception: means of rows of the picture."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
        super().__init__()
        assert features_list == ["2048"]
        assert os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"

    def forward(self, pixels: Tensor) -> tuple[Tensor]:
        assert pixels.dtype == torch.uint8 and pixels.shape[1] == 3
        return (pixels.float().mean((1, 3)),)


def test_fid_is_the_frechet_distance_of_the_extractor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / FILE).touch()
    module = SimpleNamespace(FeatureExtractorInceptionV3=MeanColour)
    monkeypatch.setattr(inception, "import_extractors", lambda: module)
    train, test = Digits().read()
    expected = frechet(*((x.pixels * (255 / 16)).round().mean((1, 3)) for x in (test, train)))
    fid = InceptionFid.load(test, {VARIABLE: str(tmp_path)})
    assert fid is not None and fid(train.pixels) == pytest.approx(expected, rel=1e-5)
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_real_images_are_pooled_once_and_not_before_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counted(net: nn.Module, pixels: np.ndarray, peak: int) -> np.ndarray:
        seen.append(len(pixels))
        return pooled(net, pixels, peak)

    pooled = inception.pooled
    monkeypatch.setattr(inception, "pooled", counted)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    train, test = Digits().read()
    fid = InceptionFid(MeanColour("", ["2048"], ""), train)
    assert not seen
    assert fid(test.pixels) > fid(train.pixels) == pytest.approx(0, abs=1e-9)
    assert sorted(seen) == [len(test), len(train), len(train)]
    assert InceptionFid.load(train, {}) is None


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@needs_torch_fidelity
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_file_that_is_not_the_weights_is_refused_and_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    extractors = import_extractors()
    # the blocks take a second to build and play no part before the file is read
    for name in ("A", "B", "C", "D", "E_1", "E_2"):
        monkeypatch.setattr(extractors, f"Inception{name}", lambda *args, **options: nn.Identity())
    path, sign = tmp_path / FILE, tmp_path / "unpickled"
    contents = (Malicious(sign), {"fc.weight": torch.zeros(1)}, [1, 2])
    for content in contents:
        torch.save(content, path)
        with pytest.raises(ValueError, match=f"{FILE}: not the weights of torch-fidelity's Inception"):
            inception.inception(path)
    for raw in (b"", b"no weights" * 9):
        path.write_bytes(raw)
        with pytest.raises(ValueError, match=f"{FILE}: not the weights of torch-fidelity's Inception"):
            inception.inception(path)
    assert not sign.exists()
    torch.save(contents[0], path)
    torch.load(path, weights_only=False)  # it would have been run
    assert sign.exists()


@pytest.mark.skipif(not weights(), reason=f"needs Inception's weights: {VARIABLE}")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_fid_with_the_real_weights() -> None:
    _, test = Digits().read()
    noise = np.random.default_rng(0).integers(17, size=(20, 1, 8, 8), dtype=np.uint8)
    fid = InceptionFid.load(test)
    assert fid is not None and fid(test.pixels) == pytest.approx(0, abs=1e-3)
    assert fid(noise) > 50


def test_without_torch_fidelity_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'stillhand\[fid\]'"):
        import_extractors()
