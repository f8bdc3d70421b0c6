"""The progress bar on a terminal of any width."""

import re

import pytest

from jmeta.runs._progress import bar

STEP = {"event": "train", "step": 1000, "loss": 1.23456, "accuracy": 0.5678}


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_bar_count_and_time_stay_visible(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with bar() as show:
        show({"event": "start", "step": 0, "steps": 200_000, "parameters": 1, "memory": 1})
        show({**STEP, "tasks": 200, "seconds": 1.0})
        show({"event": "validation", "step": 1000, "validation": 0.61234, "ci95": 0.01234})
        show({**STEP, "step": 1050, "tasks": 200, "seconds": 1.0})
        show({"event": "test", "what": "testing inductively"})
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", capsys.readouterr().out)
    rows = [row for row in plain.splitlines() if "testing inductively" in row.strip()]
    assert all(len(row) <= columns for row in plain.splitlines())
    text = re.sub(r"\s+", " ", plain)
    assert "1050/200000" in text and re.search(r"\d:\d\d:\d\d|-:--:--", text)
    assert "━" in text and "loss 1.2346 accuracy 0.5678" in text
    assert "200 tasks/s" in text and rows
