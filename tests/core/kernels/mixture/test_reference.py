"""Against torch's distributions in float64, and the written-out gradient against autograd's."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from stillhand.core.kernels.mixture import reference

SIZES = [(3, 4, 5, 6, 1), (3, 4, 5, 2, 3), (2, 1, 3, 1, 8)]  # b, s, e, g, m


def law(b: int, s: int, e: int, g: int, m: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    options = {"generator": generator, "dtype": torch.float64}
    x, mean = (torch.randn(b, k, g * m, **options) for k in (s, e))
    factor = torch.randn(b, e, g, m, m, **options).tril(-1)
    factor = factor + torch.diag_embed(0.5 + torch.rand(b, e, g, m, **options))
    return x, mean, factor, torch.randn(b, e, **options).log_softmax(-1)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_density_and_responsibilities_are_torchs(size: tuple[int, ...]) -> None:
    x, mean, factor, gate = law(*size)
    density, responsibility = reference.forward(x, mean, factor, gate)
    for b in range(size[0]):
        whole = torch.stack([torch.block_diag(*blocks) for blocks in factor[b]])
        experts = MultivariateNormal(mean[b], scale_tril=whole, validate_args=False)
        torch.testing.assert_close(
            density[b], MixtureSameFamily(Categorical(gate[b].exp()), experts).log_prob(x[b])
        )
        joint = experts.log_prob(x[b][:, None]) + gate[b]
        torch.testing.assert_close(responsibility[b], joint.log_softmax(-1))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_written_gradient_is_autograds(size: tuple[int, ...]) -> None:
    leaves = [v.requires_grad_() for v in law(*size)]
    density, responsibility = reference.forward(*leaves)
    weights = [
        torch.linspace(-1, 2, v.numel(), dtype=v.dtype).view(v.shape) for v in (density, responsibility)
    ]
    expected = torch.autograd.grad((weights[0] * density).sum() + (weights[1] * responsibility).sum(), leaves)
    j = reference.by_joint(*weights, responsibility.detach())
    x, mean, factor, _ = (v.detach() for v in leaves)
    found = [*reference.backward(j, x, mean, factor, [True] * 3), j.sum(1)]
    for one, another in zip(found, expected, strict=True):
        torch.testing.assert_close(
            one, another.tril() if another.ndim == 5 else another, rtol=1e-9, atol=1e-9
        )
