"""Sets that Minari itself wrote; needs `minari[create,hdf5]`, which is no dependency. Tried with 0.5.4."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from stillhand.datasets.header import Told
from stillhand.datasets.minari import Minari

minari: Any = pytest.importorskip("minari")
pytest.importorskip("jax")  # Minari's collector needs it
# Its warnings, and those of its libraries, are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


def box(width: int) -> spaces.Box:
    return spaces.Box(-10, 10, (width,), np.float64)


SPACES: dict[str, tuple[spaces.Space[Any], tuple[str, ...]]] = {
    "vector": (box(5), ("observations",)),
    "goal": (spaces.Dict(observation=box(4), goal=box(2)), ("observations/observation", "observations/goal")),
    "nested": (
        spaces.Dict(a=spaces.Dict(b=box(3)), t=spaces.Tuple((box(1), box(2)))),
        ("observations/a/b", "observations/t/_index_1"),
    ),
}


class Toy(gymnasium.Env[Any, Any]):
    """Observations by chance; episodes of five steps, the last one cut off."""

    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, observed: spaces.Space[Any]) -> None:
        self.observation_space = observed

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.step_number = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.step_number += 1
        return self.observation_space.sample(), 0.5, False, self.step_number == 5, {}


def flat(observation: Any, names: tuple[str, ...]) -> np.ndarray:
    def part(name: str) -> np.ndarray:
        found = observation
        for key in name.split("/")[1:]:
            found = found[int(key.removeprefix("_index_"))] if key.startswith("_index_") else found[key]
        return np.asarray(found)

    return np.concatenate([part(name) for name in names], axis=1)


@pytest.mark.parametrize("kind", SPACES)
def test_sets_of_every_kind_of_observation(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    observed, names = SPACES[kind]
    env = minari.DataCollector(Toy(observed))
    for seed in (7, 8):
        env.reset(seed=seed)
        for _ in range(5):
            env.step(env.action_space.sample())
    about = {"algorithm_name": "none", "author": "x", "author_email": "x@y.z", "description": "toy"}
    own = env.create_dataset(f"toy/{kind}-v0", code_permalink="https://example.org", **about)
    found = list(Minari(names).open(tmp_path / f"toy/{kind}-v0", Told("toy", 20.0)).read())
    assert [episode.seed for episode in found] == [7, 8]
    for episode, theirs in zip(found, own.iterate_episodes(), strict=True):
        expected = flat(theirs.observations, names)[:-1].astype(np.float32)
        np.testing.assert_array_equal(episode.arrays["observation"], expected)
        np.testing.assert_array_equal(episode.arrays["action"], theirs.actions)
        np.testing.assert_array_equal(episode.arrays["timeout"], theirs.truncations)
