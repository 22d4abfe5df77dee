"""Our distances against torch-fidelity's, through its own pipeline with our features as custom extractor."""

import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stillhand.datasets.pixels import Digits
from stillhand.images.features import FeatureNet, embed, load_features
from stillhand.images.inception import as_rgb, import_extractors
from stillhand.images.metrics import frechet, kernel_distance, precision_recall

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch_fidelity") is None, reason="needs torch-fidelity: the extra fid"
)
NAME = "digits-features"
ROWS = 300


class Pictures(torch.utils.data.Dataset[Tensor]):
    """uint8 (3, y, x), as torch-fidelity takes images."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.pixels[index]


def theirs(net: FeatureNet, generated: Tensor, real: Tensor) -> Mapping[str, float]:
    import_extractors()
    import torch_fidelity
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Extractor(FeatureExtractorBase):  # type: ignore[misc]
        def __init__(self, name: str, features_list: list[str], **options: Any) -> None:
            super().__init__(name, features_list)
            self.net = net

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("hidden",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "hidden"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        @staticmethod
        def get_dummy_input_for_compile() -> None:
            return None

        def forward(self, pixels: Tensor) -> tuple[Tensor]:
            return (self.net.features(pixels[:, :1]),)

    torch_fidelity.register_feature_extractor(NAME, Extractor)
    found: Mapping[str, float] = torch_fidelity.calculate_metrics(
        input1=Pictures(generated),
        input2=Pictures(real),
        feature_extractor=NAME,
        fid=True,
        kid=True,
        prc=True,
        kid_subsets=3,
        kid_subset_size=ROWS,
        batch_size=100,
        cuda=False,
        cache=False,
        verbose=False,
        save_cpu_ram=True,
    )
    return found


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_distances_agree_with_torch_fidelity() -> None:
    train, test = Digits().read()
    net = load_features(test.spec)
    noise = np.random.default_rng(0).integers(4, size=(ROWS, 1, 8, 8), dtype=np.uint8)
    generated = np.minimum(train.pixels[:ROWS] + 2 * noise, 16).astype(np.uint8)
    real = test.pixels[:ROWS]
    found = theirs(net, *(as_rgb(torch.from_numpy(pixels), peak=255) for pixels in (generated, real)))
    a, b = embed(net, real).features, embed(net, generated).features
    assert found["frechet_inception_distance"] == pytest.approx(frechet(a, b), rel=1e-4)
    kid = kernel_distance(a, b, 1, ROWS, np.random.default_rng(0))[0]
    assert found["kernel_inception_distance_mean"] == pytest.approx(kid, rel=1e-4)
    assert (found["precision"], found["recall"]) == pytest.approx(precision_recall(a, b), abs=2 / ROWS)
    assert min(frechet(a, b), kid) > 0.01
