"""How fast data arrive: rows {name, metric, value, unit} for `stillhand bench data`.

    windows     windows per CPU second, order and tensors included, from RAM and from a memory map
    open        open a store on disk, read it, and gather the first batch (imports excluded)
    mapped      first batch of memory-mapped stores of growing length: must not depend on it
    disk        bytes of the store, beside the bytes of its numbers

Observations of 20 numbers, actions of 7, To 2, H 16, batch 256, 200 episodes of 200 steps, one process.
The data are noise, which nothing compresses.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from stillhand.datasets.cache import open_mapped
from stillhand.datasets.demonstrations import Demonstrations
from stillhand.datasets.episodes import Episode, EpisodeStore
from stillhand.datasets.layout import state_fields
from stillhand.datasets.loader import WindowLoader
from stillhand.datasets.schema import Spec

EPISODE_STEPS = 200
MAPPED_STEPS = (10**5, 10**6, 10**7)
ARM = Spec(task="bench", observation_dim=20, action_dim=7, control_hz=20.0)
PLANE = Spec(task="bench", observation_dim=4, action_dim=2, control_hz=20.0)  # 240 MB at 10^7 steps

Row = dict[str, str | float]


def measure(
    rounds: int = 7,
    batches: int = 2000,
    episodes: int = 200,
    mapped_steps: Sequence[int] = MAPPED_STEPS,
    folder: Path | None = None,
) -> list[Row]:
    """Measure everything in a temporary folder.

    Args:
        rounds: Repetitions; the median is reported, with the smallest and largest.
        batches: Batches per repetition of the throughput.
        episodes: Episodes of 200 steps in the store held in RAM.
        mapped_steps: Lengths of the memory-mapped stores.
        folder: Where the temporary folder is made; the system's choice if None.
    """
    with TemporaryDirectory(dir=folder) as name:
        store = _store(Path(name) / "arm.zarr", ARM, episodes)
        rows = _disk(store)
        rows += _timed("open_first_batch", lambda: _load_first_batch(store.path), rounds)
        for place, data in (("ram", store.load()), ("mapped", open_mapped(store.path))):
            rows += _summary(f"windows_{place}", "rate", _rates(data, rounds, batches), "windows/CPU s")
        for steps in mapped_steps:
            rows += _mapped(Path(name), steps, rounds)
    return rows


def _store(path: Path, spec: Spec, episodes: int) -> EpisodeStore:
    generator = np.random.default_rng(0)

    def episode(number: int) -> Episode:
        widths = {"observation": spec.observation_dim, "action": spec.action_dim}
        arrays = {
            key: generator.standard_normal((EPISODE_STEPS, width), dtype=np.float32)
            for key, width in widths.items()
        }
        return Episode(arrays, mode=-1, seed=number)

    store = EpisodeStore.create(path, spec, state_fields(spec, "1", "1"), {})
    store.append_many(episode(number) for number in range(episodes))
    return store


def _load_first_batch(path: Path) -> None:
    _first_batch(EpisodeStore.open(path).load())


def _first_batch(data: Demonstrations, seed: int = 0) -> None:
    WindowLoader(data, observation_horizon=2, prediction_horizon=16, batch_size=256, seed=seed).batch(0)


def _rates(data: Demonstrations, rounds: int, batches: int) -> list[float]:
    loader = WindowLoader(data, observation_horizon=2, prediction_horizon=16, batch_size=256, seed=0)
    loader.batch(0)
    rates = []
    for number in range(rounds):
        start = time.process_time()
        for step in range(number * batches, (number + 1) * batches):
            loader.batch(step)
        rates.append(256 * batches / (time.process_time() - start))
    return rates


def _timed(name: str, call: Callable[[], None], rounds: int) -> list[Row]:
    """Wall and CPU seconds: on a busy machine only the latter repeat."""
    wall, cpu = [], []
    for _ in range(rounds):
        start = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - start[0])
        cpu.append(time.process_time() - start[1])
    return [*_summary(name, "wall", wall, "s"), *_summary(name, "cpu", cpu, "CPU s")]


def _mapped(folder: Path, steps: int, rounds: int) -> list[Row]:
    store = _store(folder / f"plane{steps}.zarr", PLANE, steps // EPISODE_STEPS)
    start = time.process_time()
    open_mapped(store.path)
    copied = time.process_time() - start
    seeds = iter(range(rounds))  # each round another order, so other pages and no kept tables
    name = f"mapped_{steps}_steps"
    return [
        {"name": name, "metric": "copy_once_cpu", "value": copied, "unit": "CPU s"},
        *_timed(
            f"{name}_open_first_batch", lambda: _first_batch(open_mapped(store.path), next(seeds)), rounds
        ),
    ]


def _disk(store: EpisodeStore) -> list[Row]:
    size = sum(file.stat().st_size for file in store.path.rglob("*") if file.is_file())
    numbers = store.commit().steps * (ARM.observation_dim + ARM.action_dim) * 4
    return [
        {"name": "disk", "metric": "store", "value": size, "unit": "bytes"},
        {"name": "disk", "metric": "numbers", "value": numbers, "unit": "bytes"},
    ]


def _summary(name: str, metric: str, values: list[float], unit: str) -> list[Row]:
    found = {"median": median(values), "min": min(values), "max": max(values)}
    return [
        {"name": name, "metric": f"{metric}_{key}", "value": value, "unit": unit}
        for key, value in found.items()
    ]
