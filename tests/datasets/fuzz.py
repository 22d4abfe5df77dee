"""Damages files at random and reads them: `fuzz.py FORMAT,... COUNT SEED FOLDER`; one JSON object per format.

Bytes are flipped, zeroed, repeated or cut off anywhere in any file of the set. Every reading must end in an
import or in a ValueError; anything else is counted by its name and the first one is kept. Run as a process of
its own, so that a crash of a C library is seen; a file that takes more CPU time than `LIMIT_S` ends it with a
traceback, also inside a C library. FOLDER/now then says format, seed and number, and the file is in
FOLDER/FORMAT/damaged.
"""

import faulthandler
import json
import shutil
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path
from random import Random

from foreign import TOLD, WRITERS

from stillhand.datasets.exchange import check_lengths

LIMIT_S = 30  # of CPU time, for a file of some kilobytes; a busy machine makes none of it


def files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def damage(path: Path, rng: Random) -> None:
    """One to three damages of one file."""
    chosen = rng.choice(files(path))
    data = bytearray(chosen.read_bytes())
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(max(len(data), 1))
        kind = rng.choice(["flip", "byte", "cut", "zeros", "repeat"])
        if kind == "cut":
            del data[at:]
        elif kind == "zeros":
            data[at : at + 16] = bytes(len(data[at : at + 16]))
        elif kind == "repeat":
            data[at:at] = data[at : at + rng.randint(1, 64)]
        elif data:
            at = min(at, len(data) - 1)
            data[at] = data[at] ^ (1 << rng.randrange(8)) if kind == "flip" else rng.randrange(256)
    chosen.write_bytes(bytes(data))


def attempt(name: str, whole: Path, folder: Path, rng: Random) -> str:
    """How reading one damaged copy ends."""
    form = WRITERS[name][0]
    copy = folder / "damaged"
    shutil.copytree(whole, copy) if whole.is_dir() else shutil.copy(whole, copy)
    damage(copy, rng)
    try:
        for episode in form.open(copy, TOLD).read():
            check_lengths("read", episode.arrays)
        return "imported"
    except ValueError:
        return "refused"
    finally:
        shutil.rmtree(copy) if copy.is_dir() else copy.unlink()


def fuzz(name: str, count: int, seed: int, folder: Path) -> bool:
    """Read `count` damaged files of a format; true if every reading ended as it should."""
    own = folder / name
    own.mkdir()
    whole = own / "whole"
    WRITERS[name][1](whole)
    ends: Counter[str] = Counter()
    first = ""
    for number in range(count):
        (folder / "now").write_text(f"{name} {seed} {number}")  # what a crash leaves behind
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        try:
            ends[attempt(name, whole, own, Random(f"{seed} {number}"))] += 1
        except Exception as error:
            ends[type(error).__name__] += 1
            first = first or f"number {number}: {traceback.format_exc()}"
    signal.setitimer(signal.ITIMER_PROF, 0)
    print(json.dumps({"name": name, "ends": ends, "first": first}), flush=True)
    return not set(ends) - {"imported", "refused"}


def main(names: list[str], count: int, seed: int, folder: Path) -> None:
    faulthandler.register(signal.SIGPROF, chain=True)  # the traceback, then the signal's own: the end
    ends = [fuzz(name, count, seed, folder) for name in names]
    raise SystemExit(0 if all(ends) else 1)


if __name__ == "__main__":
    main(sys.argv[1].split(","), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
