"""The real FID, when Inception's weights are on disk: the Frechet distance of its 2048 pooled features.

    $STILLHAND_WEIGHTS/weights-inception-2015-12-05-6726825d.pth        [FID] arXiv 1706.08500

torch-fidelity (the extra `fid`) holds the network, but no package holds the weights, and nothing is fetched.
The file is a pickle, which torch-fidelity would run: torch is told to accept tensors only.
"""

import importlib.util
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor, nn

from stillhand.datasets.pixels import Images
from stillhand.datasets.schema import Array
from stillhand.images.metrics import frechet

FILE = "weights-inception-2015-12-05-6726825d.pth"
VARIABLE = "STILLHAND_WEIGHTS"
TENSORS_ONLY = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}
# kept alive: the operators go with it
_operators: list[torch.library.Library] = []


def weights(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where Inception's weights are; None when the variable is unset.

    Raises:
        ValueError: The variable names a folder without the file.
    """
    if VARIABLE not in environment:
        return None
    path = Path(environment[VARIABLE]) / FILE
    if not path.is_file():
        raise ValueError(f"{VARIABLE}={environment[VARIABLE]}: {FILE} is missing; unset it to go without FID")
    return path


def import_extractors() -> ModuleType:
    """torch-fidelity's Inception, importable also beside a CPU build of torch.

    It imports torchvision, whose default wheel is built for CUDA: without its compiled part two operators are
    not even declared, and the import fails. Nothing here calls them, so declaring them is enough.

    Raises:
        ValueError: torch-fidelity is not installed.
    """
    if importlib.util.find_spec("torch_fidelity") is None:
        raise ValueError("Inception FID needs: pip install 'stillhand[fid]'")
    try:
        return importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    except RuntimeError:
        if torch.version.cuda is not None or _operators:
            raise
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor a, Tensor b, float c) -> Tensor")
    library.define("qnms(Tensor a, Tensor b, float c) -> Tensor")
    _operators.append(library)
    return importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")


@dataclass(frozen=True)
class InceptionFid:
    """FID as it is published: features of Inception's last pooling, unbiased covariances.

    Papers take 50,000 generated images; FID of fewer is larger, so n belongs beside it.

    Args:
        net: Of `inception`.
        real: The reference; its peak is scaled to 255 on both sides, grey is repeated to RGB.
    """

    net: nn.Module
    real: Images

    @classmethod
    def load(cls, real: Images, environment: Mapping[str, str] = os.environ) -> "InceptionFid | None":
        """Ready to compare with real images; None without Inception's weights. Raises as `inception`."""
        path = weights(environment)
        return None if path is None else cls(inception(path), real)

    @cached_property
    def reference(self) -> Float64[Array, "n d"]:
        """Features of the real images, computed once: one core takes about 0.2 s an image."""
        return pooled(self.net, self.real.pixels, self.real.spec.peak)

    def __call__(self, generated: UInt8[Array, "n c y x"]) -> float:
        """FID of images of the same set."""
        return frechet(self.reference, pooled(self.net, generated, self.real.spec.peak))


def inception(path: Path) -> nn.Module:
    """torch-fidelity's Inception, mapping uint8 (b, 3, y, x) to a tuple with one tensor (b, 2048).

    Raises:
        ValueError: torch-fidelity is not installed, or the file does not hold Inception's weights.
    """
    extractors = import_extractors()
    try:
        with mock.patch.dict(os.environ, TENSORS_ONLY):
            net: nn.Module = extractors.FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
            )
    except (RuntimeError, EOFError, pickle.UnpicklingError, LookupError, TypeError, ValueError) as error:
        reason = repr(error).splitlines()[0][:200]
        raise ValueError(f"{path}: not the weights of torch-fidelity's Inception: {reason}") from error
    return net


def pooled(
    net: nn.Module, pixels: UInt8[Array, "n c y x"], peak: int, batch_rows: int = 50
) -> Float64[Array, "n d"]:
    """Features of images from 0 to the peak, `batch_rows` at a time."""
    features = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_rows):
            (found,) = net(as_rgb(torch.from_numpy(pixels[start : start + batch_rows]), peak))
            features.append(found.double().numpy())
    return np.concatenate(features)


def as_rgb(pixels: UInt8[Tensor, "b c y x"], peak: int) -> UInt8[Tensor, "b 3 y x"]:
    """White at 255, grey repeated."""
    scaled = (pixels.float() * (255 / peak)).round().to(torch.uint8)
    return scaled.expand(-1, 3, -1, -1)
