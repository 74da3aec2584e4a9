import pytest

from tasks.base.pages.svg import Frame, log_ticks, padded, short, steps
from tasks.report.charts import candidates_chart, curves_chart, seconds_chart


def test_scales_put_the_bounds_on_the_edges() -> None:
    frame = Frame((0, 10), (0, 1), width=100, height=100, left=10, right=10, top=10, bottom=10)
    assert (frame.px(0), frame.px(10), frame.py(0), frame.py(1)) == (10, 90, 90, 10)
    assert Frame((1, 100), (0, 1), width=100, left=0, right=0, log_x=True).px(10) == 50


@pytest.mark.parametrize("span", [(0.0, 1.0), (0.913, 0.924), (0.0, 37_000.0), (-3.0, -2.9)])
def test_ticks_are_few_round_and_inside(span: tuple[float, float]) -> None:
    ticks = steps(span)
    assert 2 <= len(ticks) <= 7
    assert span[0] <= min(ticks)
    assert max(ticks) <= span[1]


def test_logarithmic_ticks_thin_out_over_many_powers() -> None:
    assert list(log_ticks(0.1, 20)) == [0.1, 0.2, 0.5, 1, 2, 5, 10, 20]
    assert list(log_ticks(0.001, 1000)) == [0.001, 0.01, 0.1, 1, 10, 100, 1000]


def test_equal_values_still_give_a_range() -> None:
    low, high = padded(0.5, 0.5)
    assert low < 0.5 < high
    assert padded(1.0, 1.0, least=0.0, most=1.0)[0] < 1.0


def test_long_names_are_cut() -> None:
    assert short("abcdef", 4) == "abc…"
    assert short("abc", 4) == "abc"


def test_charts_without_anything_to_draw_are_left_out() -> None:
    assert (
        candidates_chart([{"name": "a", "score": 0.9, "error": 0, "latency_ms": None, "on_front": True}], "a", "x")
        == ""
    )
    assert curves_chart({"a": []}, "loss") == ""
    assert seconds_chart({}) == ""


def test_one_candidate_of_one_epoch_is_drawn() -> None:
    row = {"name": "<b>", "score": 1.0, "error": 0.0, "latency_ms": 0.5, "on_front": True}
    chart = candidates_chart([row], "<b>", "accuracy")
    assert "<circle" in chart
    assert "&lt;b&gt;" in chart
    assert "<b>" not in chart
    assert "nan" not in chart
    assert "<circle" in curves_chart({"a": [0.5]}, "accuracy")
