"""The command picks a stage, or says what there is."""

import sys

import pytest

from stillhand.scripts import main


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["stillhand", *arguments])
    main.main()


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help_lists_every_stage(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(monkeypatch, *arguments)
    out = capsys.readouterr().out
    assert out.startswith("usage: stillhand STAGE")
    for stage, text in main.STAGES.items():
        assert f"  {stage}" in out
        assert text in out


def test_unknown_stage_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        call(monkeypatch, "trian", "seed=3")
    assert error.value.code == 2
    err = capsys.readouterr().err
    assert err == "stillhand: no stage 'trian'; expected one of " + ", ".join(main.STAGES) + "\n"


@pytest.mark.parametrize("stage", main.STAGES)
def test_every_stage_is_a_module_with_a_main(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    module = main.module_of(stage)
    monkeypatch.setattr(module, "main", lambda: called.append(sys.argv))
    call(monkeypatch, stage, "seed=3", "--cfg", "job")
    assert called == [[f"stillhand {stage}", "seed=3", "--cfg", "job"]]
