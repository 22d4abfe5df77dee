"""A guarded controller where a policy stands: shadow, guarded or full.

    shadow    the teacher acts; the student plans beside it, and how they differ is logged
    guarded   the student acts until the guard trips; then the teacher does, or nobody: hold
    full      the student acts
    always    what is not finite or outside the stated range is never played: hold, and an event

Policies are stateless, a guard is not: it compares with the plan before. An episode is known by its own
generator, which a rollout makes anew for every episode; nothing else tells rows apart. The camera of the
guard's sight is the guard's alone: who plans does not see its frames. The student draws the
same numbers as without a guard, so an episode without a trip is bit by bit the student's; the teacher's
numbers are a function of the episode's seed and of the step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from stillhand.datasets.schema import NO_FRAMES, Array, Chunk, Frames
from stillhand.policies.guard.card import Guard
from stillhand.policies.guard.events import Event, Log, number
from stillhand.policies.guard.hold import Hold
from stillhand.policies.guard.hysteresis import Hysteresis, State

MODES = ("shadow", "guarded", "full")
# signals that can be quiet while an arm is held: novelty cannot, it moves unlike any other; its picture is as
# usual as while it moved
AWAKE = ("finite", "consistency", "sight")
FALLBACK_KEY = 11  # spawn key of an episode's seed: the teacher's randomness


@runtime_checkable
class Player(Protocol):
    """What plans."""

    @property
    def observation_horizon(self) -> int:
        """Observations in a window."""
        ...

    @property
    def prediction_horizon(self) -> int:
        """Actions in a chunk."""
        ...

    def act(self, observation: Array, rngs: Sequence[np.random.Generator], frames: Frames) -> Chunk:
        """One chunk per window."""
        ...


@runtime_checkable
class Judge(Protocol):
    """What scores chunks at windows; see `opinions.Opinions`."""

    def __call__(self, observation: Array, actions: Array, frames: Frames) -> Mapping[str, Array]:
        """By signal, (n,)."""
        ...


@dataclass
class _Episode:
    """What is remembered of an episode."""

    rng: np.random.Generator
    seed: Any
    number: int | None
    plans: int = 0
    window: Array | None = None
    executed: Array | None = None
    state: State = field(default_factory=State)


class GuardedPolicy:
    """A student with a guard; a policy to whoever plays it, and for one player at a time.

    Args:
        student: Plans.
        guard: Calibrated for the student's task, windows and executed actions.
        mode: One of `MODES`.
        hold: What is commanded when nobody acts.
        teacher: Acts in shadow, and after a trip; None holds after a trip.
        judge: Scores of the signals that need a network; None where the guard has no threshold for them.
        hysteresis: When it trips and recovers.
        log: Is told every event.
        episodes: Seed of the episode's generator -> its number. Rows of other seeds fill up a call and are
            not logged. None logs all by their seeds.

    Raises:
        ValueError: What does not fit, by name and value.
    """

    def __init__(
        self,
        student: Player,
        guard: Guard,
        *,
        mode: str,
        hold: Hold,
        teacher: Player | None = None,
        judge: Judge | None = None,
        hysteresis: Hysteresis | None = None,
        log: Log = lambda event: None,
        episodes: Mapping[int, int] | None = None,
    ) -> None:
        _check(student, guard, mode, hold, teacher, judge)
        self._student, self._guard, self._mode, self._hold = student, guard, mode, hold
        self._teacher, self._judge, self._log, self._named = teacher, judge, log, episodes
        self._hysteresis = Hysteresis() if hysteresis is None else hysteresis
        self._known: dict[Any, _Episode] = {}

    @property
    def observation_horizon(self) -> int:
        """The student's."""
        return self._student.observation_horizon

    @property
    def prediction_horizon(self) -> int:
        """The student's."""
        return self._student.prediction_horizon

    def act(
        self, observation: Array, rngs: Sequence[np.random.Generator], frames: Frames = NO_FRAMES
    ) -> Chunk:
        """One chunk per episode, every number of it finite, and what is executed within the stated range.

        Raises:
            ValueError: Frames of the guard's camera are missing, or of another type or size.
        """
        shown = self._shown(frames)
        episodes = [self._episode(rng) for rng in rngs]
        finite = np.isfinite(observation).all(axis=(1, 2))
        # rows that are not finite keep their place in the call; nothing planned for them is played
        seen = np.where(finite[:, None, None], observation, np.float32(0))
        planned = self._student.act(seen, rngs, shown)
        scores = {} if self._mode == "full" else self._scores(episodes, seen, finite, planned, frames)
        sound = self._sound(planned.actions) & finite
        alarms = self._alarms(finite, sound, scores)
        before = [episode.state for episode in episodes]
        wanted = self._advanced(episodes, finite, sound, alarms)
        actions, acting = planned.actions.copy(), wanted
        if "teacher" in wanted:
            taught = self._taught(episodes, seen, shown)
            if self._mode == "shadow":
                self._compare(episodes, planned.actions, taught, scores)
            safe = self._sound(taught) & finite
            acting = ["hold" if w == "teacher" and not s else w for w, s in zip(wanted, safe, strict=True)]
            by_teacher = np.array(acting) == "teacher"
            actions[by_teacher] = taught[by_teacher]
        for row, episode in enumerate(episodes):
            if acting[row] == "hold":
                actions[row] = self._held(episode)
            told = {name: scores[name][row] if name in scores else np.nan for name in alarms[row]}
            self._report(episode, before[row], told, acting[row])
            self._remember(episode, observation[row], actions[row])
        return Chunk(actions, planned.info)

    def _episode(self, rng: np.random.Generator) -> _Episode:
        entropy = rng.bit_generator.seed_seq.entropy  # type: ignore[attr-defined]  # numpy 1.25 made it public
        seed: Any = tuple(entropy) if isinstance(entropy, Sequence) else entropy
        known = self._known.get(seed)
        if known is None or known.rng is not rng:  # a generator made anew begins an episode anew
            named = seed if self._named is None else self._named.get(seed)
            known = self._known[seed] = _Episode(rng, seed, named if isinstance(named, int) else None)
        return known

    def _scores(
        self, episodes: Sequence[_Episode], seen: Array, finite: Array, planned: Chunk, frames: Frames
    ) -> dict[str, Array]:
        """By signal, one number a row; of rows that are not finite the least, for `finite` tells of them."""
        k, windows = self._guard.action_horizon, seen.astype(np.float64)
        before, executed = np.zeros_like(windows), np.zeros((len(seen), k, len(self._guard.low)))
        known = np.zeros(len(seen), dtype=bool)
        for row, episode in enumerate(episodes):
            if episode.window is not None and np.isfinite(episode.window).all():
                known[row], before[row], executed[row] = True, episode.window, episode.executed
        scores = dict(self._guard.scores(windows, before, executed, known))
        if self._judge is not None:
            scores |= self._judge(seen, planned.actions, self._shown(frames))
        scores |= self._guard.looked({name: windows[:, -1] for name, windows in frames.items()})
        return {name: np.where(finite, values, -np.inf) for name, values in scores.items()}

    def _shown(self, frames: Frames) -> Frames:
        """What student, teacher and judge see."""
        sight = self._guard.sight
        return frames if sight is None else {n: seen for n, seen in frames.items() if n != sight.camera}

    def _sound(self, actions: Array) -> Array:
        """Rows whose every action is finite, and those to be executed in the stated range."""
        ahead = actions[:, : self._guard.action_horizon].astype(np.float64)
        sound: Array = np.isfinite(actions).all(axis=(1, 2)) & self._guard.allowed(ahead)
        return sound

    def _alarms(self, finite: Array, sound: Array, scores: Mapping[str, Array]) -> list[list[str]]:
        """Of every row, the signals that are alarmed."""
        found = {"finite": ~finite, "range": finite & ~sound, **self._guard.alarms(scores)}
        return [[name for name, alarmed in found.items() if alarmed[row]] for row in range(len(finite))]

    def _advanced(
        self, episodes: Sequence[_Episode], finite: Array, sound: Array, alarms: Sequence[Sequence[str]]
    ) -> list[str]:
        """Take every episode's state on by one plan; who is to act."""
        if self._mode == "guarded":
            for episode, names in zip(episodes, alarms, strict=True):
                heard = [name for name in names if name in AWAKE or not episode.state.tripped]
                episode.state = self._hysteresis.after(episode.state, bool(heard))
        return [
            self._who(episode, bool(finite[row]), bool(sound[row])) for row, episode in enumerate(episodes)
        ]

    def _who(self, episode: _Episode, finite: bool, sound: bool) -> str:
        teacher = self._mode == "shadow" or (episode.state.tripped and self._teacher is not None)
        if teacher:
            return "teacher" if finite else "hold"
        return "student" if sound and not episode.state.tripped else "hold"

    def _taught(self, episodes: Sequence[_Episode], seen: Array, frames: Frames) -> Array:
        assert self._teacher is not None
        rngs = [
            np.random.default_rng(np.random.SeedSequence(one.seed, spawn_key=(FALLBACK_KEY, one.plans)))
            for one in episodes
        ]
        return self._teacher.act(seen, rngs, frames).actions

    def _compare(
        self, episodes: Sequence[_Episode], planned: Array, taught: Array, scores: Mapping[str, Array]
    ) -> None:
        """Log how far the student's executed actions are from the teacher's, and how likely its chunk is."""
        k = self._guard.action_horizon
        with np.errstate(invalid="ignore"):  # what is not finite differs by no number
            away = np.abs(planned[:, :k].astype(np.float64) - taught[:, :k]).max(axis=(1, 2))
        for row, episode in enumerate(episodes):
            self._tell(episode, "difference", "action", away[row], "teacher")
            if "likelihood" in scores:
                self._tell(episode, "difference", "log_prob", -scores["likelihood"][row], "teacher")

    def _report(self, episode: _Episode, before: State, alarms: Mapping[str, float], action: str) -> None:
        """Log a row's alarms, but for those while it was tripped already, and who acts from now on."""
        if not before.tripped:
            for name, value in alarms.items():
                self._tell(episode, "alarm", name, value, action)
            if episode.state.tripped:
                self._tell(episode, "trip", next(iter(alarms)), np.nan, action)
        elif not episode.state.tripped:
            self._tell(episode, "release", "", np.nan, action)

    def _held(self, episode: _Episode) -> Array:
        return self._hold.command(None if episode.executed is None else episode.executed[-1])

    def _remember(self, episode: _Episode, window: Array, actions: Array) -> None:
        episode.window = window.astype(np.float64)
        episode.executed = actions[: self._guard.action_horizon].astype(np.float64)
        episode.plans += 1

    def _tell(self, episode: _Episode, kind: str, signal: str, value: float, action: str) -> None:
        if episode.number is None:
            return
        step, limit = episode.plans * self._guard.action_horizon, self._guard.thresholds.get(signal)
        self._log(Event(episode.number, step, kind, signal, number(value), limit, action))


def _check(
    student: Player, guard: Guard, mode: str, hold: Hold, teacher: Player | None, judge: Judge | None
) -> None:
    """Raise a ValueError that names what does not fit."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}, expected one of {', '.join(MODES)}")
    if mode == "shadow" and teacher is None:
        raise ValueError("mode=shadow: the teacher acts, but there is none")
    own = student.observation_horizon, student.prediction_horizon
    if guard.window[0] != own[0] or guard.action_horizon > own[1]:
        wanted = guard.window[0], guard.action_horizon
        raise ValueError(f"the guard judges (observations, actions) {wanted}, the student has {own}")
    if teacher is not None and (teacher.observation_horizon, teacher.prediction_horizon) != own:
        raise ValueError(f"teacher and student need the same horizons, the student's are {own}")
    rest = np.array(hold.rest, dtype=np.float64)
    if rest.shape != guard.low.shape or not guard.allowed(rest[None, None]).all():
        raise ValueError(
            f"hold rests at {hold.rest}, outside of {guard.low.tolist()} to {guard.high.tolist()}"
        )
    if judge is None and mode != "full" and (lost := {"gate", "likelihood"} & {*guard.thresholds}):
        raise ValueError(f"thresholds of {sorted(lost)} need a mixture to judge with")
