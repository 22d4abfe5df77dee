"""Kernels of core/kernels on a CUDA device: time and bandwidth against eager PyTorch and `torch.compile`.

Three variants of each operation take turns: the kernel, the plain reference, and the compiled reference. A
figure is the median over rounds of the time between two CUDA events, warm. Bandwidth counts every operand
read once and every result written once, forward and backward, over the measured time; `copy` is what a plain
copy of 1 GiB reaches on the same device.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from stillhand.core.kernels import switch
from stillhand.core.kernels.mixture import reference as mixture
from stillhand.core.kernels.mixture.op import mixture_log_prob
from stillhand.core.kernels.residual import reference as residual
from stillhand.core.kernels.residual.op import weighted_residual
from stillhand.core.kernels.unmask import reference as unmask
from stillhand.core.kernels.unmask.op import guided_unmask

Row = dict[str, str | float]
Run = Callable[[], object]
Answer = Callable[[], Tensor]
RESIDUALS = {"actions": (1024, 16, 7), "images": (512, 3, 32, 32)}  # samples
# rows, samples, experts, blocks and their numbers
MIXTURES = {
    "diagonal": (256, 8, 8, 112, 1),
    "steps": (256, 8, 8, 16, 7),
    "full": (256, 8, 8, 1, 32),
}  # b s e g m
LAWS = {"actions": (256, 32, 256), "images": (64, 256, 16384)}  # pages, places, tokens


@dataclass(frozen=True)
class Case:
    """One operation at one size.

    Args:
        name: Of the row.
        kernel, plain: The same function of nothing; what they answer is differentiated by `leaves`.
        leaves: Empty where there is no gradient.
        bytes: Least traffic.
    """

    name: str
    kernel: Answer
    plain: Answer
    leaves: list[Tensor]
    bytes: int

    def run(self, answer: Answer) -> Run:
        """The work of one round."""

        def work() -> None:
            found = answer()
            if self.leaves:
                torch.autograd.grad(found.mean(), self.leaves)

        return work


def measure(rounds: int = 100) -> list[Row]:
    """Rows of every case; the first carries the device's name.

    Raises:
        ValueError: There is no CUDA device, or no Triton.
    """
    sizes = f"weighted_residual {RESIDUALS}, mixture_log_prob {MIXTURES}, guided_unmask {LAWS}"
    if not torch.cuda.is_available() or not switch.has_triton():
        raise ValueError(f"bench kernels needs a CUDA device and triton; it would time {sizes}")
    source = torch.empty(2**28, device="cuda")
    copy = timed({"copy": source.clone}, rounds)["copy"]
    bandwidth = 2 * source.nbytes / copy
    rows: list[Row] = [row("copy", "bandwidth", bandwidth / 1e9, "GB/s")]
    rows[0]["device"] = torch.cuda.get_device_name()
    del source
    for case in cases():
        answers = {"kernel": case.kernel, "eager": case.plain, "compile": torch.compile(case.plain)}
        runs = {name: case.run(answer) for name, answer in answers.items()}
        seconds = timed(runs, rounds)
        rows += [row(case.name, f"{name}, median", 1e6 * s, "us") for name, s in seconds.items()]
        share = case.bytes / seconds["kernel"] / bandwidth
        rows.append(row(case.name, "share of the copy's bandwidth", 100 * share, "%"))
    return rows


def row(name: str, metric: str, value: float, unit: str) -> Row:
    """One line of the table."""
    return {"name": name, "metric": metric, "value": value, "unit": unit}


def timed(runs: dict[str, Run], rounds: int) -> dict[str, float]:
    """Median seconds of every run on the device, taken in turn."""
    for run in runs.values():
        for _ in range(3):
            run()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            taken[name].append(start.elapsed_time(end) / 1e3)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def cases() -> Iterator[Case]:
    """Every operation at the sizes of actions and of images."""
    yield from (residual_case(name, size) for name, size in RESIDUALS.items())
    yield from (mixture_case(name, size) for name, size in MIXTURES.items())
    yield from (unmask_case(name, size) for name, size in LAWS.items())


def residual_case(name: str, shape: tuple[int, ...]) -> Case:
    """Denoising loss and its gradient by the network, whose answer is bfloat16."""
    x0, x, f = (torch.randn(shape, device="cuda") for _ in range(3))
    f = f.bfloat16().requires_grad_()
    skip, out, weight = (torch.rand(shape[0], *[1] * (len(shape) - 1), device="cuda") for _ in range(3))

    def kernel() -> Tensor:
        return weighted_residual(f, x0, x=x, skip=skip, out=out, weight=weight).product

    def plain() -> Tensor:
        return residual.moments((f, x0, x, skip, out, None, weight, None), 0.0, None)[0]

    traffic = 2 * (f.nbytes + x0.nbytes + x.nbytes) + f.nbytes
    return Case(f"weighted_residual {name} {shape}", kernel, plain, [f], traffic)


def mixture_case(name: str, size: tuple[int, ...]) -> Case:
    """Log-density and its gradient by samples, means, factors and gate."""
    b, s, e, g, m = size
    x, mean = (torch.randn(b, k, g * m, device="cuda") for k in (s, e))
    factor = (0.1 * torch.randn(b, e, g, m, m, device="cuda")).tril(-1)
    factor = factor + torch.diag_embed(0.5 + torch.rand(b, e, g, m, device="cuda"))
    gate = torch.randn(b, e, device="cuda").log_softmax(-1)
    leaves = [v.requires_grad_() for v in (x, mean, factor, gate)]

    def kernel() -> Tensor:
        return mixture_log_prob(*leaves)

    def plain() -> Tensor:
        density: Tensor = mixture.log_joint(*leaves).logsumexp(-1)
        return density

    traffic = 3 * sum(v.nbytes for v in leaves)
    return Case(f"mixture_log_prob {name} {size}", kernel, plain, leaves, traffic)


def unmask_case(name: str, shape: tuple[int, int, int]) -> Case:
    """One guided step in bfloat16."""
    c, u = (torch.randn(shape, device="cuda").bfloat16() for _ in range(2))
    seeds = torch.arange(shape[0], device="cuda")

    def kernel() -> Tensor:
        return guided_unmask(c, u, 2.0, seeds=seeds).confidence

    def plain() -> Tensor:
        return unmask.forward(c, u, 2.0, 1.0, seeds, 0, None)[1]

    return Case(f"guided_unmask {name} {shape}", kernel, plain, [], c.nbytes + u.nbytes)
