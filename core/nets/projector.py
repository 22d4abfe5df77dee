"""From the hidden tokens of a network to the width of an encoder it is aligned with."""

from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.nets.mlp import check_sizes


class Projector(nn.Module):
    """Three linear maps with SiLU between them, token by token (references: core/losses/alignment.py).

    Args:
        width: Numbers per hidden token.
        target_width: Numbers per token of the encoder.
        hidden: Width between.

    Raises:
        ValueError: A size below 1.
    """

    def __init__(self, width: int, target_width: int, hidden: int) -> None:
        super().__init__()
        check_sizes(width, target_width, hidden)
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, target_width),
        )

    def forward(self, tokens: Float[Tensor, "b n w"]) -> Float[Tensor, "b n d"]:
        """Every token on its own."""
        projected: Tensor = self.layers(tokens)
        return projected
