"""The tokenizer that learns: a coarse grid of places, each some vectors, each replaced by its nearest code.

    z = encoder(x),   q = nearest code of each vector,   x' = decoder(z + stop(q - z))
    L = mean (x' - x)^2 + commitment mean (z - stop(q))^2                                         [VQ] Eq. 3
        + detail mean (a(x') - a(x))^2,    a(x) = (M (x - M x)^2 + floor^2)^(1/2),  M: mean over 3 x 3 pixels

What codes cannot tell, the squared error answers by its mean: fine texture becomes flat. The last term, ours,
asks for as much of it as there was, wherever it lies. The decoder's gradient passes straight through to the
encoder; codes follow as running means (core/nets).
References: [VQ] van den Oord et al. 2017, arXiv 1711.00937.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from stillhand.core.nets import autoencoder
from stillhand.core.nets.codebook import Codebook
from stillhand.core.nets.mlp import check_sizes
from stillhand.core.shapes import Info, Tokens
from stillhand.core.training import derived_seed
from stillhand.datasets.pixels import ImageBatch, ImageLoader, Images, ImageSpec
from stillhand.images.base import ImageModel, check_same_set
from stillhand.images.tokenizers import check_images, check_pages

STARTING_IMAGES = 512
FAINTEST = 0.01  # amplitude, of the range 2: below it a root would have too steep a gradient


class VectorTokenizer(ImageModel):
    """Images to tokens of a learned codebook.

    Args:
        spec: Of the images; height and width divide by 2^len(channels).
        size: V, codes.
        width: Numbers of a code.
        codes: Per place; they share the codebook, and their tokens follow each other.
        channels: Of the convolutions at each level, the finest first; each level halves the picture.
        blocks: Residual blocks per level.
        groups: Of the normalizations; divides every entry of channels.
        commitment: Weight of the second term.
        detail: Weight of the third.
        decay: Of the running means.

    Raises:
        ValueError: A number below 1 or one that does not divide, a negative weight, or a decay outside.
    """

    def __init__(
        self,
        *,
        spec: ImageSpec,
        size: int = 512,
        width: int = 16,
        codes: int = 1,
        channels: tuple[int, ...] = (32, 64),
        blocks: int = 1,
        groups: int = 8,
        commitment: float = 0.25,
        detail: float = 0.0,
        decay: float = 0.99,
    ) -> None:
        super().__init__(spec)
        check_sizes(size, width, codes)
        side: int = 2 ** len(channels)
        if spec.height % side or spec.width % side:
            raise ValueError(f"need image sides divisible by {side}, got {spec.height} x {spec.width}")
        if not (commitment >= 0 and detail >= 0):
            raise ValueError(f"need commitment and detail >= 0, got {commitment} and {detail}")
        self.encoder = autoencoder.encoder(spec.channels, channels, blocks, codes * width, groups)
        self.decoder = autoencoder.decoder(spec.channels, channels, blocks, codes * width, groups)
        self.codebook = Codebook(size, width, decay)
        self.grid, self.codes = (spec.height // side, spec.width // side), codes
        self.commitment, self.detail = commitment, detail

    @property
    def places(self) -> int:
        """One per code of the grid."""
        return self.grid[0] * self.grid[1] * self.codes

    @property
    def size(self) -> int:
        """V."""
        return self.codebook.size

    def backbone(self) -> nn.Module:
        """What makes the images."""
        return self.decoder

    def fit(self, images: Images, seed: int) -> None:
        """Put the codes on vectors of at most 512 images."""
        check_same_set(self.spec, images.spec)
        batch = ImageLoader(images, min(STARTING_IMAGES, len(images)), seed).batch(0)
        with torch.no_grad():
            z = self._vectors(batch.pixels)
        self.codebook.start(z.flatten(0, 1), torch.Generator().manual_seed(derived_seed(seed)))

    def loss(self, batch: ImageBatch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Distortion, commitment and detail per image; the codebook takes a step of its own.

        Returns:
            Loss (b,); `vq/distortion`, mean squared error per pixel; `vq/detail`, the same of amplitudes;
            `vq/used`, share of codes in the batch.
        """
        z = self._vectors(batch.pixels).float()
        tokens = self.codebook.nearest(z.detach().flatten(0, 1))
        q = self.codebook.lookup(tokens).view_as(z)
        x, wanted = self._pictures(z + (q - z).detach()).float(), self.normalized(batch.pixels)
        distortion = (x - wanted).square().flatten(1).mean(1)
        detail = (amplitude(x) - amplitude(wanted)).square().flatten(1).mean(1)
        commitment = (z - q).square().flatten(1).mean(1)
        self.codebook.learn(z.detach().flatten(0, 1), tokens, generator)
        used = torch.tensor(len(tokens.unique()) / self.size)
        info = {"vq/distortion": distortion.detach(), "vq/detail": detail.detach(), "vq/used": used}
        return distortion + self.commitment * commitment + self.detail * detail, info

    def encode(self, pixels: UInt8[Tensor, "b c y x"]) -> Int64[Tensor, "b l"]:
        """The nearest codes, in float32 whatever is trained around them."""
        check_images(self.spec, pixels)
        with torch.no_grad(), torch.autocast(pixels.device.type, enabled=False):
            z = self._vectors(pixels)
            return self.codebook.nearest(z.flatten(0, 1)).view(len(pixels), self.places)

    def decode(self, tokens: Tokens) -> Float[Tensor, "b c y x"]:
        """The picture of every page, normalized."""
        check_pages(tokens, self.places, self.size)
        return self._pictures(self.codebook.lookup(tokens))

    def _vectors(self, pixels: Tensor) -> Float[Tensor, "b l d"]:
        places: Tensor = self.encoder(self.normalized(pixels)).flatten(2).transpose(1, 2)
        z: Tensor = places.unflatten(2, (self.codes, -1)).flatten(1, 2)
        return z

    def _pictures(self, z: Float[Tensor, "b l d"]) -> Float[Tensor, "b c y x"]:
        places = z.unflatten(1, (-1, self.codes)).flatten(2)
        x: Tensor = self.decoder(places.transpose(1, 2).unflatten(2, self.grid))
        return x


def amplitude(x: Float[Tensor, "b c y x"]) -> Float[Tensor, "b c y x"]:
    """How strongly every pixel's surroundings differ from their own means, at least .01."""
    return (_blurred((x - _blurred(x)).square()) + FAINTEST**2).sqrt()


def _blurred(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
