"""Who is let act after which alarms."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhand.policies.guard.hysteresis import Hysteresis, State

Alarms = st.lists(st.booleans(), max_size=30)


def tripped(rule: Hysteresis, alarms: str) -> str:
    """Alarms and quiet plans as "!" and "."; the answer has T where it is tripped after them."""
    state, said = State(), ""
    for alarm in alarms:
        state = rule.after(state, alarm == "!")
        said += "T" if state.tripped else "-"
    return said


def test_alarms_in_a_row_trip_and_quiet_plans_in_a_row_release() -> None:
    assert tripped(Hysteresis(trip_after=2), "!.!!....") == "---TTTTT"
    assert tripped(Hysteresis(trip_after=1, recover_after=2, grace=0), "!.!..!") == "TTTT-T"
    assert tripped(Hysteresis(trip_after=1, recover_after=2, grace=2), "!..!!!") == "TT---T"


@given(Alarms, st.integers(1, 4))
def test_without_recovery_a_trip_is_for_good_and_needs_its_alarms(alarms: list[bool], after: int) -> None:
    text = "".join("!" if alarm else "." for alarm in alarms)
    said = tripped(Hysteresis(trip_after=after), text)
    assert ("T" in said) == ("!" * after in text)
    assert said == "-" * said.count("-") + "T" * said.count("T")


@given(Alarms, st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
def test_quiet_plans_never_trip(alarms: list[bool], after: int, recover: int, grace: int) -> None:
    rule, state = Hysteresis(after, recover, grace), State()
    for alarm in alarms:
        was, state = state, rule.after(state, alarm)
        assert alarm or was.tripped or not state.tripped
        assert state.alarmed <= after and state.quiet < recover and state.grace <= grace


@pytest.mark.parametrize("wrong", [{"trip_after": 0}, {"recover_after": 0}, {"grace": -1}])
def test_numbers_below_their_least_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least"):
        Hysteresis(**wrong)
