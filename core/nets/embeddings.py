"""Features of numbers: waves of falling length, so that a network sees small differences.

    real vectors  [x, sin(w_k x), cos(w_k x)],  w_k = base 2^k,  k = 0 .. octaves - 1          [Fourier]
    noise level   W2 Mish(W1 [sin(w_k c), cos(w_k c)]),  w_k geometric between 1/4 and 32 rad

c is any monotone code of the noise level, of order one: a flow time, or ln(sigma)/4, which lies in
(-1.6, 1.1) for sigma in (.002, 80). The slowest wave is then monotone, the fastest resolves 1 % of the range.
References: [Fourier] Tancik et al. 2020, arXiv 2006.10739; Vaswani et al. 2017, arXiv 1706.03762;
[EDM] Karras et al. 2022, arXiv 2206.00364.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

SLOWEST, FASTEST = 0.25, 32.0


class FourierFeatures(nn.Module):
    """Appends sines and cosines of each number to the vector.

    Args:
        dims: Numbers per vector.
        octaves: Frequencies per number; 0 leaves the vector as it is.
        base: Lowest angular frequency; pi/4 gives a wave of length 8 in units of normalized data.

    Raises:
        ValueError: dims < 1, octaves < 0 or base <= 0.
    """

    frequencies: Tensor

    def __init__(self, dims: int, octaves: int, base: float = math.pi / 4) -> None:
        super().__init__()
        if dims < 1 or octaves < 0 or not 0 < base < math.inf:
            raise ValueError(f"need dims >= 1, octaves >= 0, base > 0, got {dims}, {octaves}, {base}")
        self.dims = dims
        self.out_dims = dims * (1 + 2 * octaves)
        self.register_buffer("frequencies", base * 2.0 ** torch.arange(octaves), persistent=False)

    def forward(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch features"]:
        """Vectors (..., d) to (..., d (1 + 2 octaves)): the vector, all sines, all cosines."""
        waves = (x.unsqueeze(-1) * self.frequencies).flatten(-2)
        return torch.cat([x, waves.sin(), waves.cos()], dim=-1)


class NoiseEmbedding(nn.Module):
    """Embeds the code of a noise level.

    Args:
        width: Numbers out.
        waves: Number of frequencies, at least 2.
        hidden: Width between the two linear maps.

    Raises:
        ValueError: waves < 2.
    """

    frequencies: Tensor
    phases: Tensor

    def __init__(self, width: int, *, waves: int = 32, hidden: int = 128) -> None:
        super().__init__()
        if waves < 2:
            raise ValueError(f"need at least 2 waves, got {waves}")
        frequencies = torch.logspace(math.log2(SLOWEST), math.log2(FASTEST), waves, base=2.0)
        phases = torch.tensor([0.0, math.pi / 2]).repeat_interleave(waves)  # cos is sin a quarter turn on
        self.register_buffer("frequencies", frequencies.repeat(2), persistent=False)
        self.register_buffer("phases", phases, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * waves, hidden), nn.Mish(), nn.Linear(hidden, width))

    def forward(self, c_noise: Float[Tensor, " b"]) -> Float[Tensor, "b width"]:
        """Codes (b,) to vectors (b, width)."""
        angles = torch.addcmul(self.phases, c_noise.unsqueeze(-1), self.frequencies)
        out: Tensor = self.mlp(angles.sin())
        return out


def one_hot_embedding(classes: int, width: int) -> nn.Linear:
    """A linear map whose answer to a one-hot condition starts with unit variance, as in [EDM].

    torch's own start is a fifth of that here: after 300 steps on 8 x 8 digits, 74 % of the samples showed the
    class asked for instead of 91 %.
    """
    layer = nn.Linear(classes, width)
    nn.init.normal_(layer.weight)
    return layer
