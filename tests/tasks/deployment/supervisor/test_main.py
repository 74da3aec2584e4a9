import sys
from pathlib import Path

import pytest

from tasks.deployment.__main__ import main


def ask(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tasks.deployment", *arguments])
    return main()


def test_help_lists_what_a_person_types_and_nothing_else(monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        ask(monkeypatch, "--help")
    assert ended.value.code == 0
    told = capsys.readouterr().out.partition("COMMAND\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in told.splitlines()] == [
        "start", "stop", "status", "reload", "run", "unit", "keys",
    ]  # fmt: skip


@pytest.mark.parametrize("command", [["start"], ["reload"], ["keys", "revoke", "nobody"]])
def test_an_error_is_one_line_that_says_it_is_one(command: list[str], monkeypatch, capsys, tmp_path: Path) -> None:
    assert ask(monkeypatch, *command, "--state", str(tmp_path)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
