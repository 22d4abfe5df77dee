"""Regression and two-step regression: the honest baselines.

    regression   |f(0, 0, s) - x0|^2
                 act: f(0, 0, s), one call
    MIP          0.1 (|f(0, 0, s) - x0|^2 / t*^2 + |f(x0 + (1 - t*) noise, t*, s) - x0|^2 / (1 - t*)^2)
                 act: f(f(0, 0, s), t*, s), two calls

The network is called as net(x, t, cond), t in [0, 1], t = 0 the start from nothing; acts are deterministic.
Reduction: sum over the last axis, mean over the axes between batch and last, one number per sample;
the caller takes the mean over the batch. That is [MIP]'s scale; regression_loss is a mean over elements.
References: [MIP] Much Ado About Noising, arXiv 2512.01809.
"""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from stillhand.core.kernels.residual.op import weighted_residual
from stillhand.core.shapes import Condition, Info, Sample

MIP_SCALE = 0.1  # [MIP], authors' configuration


def regression_loss(
    net: Callable[..., Tensor], x0: Sample, cond: Condition
) -> tuple[Float[Tensor, " b"], Info]:
    """Mean squared error of one call on a zero sample at t = 0.

    Args:
        net: Maps (x, t (b,), cond) to a tensor of x's shape.
        x0: Clean samples.
        cond: Conditions.

    Returns:
        Loss (b,), and `regression/mse`, the same without gradient.
    """
    moments = weighted_residual(regression_act(net, cond, x0.shape[1:]), x0)
    return moments.product, {"regression/mse": moments.square}


def mip_loss(
    net: Callable[..., Tensor],
    x0: Sample,
    noise: Sample,
    cond: Condition,
    t_star: float = 0.9,
) -> tuple[Float[Tensor, " b"], Info]:
    """Both calls of MIP against the clean sample, each in units of its own noise.

    Args:
        net: Maps (x, t (b,), cond) to a tensor of x's shape.
        x0: Clean samples.
        noise: Standard normal, of x0's shape.
        cond: Conditions.
        t_star: Time of the second call, in (0, 1).

    Returns:
        Loss (b,), and `mip/first_mse`, `mip/second_mse`: squared errors per element without gradient.

    Raises:
        ValueError: t_star outside (0, 1).
    """
    _check_time(t_star)
    first = weighted_residual(regression_act(net, cond, x0.shape[1:]), x0)
    answer = net(x0 + (1 - t_star) * noise, x0.new_full((len(x0),), t_star), cond)
    second = weighted_residual(answer, x0)
    loss = MIP_SCALE * x0.shape[-1] * (first.product / t_star**2 + second.product / (1 - t_star) ** 2)
    return loss, {"mip/first_mse": first.square, "mip/second_mse": second.square}


def regression_act(net: Callable[..., Tensor], cond: Condition, shape: Sequence[int]) -> Sample:
    """One call on a zero sample at t = 0.

    Args:
        net: Maps (x, t (b,), cond) to a tensor of x's shape.
        cond: Conditions; their dtype and device are the result's.
        shape: Shape of one sample, without the batch axis.
    """
    b = cond.shape[0]  # not len: an exported graph leaves it open
    return net(cond.new_zeros((b, *shape)), cond.new_zeros(b), cond)


def mip_act(net: Callable[..., Tensor], cond: Condition, shape: Sequence[int], t_star: float = 0.9) -> Sample:
    """Two calls: the regression, then its correction at t_star.

    Args:
        net: Maps (x, t (b,), cond) to a tensor of x's shape.
        cond: Conditions; their dtype and device are the result's.
        shape: Shape of one sample, without the batch axis.
        t_star: Time of the second call, in (0, 1), as in training.

    Raises:
        ValueError: t_star outside (0, 1).
    """
    _check_time(t_star)
    guess = regression_act(net, cond, shape)
    return net(guess, cond.new_full((cond.shape[0],), t_star), cond)


def _check_time(t_star: float) -> None:
    if not 0 < t_star < 1:
        raise ValueError(f"need 0 < t_star < 1, got {t_star}")
