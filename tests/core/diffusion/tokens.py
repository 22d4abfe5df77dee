"""Two tokens of two values, whose laws are exact: P for the condition, Q without it."""

from collections.abc import Callable

import torch
from torch import Tensor

from stillhand.core.kernels.unmask.op import Choice, guided_unmask
from stillhand.core.splitmix import page_seed

P = torch.tensor([[0.4, 0.1], [0.2, 0.3]], dtype=torch.float64)
Q = torch.full((2, 2), 0.25, dtype=torch.float64)
MASK = 2


def logits(joint: Tensor, x: Tensor) -> Tensor:
    """Exact log p(x_0 of each place | revealed tokens), (b, 2, 2); plus a constant, which must not matter."""
    first, second = joint.sum(1).log(), joint.sum(0).log()
    rows = []
    for i, j in x.tolist():
        of_first = first if j == MASK else joint[:, j].log()
        of_second = second if i == MASK else joint[i].log()
        rows.append(torch.stack([of_first + 3.0, of_second - 1.0]))
    return torch.stack(rows)


def tilted(conditional: Tensor, unconditional: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """The guided law (its logarithm) and log Z_w, as the definition has them."""
    p, q = conditional.log_softmax(-1), unconditional.log_softmax(-1)
    jump = weight * p + (1 - weight) * q
    return jump.log_softmax(-1), jump.logsumexp(-1)


def seeds(rows: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return page_seed(generator) // 2 + torch.arange(rows)


def constant(p: Tensor, q: Tensor, weight: float, pages: Tensor) -> Callable[[Tensor, float, int], Choice]:
    """The same laws whatever is revealed; p and q (1, l, v), the mask is v."""

    def predict(x: Tensor, t: float, call: int) -> Choice:
        laws = p.expand(len(x), -1, -1), q.expand(len(x), -1, -1)
        return guided_unmask(*laws, weight, seeds=pages, offset=call, masked=x == p.shape[-1])

    return predict


def laws_of(weight: Callable[[float], float]) -> Callable[[Tensor, float], tuple[Tensor, Tensor, float]]:
    """Exact logits with and without the condition, and the weight; every page is worked out once."""
    pages = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    tables = logits(P, pages), logits(Q, pages)

    def laws(x: Tensor, t: float) -> tuple[Tensor, Tensor, float]:
        page = 3 * x[:, 0] + x[:, 1]
        return tables[0][page], tables[1][page], weight(t)

    return laws


def exact(weight: Callable[[float], float], pages: Tensor) -> Callable[[Tensor, float, int], Choice]:
    """Guidance of the exact laws, drawn for pages of these seeds."""
    laws = laws_of(weight)

    def predict(x: Tensor, t: float, call: int) -> Choice:
        return guided_unmask(*laws(x, t), seeds=pages, offset=call, masked=x == MASK)

    return predict
