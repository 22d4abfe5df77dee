"""Vector quantisation: every vector becomes the number of its nearest code.

    token(z) = argmin over k of |z - c_k|^2
    n_k <- d n_k + (1 - d) #{token = k},   s_k <- d s_k + (1 - d) sum of their z,   c_k = s_k / n_k

Codes are running means of what they stand for, so they need no gradient and no learning rate ([VQ] App. A.1).
A code that hardly any vector is near to starts again at one of the batch, as in [J]. The counts are the only
memory of it, and all are buffers: they travel with the weights.
References: [VQ] van den Oord et al. 2017, arXiv 1711.00937; [J] Dhariwal et al. 2020, arXiv 2005.00341.
"""

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from stillhand.core.nets.mlp import check_sizes

LEAST_USE = 0.03  # of the mean use of a code; below it starts again


class Codebook(nn.Module):
    """V codes of d numbers; all zero until `start`.

    Args:
        size: V.
        width: d.
        decay: Of the running means, in [0, 1).

    Raises:
        ValueError: A size below 1, or a decay outside.
    """

    codes: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, size: int, width: int, decay: float = 0.99) -> None:
        super().__init__()
        check_sizes(size, width)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}")
        self.size, self.decay = size, decay
        for name, shape in {"codes": (size, width), "counts": (size,), "sums": (size, width)}.items():
            self.register_buffer(name, torch.zeros(shape))

    def nearest(self, z: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """The token of every vector; in float32, because two codes may be close."""
        with torch.autocast(z.device.type, enabled=False):
            fit = z.float() @ self.codes.T - self.codes.square().sum(1) / 2
        return fit.argmax(1)

    def lookup(self, tokens: Int[Tensor, "*n"]) -> Float[Tensor, "*n d"]:
        """The code of every token."""
        return self.codes[tokens]

    @torch.no_grad()
    def start(self, z: Float[Tensor, "n d"], generator: Generator) -> None:
        """Put every code on one of these vectors."""
        self._restart(torch.ones_like(self.counts, dtype=torch.bool), z, 1.0, generator)

    @torch.no_grad()
    def learn(self, z: Float[Tensor, "n d"], tokens: Int[Tensor, " n"], generator: Generator) -> None:
        """One step of the running means, then dead codes start again.

        Args:
            z: Vectors of a batch.
            tokens: Those of `nearest`.
            generator: Picks the vectors that dead codes start at; draws alike however many are dead.
        """
        z = z.float()
        found = torch.zeros_like(self.counts).index_add(0, tokens, torch.ones_like(z[:, 0]))
        sums = torch.zeros_like(self.sums).index_add(0, tokens, z)
        self.counts.lerp_(found, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        mean_use = len(z) / self.size
        dead = self.counts < LEAST_USE * mean_use
        self.codes.copy_(torch.where(dead[:, None], self.codes, self.sums / self.counts[:, None]))
        self._restart(dead, z, mean_use, generator)

    def _restart(self, dead: Tensor, z: Tensor, use: float, generator: Generator) -> None:
        """At vectors of the batch, as if they had been used as often as the average code."""
        picked = z[torch.randint(len(z), (self.size,), generator=generator, device=z.device)].float()
        self.codes.copy_(torch.where(dead[:, None], picked, self.codes))
        self.counts.copy_(self.counts.masked_fill(dead, use))
        self.sums.copy_(torch.where(dead[:, None], picked * use, self.sums))
