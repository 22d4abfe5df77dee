"""Whether a teacher fits a training: it learnt from the same data, and a student can start from its weights.

Weights say nothing of what has no parameters: a network of 4 heads loads those of 8 without a word and
computes something else. The descriptions are compared instead, defaults filled in. Dropout may differ: it is
no part of what a trained network computes.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from stillhand.core.checkpoint import Card, Checkpoint
from stillhand.core.construct import Allowed, construct

FREE = ("dropout",)


def check_data(found: Checkpoint, card: Card, what: str = "teacher") -> None:
    """A teacher is distilled on what it was trained on; an encoder and a warm-up are used on that, too.

    Args:
        found: The teacher.
        card: Of the run that learns from it.
        what: The teacher's kind, for messages.

    Raises:
        ValueError: Names both fingerprints.
    """
    learnt, own = (one["dataset"]["fingerprint"] for one in (found.card, card))
    if learnt != own:
        raise ValueError(
            f"{found.folder}: this {what} learnt from data with the fingerprint {learnt}, but those of this "
            f"run have {own}; use what the {what} was trained on"
        )


def check_network(found: Checkpoint, card: Card, part: str, allowed: Allowed, what: str = "teacher") -> None:
    """A student that starts from its teacher's weights has its network.

    Args:
        found: The teacher.
        card: Of the run that learns from it.
        part: Key of both cards that describes the model, with its `net`.
        allowed: What the descriptions may name.
        what: The teacher's kind, for messages.

    Raises:
        ValueError: Names the key and both values.
    """
    theirs, own = (one[part]["net"] for one in (found.card, card))
    check_same(found, theirs, own, "model.net", allowed, what)


def check_same(
    found: Checkpoint,
    theirs: Mapping[str, Any],
    own: Mapping[str, Any],
    name: str,
    allowed: Allowed,
    what: str,
    free: Sequence[str] = FREE,
) -> None:
    """Two descriptions of a network agree, defaults filled in.

    Args:
        found: Where theirs is from.
        theirs, own: The descriptions.
        name: Where the latter stands in the configuration.
        allowed: What the descriptions may name.
        what: The kind of the other model, for messages.
        free: What may differ.

    Raises:
        ValueError: Names the key and both values.
    """
    before, now = settled(theirs, allowed), settled(own, allowed)
    for key in sorted({*before, *now} - {*free}):
        if before.get(key) != now.get(key):
            raise ValueError(
                f"{found.folder}: this {what}'s network has {key}={before.get(key)!r}, but {name} has "
                f"{key}={now.get(key)!r}; what starts from its weights needs its network"
            )


def settled(net: Mapping[str, Any], allowed: Allowed) -> dict[str, Any]:
    """All arguments of a described network, those left at their defaults too."""
    made = construct(net, allowed)
    parameters = inspect.signature(made.func).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {"_target_": net["_target_"], **defaults, **made.keywords}
