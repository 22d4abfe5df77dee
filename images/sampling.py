"""Images from a model, each a function of (seed, its number) alone.

    image i = pixels(generate(labels[i], draw(a generator seeded by (seed, i))))

Batches have one constant number of rows, the last one filled up: a kernel chosen by the number of rows could
otherwise let image i depend on how many were asked for.
"""

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from stillhand.core.training import derived_seed
from stillhand.images.base import ImageGenerator


def sample_images(
    model: ImageGenerator, labels: Int64[Tensor, " n"], seed: int, batch_rows: int = 100
) -> UInt8[Tensor, "n c y x"]:
    """One image per label, on the CPU, from 0 to the spec's peak.

    Args:
        model: Ready to generate, in evaluation mode.
        labels: Classes asked for.
        seed: Of the noise; non-negative.
        batch_rows: Images per network call.

    Raises:
        ValueError: No labels, a label that is no class of the model, a negative seed, batch_rows < 1, or a
            model in training mode.
        FloatingPointError: An image that is not finite; names it and its class.
    """
    _check(model, labels, seed, batch_rows)
    device = next(model.parameters()).device
    batches = []
    with torch.inference_mode():
        for start in range(0, len(labels), batch_rows):
            own = labels[start : start + batch_rows]
            filled = torch.cat([own, own[-1:].expand(batch_rows - len(own))])
            noise = torch.stack([_noise(model, seed, start + row) for row in range(batch_rows)])
            x = model.generate(filled.to(device), noise.to(device))[: len(own)]
            _refuse_not_finite(model, x, own, start)
            batches.append(model.pixels(x).cpu())
    return torch.cat(batches)


def _noise(model: ImageGenerator, seed: int, number: int) -> Tensor:
    """Drawn on the CPU, so that image i starts alike on every device."""
    generator = torch.Generator().manual_seed(derived_seed(seed, number))
    return model.draw(generator)


def _refuse_not_finite(model: ImageGenerator, x: Tensor, labels: Tensor, start: int) -> None:
    """As pixels these would be black or white, and look like pictures."""
    bad = ~x.flatten(1).isfinite().all(1)
    if bool(bad.any()):
        row = int(bad.int().argmax())
        raise FloatingPointError(
            f"image {start + row} of class {int(labels[row])} by {type(model).__name__} has values that are "
            "not finite"
        )


def _check(model: ImageGenerator, labels: Tensor, seed: int, batch_rows: int) -> None:
    classes = model.spec.classes
    if not len(labels) or int(labels.min()) < 0 or int(labels.max()) >= classes:
        found = labels.unique().tolist()
        raise ValueError(f"need at least one label, all in 0..{classes - 1}, got {found}")
    if seed < 0 or batch_rows < 1:
        raise ValueError(f"need seed >= 0 and batch_rows >= 1, got {seed} and {batch_rows}")
    if model.training:
        raise ValueError("this model is in training mode, expected evaluation mode: dropout would draw noise")
