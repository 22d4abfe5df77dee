"""The page: self-contained, escaped, true to report.json, and working in a browser."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stillhand.report import page
from stillhand.report.page import Demonstrations, write_report
from stillhand.report.results import load_run
from stillhand.report.summary import summarize, summarize_run
from stillhand.report.video import Cast, Video, side_by_side

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=4000",
]
CHECK = """
<script>
addEventListener("load", async () => {
  const wait = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));
  const clips = [...document.querySelectorAll("video")];
  for (let i = 0; i < 40 && clips.some(clip => clip.readyState < 1 && !clip.error); i++) await wait(50);
  const heads = [...document.querySelectorAll("#table thead th")];
  const names = () => [...document.querySelectorAll("#table tbody th")].map(cell => cell.textContent);
  const before = names();
  heads[2].querySelector("button").click();
  document.querySelectorAll("#image-table thead th")[2].querySelector("button").click();
  const result = {
    errors: window.failures,
    images: [...document.images].map(image => [image.naturalWidth, image.alt.length]),
    videos: clips.map(clip => [clip.readyState, clip.videoWidth, clip.error && clip.error.message]),
    requests: performance.getEntriesByType("resource")
      .map(entry => entry.name).filter(name => !name.startsWith("data:")),
    width: [document.documentElement.scrollWidth, innerWidth],
    before, sorted: names(), order: heads[2].getAttribute("aria-sort"),
    generators: [...document.querySelectorAll("#image-table tbody th")].map(cell => cell.textContent),
  };
  const out = document.createElement("pre");
  out.id = "checked";
  out.textContent = JSON.stringify(result);
  document.body.append(out);
});
</script>
"""
COUNT_FAILURES = (
    "<script>window.failures = []; addEventListener('error', e => failures.push(e.message), true);</script>"
)


def fake_clip(casts: list[Cast], step_s: float) -> Video:
    frames = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3)).astype(np.uint8)
    return side_by_side([frames, frames], [cast.title for cast in casts], 1 / step_s, "two controllers")


def no_clip(casts: list[Cast], step_s: float) -> Video:
    raise RuntimeError("no display <here>")


@pytest.fixture(scope="module")
def report(
    tmp_path_factory: pytest.TempPathFactory, pristine_run: Path, demonstrations: Demonstrations
) -> tuple[Path, Path]:
    """Written once, read by many tests."""
    folder = Path(shutil.copytree(pristine_run, tmp_path_factory.mktemp("report") / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "compare", fake_clip)
        return write_report(folder, demonstrations)


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory,
    pristine_run: Path,
    pristine_pictures: Path,
    demonstrations: Demonstrations,
) -> tuple[Path, Path]:
    """The same with images of another run."""
    folder = Path(shutil.copytree(pristine_run, tmp_path_factory.mktemp("both") / "run"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "compare", fake_clip)
        return write_report(folder, demonstrations, pictures=pristine_pictures)


def test_files_and_content(report: tuple[Path, Path]) -> None:
    written, html = report[0], report[1].read_text(encoding="utf-8")
    assert [path.name for path in report] == ["report.json", "report.html"]
    assert json.loads(written.read_text(encoding="utf-8")) == summarize(written.parent)
    assert not list(written.parent.glob("*.tmp"))
    for text in ("22/24", "f00d", "Ledger", "vdd against teacher-10", "bc succeeds", "test CPU"):
        assert text in html, text
    assert "<dt>Commit</dt><dd>0123abc</dd>" in html
    assert "<dt>Action horizon</dt><dd>4 (actions" in html
    assert "policy=vdd &lt;&amp;&gt;" in html and "<&>" not in html  # the commands hold <&>
    assert len(html) < 6e6


def test_page_needs_nothing_from_outside(report: tuple[Path, Path]) -> None:
    html = report[1].read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|href|poster)="([^"]*)"', html)
    assert sources and all(source.startswith(("data:", "#")) for source in sources)
    assert "http://" not in re.sub(r"base64,[^\"]*", "", html) and "url(" not in html


def test_page_is_accessible(report: tuple[Path, Path]) -> None:
    html = report[1].read_text(encoding="utf-8")
    assert '<html lang="en">' in html and 'name="viewport"' in html
    assert html.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', html)) == 4
    table = html[html.index("<table") : html.index("</table>")]
    assert all("scope=" in head for head in re.findall(r"<th[^e][^>]*>", table)) and "<caption>" in table


def test_a_one_step_policys_noise_is_told_where_it_is_not_the_trained_one(
    run_folder: Path, demonstrations: Demonstrations
) -> None:
    for name, scale, noisy in (("vdd", 1.0, False), ("bc", 0.9, True), ("teacher-100", 1.0, True)):
        path = run_folder / "rollouts" / name / "controller.json"
        card = json.loads(path.read_text())
        card["rollout"]["sampling"] = {"noisy": noisy, "noise_scale": scale}
        path.write_text(json.dumps(card))
    html = write_report(run_folder, demonstrations, video=False)[1].read_text(encoding="utf-8")
    assert '<td class="text">vdd<small>no noise</small></td>' in html
    assert '<td class="text">bc-mse<small>noise × 0.9</small></td>' in html
    assert html.count('<td class="text">diffusion</td>') == 2


def test_page_without_video_or_latency_or_mixture(
    run_folder: Path, demonstrations: Demonstrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "compare", no_clip)
    (run_folder / "latency.json").unlink()
    (run_folder / "mixtures/vdd.npz").unlink()
    html = write_report(run_folder, demonstrations)[1].read_text(encoding="utf-8")
    assert "no video: no display &lt;here&gt;" in html
    assert "Latency was not measured" in html and "Gate and experts" not in html


def test_nothing_is_written_for_a_bad_run(run_folder: Path, demonstrations: Demonstrations) -> None:
    (run_folder / "report.json").write_text("old", encoding="utf-8")
    (run_folder / "rollouts/bc/paths.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"bc/paths\.npz"):
        write_report(run_folder, demonstrations)
    assert (run_folder / "report.json").read_text(encoding="utf-8") == "old"
    assert not (run_folder / "report.html").exists()


def test_rollouts_are_shown_beside_demonstrations_only(run_folder: Path) -> None:
    with pytest.raises(ValueError, match="data: controllers are shown beside the demonstrations"):
        write_report(run_folder, None)
    assert not (run_folder / "report.html").exists()


def test_other_demonstrations_than_the_controllers_learnt_from_are_refused(
    run_folder: Path, demonstrations: Demonstrations
) -> None:
    with pytest.raises(ValueError, match=r"data: .* fingerprint 'beef', but .* trained on 'f00d'"):
        write_report(run_folder, replace(demonstrations, fingerprint="beef"))
    assert not (run_folder / "report.html").exists()


def test_provenance_shows_both_commits_when_they_differ(run_folder: Path) -> None:
    for path in run_folder.glob("rollouts/*/controller.json"):
        path.write_text(path.read_text().replace('"commit": "0123abc"', '"commit": "4567def-dirty"'))
    run = load_run(run_folder, "teacher-10")
    shown = dict(page._provenance(run, summarize_run(run)))
    assert shown["Commit"] == "training 0123abc, rollout 4567def-dirty"


def test_unknown_student(run_folder: Path, demonstrations: Demonstrations) -> None:
    with pytest.raises(ValueError, match="controller 'nobody'"):
        write_report(run_folder, demonstrations, student="nobody")


def test_demonstrations_need_a_mode_each(demonstrations: Demonstrations) -> None:
    with pytest.raises(ValueError, match="24 paths, 23 modes"):
        Demonstrations(demonstrations.paths, demonstrations.modes[:-1], "f00d")


def test_images_have_a_page_of_their_own(pictures_folder: Path) -> None:
    html = write_report(pictures_folder, None)[1].read_text(encoding="utf-8")
    assert "<h1>sid, the best of 2 students, below teacher-35: FMNIST-FD 2.40 against 3.20</h1>" in html
    for text in ("smt is above teacher-35", "real training images", "which is not FID", "ab12", "2.40"):
        assert text in html, text
    for section in ("controllers", "pictures", "latency", "video", "domains"):
        assert f'id="{section}"' not in html, section
    assert html.count("<img ") == len(re.findall(r'<img [^>]*alt="[^"]+"', html)) == 6  # bars and five grids
    assert "<&>" not in html and "method=sid &lt;&amp;&gt;" in html
    assert html.index("real training images") < html.index(">teacher-35</th>")  # the floor first


def test_both_domains_share_a_page(both: tuple[Path, Path]) -> None:
    html = both[1].read_text(encoding="utf-8")
    sections = [
        html.index(f'id="{name}"') for name in ("domains", "controllers", "video", "images", "provenance")
    ]
    assert sections == sorted(sections)
    matrix = html[html.index('class="matrix"') : html.index('id="controllers"')]
    (row,) = re.findall(r'<tr><th scope="row" class="text">SMT</th>(.*?)</tr>', matrix, re.S)
    assert re.findall(r"<td[^>]*>([^<]*)</td>", row) == ["—"] * 4 + ["smt", "1", "4.70", "0.60"]
    assert "vdd against teacher-10" in html and "sid, the best of 2 students" in html
    assert "<title>stillhand · avoiding, fmnist · report</title>" in html
    assert json.loads(both[0].read_text(encoding="utf-8"))["images"]["n"] == 5000


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page was not opened")
def test_in_a_browser(both: tuple[Path, Path], tmp_path: Path) -> None:
    html = both[1].read_text(encoding="utf-8")
    copy = tmp_path / "checked.html"
    html = html.replace("<head>", "<head>" + COUNT_FAILURES, 1).replace("</body>", CHECK + "</body>", 1)
    copy.write_text(html, encoding="utf-8")
    shot = tmp_path / "page.png"
    dom = browse(tmp_path, copy, "--dump-dom", f"--screenshot={shot}", "--window-size=500,900")
    found = re.search(r'<pre id="checked">(.*?)</pre>', dom, re.S)
    assert found, dom[-2000:]
    result = json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert result["errors"] == [] and result["requests"] == []
    assert len(result["images"]) == 10 and all(width > 0 and alt > 0 for width, alt in result["images"])
    assert len(result["videos"]) == 1 and all(
        state >= 1 and width > 0 for state, width, _ in result["videos"]
    )
    assert result["width"][0] <= result["width"][1]  # no sideways scrolling of the page on a phone
    assert result["sorted"] == ["bc", "vdd", "teacher-10", "teacher-100"] and result["order"] == "descending"
    assert result["generators"] == ["floor", "teacher-1", "smt", "teacher-35", "sid"]  # the floor stays
    assert np.asarray(Image.open(shot).convert("L")).std() > 10


def browse(home: Path, file: Path, *flags: str) -> str:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={home / 'profile'}", *flags, file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
