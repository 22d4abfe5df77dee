"""The training loop, as a generator: draw, loss, step, average, yield.

The loop knows no data: `objective(step)` draws its own batch and noise, both pure functions of (seed, step).
A state is therefore complete with the weights, their average, the optimizer's moments and the step counter,
and a run that was killed continues bit for bit.
"""

import copy
import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stillhand.core.precision import mixed
from stillhand.core.settings import Settings, learning_rate
from stillhand.core.shapes import Info

Objective = Callable[[int], tuple[Tensor, Info]]
"""step -> (per-sample loss (b,), diagnostics)."""
Metrics = dict[str, int | float]
"""One line of metrics: step, learning_rate, loss, gradient_norm and the loss's diagnostics."""
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps per parameter, by its own names


def ema_decay(step: int, cap: float) -> float:
    """Decay of the weight average after `step` updates: 1 - (1 + step)^-0.75 up to the cap.

    The warm-up of Diffusion Policy (arXiv 2303.04137): 0 at the first update, .834 at 10, .994 at 1000.
    """
    return min(1 - float((1 + step) ** -0.75), cap)


def derived_seed(*parts: int) -> int:
    """A 63-bit seed from a few integers, so that every (seed, step, purpose) has a stream of its own.

    A hash rather than a sum: consecutive steps must not give related streams.
    """
    text = ",".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Within, numbers below the smallest normal one (1.2e-38) count as zero, where the processor can do so.

    An expert that explains nothing has a responsibility of e^-100, and so gradients that are denormal: most
    processors multiply those in microcode, and a mixture's backward pass takes nine times as long.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Learner:
    """A model and its optimizer.

    Args:
        model: Trained in place, but for parameters that want no gradient. Buffers are no weights: normalizers
            are fixed before training starts, a codebook learns by itself.
        settings: Only the optimizer's constants are read here.
    """

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        self.model = model
        self.names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.parameters: list[Tensor] = [model.get_parameter(name) for name in self.names]
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def update(self, losses: Float[Tensor, " b"], rate: float, clip_norm: float) -> dict[str, float]:
        """One step down the mean loss, which touches no other parameters.

        Returns:
            `loss` and `gradient_norm`.

        Raises:
            FloatingPointError: If the loss or the gradient is not finite; the weights are those before.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = losses.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip_norm)
        values = {"loss": loss.item(), "gradient_norm": norm.item()}
        if not all(map(math.isfinite, values.values())):
            raise FloatingPointError(f"{values}")
        self.optimizer.step()
        return values

    def tensors(self) -> dict[str, Tensor]:
        """Weights and moments by name."""
        named = {f"model.{k}": v.detach() for k, v in self.model.state_dict().items()}
        for i, name in enumerate(self.names):
            for key, value in self.optimizer.state_dict()["state"].get(i, {}).items():
                named[f"optimizer.{key}.{name}"] = value
        return named

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Continue from saved tensors.

        Raises:
            ValueError: If a name is missing or has another shape.
        """
        own = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        _load(self.model, own)
        if not any(name.startswith("optimizer.") for name in tensors):
            return  # saved before its first step
        moments = {  # none of a weight that no gradient has reached yet
            i: {key: _moment(tensors, key, name, parameter) for key in MOMENTS}
            for i, (name, parameter) in enumerate(zip(self.names, self.parameters, strict=True))
            if any(f"optimizer.{key}.{name}" in tensors for key in MOMENTS)
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})


class TrainState:
    """A model, its moving average, its optimizer and the number of steps taken.

    Args:
        model: Trained in place.
        settings: Only the optimizer's constants are read here.
    """

    def __init__(self, model: nn.Module, settings: Settings) -> None:
        self.learner = Learner(model, settings)
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.step = 0

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        return self.learner.model

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the average a step towards the model; buffers are no weights, they are taken over."""
        own: list[Tensor] = [self.average.get_parameter(name) for name in self.learner.names]
        torch._foreach_lerp_(own, self.learner.parameters, 1 - decay)
        for kept, latest in zip(self.average.buffers(), self.model.buffers(), strict=True):
            kept.copy_(latest)

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the step that a resumed run needs, by name; the average is saved on its own."""
        return self.learner.tensors()

    def restore(self, tensors: dict[str, Tensor], average: dict[str, Tensor], step: int) -> None:
        """Continue from saved tensors.

        Raises:
            ValueError: If a name is missing or has another shape.
        """
        self.learner.restore(tensors)
        _load(self.average, average)
        self.step = step


class PartState:
    """The state of a training of which one part is wanted: everything continues, the part alone is exported.

    Args:
        whole: Trained in place; its average begins at the weights it has now.
        part: Name of the module within it that is exported.
        settings: Of the optimizer.
    """

    def __init__(self, whole: nn.Module, part: str, settings: Settings) -> None:
        self.whole, self.part = TrainState(whole, settings), part

    @property
    def step(self) -> int:
        """Steps taken."""
        return self.whole.step

    @property
    def average(self) -> nn.Module:
        """The averaged part."""
        return self.whole.average.get_submodule(self.part)

    def tensors(self) -> dict[str, Tensor]:
        """Weights and moments of everything."""
        return self.whole.tensors()

    def restore(self, tensors: dict[str, Tensor], average: dict[str, Tensor], step: int) -> None:
        """Continue; ValueError as `TrainState.restore`. Nobody asks for the average of the rest."""
        own = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        rest = {k: v for k, v in own.items() if not k.startswith(f"{self.part}.")}
        exported = {f"{self.part}.{key}": value for key, value in average.items()}
        self.whole.restore(tensors, {**exported, **rest}, step)


def _load(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"saved weights do not fit this model: {error}") from error


def _moment(tensors: dict[str, Tensor], key: str, name: str, parameter: Tensor) -> Tensor:
    saved = tensors.get(f"optimizer.{key}.{name}")
    shape = () if key == "step" else tuple(parameter.shape)
    if saved is None or saved.shape != shape:
        found = "nothing" if saved is None else f"shape {tuple(saved.shape)}"
        raise ValueError(f"saved optimizer does not fit: {key} of {name} is {found}, expected shape {shape}")
    return saved.clone()


def optimize(state: TrainState, objective: Objective, settings: Settings) -> Iterator[Metrics]:
    """Run the remaining steps; yield the step's number, loss and diagnostics after each.

    Raises:
        FloatingPointError: If the loss or the gradient is not finite; the weights are those before the step.
    """
    device = state.learner.parameters[0].device.type
    while state.step < settings.steps:
        rate = learning_rate(settings, state.step)
        with mixed(device, settings.bfloat16):
            losses, info = objective(state.step)
        try:
            values = state.learner.update(losses, rate, settings.clip_norm)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"step {state.step}: {error}; the batch is that of this step and seed"
            ) from error
        state.follow(ema_decay(state.step, settings.ema_decay))
        state.step += 1
        yield {"step": state.step, "learning_rate": rate, **values, **means(info)}


def means(info: Info) -> dict[str, float]:
    """The batch's mean of every diagnostic."""
    return {name: value.detach().mean().item() for name, value in info.items()}
