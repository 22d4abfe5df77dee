import math

import pytest
import torch

from stillhand.core.nets.embeddings import FourierFeatures, NoiseEmbedding, one_hot_embedding


def test_features_are_the_vector_its_sines_and_its_cosines() -> None:
    features = FourierFeatures(2, 2, base=math.pi / 2)
    x = torch.tensor([[1.0, -0.5]])
    a, b, c = math.pi / 2, math.pi, math.pi / 4
    sines = [math.sin(a), math.sin(b), -math.sin(c), -math.sin(a)]
    cosines = [math.cos(a), math.cos(b), math.cos(c), math.cos(a)]
    torch.testing.assert_close(features(x), torch.tensor([[1.0, -0.5, *sines, *cosines]]))


@pytest.mark.parametrize("batch", [(), (3,), (4, 2)])
def test_any_leading_axes(batch: tuple[int, ...]) -> None:
    features = FourierFeatures(8, 5)
    out = features(torch.zeros(*batch, 8))
    assert out.shape == (*batch, features.out_dims)
    assert features.out_dims == 88


def test_no_octaves_leave_the_vector_as_it_is() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(FourierFeatures(4, 0)(x), x)


@pytest.mark.parametrize(("dims", "octaves", "base"), [(0, 1, 1.0), (1, -1, 1.0), (1, 1, 0.0)])
def test_bad_arguments_are_refused(dims: int, octaves: int, base: float) -> None:
    with pytest.raises(ValueError, match=f"got {dims}, {octaves}, {base}"):
        FourierFeatures(dims, octaves, base)


def test_noise_embedding_sees_sines_and_cosines() -> None:
    embedding = NoiseEmbedding(4, waves=3)
    seen: list[torch.Tensor] = []
    embedding.mlp.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    c = torch.tensor([-1.5, 0.0, 0.9])
    assert embedding(c).shape == (3, 4)
    angles = c[:, None] * torch.tensor([0.25, math.sqrt(8.0), 32.0])
    torch.testing.assert_close(seen[0], torch.cat([angles.sin(), angles.cos()], 1), rtol=0, atol=1e-4)


def test_noise_embedding_needs_two_waves() -> None:
    with pytest.raises(ValueError, match="got 1"):
        NoiseEmbedding(4, waves=1)


def test_a_class_starts_with_unit_variance() -> None:
    torch.manual_seed(0)
    out = one_hot_embedding(10, 4096)(torch.eye(10))
    torch.testing.assert_close(out.std(dim=1), torch.ones(10), rtol=0, atol=0.06)
