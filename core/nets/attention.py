"""Self-attention of all tokens with all, in the form that trains fastest.

    softmax(q k^T / sqrt(d)) v      per head, d numbers each

Written out on a CPU: the backward pass of torch's fused kernel takes five times as long there in bfloat16 (49
tokens, 6 heads of 32: 82 ms against 17 forward and backward, batch 64), and is no faster in float32.
Elsewhere the fused kernel, whose memory does not grow with the square of the tokens.
References: Vaswani et al. 2017, arXiv 1706.03762.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Heads = Float[Tensor, "b heads tokens d"]


def self_attention(qkv: Float[Tensor, "b tokens three_width"], heads: int) -> Float[Tensor, "b tokens width"]:
    """Values of all tokens, weighed by how well their keys fit each token's query.

    Args:
        qkv: Queries, keys and values side by side.
        heads: Divides the width.
    """
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind()
    attended = _products(q, k, v) if qkv.device.type == "cpu" else F.scaled_dot_product_attention(q, k, v)
    return attended.transpose(1, 2).flatten(2)


def attend(q: Heads, k: Heads, v: Heads) -> Heads:
    """The same per head, written out for bfloat16 on a CPU alone: in float32 the fused kernel is faster."""
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16
    return _products(q, k, v) if slow else F.scaled_dot_product_attention(q, k, v)


def _products(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(b, heads, tokens, d) each; bfloat16 products, but no bfloat16 softmax: its rows would not sum to 1."""
    fit = (q @ k.transpose(2, 3)) * q.shape[3] ** -0.5
    weights = torch.softmax(fit, dim=3, dtype=torch.promote_types(fit.dtype, torch.float32))
    return weights.to(v.dtype) @ v
