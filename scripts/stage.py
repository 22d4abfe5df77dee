"""What all stages share: plain configurations, one clear message per error, and where a result came from."""

import functools
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).resolve().parent.parent


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain data, interpolations resolved.

    Raises:
        ValueError: If a mandatory value is missing.
    """
    missing = OmegaConf.missing_keys(config)
    if missing:
        raise ValueError(f"no value for {', '.join(sorted(missing))}; give it as key=value")
    data = OmegaConf.to_container(config, resolve=True)
    if not isinstance(data, dict):
        raise ValueError(f"the configuration is a {type(data).__name__}, expected a mapping")
    return {str(key): value for key, value in data.items()}


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


def commit() -> str:
    """Short hash of the source, with `-dirty` when it differs; "unknown" outside a clone."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    names = ("stillhand", "torch", "numpy", "mujoco", "robosuite", "zarr")
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
