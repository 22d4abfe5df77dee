"""D4RL's normalized score: 0 for a random policy's return, 100 for an expert's.

    score = 100 (R - random) / (expert - random),   R the undiscounted return of an episode
                                                                    arXiv 2004.07219, Section 4
The returns are the constants that D4RL publishes (`infos.py` of Farama-Foundation/D4RL), 147 data sets. One
pair serves all data sets of an environment, whatever their quality and version.
"""

from itertools import product
from typing import NamedTuple


class Reference(NamedTuple):
    """Returns of an environment.

    Args:
        random: Of a policy that acts at random.
        expert: Of D4RL's reference expert.
    """

    random: float
    expert: float


_REPLAYED = ("random", "medium", "expert", "medium-expert", "medium-replay")
_MAZES = ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")
_HAND = ("human", "cloned", "expert")

_LOCOMOTION = {
    "ant": Reference(-325.6, 3879.7),
    "halfcheetah": Reference(-280.178953, 12135.0),
    "hopper": Reference(-20.272305, 3234.3),
    "walker2d": Reference(1.629008, 4592.3),
}
_BULLET = {
    "bullet-ant": Reference(373.705955, 2650.495),
    "bullet-halfcheetah": Reference(-1275.766996, 2381.6725),
    "bullet-hopper": Reference(20.058972, 1441.8059623430963),
    "bullet-walker2d": Reference(16.523877, 1623.6476303317536),
}
_ADROIT = {
    "door": Reference(-56.512833, 2880.5693087298737),
    "hammer": Reference(-274.856578, 12794.134825156867),
    "pen": Reference(96.262799, 3076.8331017826877),
    "relocate": Reference(-6.425911, 4233.877797728884),
}
_SINGLE = {
    "bullet-maze2d-large-v0": Reference(1.82, 285.92),
    "bullet-maze2d-medium-v0": Reference(14.87, 238.05),
    "bullet-maze2d-open-v0": Reference(8.75, 64.15),
    "bullet-maze2d-umaze-v0": Reference(32.46, 153.99),
    "carla-lane-v0": Reference(-0.8503839912088142, 1023.5784385429523),
    "carla-town-v0": Reference(-114.81579500772153, 2440.1772022247314),
    "flow-merge-controller-v0": Reference(118.67993, 330.03179),
    "flow-merge-random-v0": Reference(118.67993, 330.03179),
    "flow-ring-controller-v0": Reference(-165.22, 24.42),
    "flow-ring-random-v0": Reference(-165.22, 24.42),
    "maze2d-large-dense-v1": Reference(30.569041, 303.4857382709002),
    "maze2d-large-v1": Reference(6.7, 273.99),
    "maze2d-medium-dense-v1": Reference(44.264742, 297.4552547777125),
    "maze2d-medium-v1": Reference(13.13, 277.39),
    "maze2d-open-dense-v0": Reference(11.17817, 27.166538620695782),
    "maze2d-open-v0": Reference(0.01, 20.66),
    "maze2d-umaze-dense-v1": Reference(68.537689, 193.66285642381482),
    "maze2d-umaze-v1": Reference(23.85, 161.86),
    "minigrid-fourrooms-random-v0": Reference(0.01442, 2.89685),
    "minigrid-fourrooms-v0": Reference(0.01442, 2.89685),
}


def _named(
    pairs: dict[str, Reference], qualities: tuple[str, ...], versions: tuple[int, ...]
) -> dict[str, Reference]:
    return {f"{env}-{q}-v{v}": pair for (env, pair), q, v in product(pairs.items(), qualities, versions)}


REFERENCES = {
    **_named(_LOCOMOTION, _REPLAYED, (0, 1, 2)),
    **_named(_LOCOMOTION, ("full-replay",), (1, 2)),
    **_named(_BULLET, _REPLAYED, (0,)),
    **_named(_ADROIT, _HAND, (0, 1)),
    **_named({"antmaze": Reference(0.0, 1.0)}, _MAZES, (0, 2)),
    **_named({"kitchen": Reference(0.0, 4.0)}, ("complete", "partial", "mixed"), (0,)),
    **_SINGLE,
}


def normalized_score(dataset: str, returned: float) -> float:
    """Normalized score of an episode's return; below 0 and above 100 are possible.

    Args:
        dataset: D4RL's name, such as "hopper-medium-v2".
        returned: Sum of rewards.

    Raises:
        ValueError: If D4RL has no such data set; names the nearest.
    """
    pair = REFERENCES.get(dataset)
    if pair is None:
        near = [name for name in REFERENCES if name.split("-")[0] == dataset.split("-")[0]]
        raise ValueError(f"no D4RL data set {dataset!r}; expected one of {near or sorted(REFERENCES)}")
    return 100 * (returned - pair.random) / (pair.expert - pair.random)
