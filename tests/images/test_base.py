from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stillhand.images.base import ImageGenerator, ImageModel
from stillhand.images.teacher import ImageDiffusion


def test_every_value_of_a_pixel_comes_back(halves: Any) -> None:
    model = halves.diffusion()
    values = torch.arange(201, dtype=torch.uint8)[:192].view(12, 1, 4, 4)
    x = model.normalized(values)
    assert x.dtype == torch.float32
    assert (
        x.flatten()[0] == -1 and model.normalized(torch.full((1, 1, 4, 4), 200, dtype=torch.uint8)).max() == 1
    )
    assert torch.equal(model.pixels(x), values)


@given(st.floats(-3, 3, width=32))
def test_pixels_are_the_nearest_whole_number_within_black_and_white(value: float) -> None:
    from stillhand.datasets.pixels import ImageSpec

    class Sized(ImageDiffusion):  # only its spec is needed
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.spec = ImageSpec("any", 1, 1, 1, 2, 200)

    got = int(Sized().pixels(torch.full((1, 1, 1, 1), value)))
    nearest = min(max((value + 1) * 100, 0), 200)
    assert abs(got - nearest) <= 0.5 + 1e-4


def test_a_class_is_one_hot_in_one_token(halves: Any) -> None:
    cond = halves.diffusion().condition(torch.tensor([1, 0, 1]))
    assert cond.dtype == torch.float32
    assert cond.tolist() == [[[0, 1]], [[1, 0]], [[0, 1]]]


def sigma_data(model: ImageModel) -> Tensor:
    return next(value for name, value in model.state_dict().items() if name.endswith("sigma_data"))


@pytest.mark.parametrize("wrong", [-1, 2])
def test_an_unknown_class_is_refused(halves: Any, wrong: int) -> None:
    with pytest.raises(ValueError, match=rf"a class of .* must lie in 0\.\.1, got {wrong}"):
        halves.diffusion().condition(torch.tensor([0, wrong, 1]))


def test_fitting_measures_sigma_data(halves: Any) -> None:
    for model in (halves.diffusion(), halves.one_step()):
        assert sigma_data(model).item() == 0.5
        model.fit(halves.images(), seed=0)
        assert sigma_data(model).item() == pytest.approx((0.3**2 + 0.15**2) ** 0.5, abs=0.01)


def test_fitting_refuses_other_images(model: ImageModel, halves: Any) -> None:
    with pytest.raises(ValueError, match=r"for .*'halves'.* got .*'quarters'"):
        model.fit(halves.images(spec=halves.other), seed=0)


def test_loss_is_per_image_and_a_function_of_its_generator(model: ImageModel, halves: Any) -> None:
    batch = halves.batch()
    losses = [model.loss(batch, torch.Generator().manual_seed(seed))[0] for seed in (3, 3, 4)]
    assert losses[0].shape == (16,)
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], losses[2])


def test_loss_of_a_silent_network_is_known(halves: Any) -> None:
    """D = c_skip x: the weighted error of F is 1 on average, at every level."""
    for model in (halves.diffusion(), halves.one_step()):
        model.fit(halves.images(), seed=0)
        losses = [
            model.loss(halves.batch(200, step), torch.Generator().manual_seed(step))[0] for step in range(5)
        ]
        assert torch.cat(losses).mean().item() == pytest.approx(1, abs=0.05)


def test_one_backbone_call_per_denoiser_call(model: ImageGenerator, halves: Any) -> None:
    calls: list[object] = []
    model.backbone().register_forward_hook(lambda *given: calls.append(given))
    model.generate(torch.tensor([0, 1]), torch.stack([model.draw(torch.Generator()) for _ in range(2)]))
    expected = {"ImageDiffusion": 3, "OneStepImages": 1, "TokenImages": 4}  # guided, both questions in a pass
    assert len(calls) == expected[type(model).__name__]
