"""The list of episodes that every controller plays: which start, and which randomness of the policy.

    rows: (episode, start, start_seed, policy_seed),  grouped as `starts` x `rollouts`

Rows of one group share the start seed, hence the same initial state; all policy seeds differ. The same
ledger for all controllers makes their outcomes paired; several rollouts per start make the entropy of
modes conditional on the start. Seeds come from numpy's SeedSequence and have 53 bits, exact in any JSON
reader, so ledgers of different `seed` do not overlap in practice.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

FIELDS = ("episode", "start", "start_seed", "policy_seed")
START_KEY, POLICY_KEY = 0, 1  # spawn keys that keep the two kinds of seeds apart


@dataclass(frozen=True)
class Row:
    """One episode: its number, its group of equal starts, and its two seeds."""

    episode: int
    start: int
    start_seed: int
    policy_seed: int


@dataclass(frozen=True)
class Ledger:
    """Episodes to be played, in order.

    Args:
        seed: What the rows were drawn from, for the record.
        rows: Distinct episode numbers and policy seeds; one start seed per start.
    """

    seed: int
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        """Refuse contradicting rows."""
        if not self.rows:
            raise ValueError("a ledger needs at least one row, got none")
        for row in self.rows:
            if negative := {k: v for k, v in asdict(row).items() if v < 0}:
                raise ValueError(f"ledger rows hold non-negative integers, got {negative}")
        for name in ("episode", "policy_seed"):
            values = [getattr(row, name) for row in self.rows]
            if len(set(values)) < len(values):
                twice = next(v for v in values if values.count(v) > 1)
                raise ValueError(f"every row needs its own {name}, but {twice} occurs more than once")
        if len({(row.start, row.start_seed) for row in self.rows}) > len({row.start for row in self.rows}):
            raise ValueError("rows of the same start must have the same start_seed")

    @classmethod
    def grouped(cls, starts: int = 24, rollouts: int = 20, seed: int = 0) -> "Ledger":
        """Draw `starts` initial states with `rollouts` episodes each; start by start."""
        if starts < 1 or rollouts < 1 or seed < 0:
            raise ValueError(f"need starts, rollouts >= 1 and seed >= 0, got {starts}, {rollouts}, {seed}")
        rows: list[Row] = []
        for start, start_seed in enumerate(_seeds(starts, seed, START_KEY)):
            for policy_seed in _seeds(rollouts, seed, POLICY_KEY, start):
                rows.append(Row(len(rows), start, start_seed, policy_seed))
        return cls(seed, tuple(rows))

    def save(self, path: Path) -> None:
        """Write JSON, atomically."""
        text = json.dumps({"seed": self.seed, "rows": [asdict(row) for row in self.rows]}, indent=0)
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> "Ledger":
        """Read what `save` wrote; a ValueError names the file and what is wrong with it."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict) or set(content) != {"seed", "rows"}:
                raise ValueError("expected an object with the keys seed and rows")
            if not isinstance(content["rows"], list):
                raise ValueError("rows must be a list")
            return cls(_integer("seed", content["seed"]), tuple(_row(row) for row in content["rows"]))
        except ValueError as error:  # json's and unicode's decoding errors are ValueErrors too
            raise ValueError(f"{path} is not a ledger: {error}") from error


def _seeds(count: int, seed: int, *key: int) -> list[int]:
    """`count` seeds of 53 bits; the first ones do not depend on how many are asked for."""
    words = np.random.SeedSequence(seed, spawn_key=key).generate_state(count, np.uint64)
    return [int(word) >> 11 for word in words]


def _row(row: Mapping[str, Any]) -> Row:
    if not isinstance(row, dict) or set(row) != set(FIELDS):
        raise ValueError(f"expected a row with the keys {', '.join(FIELDS)}, got {row!r}")
    return Row(**{name: _integer(name, row[name]) for name in FIELDS})


def _integer(name: str, value: object) -> int:
    if type(value) is not int:  # True is an int as well
        raise ValueError(f"{name} must be an integer, got {value!r}")
    return value
