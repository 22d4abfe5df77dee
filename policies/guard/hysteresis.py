"""When alarms take the controls away, and when they are given back.

tripped after `trip_after` alarmed plans in a row
released after `recover_after` quiet plans in a row; null: never within an episode
for `grace` plans after a release, alarms do not count: an arm that was held stands still, and no
demonstration does
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class State:
    """Where an episode stands: plans in a row, alarmed or, while tripped, quiet; plans of grace left."""

    alarmed: int = 0
    quiet: int = 0
    tripped: bool = False
    grace: int = 0


@dataclass(frozen=True)
class Hysteresis:
    """The rule.

    Raises:
        ValueError: A number below its least: 1, 1 and 0.
    """

    trip_after: int = 1
    recover_after: int | None = None
    grace: int = 2

    def __post_init__(self) -> None:
        least = {"trip_after": 1, "recover_after": 1, "grace": 0}
        for name, bound in least.items():
            if (value := getattr(self, name)) is not None and value < bound:
                raise ValueError(f"{name} must be at least {bound}, got {value}")

    def after(self, state: State, alarm: bool) -> State:
        """The state after one more plan.

        Args:
            alarm: While not tripped: any signal. While tripped: any signal that can be quiet then.
        """
        if state.tripped:
            return self._held(state, alarm)
        if state.grace:
            return replace(state, grace=state.grace - 1, alarmed=0)
        alarmed = state.alarmed + 1 if alarm else 0
        return State(alarmed=alarmed, tripped=alarmed >= self.trip_after)

    def _held(self, state: State, alarm: bool) -> State:
        quiet = 0 if alarm else state.quiet + 1
        released = self.recover_after is not None and quiet >= self.recover_after
        return State(grace=self.grace) if released else replace(state, quiet=quiet)
