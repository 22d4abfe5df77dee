"""The learned tokenizer: its loss, that it learns, and that a killed training continues to the bit."""

from typing import Any

import pytest
import torch

from stillhand.core.settings import Settings
from stillhand.core.training import TrainState, derived_seed, optimize
from stillhand.datasets.pixels import ImageLoader
from stillhand.images.tokenizers import Tokenizer, reconstructed
from stillhand.images.vq import VectorTokenizer

SETTINGS = Settings(steps=60, learning_rate=5e-3, warmup_steps=5, ema_decay=0.9)


def objective(model: Any, halves: Any) -> Any:
    loader = ImageLoader(halves.images(), 16, seed=0)

    def losses(step: int) -> Any:
        return model.loss(loader.batch(step), torch.Generator().manual_seed(derived_seed(5, step)))

    return losses


@pytest.fixture(scope="module")
def states(halves: Any) -> tuple[TrainState, TrainState]:
    """A training, and the same one continued after 20 steps."""
    made = []
    for cut in (None, 20):
        model = halves.vq()
        model.fit(halves.images(), seed=0)
        state = TrainState(model, SETTINGS)
        loop = optimize(state, objective(model, halves), SETTINGS)
        if cut is not None:
            for _ in range(cut):
                next(loop)
            again = halves.vq()
            continued = TrainState(again, SETTINGS)
            tensors = {key: value.clone() for key, value in state.tensors().items()}
            continued.restore(tensors, state.average.state_dict(), state.step)
            state, loop = continued, optimize(continued, objective(again, halves), SETTINGS)
        assert list(loop)
        made.append(state)
    return made[0], made[1]


def test_the_codebook_continues_and_is_exported(states: tuple[TrainState, TrainState]) -> None:
    for whole, continued in zip(*(s.average.state_dict().values() for s in states), strict=True):
        assert torch.equal(whole, continued)
    model, average = states[0].model, states[0].average
    assert isinstance(model, VectorTokenizer) and isinstance(average, VectorTokenizer)
    assert torch.equal(average.codebook.codes, model.codebook.codes)  # buffers are taken over
    assert not torch.equal(average.decoder[0].weight, model.decoder[0].weight)


def test_training_learns_to_give_images_back(states: tuple[TrainState, TrainState], halves: Any) -> None:
    model = states[0].average.eval()
    assert isinstance(model, VectorTokenizer) and isinstance(model, Tokenizer)
    batch = halves.batch(100)
    x = reconstructed(model, batch.pixels)
    error = (x - model.normalized(batch.pixels)).square().mean()
    assert error < 0.5 * model.normalized(batch.pixels).var()  # white noise is .15^2 of .3^2 + .15^2
    for label in (0, 1):
        own = x[batch.labels == label].mean(0)
        torch.testing.assert_close(own, halves.means()[label], rtol=0, atol=0.15)


def test_the_loss_by_hand(halves: Any) -> None:
    model = halves.ready(halves.vq(commitment=0.5))
    batch = halves.batch()
    tokens = model.encode(batch.pixels)
    x = model.normalized(batch.pixels)
    z, q = model.encoder(x).flatten(2).transpose(1, 2), model.codebook.lookup(tokens)
    distortion = (model.decode(tokens) - x).square().flatten(1).mean(1)
    expected = distortion + 0.5 * (z - q).square().flatten(1).mean(1)
    loss, info = model.loss(batch, torch.Generator())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(info["vq/distortion"], distortion)
    assert info["vq/used"].item() == pytest.approx(len(tokens.unique()) / 8)


def test_the_gradient_passes_straight_through(halves: Any) -> None:
    """The encoder learns from the decoder although tokens stand between them."""
    model = halves.ready(halves.vq(commitment=0.0))
    model.loss(halves.batch(), torch.Generator())[0].mean().backward()
    assert all(bool(p.grad.any()) for p in model.encoder.parameters() if p.grad is not None)
    assert model.encoder[1].weight.grad is not None


def test_fitting_starts_the_codes_and_refuses_other_images(halves: Any) -> None:
    model = halves.vq()
    assert not model.codebook.codes.any()
    model.fit(halves.images(), seed=0)
    assert model.codebook.codes.any()
    with pytest.raises(ValueError, match=r"for .*'halves'.* got .*'quarters'"):
        model.fit(halves.images(spec=halves.other), seed=0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"channels": (8, 8, 8)}, "divisible by 8 .* got 4 x 4"),
        ({"channels": ()}, "at least one multiple"),
        ({"channels": (6,)}, "multiple of groups=4"),
        ({"commitment": -1.0}, "commitment >= 0, got 4 x 4 and -1"),
        ({"size": 0}, "at least 1"),
        ({"decay": 2.0}, "decay"),
    ],
)
def test_bad_settings(halves: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        halves.vq(**settings)
