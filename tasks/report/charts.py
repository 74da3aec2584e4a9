"""The report's charts. Each says in its description, in words, what matters in it."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from tasks.base.pages.svg import Frame, drawing, log_ticks, number_ticks, padded, percent_ticks, short, text

SERIES = 8
"""Colours that the style sheet knows: classes s0 to s7."""

MOST_CLASSES = 100
"""Of the confusion matrix; with more, those with most mistakes are drawn."""

_COUNTS_UP_TO = 12
_NAMES_UP_TO = 40


def candidates_chart(rows: Sequence[dict[str, Any]], chosen: str, metric: str) -> Markup:
    """Score on validation, with one standard error, against milliseconds a text; the Pareto front as a line.

    `rows` are candidates with name, score, error, latency_ms and on_front.
    """
    timed = [row for row in rows if row["latency_ms"]]
    if not timed:
        return Markup()
    ends = [row["score"] + sign * row["error"] for row in timed for sign in (-1, 1)]
    span = padded(max(min(ends), 0.0), min(max(ends), 1.0), least=0.0, most=1.0)
    times = [row["latency_ms"] for row in timed]
    frame = Frame((min(times) / 1.6, max(times) * 2.4), span, width=960, height=380, log_x=True)
    ticks = log_ticks(*frame.x), percent_ticks(span)
    parts = [frame.axes("milliseconds a text on one thread (logarithmic)", f"{metric} on validation", *ticks)]
    front = sorted((row for row in timed if row["on_front"]), key=lambda row: row["latency_ms"])
    if len(front) > 1:
        line = frame.points((row["latency_ms"], row["score"]) for row in front)
        parts.append(f'<polyline class="front" points="{line}"/>')
    taken: list[tuple[float, float]] = []
    for row in sorted(timed, key=lambda row: (row["name"] != chosen, -row["score"])):
        x, y = frame.px(row["latency_ms"]), frame.py(row["score"])
        high, low = (
            frame.py(min(row["score"] + row["error"], span[1])),
            frame.py(max(row["score"] - row["error"], span[0])),
        )
        style, radius = ("chosen", 6.5) if row["name"] == chosen else ("point", 4.5)
        title = f"{row['name']}: {row['score']:.1%} ± {row['error']:.1%}, {row['latency_ms']:.2f} ms"
        parts.append(f'<g class="{style}"><title>{escape(title)}</title>')
        parts.append(f'<line x1="{x}" x2="{x}" y1="{high}" y2="{low}"/><circle cx="{x}" cy="{y}" r="{radius}"/></g>')
        right = x < frame.width * 0.75
        name = short(row["name"], 28)
        parts.append(
            text(x + (11 if right else -11), _free(x, y + 4, taken), name, f"{style}-name", "start" if right else "end")
        )
    best, fastest = max(timed, key=lambda row: row["score"]), min(timed, key=lambda row: row["latency_ms"])
    words = f"{len(timed)} candidates. Best: {best['name']}, {best['score']:.1%}. Fastest: {fastest['name']}, "
    words += f"{fastest['latency_ms']:.2f} ms. Chosen: {chosen}."
    return drawing(frame.width, frame.height, "Candidates by accuracy and speed", words, parts)


def curves_chart(curves: dict[str, list[float]], name: str) -> Markup:
    """One figure by epoch, a line a candidate; `name` is the figure."""
    lines = {candidate: values for candidate, values in curves.items() if values}
    if not lines:
        return Markup()
    values = [value for line in lines.values() for value in line]
    share = max(values) <= 1.0 and name != "loss"
    span = padded(min(values), max(values), least=0.0, most=1.0 if share else None)
    longest = max(len(line) for line in lines.values())
    frame = Frame((1, max(longest, 2)), span, width=420, height=250, right=12)
    epochs = {value: written for value, written in number_ticks(frame.x).items() if value == int(value)}
    parts = [frame.axes("epoch", name, epochs, percent_ticks(span) if share else number_ticks(span))]
    for index, (candidate, line) in enumerate(lines.items()):
        style = f"s{index % SERIES}"
        points = frame.points(enumerate(line, start=1))
        parts.append(f'<g class="line {style}"><title>{escape(candidate)}</title><polyline points="{points}"/>')
        parts.append(f'<circle cx="{frame.px(len(line))}" cy="{frame.py(line[-1])}" r="3"/></g>')
    ends = ", ".join(f"{candidate} {line[-1]:.3g} after {len(line)}" for candidate, line in lines.items())
    return drawing(frame.width, frame.height, f"{name} by epoch", f"At the end: {ends}.", parts)


def reliability_chart(before: dict[str, Any], after: dict[str, Any]) -> Markup:
    """How often answers with a given score are right, before and after calibration, with 95 % intervals after it."""
    frame = Frame((0.0, 1.0), (0.0, 1.0), width=420, height=380, left=52)
    ticks = percent_ticks((0.0, 1.0))
    parts = [frame.axes("score that the model gives", "share that is right", ticks, ticks)]
    parts.append(f'<polyline class="ideal" points="{frame.points([(0, 0), (1, 1)])}"/>')
    for style, bins in (("before", before["bins"]), ("after", after["bins"])):
        parts.append(f'<g class="{style}">')
        if style == "after":
            for one in bins:
                x = frame.px(one["confidence"])
                parts.append(f'<line x1="{x}" x2="{x}" y1="{frame.py(one["high"])}" y2="{frame.py(one["low"])}"/>')
        parts.append(f'<polyline points="{frame.points((one["confidence"], one["accuracy"]) for one in bins)}"/>')
        for one in bins:
            title = f"{one['rows']:,} answers scored {one['confidence']:.1%} on average: {one['accuracy']:.1%} right"
            x, y = frame.px(one["confidence"]), frame.py(one["accuracy"])
            parts.append(f'<circle cx="{x}" cy="{y}" r="4"><title>{escape(title)}</title></circle>')
        parts.append("</g>")
    words = f"Calibration error {before['error']:.1%} before and {after['error']:.1%} after calibration."
    return drawing(frame.width, frame.height, "Reliability diagram", words, parts)


def confusion_chart(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Markup:
    """Rows of each true class (down) by the answer given (across), shaded by the share of the class."""
    shown = _most_mistaken(matrix)
    size = len(shown)
    cell = min(46.0, max(640.0 / max(size, 1), 7.0))
    named = size <= _NAMES_UP_TO
    margin = min(8.0 + 6.2 * max((min(len(labels[k]), 20) for k in shown), default=0), 140.0) if named else 24.0
    left, top = margin + 18, 22.0
    side = cell * size
    width, height = max(left + side + 12, 320), top + side + (margin if named else 20) + 12
    parts = [text(left, 14, "answer →   (true class ↓)", "label", "start")]
    parts.append(f'<rect class="paper" x="{left}" y="{top}" width="{side:.1f}" height="{side:.1f}"/>')
    for down, truth in enumerate(shown):
        total = sum(matrix[truth])
        y = top + down * cell
        if named:
            parts.append(text(left - 6, y + cell / 2 + 3.5, short(labels[truth], 20), "tick", "end"))
            x = left + down * cell + cell / 2
            parts.append(text(x + 3, top + side + 12, short(labels[truth], 20), "tick", "end", -45))
        for across, answer in enumerate(shown):
            count = matrix[truth][answer]
            if not count:
                continue
            share = count / total
            x = left + across * cell
            style = "right" if truth == answer else "wrong"
            title = f"{labels[truth]} → {labels[answer]}: {count:,} of {total:,} ({share:.0%})"
            opacity = round(0.08 + 0.92 * share**0.6, 2)
            parts.append(f'<g class="{style}"><title>{escape(title)}</title>')
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{cell:.1f}" height="{cell:.1f}" fill-opacity="{opacity}"/>'
            )
            if size <= _COUNTS_UP_TO:
                ink = "on-dark" if opacity > 0.55 else "tick"
                parts.append(text(x + cell / 2, y + cell / 2 + 4, f"{count:,}", ink, "middle"))
            parts.append("</g>")
    right = sum(matrix[k][k] for k in range(len(labels)))
    words = f"{right:,} of {sum(map(sum, matrix)):,} answers are on the diagonal. The table names the confusions."
    return drawing(width, height, f"Confusion matrix of {size} classes", words, parts)


def seconds_chart(seconds: dict[str, float]) -> Markup:
    """Where the time went: one bar, a part a stage."""
    total = sum(seconds.values())
    if not total:
        return Markup()
    width, parts, x = 1000.0, [], 0.0
    for index, (stage, took) in enumerate(seconds.items()):
        part = width * took / total
        parts.append(f'<g class="bar s{index % SERIES}"><title>{escape(stage)}: {took:.1f} s</title>')
        parts.append(f'<rect x="{x:.1f}" y="0" width="{max(part - 1, 0.5):.1f}" height="26"/></g>')
        x += part
    words = ", ".join(f"{stage} {took:.1f} s" for stage, took in seconds.items())
    return drawing(width, 26, "Seconds by stage", words, parts)


def _most_mistaken(matrix: Sequence[Sequence[int]]) -> list[int]:
    """The classes to draw, in their own order."""
    everyone = range(len(matrix))
    if len(matrix) <= MOST_CLASSES:
        return list(everyone)
    columns = [sum(row) for row in zip(*matrix, strict=True)]
    mistakes = [sum(matrix[k]) + columns[k] - 2 * matrix[k][k] for k in everyone]
    return sorted(sorted(everyone, key=lambda k: -mistakes[k])[:MOST_CLASSES])


def _free(x: float, y: float, taken: list[tuple[float, float]]) -> float:
    """A height near `y` at which no other name stands."""
    for offset in (0, -14, 14, -28, 28, -42, 42):
        if all(abs(x - other_x) > 130 or abs(y + offset - other_y) >= 13 for other_x, other_y in taken):
            taken.append((x, y + offset))
            return y + offset
    return y
