"""Entries of controllers and generators: what is refused, how sampling is set anew, and calls as counted."""

from typing import Any

import pytest
import torch
from torch import nn

from stillhand.core.diffusion.decoding import Confident, Decoding, Leap
from stillhand.core.diffusion.discrete import Cosine
from stillhand.core.diffusion.discrete_guidance import Constant, Ramp, unlocking
from stillhand.core.diffusion.samplers import Sampling, heun
from stillhand.scripts.entries import changed, choose, count_calls, decoded, described

HEUN = {"_target_": "stillhand.core.diffusion.samplers.heun", "_partial_": True}


def test_messages_speak_of_the_group() -> None:
    entries = {"a": {"checkpoint": "c", "method": "m"}, "b": {"checkpoint": "c", "method": "m"}}
    assert choose("generators", entries, ["b"]) == {"b": entries["b"]}
    assert choose("generators", entries, []) == entries
    with pytest.raises(ValueError, match=r"only=\['c'\]: no generator \['c'\]; there are \['a', 'b'\]"):
        choose("generators", entries, ["c"])
    with pytest.raises(ValueError, match=r"generators\.a lacks \['method'\]"):
        choose("generators", {"a": {"checkpoint": "c"}}, [])


def test_sampling_changes_only_what_is_given() -> None:
    made = changed(
        Sampling(intervals=10, sigma_max=80.0), "generators.a.sampling", {"intervals": 18, "solver": HEUN}
    )
    assert described(made) == {"intervals": 18, "sigma_max": 80.0, "sigma_min": 0.02, "solver": "heun"}
    assert described(changed(made, "w", {"sigma_max": 5.0}))["solver"] == "heun"
    x = torch.ones(2, 3)
    torch.testing.assert_close(made(lambda x, s: 0 * x, x), heun(lambda x, s: 0 * x, 80 * x, made.grid()))


@pytest.mark.parametrize(
    "changes",
    [
        {"intervals": 0},
        {"steps": 3},
        {"intervals": "ten"},
        {"solver": {"_target_": "os.system", "_partial_": True}},
    ],
)
def test_bad_sampling_is_refused_where_it_stands(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"generators\.a\.sampling: "):
        changed(Sampling(), "generators.a.sampling", changes)


GUIDANCE = "stillhand.core.diffusion.discrete_guidance"
LEAP = {"_target_": "stillhand.core.diffusion.decoding.Leap", "steps": 3}
RULE = {"_target_": f"{GUIDANCE}.unlocking", "_partial_": True}


def test_a_decoding_changes_only_what_is_given() -> None:
    present = Decoding(Confident(5), Cosine(), Constant(2.0))
    ramp = {"_target_": f"{GUIDANCE}.Ramp", "weight": 3, "full": 0.5}
    made = changed(present, "w", {"weight": ramp})
    assert made == Decoding(Confident(5), Cosine(), Ramp(3.0, 0.5))
    way = changed(present, "w", {"way": {**LEAP, "survival": RULE}}).way
    assert isinstance(way, Leap) and way.steps == 3
    assert float(way.survival(0.5, torch.full((1, 1), 2.0).log())) == pytest.approx(0.25)
    assert decoded(changed(present, "w", {"way": {**LEAP, "survival": RULE}, "weight": ramp})) == {
        "name": "Decoding",
        "way": {"name": "Leap", "steps": 3, "survival": "unlocking"},
        "schedule": {"name": "Cosine"},
        "weight": {"name": "Ramp", "weight": 3.0, "full": 0.5},
    }
    assert decoded(Leap(2, unlocking)) == {"name": "Leap", "steps": 2, "survival": "unlocking"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weight": {"_target_": f"{GUIDANCE}.Constant", "weight": -1}}, "at least 0 .*got -1"),
        ({"weight": {"_target_": f"{GUIDANCE}.Constant", "weight": float("nan")}}, "got nan"),
        ({"weight": 2.0}, "weight must be"),
        ({"steps": 3}, r"no parameter \['steps'\]"),
        ({"way": {**LEAP, "steps": 0}}, "at least one step, got 0"),
        ({"way": {"_target_": "os.system"}}, "allow-list"),
        ({"way": {**LEAP, "survival": {"_target_": f"{GUIDANCE}.unlocking"}}}, "missing a required argument"),
    ],
)
def test_a_bad_decoding_is_refused_where_it_stands(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=rf"generators\.a\.decoding: .*{says}"):
        changed(Decoding(Leap(2)), "generators.a.decoding", changes)


def test_calls_are_counted_and_the_hook_is_gone_afterwards() -> None:
    net = nn.Linear(2, 2)
    x = torch.zeros(1, 2)
    assert count_calls(net, lambda: net(net(x))) == 2
    assert count_calls(net, lambda: net(net(x).repeat(2, 1))) == 3  # two rows side by side are two
    assert not net._forward_hooks
    with pytest.raises(RuntimeError):
        count_calls(net, lambda: net(torch.zeros(1, 3)))
    assert not net._forward_hooks


def test_late_checkpoints_are_for_generators_alone() -> None:
    """Rollouts play one checkpoint: a number they would ignore must not seem to be obeyed."""
    entries = {"a": {"checkpoint": "c", "method": "m", "late": 2}}
    assert choose("generators", entries, []) == entries
    with pytest.raises(
        ValueError, match=r"controllers\.a has \['late'\].* decoding, baseline_of, exported, timed_export$"
    ):
        choose("controllers", entries, [])


def test_an_export_is_for_controllers_alone() -> None:
    entries = {"a": {"checkpoint": "c", "method": "m", "exported": "c/exported"}}
    assert choose("controllers", entries, []) == entries
    with pytest.raises(ValueError, match=r"generators\.a has \['exported'\]"):
        choose("generators", entries, [])
    with pytest.raises(ValueError, match=r"controllers\.a\.exported must be a text or null, got True"):
        choose("controllers", {"a": {**entries["a"], "exported": True}}, [])


@pytest.mark.parametrize("late", [0, -3, True, 2.0, "2"])
def test_late_is_a_number_of_checkpoints(late: object) -> None:
    with pytest.raises(ValueError, match=rf"generators\.a\.late must be .*, got {late!r}"):
        choose("generators", {"a": {"checkpoint": "c", "method": "m", "late": late}}, [])
