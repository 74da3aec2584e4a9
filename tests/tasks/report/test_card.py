from pathlib import Path

from tasks.report import model_card
from tests.tasks.report.made import EVIL, made


def test_the_card_has_the_sections_of_the_paper_with_intervals_and_lineage(tmp_path: Path) -> None:
    run = made(tmp_path)
    card = model_card(run)
    sections = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert sections == ["Intended use", "Data", "Metrics", "Each class", "Calibration", "Limits", "Lineage"]
    assert run.evaluation
    figure = run.evaluation.metrics["accuracy"]
    assert f"| accuracy | {figure.value:.4f} | {figure.low:.4f} | {figure.high:.4f} |" in card
    assert f"`{run.evaluation.content}`" in card


def test_labels_cannot_break_out_of_the_card_and_no_text_is_quoted(tmp_path: Path) -> None:
    card = model_card(made(tmp_path))
    assert EVIL not in card
    assert "\\<script\\>" in card
    assert "a \\| b & \\*\\*c\\*\\*" in card
    assert "onerror" not in card


def test_tables_of_the_card_have_equally_many_cells(tmp_path: Path) -> None:
    card = model_card(made(tmp_path)).replace("\\|", "")
    table: list[int] = []
    for line in [*card.splitlines(), ""]:
        if line.startswith("|"):
            table.append(line.count("|"))
        else:
            assert len(set(table)) <= 1, line
            table = []
