"""The runner of benchmarks: it writes figures at once, goes on after a failure, and sets the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.__main__ import main
from tests.bench.figure import Benchmark, Figure

GOOD = Figure("quick", 1.0, 2.0, "the other", 0.8)
SLOW = Figure("slow", 3.0, 2.0, "the other", 1.2)


def benchmark(*figures: Figure, then: BaseException | None = None) -> Benchmark:
    def run() -> Iterator[Figure]:
        """Compare two things."""
        yield from figures
        if then is not None:
            raise then

    return run


def run_benchmarks(tmp_path: Path, *arguments: str, **benchmarks: Benchmark) -> tuple[int, list[dict[str, Any]]]:
    report = tmp_path / "build" / "bench.json"
    status = main(arguments, benchmarks, report)
    assert not list(report.parent.glob(".*")), "a temporary file is left"
    return status, json.loads(report.read_text())


def test_if_all_figures_pass_the_exit_status_is_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, rows = run_benchmarks(tmp_path, one=benchmark(GOOD))
    assert (status, [row["name"] for row in rows]) == (0, ["quick"])
    assert "1 figures, all passed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error", [ValueError("no\nsuch thing"), SystemExit("the tool is\nmissing"), OSError(28, "No space")]
)
def test_a_benchmark_that_fails_keeps_its_figures_and_does_not_stop_the_others(
    error: BaseException, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, rows = run_benchmarks(tmp_path, bad=benchmark(GOOD, then=error), after=benchmark(GOOD))
    assert status == 1
    assert [row["name"] for row in rows] == ["quick", "bad", "quick"]
    assert "\n" not in rows[1]["error"]
    assert rows[1]["error"] in capsys.readouterr().out.splitlines()[-2]


def test_a_figure_above_its_limit_is_shown_with_ratio_and_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, rows = run_benchmarks(tmp_path, slow=benchmark(SLOW, GOOD))
    assert (status, [row["passed"] for row in rows]) == (1, [False, True])
    assert capsys.readouterr().out.splitlines()[-2].split() == ["slow", "1.500", "1.200"]


def test_an_interrupt_keeps_the_measured_figures(tmp_path: Path) -> None:
    status, rows = run_benchmarks(tmp_path, one=benchmark(GOOD, then=KeyboardInterrupt()), two=benchmark(GOOD))
    assert status == 130
    assert [row["name"] for row in rows] == ["quick", "one"]


def test_the_report_is_complete_after_each_figure(tmp_path: Path) -> None:
    report = tmp_path / "build" / "bench.json"
    seen = []

    def count_rows() -> Iterator[Figure]:
        for _ in range(3):
            seen.append(len(json.loads(report.read_text())))
            yield GOOD

    assert main([], {"one": count_rows}, report) == 0
    assert seen == [0, 1, 2]


def test_only_the_named_ones_run(tmp_path: Path) -> None:
    status, rows = run_benchmarks(tmp_path, "two", one=benchmark(SLOW), two=benchmark(GOOD))
    assert (status, [row["name"] for row in rows]) == (0, ["quick"])


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["three"], {"one": benchmark(), "two": benchmark()}, tmp_path / "x.json") == 2
    assert capsys.readouterr().err == "bench: unknown benchmark three; choose from: one, two\n"
    assert not (tmp_path / "x.json").exists()


def test_the_list_shows_what_each_compares(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("closure ") for line in lines)
    assert all(len(line.split()) > 3 for line in lines), "a benchmark without a docstring"


def test_a_disk_that_becomes_full_does_not_stop_the_benchmarks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "build" / "bench.json"

    def fill_disk() -> Iterator[Figure]:
        yield GOOD
        report.unlink()
        report.mkdir()  # a rename onto it fails, as one on a full disk does
        yield GOOD

    assert main([], {"one": fill_disk, "two": benchmark(GOOD)}, report) == 0
    out = capsys.readouterr().out
    assert "bench.json is not updated" in out
    assert "3 figures, all passed" in out


def test_a_report_that_cannot_be_written_is_refused_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([], {"one": benchmark(GOOD)}, tmp_path / "file" / "bench.json") == 2
    assert "choose another file: --report FILE" in capsys.readouterr().err
