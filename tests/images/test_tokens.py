"""Masked diffusion of images: loss, conditions, guidance, and a law that is known."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stillhand.core.diffusion.decoding import Confident, Decoding, FirstHitting, Leap
from stillhand.core.diffusion.discrete_guidance import Constant, Interval, unlocking
from stillhand.images.sampling import sample_images
from stillhand.images.tokens import TokenImages
from stillhand.images.vq import VectorTokenizer

VQ = partial(VectorTokenizer, size=8, width=4, channels=(8,), groups=4)


class ByClass(nn.Module):
    """Class 0 is token 0 or 1, class 1 token 3 or 4, each half the time; without a class all of them."""

    def __init__(self, **_: Any) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        by_class = torch.tensor([[1.0, 1, 1e-6, 1e-6, 1e-6], [1e-6, 1e-6, 1e-6, 1, 1]])
        law = torch.where(cond.any(2), cond[:, 0] @ by_class, torch.ones(5))
        return law.log()[:, None].expand(-1, x.shape[1], -1) * self.scale


def by_class(halves: Any, decoding: Decoding, dropped: float = 0.1) -> TokenImages:
    model: TokenImages = halves.tokens(decoding=decoding, dropped=dropped)
    model.net = ByClass()
    return model.eval()


@pytest.mark.parametrize(
    "way", [Leap(3), Leap(3, unlocking), FirstHitting(), Confident(3), Confident(2, 1.0, True)]
)
def test_every_way_fills_pages_by_class(halves: Any, way: Any) -> None:
    model = by_class(halves, Decoding(way, weight=Constant(1.5)))
    labels = torch.arange(20) % 2
    tokens = model.tokenizer.encode(sample_images(model, labels, seed=0, batch_rows=8))
    assert (tokens[labels == 0] < 2).all() and (tokens[labels == 1] > 2).all()
    assert torch.equal(
        sample_images(model, labels, seed=0, batch_rows=5), sample_images(model, labels, seed=0, batch_rows=8)
    )


def test_the_condition_is_hidden_one_time_in_ten_and_never_asked_for_without_guidance(halves: Any) -> None:
    seen: list[Tensor] = []
    model = by_class(halves, Decoding(Leap(4), weight=Interval(3.0, 0.4, 0.8)))
    model.net.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    for step in range(20):
        model.loss(halves.batch(200), torch.Generator().manual_seed(step))
    hidden = torch.cat([~cond.any(2).any(1) for cond in seen]).float().mean()
    assert hidden.item() == pytest.approx(0.1, abs=0.02)
    seen.clear()
    sample_images(model, torch.tensor([0, 1]), seed=0, batch_rows=2)
    rows = [cond.any(2).any(1).tolist() for cond in seen]
    guided = [True, True, False, False]  # with the class and without it, side by side
    assert rows == [[True, True], guided, guided, [True, True]]  # at 1, .75, .5, .25


def test_the_loss_is_the_entropy_of_what_is_masked(halves: Any) -> None:
    """An untrained network answers log V for every masked token; half of them are."""
    model = halves.tokens()
    losses, bounds = [], []
    for step in range(20):
        loss, info = model.loss(halves.batch(64, step), torch.Generator().manual_seed(step))
        losses.append(loss)
        bounds.append(info["masked/bound"])
    assert losses[0].shape == (64,)
    log_v = torch.tensor(5.0).log().item()
    assert torch.cat(losses).mean().item() == pytest.approx(log_v / 2, rel=0.03)
    assert torch.cat(bounds).mean().item() == pytest.approx(log_v, rel=0.1)


def test_a_trained_tokenizer_is_adopted_whole(halves: Any) -> None:
    tokenizer = halves.ready(halves.vq())
    model = halves.tokens(tokenizer=VQ)
    with pytest.raises(ValueError, match="never trained"):
        model.fit(halves.images(), seed=0)
    model.adopt(tokenizer)
    model.fit(halves.images(), seed=0)
    pixels = halves.batch().pixels
    tokens = model.tokenizer.encode(pixels)
    assert torch.equal(tokens, tokenizer.encode(pixels))
    assert torch.equal(model.tokenizer.decode(tokens), tokenizer.decode(tokens))
    assert not [name for name, _ in model.named_parameters() if name.startswith("tokenizer")]
    assert [name for name in model.state_dict() if name == "tokenizer.codebook.codes"]
    assert sample_images(model.eval(), torch.tensor([0, 1]), seed=0, batch_rows=2).shape == (2, 1, 4, 4)


def test_what_is_no_fitting_tokenizer_is_refused(halves: Any) -> None:
    model, other = halves.tokens(tokenizer=VQ), halves.vq()
    with pytest.raises(ValueError, match="another size"):
        model.adopt(halves.vq(size=9))
    with pytest.raises(ValueError, match="is a VectorTokenizer, got a ImageDiffusion"):
        model.adopt(halves.diffusion())
    other.spec = halves.other
    with pytest.raises(ValueError, match=r"for .*'halves'.* got .*'quarters'"):
        model.adopt(other)
    with pytest.raises(ValueError, match="tokenizer is a GreyLevels, got a VectorTokenizer"):
        halves.tokens().adopt(halves.vq())


@pytest.mark.parametrize("dropped", [-0.1, 1.0, float("nan")])
def test_dropped_is_a_share(halves: Any, dropped: float) -> None:
    with pytest.raises(ValueError, match=r"dropped must lie in \[0, 1\), got"):
        halves.tokens(dropped=dropped)


def test_without_dropped_conditions_there_is_no_guidance(halves: Any) -> None:
    labels = torch.tensor([0])
    sample_images(by_class(halves, Decoding(Leap(2)), dropped=0.0), labels, seed=0)
    guided = by_class(halves, Decoding(Leap(2), weight=Constant(2.0)), dropped=0.0)
    with pytest.raises(ValueError, match="dropped=0: there is no law without a class"):
        sample_images(guided, labels, seed=0)
