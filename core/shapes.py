"""The shapes of diffusion, named once.

A *sample* is what the noise is added to: an action chunk (b, h, a) or an image (b, c, y, x).
A *level* is one noise level sigma per sample, in units of normalized data; sigma = 0 is clean data.
A page of *tokens* has l places with one of v values each; a *law* has a number for each value at each place.
A *denoiser* maps (x, sigma) to E[x0 | x]; the condition is closed over or bound beforehand.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

Sample = Float[Tensor, "b *shape"]
Level = Float[Tensor, " b"]
Grid = Float[Tensor, " n_plus_1"]
Condition = Float[Tensor, "b t c"]
Tokens = Int[Tensor, "b l"]
Law = Float[Tensor, "b l v"]

DenoiseFn = Callable[[Tensor, Tensor], Tensor]
ScoreFn = Callable[[Tensor, Tensor], Tensor]
Info = Mapping[str, Tensor]


@runtime_checkable  # for the shape checks of the tests
class DenoisingNet(Protocol):
    """The raw network F behind a denoiser: (x, c_noise, condition) -> a tensor of x's shape.

    Its hidden state is open to heads that judge samples: `feature_channels` numbers at each of some places.
    """

    feature_channels: int

    def __call__(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
        """Args: x (b, *shape); c_noise (b,), any monotone code of sigma; cond (b, t, c)."""
        ...

    def features(self, x: Tensor, c_noise: Tensor, cond: Tensor) -> Tensor:
        """The hidden state (b, feature_channels, *places) on the way to the answer."""
        ...


@runtime_checkable
class LayeredNet(DenoisingNet, Protocol):
    """A network F of blocks over tokens in rows and columns, which can be tapped behind any of them."""

    grid: tuple[int, int]

    @property
    def layers(self) -> int:
        """Blocks."""
        ...

    def hidden(self, x: Tensor, c_noise: Tensor, cond: Tensor, depth: int) -> Tensor:
        """The tokens (b, n, feature_channels) behind the first `depth` blocks; the others are not run."""
        ...

    def tapped(self, x: Tensor, c_noise: Tensor, cond: Tensor, depth: int) -> tuple[Tensor, Tensor]:
        """The answer, and the tokens behind the first `depth` blocks."""
        ...

    def keep_first(self, depth: int) -> None:
        """Drop whatever `hidden` of this depth does not need."""
        ...
