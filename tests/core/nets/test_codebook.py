"""Vector quantisation: codes find the clusters of what they are shown, and none is lost."""

import pytest
import torch

from stillhand.core.nets.codebook import Codebook


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clusters(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Four tight clusters at the corners of a square; vectors and their corner."""
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    which = torch.randint(4, (n,), generator=rng(seed))
    return corners[which] + 0.05 * torch.randn(n, 2, generator=rng(seed + 1)), corners


def test_the_nearest_code_is_the_nearest() -> None:
    book = Codebook(7, 3)
    book.codes.copy_(torch.randn(7, 3, generator=rng()))
    z = torch.randn(50, 3, generator=rng(1))
    assert torch.equal(book.nearest(z), torch.cdist(z, book.codes).argmin(1))
    assert torch.equal(book.lookup(book.nearest(book.codes)), book.codes)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(book.nearest(z), torch.cdist(z, book.codes).argmin(1))


def test_codes_move_to_the_means_of_what_they_stand_for() -> None:
    book = Codebook(12, 2, decay=0.5)
    book.start(torch.tensor([[0.2, 0.1], [0.1, -0.1], [-0.1, 0.2], [-0.2, -0.2]]), rng(3))
    for step in range(40):
        z, corners = clusters(200, step)
        book.learn(z, book.nearest(z), rng(step))
    distances = torch.cdist(corners, book.codes).min(1).values
    assert distances.max() < 0.1  # every corner has its code


def test_the_mean_is_the_one_by_hand() -> None:
    book = Codebook(2, 1, decay=0.75)
    book.codes.copy_(torch.tensor([[0.0], [10.0]]))
    book.counts.copy_(torch.tensor([2.0, 2.0]))
    book.sums.copy_(torch.tensor([[0.0], [20.0]]))
    z = torch.tensor([[1.0], [3.0], [9.0], [9.0]])
    book.learn(z, book.nearest(z), rng())
    torch.testing.assert_close(book.codes, torch.tensor([[1.0 / 2], [(15.0 + 4.5) / 2]]))


def test_a_dead_code_starts_again_at_a_vector_of_the_batch() -> None:
    book = Codebook(3, 2, decay=0.5)
    book.codes.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0], [99.0, 99.0]]))
    book.counts.copy_(torch.tensor([5.0, 5.0, 0.05]))
    book.sums.copy_(book.codes * book.counts[:, None])
    z = clusters(30, 0)[0]
    book.learn(z, book.nearest(z), rng())
    assert (torch.cdist(book.codes[2:], z) == 0).any() and book.counts[2] == 10
    torch.testing.assert_close(book.sums[2], 10 * book.codes[2])
    assert (book.counts[:2] > 5).all()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ((0, 2), "at least 1"),
        ((2, 0), "at least 1"),
        ((2, 2, 1.0), r"decay must lie in \[0, 1\), got 1"),
        ((2, 2, float("nan")), "got nan"),
    ],
)
def test_bad_settings(settings: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Codebook(*settings)
