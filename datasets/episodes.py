"""Demonstrations on disk: an append-only zarr (format 3) group that survives being killed at any point.

    data/<key>            (N, ...) time-major: observation, action, any further key
    meta/episode_ends     (E,) int64, exclusive;   meta/modes, meta/seeds  (E,) int64
    attributes            schema, spec, fields (dtype, shape, unit), attributes (the caller's), commit

An append writes rows, then the episodes' labels, and last `commit` = {episodes, steps, links} in the group's
zarr.json: one file, replaced by a rename. Whatever lies beyond `commit` does not exist for a reader and is
overwritten by the next append. A chunk that already holds committed rows is likewise replaced as a whole
file, with those rows unchanged. One writer at a time; readers may look on. See fingerprint.py for `links`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any
from uuid import uuid4

import numpy as np
from jaxtyping import Int64, Shaped

from stillhand.datasets import layout
from stillhand.datasets.demonstrations import Demonstrations, check_ends, check_finite
from stillhand.datasets.fingerprint import extend, fingerprint, labels_link
from stillhand.datasets.layout import Commit, Field
from stillhand.datasets.schema import Array, Spec

GROUP_BYTES = 2**26  # append_many commits about this much at a time


@dataclass(frozen=True)
class Episode:
    """One recorded episode.

    Args:
        arrays: One array (T, ...) per key of the store, all with the same T >= 1, in physical units.
        mode: The expert's mode label, -1 where unknown.
        seed: The seed that reproduces the episode.
    """

    arrays: Mapping[str, Array]
    mode: int
    seed: int

    @property
    def steps(self) -> int:
        """Number of time steps T."""
        return min((values.shape[0] if values.ndim else 0 for values in self.arrays.values()), default=0)


class EpisodeStore:
    """Handle of a store; every call reads the current commit from disk, so handles never go stale.

    Build one with `EpisodeStore.create` or `EpisodeStore.open`.
    """

    def __init__(
        self, path: Path, spec: Spec, fields: Mapping[str, Field], attributes: Mapping[str, Any]
    ) -> None:
        self.path = path
        self.spec = spec
        self.fields = fields
        self.attributes = attributes

    @classmethod
    def create(
        cls, path: Path, spec: Spec, fields: Mapping[str, Field], attributes: Mapping[str, Any]
    ) -> "EpisodeStore":
        """Create an empty store at `path`, which must not exist yet.

        Args:
            path: Folder of the new store.
            spec: The task.
            fields: What is stored per time step, `observation` and `action` among it; see `state_fields`.
            attributes: JSON values kept beside the data: expert, library versions, ...

        Raises:
            ValueError: `path` exists, or the fields do not fit the spec.
        """
        path = Path(path)
        if path.exists():
            raise ValueError(f"{path} exists already, expected a new path (nothing was overwritten)")
        layout.check_fields(spec, fields)
        # built under another name: a store appears complete or not at all
        draft = path.with_name(f"{path.name}.{uuid4().hex}.draft")
        draft.parent.mkdir(parents=True, exist_ok=True)
        try:
            layout.write_empty(draft, spec, fields, attributes)
            draft.rename(path)
        finally:
            rmtree(draft, ignore_errors=True)
        return cls(path, spec, fields, attributes)

    @classmethod
    def open(cls, path: Path) -> "EpisodeStore":
        """Open an existing store.

        Raises:
            ValueError: Not a store, or of another schema version.
        """
        path = Path(path)
        header = layout.read_header(path)
        return cls(path, header.spec, header.fields, header.attributes)

    def commit(self) -> Commit:
        """What has been appended so far: number of episodes and steps, and the hash chains."""
        return layout.read_header(self.path).commit

    @property
    def fingerprint(self) -> str:
        """Hash of the whole content, from the commit alone."""
        return fingerprint(self.spec, self.commit().links)

    def append(self, episode: Episode) -> None:
        """Append one episode; it is either wholly in the store afterwards or not at all.

        Raises:
            ValueError: Naming store, key, step and value; nothing was written.
        """
        self.append_many([episode])

    def append_many(self, episodes: Iterable[Episode]) -> None:
        """Append episodes, committed in groups of about 64 MiB: faster than one by one.

        Raises:
            ValueError: An episode that does not fit. It and its group are not written; earlier groups stay.
        """
        group: list[Episode] = []
        size = 0
        for index, episode in enumerate(episodes):
            self._check(episode, index)
            group.append(episode)
            size += sum(values.nbytes for values in episode.arrays.values())
            if size >= GROUP_BYTES:
                self._write(group)
                group, size = [], 0
        if group:
            self._write(group)

    def load(self, frames: bool = True) -> Demonstrations:
        """Read observations, actions and frames into RAM and check them against their hashes.

        Args:
            frames: False leaves out what cameras see.

        Raises:
            ValueError: Empty, damaged, or with contents other than those appended; names array and place.
        """
        commit = self.commit()
        ends, modes, seeds = self.labels(commit)
        keys = layout.policy_keys(self.spec) if frames else ("observation", "action")
        arrays = {key: self.rows(key, 0, commit.steps) for key in keys}
        for key, values in arrays.items():
            check_finite(values, ends, f"{self.path}: data/{key}")
            link = extend(layout.first_links(self.fields)[key], values, ends)
            layout.check_link(self.path, f"data/{key}", link, commit.links[key])
        return Demonstrations(
            observation=arrays["observation"],
            action=arrays["action"],
            episode_ends=ends,
            modes=modes,
            seeds=seeds,
            spec=self.spec,
            fingerprint=fingerprint(self.spec, commit.links),
            frames=layout.frames_of(self.spec, arrays) if frames else {},
        )

    def rows(self, key: str, start: int, stop: int) -> Shaped[Array, "n ..."]:
        """Rows start ... stop - 1 of `data/<key>`, not yet compared with the hashes.

        Raises:
            ValueError: A key the store lacks, or a missing or damaged chunk; names it.
        """
        if key not in self.fields:
            raise ValueError(f"{self.path}: no key {key!r}, expected one of {sorted(self.fields)}")
        return layout.read_rows(self.path, f"data/{key}", self.fields[key], start, stop)

    def streamed(self, key: str) -> Iterator[Shaped[Array, "n ..."]]:
        """The rows of `data/<key>` of every episode, one episode in memory at a time.

        Raises:
            ValueError: As of `rows`; or, after the last episode, contents other than those appended.
        """
        commit, start = self.commit(), 0
        link = layout.first_links(self.fields).get(key, "")
        for end in self.labels(commit)[0].tolist():
            values = self.rows(key, start, end)
            link, start = extend(link, values, np.array([len(values)])), end
            yield values
        layout.check_link(self.path, f"data/{key}", link, commit.links[key])

    def labels(
        self, commit: Commit
    ) -> tuple[Int64[Array, " episodes"], Int64[Array, " episodes"], Int64[Array, " episodes"]]:
        """Episode ends, modes and seeds of a commit.

        Raises:
            ValueError: The store is empty or the labels are damaged.
        """
        ends, modes, seeds = (
            layout.read_rows(self.path, f"meta/{name}", layout.LABEL, 0, commit.episodes)
            for name in layout.LABELS
        )
        check_ends(ends, commit.steps, f"{self.path}: meta/episode_ends")
        link = labels_link(layout.first_links(self.fields)["labels"], ends, modes, seeds)
        layout.check_link(self.path, "meta", link, commit.links["labels"])
        return ends, modes, seeds

    def _check(self, episode: Episode, index: int) -> None:
        where = f"{self.path}: episode {index} of this append"
        if set(episode.arrays) != set(self.fields):
            raise ValueError(f"{where} has keys {sorted(episode.arrays)}, expected {sorted(self.fields)}")
        if episode.mode < -1:
            raise ValueError(f"{where} has mode {episode.mode}, expected -1 (unknown) or more")
        if not 0 <= episode.seed < 2**63:
            raise ValueError(f"{where} has seed {episode.seed}, expected 0 .. 2**63 - 1")
        for key, field in self.fields.items():
            values = episode.arrays[key]
            if values.dtype != np.dtype(field.dtype):
                raise ValueError(f"{where}: {key} has dtype {values.dtype}, expected {field.dtype}")
            expected = (episode.steps, *field.shape)
            if values.shape != expected or episode.steps == 0:
                raise ValueError(
                    f"{where}: {key} has shape {values.shape}, expected {('T', *field.shape)}, T >= 1"
                )
            check_finite(values, np.array([episode.steps]), f"{where}: {key}", first_episode=index)

    def _write(self, episodes: list[Episode]) -> None:
        commit = self.commit()
        ends = np.cumsum([episode.steps for episode in episodes], dtype=np.int64)
        labels = {
            "episode_ends": ends + commit.steps,
            "modes": np.array([episode.mode for episode in episodes], dtype=np.int64),
            "seeds": np.array([episode.seed for episode in episodes], dtype=np.int64),
        }
        links = dict(commit.links)
        for key in self.fields:
            rows = np.concatenate([episode.arrays[key] for episode in episodes])
            layout.write_rows(self.path, f"data/{key}", commit.steps, rows)
            links[key] = extend(links[key], rows, ends)
        for name, values in labels.items():
            layout.write_rows(self.path, f"meta/{name}", commit.episodes, values)
        links["labels"] = labels_link(links["labels"], *labels.values())
        episodes_after, steps_after = commit.episodes + len(episodes), commit.steps + int(ends[-1])
        layout.write_commit(self.path, Commit(episodes_after, steps_after, links))
