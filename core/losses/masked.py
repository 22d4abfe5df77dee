"""Cross-entropy of masked tokens, weighted to the bound on their likelihood.

    L = (m'(t) / m(t)) (1 / l) sum over masked places of -log p(x_0 | x_t)

In expectation over t ~ U(0, 1) and the masks, an upper bound of the negative log-likelihood per token
([MDLM] Eq. 11; for m(t) = t the weight is 1 / t). Reduction: mean over the tokens of a sample.
References: [MDLM] Sahoo et al. 2024, arXiv 2406.07524.
"""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from stillhand.core.diffusion.discrete import check_tokens
from stillhand.core.shapes import Info, Law, Tokens


def masked_loss(
    logits: Law, x0: Tokens, masked: Bool[Tensor, "b l"], weight: Float[Tensor, " b"] | None = None
) -> tuple[Float[Tensor, " b"], Info]:
    """Per-sample loss.

    Args:
        logits: Of the V tokens, without the mask.
        x0: Clean tokens in 0..V-1.
        masked: Which of them the network could not see; for uniform corruption all.
        weight: m'(t) / m(t); None is 1.

    Returns:
        Loss (b,), and `masked/accuracy`: the share of masked tokens that the likeliest guess hits.

    Raises:
        ValueError: A token out of range.
    """
    check_tokens(x0, logits.shape[-1])
    each = F.cross_entropy(logits.float().transpose(1, 2), x0, reduction="none").where(masked, 0.0)
    loss = each.mean(1) if weight is None else weight * each.mean(1)
    right = (logits.detach().argmax(-1) == x0) & masked
    accuracy = right.sum(1) / masked.sum(1).clamp_min(1)
    return loss, {"masked/accuracy": accuracy}
