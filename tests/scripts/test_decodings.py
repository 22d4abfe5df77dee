"""Decodings as an entry of a group sets them anew, and as a card says them."""

from typing import Any

import pytest

from stillhand.core.diffusion.decoding import Decoding, FirstHitting, Leap
from stillhand.core.diffusion.discrete import Cosine
from stillhand.core.diffusion.discrete_guidance import Constant, Ramp, unlocking
from stillhand.policies.checkpoint import ALLOWED
from stillhand.scripts.decodings import described, redecoded

CORE = "stillhand.core.diffusion"
UNLOCKING = {"_target_": f"{CORE}.discrete_guidance.unlocking", "_partial_": True}


def test_only_what_is_given_changes() -> None:
    present = Decoding(Leap(8), Cosine(), Constant(1.5))
    ramp = {"_target_": f"{CORE}.discrete_guidance.Ramp", "weight": 3}
    way = {"_target_": f"{CORE}.decoding.Leap", "steps": 4, "survival": UNLOCKING}
    guided = redecoded(present, "w", {"weight": ramp}, ALLOWED)
    assert guided == Decoding(Leap(8), Cosine(), Ramp(3.0))
    both = redecoded(guided, "w", {"way": way}, ALLOWED)
    assert (both.schedule, both.weight) == (Cosine(), Ramp(3.0))
    assert described(both)["way"] == {"kind": "Leap", "steps": 4, "survival": "unlocking"}
    exact = redecoded(both, "w", {"way": {"_target_": f"{CORE}.decoding.FirstHitting"}}, ALLOWED)
    assert exact.way == FirstHitting()


def test_a_card_says_it_in_plain_data() -> None:
    assert described(Decoding(Leap(2, unlocking), weight=Ramp(2.0, 0.1))) == {
        "kind": "Decoding",
        "way": {"kind": "Leap", "steps": 2, "survival": "unlocking"},
        "schedule": {"kind": "Linear"},
        "weight": {"kind": "Ramp", "weight": 2.0, "full": 0.1},
    }


WEIGHT = f"{CORE}.discrete_guidance.Constant"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 4}, r"no parameter \['steps'\]; it takes \['way', 'schedule', 'weight'\]"),
        ({"weight": 3.0}, "weight must be .*, got 3.0"),
        ({"weight": {"_target_": WEIGHT, "weight": -1.0}}, "finite and at least 0 .*, got -1"),
        ({"weight": {"_target_": WEIGHT, "weight": float("inf")}}, "finite and at least 0 .*, got inf"),
        ({"weight": {"_target_": WEIGHT, "weight": "two"}}, "weight must be float, got 'two'"),
        ({"way": {"_target_": f"{CORE}.decoding.Leap", "steps": 0}}, "at least one step, got 0"),
        ({"way": {"_target_": "os.system"}}, "'os.system' is not on the allow-list"),
        ({"way": {"_target_": WEIGHT, "weight": 1.0}}, "way must be Way"),
    ],
)
def test_bad_decodings_are_refused_where_they_stand(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"controllers.a.sampling: .*{says}"):
        redecoded(Decoding(Leap(1)), "controllers.a.sampling", changes, ALLOWED)
