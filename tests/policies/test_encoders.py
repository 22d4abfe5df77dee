import math
from typing import Any

import numpy as np
import pytest
import torch

from stillhand.datasets.schema import Spec
from stillhand.policies.encoders import StateEncoder

SPEC = Spec(task="toy", observation_dim=3, action_dim=2, control_hz=20.0)


def encoder(octaves: int) -> StateEncoder:
    made = StateEncoder(spec=SPEC, octaves=octaves)
    made.normalizer.shift.copy_(torch.tensor([1.0, -2.0, 0.0]))
    made.normalizer.scale.copy_(torch.tensor([0.5, 4.0, 1.0]))
    return made


@pytest.mark.parametrize("octaves", [0, 1, 5])
def test_one_token_per_step_of_the_stated_width(octaves: int) -> None:
    made = encoder(octaves)
    assert made.width == 3 * (1 + 2 * octaves)
    assert made(torch.zeros(4, 2, 3)).shape == (4, 2, made.width)


def test_no_octaves_pass_the_normalized_state_on() -> None:
    observation = torch.tensor([[[1.5, 2.0, -0.3]]])
    torch.testing.assert_close(encoder(0)(observation), torch.tensor([[[1.0, 1.0, -0.3]]]))


def test_waves_are_of_the_normalized_state() -> None:
    tokens = encoder(2)(torch.tensor([[[1.5, 2.0, -0.3]]]))[0, 0]
    phases = [z * math.pi / 4 * k for z in (1.0, 1.0, -0.3) for k in (1, 2)]
    expected = [1.0, 1.0, -0.3, *map(math.sin, phases), *map(math.cos, phases)]
    assert tokens.tolist() == pytest.approx(expected, abs=1e-6)


def test_each_step_is_encoded_alone() -> None:
    window = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    made = encoder(3)
    torch.testing.assert_close(made(window)[:, 1:2], made(window[:, 1:2]))


def test_the_normalizer_travels_with_the_weights() -> None:
    made, fresh = encoder(2), StateEncoder(spec=SPEC, octaves=2)
    state: dict[str, Any] = made.state_dict()
    assert set(state) == {"normalizer.shift", "normalizer.scale"}
    fresh.load_state_dict(state)
    observation = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fresh(observation), made(observation))


def test_differences_are_further_entries_with_a_scale_of_their_own() -> None:
    rows = np.array([[0.0, 5, 1], [4, 5, 2], [8, 5, 3]], np.float32)
    made = StateEncoder(spec=SPEC, octaves=0, differences=[[2, 0], [1, 1]])
    made.fit(rows)
    tokens = made(torch.from_numpy(rows)[None])[0].numpy()
    assert tokens.shape == (3, 5) == (3, made.width)
    unit = np.sqrt(1.5)
    np.testing.assert_allclose(tokens[:, 0], [-unit, 0, unit], atol=1e-6)
    np.testing.assert_allclose(tokens[:, 3], [unit, 0, -unit], atol=1e-6)  # 1, -2, -5
    np.testing.assert_array_equal(tokens[:, 4], 0)  # a constant is only centred
    assert set(made.state_dict()) == {"normalizer.shift", "normalizer.scale"}


def test_without_differences_nothing_is_changed() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    plain, with_one = (StateEncoder(spec=SPEC, octaves=1, differences=d) for d in ((), [(0, 1)]))
    plain.fit(rows)
    with_one.fit(rows)
    assert torch.equal(plain.normalizer.scale, with_one.normalizer.scale[:3])


@pytest.mark.parametrize("pair", [[0], [0, 3], [-1, 0], [0, 1, 2]])
def test_differences_are_of_entries_that_exist(pair: list[int]) -> None:
    with pytest.raises(ValueError, match=r"expected two of the entries 0\.\.2"):
        StateEncoder(spec=SPEC, octaves=1, differences=[pair])
