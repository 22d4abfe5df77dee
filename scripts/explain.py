"""What `stillhand STAGE --help` prints: what a stage does, its options and its settings, explained.

Nothing is written twice. A stage's purpose is its module's docstring, a setting's meaning is the line about
it in the `Args:` of the class that takes it, an option's is the comment that opens its file, and the values
are those of the composed configuration: `stillhand train method=em --help` shows what that run would use.
Classes named by `_target_` are read, not imported: help needs no torch.
"""

import ast
import inspect
import itertools
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import OmegaConf

from stillhand.core.settings import Settings
from stillhand.scripts.main import POSITIONAL, module_of
from stillhand.scripts.stage import ROOT, check_method

CONFIGS = ROOT / "configs"
WIDTH, COLUMN = 110, 36  # of the text, and where explanations begin
ARGUMENT = re.compile(r" {4}(\w+(?:, \w+)*): (.*)")  # of a Google-style docstring

Rows = Iterator[tuple[str, str]]
"""What can be written on the command line, and what it means."""


def show(stage: str, words: Sequence[str]) -> None:
    """Print the help of a stage, given the words after its name; exit code 1 if these cannot be."""
    try:
        print(explain(stage, [word for word in words if "=" in word or word.startswith("~")]))
    except (ValueError, HydraException) as error:
        print(f"stillhand {stage}: error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


def explain(stage: str, overrides: Sequence[str]) -> str:
    """The help of a stage, with the values it would have after these overrides.

    Raises:
        ValueError, HydraException: If the stage cannot run with them.
    """
    module = module_of(stage)  # registers the schema
    schema: type = getattr(module, f"{stage.capitalize()}Config")
    config = composed(stage, overrides)
    positional = f" {POSITIONAL[stage].upper()}" if stage in POSITIONAL else ""
    options = _paragraph(_options(stage, overrides))
    parts = [
        f"usage: stillhand {stage}{positional} [key=value ...]",
        inspect.cleandoc(module.__doc__ or ""),
        *([f"Options, chosen as group=option:\n{options}"] if options else []),
        f"Settings and their values:\n{_paragraph(_settings(config, arguments(schema), config))}",
        f"stillhand {stage}{positional} --cfg job prints the whole configuration, options included;\n"
        f"stillhand {stage} --hydra-help prints Hydra's own flags.",
    ]
    return "\n\n".join(parts)


def composed(stage: str, overrides: Sequence[str]) -> dict[str, Any]:
    """A stage's configuration as plain data, its interpolations kept; an option not yet chosen is left out.

    Raises:
        ValueError: If the method belongs to another stage.
        HydraException: If Hydra cannot compose it.
    """
    given = {word.split("=")[0] for word in overrides}
    left_out = [f"~{group}" for group, option in _groups(stage) if option == "???" and group not in given]
    with initialize_config_module("stillhand.configs", version_base="1.3"):
        data = OmegaConf.to_container(compose(stage, [*left_out, *overrides]))
    assert isinstance(data, dict)
    if "distillation" in data:
        check_method(stage, {str(key): value for key, value in data.items()})
    return {str(key): value for key, value in data.items()}


def arguments(described: object) -> dict[str, str]:
    """What the docstrings of a class and its bases, or a docstring alone, say of each argument."""
    classes = reversed(described.__mro__[:-1]) if isinstance(described, type) else ()
    texts = [described] if isinstance(described, str) else [c.__doc__ for c in classes]
    found: dict[str, str] = {}
    for text in texts:
        names: list[str] = []
        for line in inspect.cleandoc(text or "").partition("Args:\n")[2].splitlines():
            if not line.startswith("    "):
                break
            if match := ARGUMENT.fullmatch(line):
                names = match[1].split(", ")
                found |= dict.fromkeys(names, match[2])
            else:
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def documented(target: str) -> dict[str, str]:
    """`arguments` of a class or function of ours, from its source."""
    module, _, name = target.removeprefix("stillhand.").rpartition(".")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    kinds = ast.ClassDef | ast.FunctionDef
    nodes = (node for node in tree.body if isinstance(node, kinds) and node.name == name)
    return arguments(ast.get_docstring(next(nodes)) or "")


def _groups(stage: str) -> list[tuple[str, str]]:
    """The groups a stage's configuration chooses from, and their defaults."""
    defaults = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{stage}.yaml"))
    assert isinstance(defaults, dict)
    return [item for entry in defaults["defaults"] if isinstance(entry, dict) for item in entry.items()]


def _options(stage: str, overrides: Sequence[str]) -> Rows:
    """Every option of every group that this stage can run with, and what its file says of it."""
    for group, default in _groups(stage):
        others = [word for word in overrides if not word.startswith(f"{group}=")]
        for path in sorted((CONFIGS / group).glob("*.yaml")):
            option = f"{group}={path.stem}"
            if group != "method" or _fits(stage, [*others, option]):  # the one group that stages share out
                yield option, ("[default] " if path.stem == default else "") + _comment(path)


def _fits(stage: str, overrides: Sequence[str]) -> bool:
    try:
        composed(stage, overrides)
    except (ValueError, HydraException):
        return False
    return True


def _comment(path: Path) -> str:
    """The first sentence of the comment at the top."""
    top = itertools.takewhile(lambda line: line.startswith("# "), path.read_text().splitlines())
    text = " ".join(line[2:] for line in top if not line.startswith("# @package"))
    return text.split(". ")[0].removesuffix(".") + "."


def _settings(
    config: Mapping[str, Any], meanings: Mapping[str, str], whole: Mapping[str, Any], place: str = ""
) -> Rows:
    """Every leaf; what a group of the same name holds is shown as options."""
    for key, value in config.items():
        if key in ("_target_", "_partial_") or (not place and (CONFIGS / key).is_dir()):
            continue
        if isinstance(value, dict):
            inner = documented(_target(value, whole)) if "_target_" in value else {}
            inner = arguments(Settings) if key == "training" and not place else inner
            yield from _settings(value, inner, whole, f"{place}{key}.")
        else:
            yield f"{place}{key}={_shown(value)}", meanings.get(key, "")


def _target(node: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """The class a node names, itself or by reference: a task says which model of its domain is meant."""
    name = str(node["_target_"])
    return str(OmegaConf.select(OmegaConf.create({**whole}), name[2:-1])) if name.startswith("${") else name


def _shown(value: object) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_shown, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _paragraph(rows: Rows) -> str:
    """Two columns; a long first cell puts its text on the next line."""
    indent = " " * COLUMN
    lines = []
    for name, text in rows:
        wrapped = textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
        fits = len(name) + 4 <= COLUMN
        lines.append(f"  {name}".ljust(COLUMN) + wrapped[COLUMN:] if fits else f"  {name}\n{wrapped}")
    return "\n".join(line.rstrip() for line in lines)
