"""How a policy of tokens decodes: set anew by an entry of a group, and said in a controller's card.

sampling: {weight: {_target_: stillhand.core.diffusion.discrete_guidance.Constant, weight: 3.0}}
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any

from stillhand.core.construct import Allowed, construct
from stillhand.core.diffusion.decoding import Decoding


def redecoded(present: Decoding, where: str, changes: Mapping[str, Any], allowed: Allowed) -> Decoding:
    """A decoding, with some of `way`, `schedule` and `weight` set anew.

    Args:
        present: As the checkpoint has it.
        where: The entry's key, for messages.
        changes: Field -> description.
        allowed: What a description may name.

    Raises:
        ValueError: A field that is none, or a description of a wrong type or with a wrong value.
    """
    fields = {f.name: getattr(present, f.name) for f in dataclasses.fields(present)}
    target = f"{Decoding.__module__}.{Decoding.__qualname__}"
    try:
        made: Decoding = construct({"_target_": target, **fields, **changes}, allowed)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return made


def described(value: object) -> Any:
    """A decoding or a part of it as plain data: dataclasses by name and fields, functions by name."""
    if dataclasses.is_dataclass(value):
        own = {f.name: described(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **own}
    function = value.func if isinstance(value, partial) else value
    return getattr(function, "__name__", value)
