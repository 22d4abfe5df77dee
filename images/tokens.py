"""Masked diffusion of images: a page of masks becomes the tokens of a picture of a class.

    train      tokens masked with probability t ~ U(0, 1), the class hidden one time in ten
               -log p(masked tokens | the others, class), summed and divided by l       [MaskGIT] Eq. 1
    generate   Decoding: sampler, schedule and guidance away from the law without a class

Without the weight 1 / t of the bound on the likelihood: it has the same minimum at every t, and its gradient
jumps where a single token of a nearly clean page is masked. The bound is a diagnostic.
References: [MaskGIT] Chang et al. 2022, arXiv 2202.04200; Ho and Salimans 2022 (guidance), arXiv 2207.12598;
[MDLM] Sahoo et al. 2024, arXiv 2406.07524 (bound, evenly spread times).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from stillhand.core.diffusion.decoding import Decoding, Laws, laws_of
from stillhand.core.diffusion.discrete import absorb, spread_times
from stillhand.core.losses.masked import masked_loss
from stillhand.core.shapes import Info
from stillhand.core.splitmix import page_seed
from stillhand.datasets.pixels import ImageBatch, ImageLoader, Images, ImageSpec
from stillhand.images.base import ImageGenerator, ImageModel, check_same_set
from stillhand.images.tokenizers import Tokenizer, fixed

LOOKED_AT = 100  # images, for a tokenizer that was never trained


class TokenImages(ImageGenerator):
    """A class-conditional model of tokens, with its tokenizer inside.

    Args:
        spec: Name, size and classes of the images.
        net: Called with `places`, `size` and `cond_shape`; (tokens, condition) -> logits.
        tokenizer: Called with `spec`; a learned one is then given its weights by `adopt`.
        decoding: How `generate` goes from masks to tokens.
        dropped: Share of training images whose class is hidden; without any there is no guidance.

    Raises:
        ValueError: Not 0 <= dropped < 1.
    """

    def __init__(
        self,
        *,
        spec: ImageSpec,
        net: Callable[..., nn.Module],
        tokenizer: Callable[..., Tokenizer],
        decoding: Decoding,
        dropped: float = 0.1,
    ) -> None:
        super().__init__(spec)
        if not 0 <= dropped < 1:
            raise ValueError(f"dropped must lie in [0, 1), got {dropped}")
        self.tokenizer = fixed(tokenizer(spec=spec))
        places, size = self.tokenizer.places, self.tokenizer.size
        self.net = net(places=places, size=size, cond_shape=self.cond_shape)
        self.decoding, self.dropped = decoding, dropped

    def adopt(self, tokenizer: ImageModel) -> None:
        """Take over a trained tokenizer's weights.

        Raises:
            ValueError: It is of other images, of another kind or of another size.
        """
        check_same_set(self.spec, tokenizer.spec)
        if not isinstance(self.tokenizer, type(tokenizer)):
            own = type(self.tokenizer).__name__
            raise ValueError(f"this model's tokenizer is a {own}, got a {type(tokenizer).__name__}")
        try:
            tokenizer_of(self).load_state_dict(tokenizer.state_dict())
        except RuntimeError as error:
            raise ValueError(f"a tokenizer of another size: {error}") from error

    def backbone(self) -> nn.Module:
        """The network whose calls are counted: a guided step costs two."""
        return self.net

    def fit(self, images: Images, seed: int) -> None:
        """Look at the tokens of 100 images; nothing is measured.

        Raises:
            ValueError: Other images, or a tokenizer that writes all of them alike.
        """
        check_same_set(self.spec, images.spec)
        batch = ImageLoader(images, min(LOOKED_AT, len(images)), seed).batch(0)
        if len(self.tokenizer.encode(batch.pixels).unique()) < 2:
            raise ValueError("this tokenizer writes all images alike: it was never trained")

    def loss(self, batch: ImageBatch, generator: torch.Generator) -> tuple[Float[Tensor, " b"], Info]:
        """Cross-entropy of the masked tokens, over all places.

        Returns:
            Loss (b,); `masked/accuracy`; `masked/bound`, an unbiased estimate of the bound, nats per token.
        """
        x0 = self.tokenizer.encode(batch.pixels)
        t = 1 - spread_times(len(x0), generator)  # never 0: the bound divides by it
        mask = self.tokenizer.size
        x = absorb(x0, t, mask, generator)
        shown = torch.rand(len(x0), generator=generator, device=x0.device) >= self.dropped
        logits = self.net(x, self.condition(batch.labels) * shown[:, None, None])
        loss, info = masked_loss(logits, x0, x == mask)
        return loss, {**info, "masked/bound": loss.detach() / t}

    def draw(self, generator: torch.Generator) -> Int64[Tensor, ""]:
        """The seed of one page."""
        return page_seed(generator)

    def laws(self, labels: Int64[Tensor, " b"]) -> Laws:
        """What a decoding asks: logits with the class and without.

        Raises:
            ValueError: When asked for guidance of a model that never saw an image without its class.
        """
        told = self.condition(labels)

        def untold() -> Tensor:
            if not self.dropped:
                raise ValueError("trained with dropped=0: there is no law without a class to guide away from")
            return torch.zeros_like(told)

        return laws_of(self.net, told, untold)

    def blank(self, rows: int, device: torch.device) -> Int64[Tensor, "b l"]:
        """Pages of masks."""
        return torch.full((rows, self.tokenizer.places), self.tokenizer.size, device=device)

    def generate(self, labels: Int64[Tensor, " b"], noise: Int64[Tensor, " b"]) -> Float[Tensor, "b c y x"]:
        """Seeds of pages to images, normalized."""
        blank, mask = self.blank(len(labels), labels.device), self.tokenizer.size
        pages = self.decoding(self.laws(labels), blank, mask, noise)
        return self.tokenizer.decode(pages)


def tokenizer_of(model: TokenImages) -> nn.Module:
    """A learned tokenizer as the module it is.

    Raises:
        ValueError: It has nothing to learn.
    """
    if not isinstance(model.tokenizer, nn.Module):
        raise ValueError(f"{type(model.tokenizer).__name__} learns nothing, so it adopts nothing")
    return model.tokenizer
