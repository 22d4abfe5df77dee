import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from stillhand.core.kernels.mixture.reference import whiten
from stillhand.core.mixture import Mixture, choose

BLOCKS = [(6, 1), (3, 2), (1, 6)]  # diagonal, per step, full: all of 6 numbers


def drawn(g: int, m: int, *, b: int = 3, e: int = 4, seed: int = 0) -> Mixture:
    generator = torch.Generator().manual_seed(seed)
    log_gate = torch.randn(b, e, generator=generator, dtype=torch.float64).log_softmax(-1)
    mean = torch.randn(b, e, g * m, generator=generator, dtype=torch.float64)
    lower = torch.randn(b, e, g, m, m, generator=generator, dtype=torch.float64).tril(-1)
    diagonal = 0.2 + torch.rand(b, e, g, m, generator=generator, dtype=torch.float64)
    return Mixture(log_gate, mean, lower + torch.diag_embed(diagonal))


def points(law: Mixture, s: int = 5) -> Tensor:
    b, _, d = law.mean.shape
    return 2 * torch.randn(b, s, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def full_factor(law: Mixture) -> Tensor:
    """(b, e, d, d): the blocks along one diagonal."""
    rows = [[torch.block_diag(*blocks) for blocks in row] for row in law.factor]
    return torch.stack([torch.stack(row) for row in rows])


def library(law: Mixture) -> MixtureSameFamily:
    experts = MultivariateNormal(law.mean, scale_tril=full_factor(law))
    return MixtureSameFamily(Categorical(logits=law.log_gate), experts)


@given(m=st.integers(1, 7), seed=st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_whitening_is_the_triangular_solve(m: int, seed: int) -> None:
    law = drawn(2, m, seed=seed)
    residual = torch.randn(3, 4, 2, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    solved = torch.linalg.solve_triangular(law.factor, residual[..., None], upper=False)[..., 0]
    torch.testing.assert_close(whiten(residual, law.factor), solved, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("g", "m"), BLOCKS)
def test_densities_are_the_librarys(g: int, m: int) -> None:
    """I9: log q is a library mixture's density."""
    law = drawn(g, m)
    x = points(law)
    mixture = library(law)
    torch.testing.assert_close(law.log_prob(x), mixture.log_prob(x.transpose(0, 1)).T)
    each = mixture.component_distribution.log_prob(x.permute(1, 0, 2)[:, :, None]).transpose(0, 1)
    torch.testing.assert_close(law.log_prob_experts(x), each)
    torch.testing.assert_close(law.log_joint(x), each + law.log_gate[:, None])
    torch.testing.assert_close(law.entropies(), mixture.component_distribution.entropy())


@pytest.mark.parametrize(("g", "m"), BLOCKS)
def test_responsibilities_sum_to_one_and_are_bayes(g: int, m: int) -> None:
    """I9."""
    law = drawn(g, m)
    x = points(law)
    log_resp = law.log_responsibilities(x)
    torch.testing.assert_close(log_resp.exp().sum(-1), torch.ones(3, 5, dtype=torch.float64))
    torch.testing.assert_close(log_resp + law.log_prob(x)[..., None], law.log_joint(x))


def test_the_worked_case() -> None:
    """I9: three experts in the plane at (.5, .2), figures computed independently."""
    mean = torch.tensor([[[1.0, 0.0], [-1.0, 0.5], [0.0, -1.5]]], dtype=torch.float64)
    factor = [[[0.6, 0.0], [0.1, 0.5]], [[0.4, 0.0], [0.0, 0.7]], [[0.5, 0.0], [-0.2, 0.4]]]
    gate = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    law = Mixture(gate.log(), mean, torch.tensor(factor, dtype=torch.float64)[None, :, None])
    x = torch.tensor([[[0.5, 0.2]]], dtype=torch.float64)
    assert law.log_prob(x).item() == pytest.approx(-1.833961, abs=1e-6)
    assert law.log_responsibilities(x).exp().flatten().tolist() == pytest.approx(
        [0.999132, 0.000860, 0.000008], abs=1e-6
    )


@pytest.mark.parametrize(("g", "m"), BLOCKS)
def test_noise_adds_its_variance_and_nothing_else(g: int, m: int) -> None:
    law = drawn(g, m)
    sigma = torch.tensor([1e-3, 0.4, 3.0], dtype=torch.float64)
    noisy = law.noised(sigma)
    before, after = full_factor(law), full_factor(noisy)
    variance = (sigma**2)[:, None, None, None] * torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(after @ after.mT, before @ before.mT + variance)
    assert torch.equal(noisy.factor, noisy.factor.tril())
    assert (noisy.factor.diagonal(dim1=-2, dim2=-1) > 0).all()
    assert torch.equal(noisy.mean, law.mean)
    assert torch.equal(noisy.log_gate, law.log_gate)


def test_noise_survives_autocast() -> None:
    """Nearly dependent rows: rounded to bfloat16 their covariance is singular."""
    factor = torch.tensor([[1.0, 0.0], [1.0, 0.02]]).view(1, 1, 1, 2, 2)
    law = Mixture(torch.zeros(1, 1), torch.zeros(1, 1, 2), factor)
    with torch.autocast("cpu", torch.bfloat16):
        noisy = law.noised(torch.tensor([1e-3]))
    torch.testing.assert_close(noisy.factor, law.noised(torch.tensor([1e-3])).factor)


@pytest.mark.parametrize(("g", "m"), BLOCKS)
def test_samples_are_affine_in_the_noise(g: int, m: int) -> None:
    law = drawn(g, m)
    noise = torch.randn(3, 4, 7, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected = law.mean[:, :, None] + (full_factor(law)[:, :, None] @ noise[..., None])[..., 0]
    torch.testing.assert_close(law.sample_experts(noise), expected)


def test_a_sharp_chunk_of_160_numbers_stays_finite() -> None:
    """I9: exp(log N) of such an expert overflows float32; in the log domain value and gradient are finite."""
    mean = torch.stack([torch.zeros(160), torch.ones(160)])[None].requires_grad_()
    factor = torch.full((1, 2, 160, 1, 1), 0.03).requires_grad_()
    law = Mixture(torch.tensor([[0.5, 0.5]]).log(), mean, factor)
    x = torch.zeros(1, 1, 160)
    value = law.log_prob(x)
    value.sum().backward()
    assert value.item() == pytest.approx(
        math.log(0.5) - 160 * math.log(0.03 * math.sqrt(2 * math.pi)), rel=1e-5
    )
    assert law.log_prob_experts(x).exp().isinf().any()  # the case is as sharp as it says
    for leaf in (mean, factor):
        assert leaf.grad is not None and leaf.grad.isfinite().all()
    far = law.log_responsibilities(torch.full((1, 1, 160), 100.0))
    assert far.isfinite().all()


def test_detached_is_the_same_law_without_gradients() -> None:
    law = drawn(3, 2)
    for leaf in (law.mean, law.factor, law.log_gate):
        leaf.requires_grad_()
    x = points(law)
    assert not law.detach().log_prob(x).requires_grad
    assert torch.equal(law.detach().log_prob(x), law.log_prob(x))


@given(
    gate=st.lists(st.integers(0, 5), min_size=1, max_size=6).filter(any),
    uniform=st.floats(0, 1, exclude_max=True, width=32),
)
def test_choice_inverts_the_distribution_function(gate: list[int], uniform: float) -> None:
    weights = torch.tensor(gate, dtype=torch.float32) / sum(gate)
    expert = int(choose(weights.log()[None], torch.tensor([uniform])))
    assert gate[expert] > 0
    assert sum(gate[:expert]) / sum(gate) <= uniform + 1e-6
    assert uniform <= sum(gate[: expert + 1]) / sum(gate) + 1e-6


@pytest.mark.parametrize("scale", [1 - 2**-20, 1.0, 1 + 2**-20])
def test_both_ends_of_the_unit_interval_choose_a_possible_expert(scale: float) -> None:
    """Also where rounding left the gate's sum beside 1."""
    log_gate = (torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0]) * scale).log().expand(3, 5)
    ends = torch.tensor([0.0, 0.5, 1 - 2**-24])
    assert choose(log_gate, ends).tolist() == [1, 3, 3]


def test_the_last_expert_is_never_overrun() -> None:
    """1,000 gates whose float32 sums scatter around 1, at the largest uniform below 1."""
    logits = torch.randn(1000, 16, generator=torch.Generator().manual_seed(3))
    chosen = choose(logits.log_softmax(-1), torch.full((1000,), 1 - 2**-24))
    assert chosen.max() == 15 and chosen.min() >= 0


def test_choices_have_the_gates_frequencies() -> None:
    gate = torch.tensor([0.4, 0.0, 0.05, 0.25, 0.3], dtype=torch.float64)
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(4))
    counts = choose(gate.log().expand(20_000, 5), uniform).bincount(minlength=5)
    assert counts[1] == 0
    possible = gate > 0
    test = chisquare(counts[possible].numpy(), 20_000 * gate[possible].numpy())
    assert test.pvalue > 0.01
