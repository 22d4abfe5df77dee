"""The shape of the repository: links, mirrored tests, sizes, and what a command may cost before it works."""

import ast
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("core", "policies", "images", "envs", "datasets", "report", "scripts")
SOURCES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py") if p.name != "__init__.py")
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# Modules without a test file of their own, and where they are tested instead.
TESTED_ELSEWHERE = {
    "datasets/lerobot_meta.py": "tests/datasets/test_lerobot.py",
    "datasets/lerobot_write.py": "tests/datasets/test_exchange.py: round trips",
    "datasets/parquet.py": "tests/datasets/test_lerobot.py",
    "scripts/convert.py": "tests/scripts/test_prepare.py",
    "scripts/formats.py": "tests/scripts/test_prepare.py",
    "scripts/inspection.py": "tests/scripts/test_prepare.py",
    "envs/base.py": "tests/envs/test_wrapped.py: and test_seeing.py",
    "envs/planning.py": "tests/envs/test_receding.py",
    "envs/rod.py": "tests/envs/test_avoiding.py: and test_push.py",
    "envs/robosuite_door.py": "tests/envs/test_robosuite_experts.py",
    "envs/robosuite_square.py": "tests/envs/test_robosuite_experts.py",
    "policies/frames.py": "tests/policies/test_alignment.py: and test_masked_frames.py",
    "policies/checkpoint.py": "tests/scripts/test_bad_input_checkpoints.py: every damage of a checkpoint",
    "report/records.py": "tests/report/test_results.py: every file of a run broken in turn",
    "scripts/collect.py": "tests/scripts/test_pipeline.py",
    "scripts/train.py": "tests/scripts/test_pipeline.py",
    "scripts/distill.py": "tests/scripts/test_pipeline.py",
    "scripts/rollout.py": "tests/scripts/test_pipeline.py",
    "scripts/action_table.py": "tests/scripts/test_table.py",
    "scripts/film.py": "tests/scripts/test_filming.py",
    "scripts/late.py": "tests/scripts/test_realtime.py",
    "scripts/wallclock.py": "tests/scripts/test_realtime.py",
    "scripts/live.py": "tests/scripts/test_viewing.py",
    "scripts/controlling.py": "tests/scripts/test_realtime.py",
    "scripts/evaluation.py": "tests/scripts/test_pipeline.py",
    "scripts/latency.py": "tests/scripts/test_pipeline.py",
    "scripts/judge.py": "tests/scripts/test_generate.py",
    "scripts/generation.py": "tests/scripts/test_generate.py",
    "scripts/mixture_map.py": "tests/scripts/test_pipeline.py",
    "scripts/report.py": "tests/scripts/test_pipeline.py",
    "scripts/bench.py": "tests/scripts/test_bench_data.py",
    "scripts/peer_lerobot.py": "tests/scripts/test_bench_peers.py: its protocol",
    "scripts/running.py": "tests/scripts/test_killed.py",
    "scripts/preparing.py": "tests/scripts/test_pictures.py",
    "scripts/tasks.py": "tests/test_configs.py",
}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Every function with its length in lines; without decorators, and without the methods of protocols."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not declares_only(node):
            assert node.end_lineno is not None
            yield f"{name(path)}:{node.name}", node.end_lineno - node.lineno + 1


def declares_only(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return all(isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant) for s in node.body)


def test_links_of_the_package_lead_to_the_top_level_folders() -> None:
    package = ROOT / "src" / "stillhand"
    links = {path.name: path for path in package.iterdir() if path.is_symlink()}
    assert set(links) == {*FOLDERS, "configs"}
    for folder, link in links.items():
        assert link.resolve() == ROOT / folder
        assert not link.readlink().is_absolute()
        assert (link / "__init__.py").is_file()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_module_with_functions_has_its_test_file(path: Path) -> None:
    mirror = ROOT / "tests" / path.relative_to(ROOT).with_name(f"test_{path.name}")
    elsewhere = name(path) in TESTED_ELSEWHERE
    if not any(functions(path)):
        assert not elsewhere
        return
    assert mirror.is_file() != elsewhere, f"{name(mirror)} is missing, or the exception is out of date"


def test_exceptions_name_modules_and_tests_that_exist() -> None:
    assert {*TESTED_ELSEWHERE} <= {name(path) for path in SOURCES}
    for where in TESTED_ELSEWHERE.values():
        assert (ROOT / where.split(":")[0]).is_file()


def test_every_test_file_mirrors_a_module_or_is_about_the_whole() -> None:
    whole = {"tests/test_layout.py", "tests/test_configs.py"}
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = ROOT / path.parent.relative_to(ROOT / "tests")
        subject = path.stem.removeprefix("test_")  # or its beginning: test_variational_identities.py
        mirrored = any(f"{subject}_".startswith(f"{source.stem}_") for source in folder.glob("*.py"))
        of_stages = folder == ROOT / "scripts"  # stages are also tested by what they do together
        assert mirrored or of_stages or name(path) in whole, name(path)


def test_packages_hold_a_docstring_only() -> None:
    for path in (p for folder in (*FOLDERS, "configs") for p in (ROOT / folder).rglob("__init__.py")):
        body = ast.parse(path.read_text()).body
        assert len(body) == 1, name(path)
        assert ast.get_docstring(ast.parse(path.read_text())), name(path)


def test_every_module_opens_with_a_docstring() -> None:
    for path in SOURCES:
        text = ast.get_docstring(ast.parse(path.read_text()))
        assert text, name(path)


def test_files_and_functions_stay_short() -> None:
    assert not {name(p): n for p in (*SOURCES, *TESTS) if (n := len(p.read_text().splitlines())) > 300}
    lengths = dict(item for path in SOURCES for item in functions(path))
    assert not {where: length for where, length in lengths.items() if length > 60}
    assert statistics.median(lengths.values()) <= 10
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= 30


def cpu_seconds(*command: str) -> float:
    """User and system time of a child that must succeed."""

    def spent() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = spent()
    subprocess.run(command, check=True, capture_output=True)
    return spent() - before


def test_help_is_instant_and_loads_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['stillhand', '--help']; from stillhand.scripts.main import main; main();"
        "sys.exit(bool({'torch', 'numpy', 'hydra'} & set(sys.modules)))"
    )
    assert cpu_seconds(sys.executable, "-c", code) <= 0.5


def test_training_starts_within_its_budget() -> None:
    """2.0 CPU seconds in all; on a slower or busier machine, 0.8 beyond what torch alone costs there."""
    tries = list[str]()
    while len(tries) < 3:  # a busy moment adds, and never takes away
        whole = cpu_seconds(
            sys.executable, "-P", "-c", "import stillhand.scripts.train, stillhand.scripts.running"
        )
        torch = 0.0 if whole <= 2.0 else cpu_seconds(sys.executable, "-P", "-c", "import torch")
        if whole <= 2.0 or whole - torch <= 0.8:
            return
        tries.append(f"{whole:.2f} s, of which torch {torch:.2f} s")
    raise AssertionError("; ".join(tries))
