"""Recording demonstrations."""

from collections.abc import Sequence

import numpy as np
import pytest

from stillhand.envs.avoiding import Avoiding
from stillhand.envs.experts import AvoidingExpert
from stillhand.envs.record import record


class Stubborn:
    """Fails in the first `failures` batches, by standing still; otherwise the scripted expert."""

    def __init__(self, failures: int, shift: int = 0) -> None:
        self.batches: list[Sequence[int]] = []
        self.failures = failures
        self.shift = shift

    def __call__(self, modes: Sequence[int], seeds: Sequence[int]) -> "AvoidingExpert | Still":
        self.batches.append(seeds)
        if len(self.batches) > self.failures:
            return AvoidingExpert(modes, seeds)
        return AvoidingExpert([(m + self.shift) % 24 for m in modes], seeds) if self.shift else Still()


class Still:
    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.zeros((len(observation), 2))


def test_modes_in_turn_and_replayable() -> None:
    progress: list[int] = []
    recording = record(Avoiding(), AvoidingExpert, 30, seed=1, progress=progress.append)
    assert [episode.mode for episode in recording.episodes] == [i % 24 for i in range(30)]
    assert (recording.failed, recording.other_mode, sum(progress)) == (0, 0, 30)
    episode, env = recording.episodes[5], Avoiding()
    observation = env.reset([episode.seed])
    for seen, action in zip(episode.arrays["observation"], episode.arrays["action"], strict=True):
        np.testing.assert_array_equal(observation[0], seen)  # what was seen before this action
        step = env.step(action[None])
        observation = step.observation
    assert step.success[0] and env.mode()[0] == 5


def test_seeds_are_fresh_and_reproducible() -> None:
    first, again, other = (record(Avoiding(), AvoidingExpert, 3, seed) for seed in (0, 0, 1))
    for a, b in zip(first.episodes, again.episodes, strict=True):
        np.testing.assert_array_equal(a.arrays["action"], b.arrays["action"])
    assert not {e.seed for e in first.episodes} & {e.seed for e in other.episodes}
    assert len({e.seed for e in first.episodes}) == 3
    # an episode does not depend on how many are recorded
    assert record(Avoiding(), AvoidingExpert, 1, 0).episodes[0].seed == first.episodes[0].seed


def test_failures_are_tried_again_with_further_seeds() -> None:
    expert = Stubborn(failures=2)
    recording = record(Avoiding(), expert, 2, seed=0)
    assert (recording.failed, recording.other_mode) == (4, 0)
    assert [episode.mode for episode in recording.episodes] == [0, 1]
    assert len({seed for batch in expert.batches for seed in batch}) == 6


def test_success_in_another_mode_is_discarded() -> None:
    recording = record(Avoiding(), Stubborn(failures=1, shift=1), 2, seed=0)
    assert (recording.failed, recording.other_mode) == (0, 2)
    assert [episode.mode for episode in recording.episodes] == [0, 1]


def test_gives_up_on_a_broken_expert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillhand.envs.record.ATTEMPTS", 2)
    with pytest.raises(ValueError, match=r"failed 2 times at episode 0 \(mode 0\); 0 of 1"):
        record(Avoiding(), Stubborn(failures=2), 1, seed=0)


def test_gives_up_early_when_nothing_ever_succeeds() -> None:
    expert = Stubborn(failures=2)
    with pytest.raises(ValueError, match=r"failed 1 times at episode 0 \(mode 0\); 0 of 12"):
        record(Avoiding(), expert, 12, seed=0)
    assert len(expert.batches) == 1


@pytest.mark.parametrize(("episodes", "seed"), [(0, 0), (1, -1)])
def test_refuses_bad_input(episodes: int, seed: int) -> None:
    with pytest.raises(ValueError, match="need episodes >= 1 and seed >= 0"):
        record(Avoiding(), AvoidingExpert, episodes, seed)


def test_noise_is_executed_and_not_recorded() -> None:
    plain, disturbed = (record(Avoiding(), AvoidingExpert, 2, 0, noise=noise) for noise in (0.0, (0.001, 0)))
    for seeds in zip(plain.episodes, disturbed.episodes, strict=True):
        assert seeds[0].seed == seeds[1].seed
    episode, env = disturbed.episodes[0], Avoiding()
    rng = np.random.default_rng(np.random.SeedSequence(episode.seed, spawn_key=(3,)))
    observation = env.reset([episode.seed])
    for seen, action in zip(episode.arrays["observation"], episode.arrays["action"], strict=True):
        np.testing.assert_array_equal(observation[0], seen)
        step = env.step(action[None] + [0.001, 0] * rng.standard_normal((1, 2)))
        observation = step.observation
    assert step.success[0]


def test_recorded_noise_is_what_was_executed() -> None:
    intended, executed = (
        record(Avoiding(), AvoidingExpert, 1, 0, noise=0.001, noise_recorded=r).episodes[0].arrays
        for r in (False, True)
    )
    # executed in float32, not in float64: nearly the same way
    np.testing.assert_allclose(intended["observation"], executed["observation"], atol=1e-6)
    assert executed["action"].dtype == intended["action"].dtype == np.float32  # a store takes nothing else
    gap = executed["action"] - intended["action"]
    assert 0.0008 < gap.std() < 0.0012
    env, observation = Avoiding(), executed["observation"][:1]
    env.reset([record(Avoiding(), AvoidingExpert, 1, 0, noise=0.001).episodes[0].seed])
    for seen, action in zip(executed["observation"], executed["action"], strict=True):
        np.testing.assert_array_equal(observation[0], seen)
        observation = env.step(action[None]).observation


class Narrow(Avoiding):
    """Room for two episodes."""

    capacity = 2

    def reset(self, seeds: Sequence[int]) -> np.ndarray:
        assert len(seeds) <= 2
        return super().reset(seeds)


def test_room_for_few_episodes_changes_nothing() -> None:
    for a, b in zip(*(record(e, AvoidingExpert, 5, 0).episodes for e in (Avoiding(), Narrow())), strict=True):
        np.testing.assert_array_equal(a.arrays["observation"], b.arrays["observation"])


@pytest.mark.parametrize("noise", [-0.1, (0.1, 0.1, 0.1), float("nan"), float("inf")])
def test_refuses_bad_noise(noise: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="noise must be one finite number or 2, none negative"):
        record(Avoiding(), AvoidingExpert, 1, 0, noise=noise)
