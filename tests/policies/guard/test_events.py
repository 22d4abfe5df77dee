"""Events are strict JSON, one a line."""

import json

from stillhand.policies.guard.events import Event, number


def test_a_line_says_everything_and_no_number_is_null() -> None:
    event = Event(3, 14, "alarm", "finite", number(float("nan")), number(2.5), "hold")
    assert event.line().endswith("}\n")
    assert json.loads(event.line()) == {
        "episode": 3, "step": 14, "kind": "alarm", "signal": "finite", "value": None, "threshold": 2.5,
        "action": "hold",
    }  # fmt: skip
    assert number(float("-inf")) is None
