"""The network of discrete diffusion."""

import pytest
import torch

from stillhand.core.losses.masked import masked_loss
from stillhand.core.nets.tokens import TokenTransformer

COND = torch.zeros(3, 2, 5)


def net(timed: bool = False, seed: int = 0) -> TokenTransformer:
    torch.manual_seed(seed)
    sizes = {"width": 32, "layers": 2, "heads": 2}
    return TokenTransformer(places=4, size=6, cond_shape=(2, 5), timed=timed, **sizes)


def test_untrained_it_answers_the_uniform_law() -> None:
    assert not net()(torch.full((3, 4), 6), COND).any()


@pytest.mark.parametrize("timed", [False, True])
def test_every_input_reaches_the_answer(timed: bool) -> None:
    made = net(timed)
    torch.nn.init.normal_(made.leave[1].weight)  # type: ignore[arg-type]
    x, time = torch.full((3, 4), 6), torch.full((3,), 0.5)
    given = (time,) if timed else ()
    plain = made(x, COND, *given)
    assert plain.shape == (3, 4, 6)
    assert not torch.allclose(made(x.index_fill(1, torch.tensor([0]), 2), COND, *given), plain)
    assert not torch.allclose(made(x, COND + 1, *given), plain)
    if timed:
        assert not torch.allclose(made(x, COND, time + 0.3), plain)


@pytest.mark.parametrize("timed", [False, True])
def test_the_time_is_given_where_it_is_an_input_and_nowhere_else(timed: bool) -> None:
    with pytest.raises(ValueError, match="the time is an? input|the time is no input"):
        net(timed)(torch.full((3, 4), 6), COND, *(() if timed else (torch.zeros(3),)))


def test_it_learns_a_page_from_its_condition() -> None:
    made = net()
    pages = torch.tensor([[0, 1, 2, 3], [5, 4, 3, 2], [1, 1, 4, 4]])
    cond = torch.nn.functional.one_hot(torch.arange(3), 5).float().unsqueeze(1).expand(3, 2, 5)
    optimizer = torch.optim.Adam(made.parameters(), 0.003)
    for _ in range(250):
        loss, _ = masked_loss(made(torch.full((3, 4), 6), cond), pages, torch.ones(3, 4).bool())
        optimizer.zero_grad()
        loss.mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert torch.equal(made(torch.full((3, 4), 6), cond).argmax(-1), pages)


def test_folded_neighbours_enter_and_leave_side_by_side() -> None:
    """Against a network of half the places, whose embedding and answer are put together by hand."""
    torch.manual_seed(0)
    sizes = {"cond_shape": (2, 5), "layers": 1, "heads": 2, "width": 16}
    folded = TokenTransformer(places=6, size=4, fold=2, **sizes)  # type: ignore[arg-type]
    torch.nn.init.normal_(folded.leave[1].weight)  # type: ignore[arg-type]
    pairs = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    plain = TokenTransformer(places=3, size=24, **sizes)  # type: ignore[arg-type]
    shared = {
        key: value for key, value in folded.state_dict().items() if not key.startswith(("enter.", "leave.1"))
    }
    plain.load_state_dict(shared, strict=False)
    plain.enter.weight.data = folded.enter.weight.data[pairs].flatten(1)
    plain.leave[1] = folded.leave[1]
    x = torch.tensor([[0, 4, 3, 3, 4, 4], [1, 2, 4, 0, 0, 0], [4, 4, 4, 4, 4, 4]])
    answer = plain(5 * x[:, ::2] + x[:, 1::2], COND)
    torch.testing.assert_close(folded(x, COND), answer.view(3, 3, 2, 4).flatten(1, 2))
    assert len(folded.position) == 2 + 3


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"width": 10, "heads": 4}, "heads to divide width"),
        ({"fold": 3}, "need fold to divide places and width, got 3, 4 and 12"),
        ({"fold": 8}, "got 8, 4 and 12"),
        ({"fold": 0}, "at least 1"),
    ],
)
def test_sizes_are_checked(changes: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TokenTransformer(**{"places": 4, "size": 6, "cond_shape": (2, 5), "width": 12, **changes})  # type: ignore[arg-type]
