"""A peer's process, played by a stand-in that keeps to the protocol or does not."""

import json
import sys
from pathlib import Path

import pytest

from stillhand.policies import checkpoint
from stillhand.scripts import bench_latency, bench_peers
from stillhand.scripts.bench_peers import LEROBOT, OURS, Peer, measure, started

GOOD = """
import json, sys
print(json.dumps({"version": "9.9", "parameters": 5}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"cpu_ms": [100.0 * asked["steps"] + asked["rows"]] * asked["calls"]}), flush=True)
"""
BAD = "import sys; sys.exit('no such module')"


def peer_in(folder: Path, source: str) -> Peer:
    """One that looks installed into `folder/peers/standin`."""
    home = folder / "peers" / "standin"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to(sys.executable)
    (home / "installed.json").write_text(json.dumps([]))
    worker = folder / "worker.py"
    worker.write_text(source)
    return Peer("Standin", (), sys.executable, worker)


@pytest.fixture
def small(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policies = {
        OURS[1]: checkpoint.load(trained / "em")[0],
        OURS[10]: checkpoint.load(trained / "diffusion")[0],
    }
    monkeypatch.setattr(bench_peers, "untrained", lambda words: policies[words])
    for module in (bench_peers, bench_latency):
        monkeypatch.setattr(module, "SPEC", policies[OURS[1]].border.spec)


@pytest.mark.usefixtures("small")
def test_both_sides_are_timed_in_the_same_cases(tmp_path: Path) -> None:
    rows = measure(calls=5, rows=[2], folder=tmp_path, peer=peer_in(tmp_path, GOOD))
    found = {(row["name"], row["metric"]): row["value"] for row in rows}
    assert len(found) == 2 * 2 + 2 * 3 * 3  # sizes; policies, sides, figures
    assert found["Standin 9.9, DDIM-1, U-Net", "parameters of the U-Net"] == 5
    assert found["Standin 9.9, DDIM-10, U-Net", "2 rows, p50"] == 1002
    assert found["Standin 9.9, DDIM-1, U-Net", "2 rows, max"] == 102
    assert all(value > 0 for value in found.values())


def test_a_peer_that_does_not_run_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert started(peer_in(tmp_path, BAD), tmp_path / "peers" / "standin") is None
    assert "Standin is left out: it ended with 1: no such module" in capsys.readouterr().err


def test_a_peer_without_its_python_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert started(Peer("Old", (), "python2.6", LEROBOT.worker), tmp_path) is None
    assert "Old is left out: needs python2.6, which is not on the path" in capsys.readouterr().err


def test_too_few_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="need calls >= 5 and rows >= 1, got 4"):
        measure(calls=4)
