"""What a warm-up is for: pictures of few hidden factors, an encoder that knows them, a denoiser that gains.

x = A s with eight signs s. Not every toy shows it: with two continuous factors there is no gain, because a
cosine says nothing of size and tokens that know two directions alone have forgotten their pixels.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from stillhand.core.diffusion.samplers import Sampling, euler
from stillhand.core.diffusion.schedule import LogNormal
from stillhand.core.handover import hand_over
from stillhand.core.losses.alignment import cosine_loss
from stillhand.core.nets.dit import DiT
from stillhand.core.settings import Settings
from stillhand.core.training import TrainState, derived_seed, optimize
from stillhand.datasets.pixels import ImageLoader, Images, ImageSpec, images
from stillhand.images.alignment import FirstLayers
from stillhand.images.teacher import ImageDiffusion

FACTORS, SPEC = 8, ImageSpec("factors", 1, 4, 4, 2, 255)
NET = partial(DiT, patch=2, width=24, layers=3, heads=2)
LEVELS = LogNormal(mean=-2.3, std=0.6, low=0.02, high=0.5)
SAMPLING = Sampling(intervals=2, solver=euler, sigma_max=5.0, sigma_min=0.01)
ROWS, GOAL = 32, 0.953


def pictures() -> tuple[Images, Tensor]:
    """2000 of them, and the map from a normalized picture to its factors."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((16, FACTORS))
    mixing /= np.abs(mixing).sum(1, keepdims=True)
    signs = np.sign(rng.standard_normal((2000, FACTORS)))
    pixels = np.rint((signs @ mixing.T + 1) * 127.5).astype(np.uint8).reshape(-1, 1, 4, 4)
    made = images(SPEC, pixels, np.arange(2000) % 2, split="train")
    return made, torch.from_numpy(np.linalg.pinv(mixing)).float()


def rng(*parts: int) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(*parts))


def warmed(data: Images, inverse: Tensor) -> FirstLayers:
    torch.manual_seed(0)
    model = FirstLayers(
        spec=SPEC, net=NET, depth=2, target_width=FACTORS, projector_width=32, loss=cosine_loss
    )
    model.fit(data, seed=0)
    model.targets = lambda p: ((p.float() / 127.5 - 1).flatten(1) @ inverse.T)[:, None].expand(-1, 4, -1)
    settings = Settings(steps=200, learning_rate=2e-3, warmup_steps=10, ema_decay=0.9)
    loader, state = ImageLoader(data, ROWS, seed=100), TrainState(model, settings)
    for _ in optimize(state, lambda k: model.loss(loader.batch(k), rng(k)), settings):
        pass
    average = state.average
    assert isinstance(average, FirstLayers)
    return average


def steps_to_goal(data: Images, warm: FirstLayers | None, most: int) -> int:
    """Plain denoising, until the averaged network is below a given loss or `most` steps are taken."""
    torch.manual_seed(0)
    model = ImageDiffusion(spec=SPEC, net=NET, levels=LEVELS, sampling=SAMPLING)
    model.fit(data, seed=0)
    if warm is not None:
        hand_over(warm.denoiser.state_dict(), model.denoiser)
    settings = Settings(steps=most, learning_rate=5e-4, warmup_steps=10, ema_decay=0.9, anneals=False)
    loader, test = ImageLoader(data, ROWS, seed=0), ImageLoader(data, 400, seed=9).batch(0)
    state = TrainState(model, settings)
    average = state.average
    assert isinstance(average, ImageDiffusion)
    for line in optimize(state, lambda k: model.loss(loader.batch(k), rng(0, k)), settings):
        if line["step"] % 10 == 0:
            with torch.no_grad():
                if average.loss(test, rng(77))[0].mean() < GOAL:
                    return state.step
    return most


def test_a_warmed_up_denoiser_learns_sooner() -> None:
    data, inverse = pictures()
    warm = steps_to_goal(data, warmed(data, inverse), most=150)
    assert 10 <= warm < 100
    longer = 3 * warm // 2
    assert steps_to_goal(data, None, most=longer) == longer
