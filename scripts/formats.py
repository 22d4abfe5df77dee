"""The formats of demonstrations by their configurations, and what a user may tell about a file."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from stillhand.core.construct import allow, construct
from stillhand.datasets.d4rl import D4rl
from stillhand.datasets.episodes import Episode
from stillhand.datasets.exchange import Format, Stored, Writable
from stillhand.datasets.header import Told
from stillhand.datasets.lerobot import LeRobot
from stillhand.datasets.minari import Minari
from stillhand.datasets.replay import Replay
from stillhand.datasets.robomimic import Robomimic
from stillhand.envs.teleoperation import Teleoperation

ALLOWED = allow([D4rl, LeRobot, Minari, Replay, Robomimic, Stored, Teleoperation])


def format_of(node: Mapping[str, Any]) -> Format:
    """A format that can be read.

    Raises:
        ValueError: Names the option that is wrong.
    """
    found: Format = construct(node, ALLOWED)
    return found


def writable_of(node: Mapping[str, Any]) -> Writable:
    """A format that can be written.

    Raises:
        ValueError: Names the option that is wrong, or says that the format is only read.
    """
    found = format_of(node)
    if not isinstance(found, Writable):
        raise ValueError(f"format={type(found).__name__.lower()} is only read, not written")
    return found


def watched(episodes: Iterable[Episode], total: int) -> Iterator[Episode]:
    """The same episodes, with a progress bar on stderr."""
    from tqdm import tqdm

    yield from tqdm(episodes, total=total, desc="episodes")


def told_of(config: Mapping[str, Any], looking: bool = False) -> Told:
    """What the settings of a stage say about a file; `looking` keeps nothing, and asks for nothing.

    Raises:
        ValueError: If a control rate is not positive.
    """
    rate = config["control_hz"]
    if rate is not None and not rate > 0:
        raise ValueError(f"control_hz must be positive, got {rate}")
    return Told(config["name"], rate, config["observation_unit"], config["action_unit"], looking)
