"""Windows of episodes, as arithmetic on row numbers: nothing is tabulated, no window crosses an episode.

Every time step w of the data is the anchor of exactly one window. With first and last row of w's episode,

    observation rows  max(w - To + 1 + i, first),  i = 0 ... To - 1    the start repeats the first observation
    action rows       min(w + j, last),            j = 0 ... H - 1     the end repeats the last action
    valid[j]          w + j <= last                                    False on repeated actions

so the last observation and the first action belong to step w: Diffusion Policy (arXiv 2303.04137) without the
To - 1 past actions it also predicts. Finding an episode is a binary search over its ends.
"""

import numpy as np
from jaxtyping import Bool, Int, Int64

from stillhand.datasets.schema import Array


def boundaries(episode_ends: Int64[Array, " episodes"]) -> Int64[Array, " episodes_plus_1"]:
    """Where episodes start and end: 0, then the exclusive ends."""
    return np.concatenate([[0], episode_ends])


def locate(
    bounds: Int64[Array, " episodes_plus_1"], windows: Int[Array, " b"]
) -> tuple[Int[Array, " b"], Int[Array, " b"]]:
    """First and last row of each window's episode.

    Args:
        bounds: See `boundaries`.
        windows: Time steps 0 ... bounds[-1] - 1.
    """
    after = bounds.searchsorted(windows, side="right")
    return bounds.take(after - 1), bounds.take(after) - 1


def observation_rows(
    windows: Int[Array, " b"], first: Int[Array, " b"], observation_horizon: int
) -> Int[Array, "b t"]:
    """Rows of the observations each window looks at, oldest first."""
    rows = windows[:, None] + np.arange(1 - observation_horizon, 1)
    return np.maximum(rows, first[:, None])


def action_rows(
    windows: Int[Array, " b"], last: Int[Array, " b"], prediction_horizon: int
) -> tuple[Int[Array, "b h"], Bool[Array, "b h"]]:
    """Rows of the actions each window plans, and where they are not repetitions of the last one."""
    rows = windows[:, None] + np.arange(prediction_horizon)
    valid = rows <= last[:, None]
    return np.minimum(rows, last[:, None], out=rows), valid


def check_horizons(
    episode_ends: Int64[Array, " episodes"], observation_horizon: int, prediction_horizon: int
) -> None:
    """Refuse horizons below 1 and horizons that no episode fills.

    Episodes shorter than a horizon are padded like every episode's edges. If even the longest is shorter,
    every single window would hold invented steps, and the horizon is a mistake.

    Raises:
        ValueError: Naming the horizon and the longest episode.
    """
    horizons = {"observation_horizon": observation_horizon, "prediction_horizon": prediction_horizon}
    longest = int(np.diff(episode_ends, prepend=0).max())
    for name, horizon in horizons.items():
        if horizon < 1:
            raise ValueError(f"{name} is {horizon}, expected at least 1")
        if horizon > longest:
            raise ValueError(
                f"{name} is {horizon}, expected at most {longest}: the longest episode has {longest} steps"
            )
