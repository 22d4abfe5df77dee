"""D4RL's score: its fixed points, a published value, and all 147 pairs where the list is at hand."""

import json
from pathlib import Path

import pytest

from stillhand.datasets.d4rl_scores import REFERENCES, normalized_score


def test_random_is_zero_expert_is_a_hundred() -> None:
    for name, pair in REFERENCES.items():
        assert normalized_score(name, pair.random) == 0
        assert normalized_score(name, pair.expert) == pytest.approx(100)


def test_hopper_at_3000() -> None:
    assert normalized_score("hopper-medium-v2", 3000.0) == pytest.approx(92.8, abs=0.05)


def test_unknown_set_names_those_of_the_environment() -> None:
    with pytest.raises(ValueError, match=r"'hopper-medium-v7'.*hopper-medium-v2") as error:
        normalized_score("hopper-medium-v7", 0.0)
    assert "walker2d" not in str(error.value)


def test_all_pairs_of_the_published_list(real_data: Path) -> None:
    published = json.loads((real_data / "d4rl_reference_scores.json").read_text())
    assert {name: (pair["random"], pair["expert"]) for name, pair in published.items()} == REFERENCES
    assert len(REFERENCES) == 147
