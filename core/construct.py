"""Objects from plain data: a mapping with `_target_` becomes a call of an allow-listed constructor.

    {"_target_": "stillhand.core.nets.mlp.DenoisingMLP", "width": 256, "_partial_": true}

Hydra's notation, but the name is looked up in a given table instead of being imported, so neither a
configuration nor a checkpoint's card can run code of its own; and every value is checked against the
constructor's annotation first, so that a mistyped key or value is named before any work starts.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from beartype.door import is_bearable

Allowed = Mapping[str, Callable[..., Any]]


def allow(targets: Iterable[Callable[..., Any]]) -> Allowed:
    """The table of an allow-list: dotted name -> constructor."""
    return {f"{t.__module__}.{t.__qualname__}": t for t in targets}


def construct(node: Mapping[str, Any], allowed: Allowed, **runtime: Any) -> Any:
    """Build the object a mapping describes; nested mappings first.

    Args:
        node: Plain data; `_target_` names the constructor, `_partial_: true` leaves it to be called later.
        allowed: What may be named.
        runtime: Further keyword arguments, known only now (shapes, specifications).

    Raises:
        ValueError: Names the target and the offending key, value or type.
    """
    name = node.get("_target_")
    if not isinstance(name, str) or name not in allowed:
        raise ValueError(f"_target_ {name!r} is not on the allow-list: {', '.join(sorted(allowed))}")
    partial = node.get("_partial_", False)
    arguments = {k: _value(v, allowed) for k, v in node.items() if k not in ("_target_", "_partial_")}
    checked = _bind(name, allowed[name], {**arguments, **runtime}, partial=partial)
    return functools.partial(allowed[name], **checked) if partial else allowed[name](**checked)


def _value(value: Any, allowed: Allowed) -> Any:
    if isinstance(value, Mapping) and "_target_" in value:
        return construct(value, allowed)
    if isinstance(value, Mapping):
        return {k: _value(v, allowed) for k, v in value.items()}
    return [_value(v, allowed) for v in value] if isinstance(value, list) else value


def _bind(name: str, target: Callable[..., Any], arguments: dict[str, Any], partial: bool) -> dict[str, Any]:
    """Arguments with YAML's spellings adjusted (list for tuple, int for float), checked one by one."""
    signature = inspect.signature(target)
    unknown = set(arguments) - set(signature.parameters)
    if unknown:
        raise ValueError(f"{name} has no parameter {sorted(unknown)}; it takes {list(signature.parameters)}")
    try:
        (signature.bind_partial if partial else signature.bind)(**arguments)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error
    owner = target.__init__ if inspect.isclass(target) else target
    hints = typing.get_type_hints(owner)
    return {k: _checked(f"{name}: {k}", v, hints.get(k, Any)) for k, v in arguments.items()}


def _checked(label: str, value: Any, hint: Any) -> Any:
    choices = (hint, *typing.get_args(hint))
    if isinstance(value, list) and any(typing.get_origin(kind) is tuple for kind in choices):
        value = tuple(value)
    optional = typing.get_args(hint) in ((float, type(None)), (type(None), float))
    if type(value) is int and (hint is float or optional):
        value = float(value)
    if not is_bearable(value, hint):
        raise ValueError(f"{label} must be {getattr(hint, '__name__', hint)}, got {value!r}")
    return value
