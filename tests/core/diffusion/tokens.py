"""Two tokens of two values, whose laws are exact: P for the condition, Q without it."""

from collections.abc import Callable

import torch
from torch import Tensor

from stillhand.core.diffusion.discrete_guidance import Guided, guide

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


def exact(
    weight: Callable[[float], float], p: Tensor = P, q: Tensor = Q
) -> Callable[[Tensor, float], Guided]:
    """Guidance of the exact laws; every page is worked out once."""
    pages = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    tables = logits(p, pages), logits(q, pages)

    def predict(x: Tensor, t: float) -> Guided:
        page = 3 * x[:, 0] + x[:, 1]
        return guide(tables[0][page], tables[1][page], weight(t))

    return predict
