"""The learned tokenizer: its loss, that it learns, and that a killed training continues to the bit."""

from typing import Any

import pytest
import torch

from stillhand.core.settings import Settings
from stillhand.core.training import TrainState, derived_seed, optimize
from stillhand.datasets.pixels import ImageLoader
from stillhand.images.tokenizers import Tokenizer, reconstructed
from stillhand.images.vq import VectorTokenizer, amplitude

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


@pytest.mark.parametrize("codes", [1, 3])
def test_the_loss_by_hand(halves: Any, codes: int) -> None:
    model = halves.ready(halves.vq(commitment=0.5, codes=codes, detail=2.0))
    batch = halves.batch()
    tokens = model.encode(batch.pixels)
    x = model.normalized(batch.pixels)
    z, q = vectors(model.encoder(x), codes), model.codebook.lookup(tokens)
    made = model.decode(tokens)
    distortion = (made - x).square().flatten(1).mean(1)
    detail = torch.stack(
        [(by_hand(one) - by_hand(two)).square().mean() for one, two in zip(made, x, strict=True)]
    )
    expected = distortion + 0.5 * (z - q).square().flatten(1).mean(1) + 2 * detail
    loss, info = model.loss(batch, torch.Generator())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(info["vq/distortion"], distortion)
    torch.testing.assert_close(info["vq/detail"], detail)
    assert info["vq/used"].item() == pytest.approx(len(tokens.unique()) / 8)


def by_hand(x: torch.Tensor) -> torch.Tensor:
    """Amplitudes of one picture (1, y, x), a pixel after another: means over those neighbours there are."""

    def means(of: torch.Tensor) -> torch.Tensor:
        rows = [
            torch.stack(
                [of[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean() for x in range(of.shape[2])]
            )
            for y in range(of.shape[1])
        ]
        return torch.stack(rows)[None]

    return (means((x - means(x)).square()) + 0.01**2).sqrt()


def test_detail_is_the_texture_and_not_where_it_is() -> None:
    """Stripes one pixel wide: they may lie either way, but a flat picture of their mean lacks all of them."""
    stripes = 0.3 * torch.tensor([1.0, -1]).repeat(6).expand(1, 1, 12, 12)
    inside = amplitude(stripes)[..., 2:-2, 2:-2]
    torch.testing.assert_close(amplitude(-stripes), amplitude(stripes))
    # the mean of three is a third of the middle one, with its neighbours' sign: 4/3 of .3 are left
    torch.testing.assert_close(inside, torch.full_like(inside, (0.4**2 + 0.01**2) ** 0.5))
    torch.testing.assert_close(amplitude(torch.full_like(stripes, 0.7)), torch.full_like(stripes, 0.01))


def test_a_flat_picture_has_a_finite_gradient() -> None:
    flat = torch.zeros(1, 1, 4, 4, requires_grad=True)
    amplitude(flat).sum().backward()  # type: ignore[no-untyped-call]
    assert flat.grad is not None and bool(flat.grad.isfinite().all())


def vectors(z: torch.Tensor, codes: int) -> torch.Tensor:
    """(b, codes * d, 2, 2) to (b, 4 * codes, d): a place's codes follow each other."""
    rows = [z[:, :, y, x].chunk(codes, dim=1) for y in range(2) for x in range(2)]
    return torch.stack([code for row in rows for code in row], dim=1)


def test_several_codes_of_a_place_are_quantised_each_for_itself(halves: Any) -> None:
    """What is given back is the decoder's picture of each part's nearest code, put where the part stood."""
    model = halves.ready(halves.vq(codes=2))
    pixels = halves.batch().pixels
    tokens = model.encode(pixels)
    assert model.places == 8 and tokens.shape == (16, 8)
    z = model.encoder(model.normalized(pixels))
    nearest = torch.cdist(vectors(z, 2).flatten(0, 1), model.codebook.codes).argmin(1)
    assert torch.equal(tokens.flatten(), nearest) and len(tokens.unique()) > 1
    q = torch.empty_like(z)
    for place in range(4):
        for part in range(2):
            code = model.codebook.codes[tokens[:, 2 * place + part]]
            q[:, 4 * part : 4 * part + 4, place // 2, place % 2] = code
    torch.testing.assert_close(model.decode(tokens), model.decoder(q))


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
        ({"channels": (8, 8, 8)}, "divisible by 8, got 4 x 4"),
        ({"channels": ()}, "at least one multiple"),
        ({"channels": (6,)}, "multiple of groups=4"),
        ({"commitment": -1.0}, "commitment and detail >= 0, got -1.0 and 0"),
        ({"detail": float("nan")}, "commitment and detail >= 0, got 0.25 and nan"),
        ({"size": 0}, "at least 1"),
        ({"codes": 0}, "at least 1"),
        ({"decay": 2.0}, "decay"),
    ],
)
def test_bad_settings(halves: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        halves.vq(**settings)
