"""Score identity distillation: a one-step generator by a Fisher divergence, from a teacher and without data.

    gap = D_teacher - D_fake at x + sigma noise,  x = G_theta(z)
    L = w mean[ gap (D_teacher - x) - alpha gap^2 ],    w = 1 / sg[ mean |x - D_teacher| ]     [SiD] Alg. 1
    L_fake = denoising loss of the fake network on x

With the exact fake network E[gap (D_fake - x)] = 0, so L is (1 - alpha) E w gap^2 and hovers around 0.
The gradient runs through the *inputs* of both networks: detached, alpha drops out and L becomes [DMD].
Freeze their weights in the generator's step. Reduction: mean over elements; [SiD]'s code has 100 times the
sum, that is 100 numel times this, and its learning rates belong to that scale.
References: [SiD] Zhou et al. 2024, arXiv 2404.04057; [SiDA] Zhou et al. 2024, arXiv 2410.14919;
[DMD] Yin et al. 2024, arXiv 2311.18828.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from stillhand.core.diffusion.precond import Denoiser
from stillhand.core.diffusion.score import perturb
from stillhand.core.kernels.residual.op import weighted_residual
from stillhand.core.losses.denoising import denoising_loss, sample_mean
from stillhand.core.losses.distribution_matching import LEAST_ERROR, scale_of
from stillhand.core.shapes import Condition, DenoiseFn, Info, Level, Sample

LOGIT_BOUND = 10.0  # [SiDA], authors' code, generator term only


def generator_loss(
    teacher: DenoiseFn,
    fake: DenoiseFn,
    x: Sample,
    noise: Sample,
    sigma: Level,
    alpha: float,
    weight: Level | None = None,
) -> tuple[Float[Tensor, " b"], Info]:
    """Per-sample loss of the generator; it may be negative and is no measure of progress.

    Args:
        teacher: Denoiser of the data, differentiable in its input.
        fake: Denoiser of the generator's samples, likewise.
        x: Generated samples, with the generator's graph.
        noise: Standard normal, of x's shape.
        sigma: Noise levels, positive.
        alpha: 1/2 gives half the Fisher divergence's gradient, 1.2 is [SiD]'s; above 1 it may diverge.
        weight: On denoisers, per sample. None is [SiD]'s w; sigma^-4 gives the Fisher divergence as such.

    Returns:
        Loss (b,), and `sid/gap`: mean squared difference of the denoisers, `sid/weight`; both (b,).
    """
    x_t = perturb(x, noise, sigma)
    real = teacher(x_t, sigma)
    moments = weighted_residual(real, x, other=fake(x_t, sigma), alpha=alpha, floor=LEAST_ERROR)
    scale = scale_of(moments, weight)
    return scale * moments.product, {"sid/gap": moments.square, "sid/weight": scale}


def fake_loss(
    fake: Denoiser, x: Sample, noise: Sample, sigma: Level, cond: Condition
) -> tuple[Float[Tensor, " b"], Info]:
    """Denoising loss of the fake network on generated samples, which it treats as data.

    Args:
        fake: Called as fake(x, sigma, cond).
        x: Generated samples; no gradient reaches them.
        noise: Standard normal, of x's shape; not that of the generator's step.
        sigma: Noise levels, positive.
        cond: Conditions of the generated samples.
    """
    return denoising_loss(fake, x.detach(), noise, sigma, cond)


def adversarial_generator_loss(logits: Sample, weight: Level) -> tuple[Float[Tensor, " b"], Info]:
    """[SiDA]'s second term of the generator: its samples, noised, should pass for data.

    As published, one cross-entropy for the whole batch is weighed by each sample's w. Add 1e-4 times it to
    `generator_loss`: the code's .5 * 100 and .5 * .01 numel, divided by 50 numel.

    Args:
        logits: One or a map of them per generated sample, larger for data, with the graph to the generator.
        weight: `sid/weight` of the same samples.

    Returns:
        Loss (b,), and `sid/passes`: the share of logits above 0 per sample.
    """
    entropy = softplus(-logits.clamp(-LOGIT_BOUND, LOGIT_BOUND)).mean()
    return weight.detach() * entropy, {"sid/passes": _share(logits > 0)}


def discriminator_loss(
    real_logits: Sample, fake_logits: Sample, weight: Level
) -> tuple[Float[Tensor, " b"], Info]:
    """[SiDA]'s second term of the fake network, whose features are the discriminator; add it to `fake_loss`.

    Args:
        real_logits: Of data at (noise, sigma).
        fake_logits: Of generated samples at the same noise and sigma.
        weight: Per sample, the denoising weight 1 / sigma^2 + 1 / sigma_d^2 as in [SiDA].

    Returns:
        Loss (b,), and `sid/real_accuracy`, `sid/fake_accuracy`: shares of logits on their side of 0.
    """
    entropy = (softplus(-real_logits).mean() + softplus(fake_logits).mean()) / 2
    info = {"sid/real_accuracy": _share(real_logits > 0), "sid/fake_accuracy": _share(fake_logits < 0)}
    return weight.detach() * entropy, info


def _share(holds: Tensor) -> Tensor:
    return sample_mean(holds.float())
