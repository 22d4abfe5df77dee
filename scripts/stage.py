"""What all stages share: help, plain configurations, one message per error, and where a result came from."""

import functools
import importlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).resolve().parent.parent
HELP = {"-h", "--help"}
SIMULATORS = ("mujoco", "robosuite", "gym-pusht", "pymunk", "metaworld", "gymnasium", "gymnasium-robotics")
CONFIGS = "pkg://stillhand.configs"


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain data, interpolations resolved.

    Raises:
        ValueError: If a mandatory value is missing.
    """
    missing = sorted(_missing(OmegaConf.to_container(config, resolve=False)))
    if missing:
        raise ValueError(f"no value for {', '.join(missing)}; give it as key=value")
    data = OmegaConf.to_container(config, resolve=True)
    if not isinstance(data, dict):
        raise ValueError(f"the configuration is a {type(data).__name__}, expected a mapping")
    return {str(key): value for key, value in data.items()}


def _missing(node: Any, place: str = "") -> Iterator[str]:
    """Keys without a value; what only refers to them is not named."""
    if node == "???":
        yield place
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _missing(value, f"{place}.{key}" if place else str(key))


def check_method(stage: str, config: Mapping[str, Any]) -> None:
    """A method with a teacher belongs to `distill`, one without to `train`.

    Raises:
        ValueError: Says which stage to use.
    """
    method = config["name"]
    right, made = ("train", "trained") if config["distillation"] is None else ("distill", "distilled")
    if stage != right:
        raise ValueError(f"method={method} is {made}: use stillhand {right} method={method}")


def at_least(config: Mapping[str, Any], **bounds: int) -> None:
    """Refuse settings below their bounds.

    Raises:
        ValueError: Names the setting and its value.
    """
    for name, bound in bounds.items():
        if config[name] < bound:
            raise ValueError(f"{name} must be at least {bound}, got {config[name]}")


def one_message(stage: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """Turn an expected error into one line on stderr and exit code 1; anything else keeps its traceback."""

    @functools.wraps(stage)
    def run(config: DictConfig) -> None:
        try:
            stage(config)
        except (ValueError, OSError, FloatingPointError) as error:
            print(f"{sys.argv[0]}: error: {error}", file=sys.stderr)
            raise SystemExit(1) from error

    return run


def command(name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make a function of a configuration the `main` of the stage `name`: Hydra, one message, and its help."""

    def decorate(stage: Callable[[DictConfig], None]) -> Callable[[], None]:
        configured = hydra.main(version_base="1.3", config_path=CONFIGS, config_name=name)(one_message(stage))

        @functools.wraps(stage)
        def main() -> None:
            if HELP & {*sys.argv[1:]}:
                importlib.import_module("stillhand.scripts.explain").show(name, sys.argv[1:])
            else:
                configured()

        return main

    return decorate


def writable_folder(path: str) -> Path:
    """Create a folder for results, or say why that cannot be.

    Raises:
        ValueError: If the path is a file or may not be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"cannot write to {path!r}: {error.strerror}") from error
    return folder


@functools.cache  # a run has one commit, also when the clone moves on meanwhile
def commit() -> str:
    """Short hash of the source, with `-dirty` when it differs; "unknown" outside a clone.

    An installed copy may lie inside someone else's repository, whose hash would say nothing of this source.
    """
    try:
        own = _git("ls-files", "--full-name", "--error-unmatch", "pyproject.toml") == "pyproject.toml"
        return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") if own else "unknown"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    names = ("stillhand", "torch", "numpy", "zarr", *SIMULATORS)
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def device() -> str:
    """The processor, as the operating system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)" if names else platform.machine()
