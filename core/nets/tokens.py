"""A transformer over tokens that may be masked, for the laws p(x_0 | x_t) of discrete diffusion.

    tokens   [condition steps | one per place]            the mask is one more row of the embedding
    answer   logits of the V tokens at every place

Folded, each f neighbours of a page enter as one token, side by side, and leave as one: a page of codes that
stand several to a place costs no more than its places.

There is no input for the time: with an absorbing mask the number of masked places tells all there is to know
([O] Prop. 1). Uniform noise hides how much of a page is noise; there the time enters as one more token.
References: [O] Ou et al. 2024, arXiv 2406.03736; [MDLM] Sahoo et al. 2024, arXiv 2406.07524.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.nets.embeddings import NoiseEmbedding
from stillhand.core.nets.mlp import check_sizes, zero_init
from stillhand.core.nets.transformer import POSITION_STD, Block, learned_positions
from stillhand.core.shapes import Condition, Law, Tokens


class TokenTransformer(nn.Module):
    """Logits of every place of a page of tokens.

    The last layer starts at zero: an untrained network answers the uniform law.

    Args:
        places: l, tokens of a page.
        size: V, different tokens; the masked one is V.
        cond_shape: (t, c) of one condition; t tokens.
        width: Numbers per token.
        layers: Blocks.
        heads: Attention heads; divides width.
        timed: Whether the time is an input.
        fold: f, tokens of a page that enter as one; divides places and width.

    Raises:
        ValueError: A size below 1, or heads or fold does not divide.
    """

    def __init__(
        self,
        *,
        places: int,
        size: int,
        cond_shape: tuple[int, int],
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        timed: bool = False,
        fold: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(places, size, *cond_shape, width, layers, heads, fold)
        if places % fold or width % fold:
            raise ValueError(f"need fold to divide places and width, got {fold}, {places} and {width}")
        self.places, self.size, self.fold = places, size, fold
        rows = POSITION_STD * torch.randn(size + 1, width // fold)
        self.enter = nn.Embedding.from_pretrained(rows, freeze=False)
        self.enter_cond = nn.Linear(cond_shape[1], width)
        self.time = NoiseEmbedding(width) if timed else None
        self.position = learned_positions(int(timed) + cond_shape[0] + places // fold, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.leave = nn.Sequential(nn.LayerNorm(width), zero_init(nn.Linear(width, fold * size)))

    def forward(self, x: Tokens, cond: Condition, time: Float[Tensor, " b"] | None = None) -> Law:
        """Args: x (b, l) in 0..V; cond (b, t, c); time (b,) where it is an input. Returns: (b, l, V)."""
        if (time is None) != (self.time is None):
            raise ValueError(f"the time is {'an' if self.time else 'no'} input of this network")
        tokens = [self.enter_cond(cond), self.enter(x).unflatten(1, (-1, self.fold)).flatten(2)]
        if self.time is not None:
            tokens.insert(0, self.time(time).unsqueeze(1))
        z: Tensor = self.blocks(torch.cat(tokens, dim=1) + self.position)
        left: Tensor = self.leave(z[:, -(self.places // self.fold) :])
        out: Tensor = left.unflatten(2, (self.fold, -1)).flatten(1, 2)
        return out
