"""The charts of a drift page: what the data was accepted with in one colour, live traffic in the other."""

from collections.abc import Sequence

from markupsafe import Markup, escape

from tasks.base.pages.svg import Frame, drawing, number_ticks, padded, percent_ticks, short, text
from tasks.watching.drift.report import Distribution, DriftReport

ACCEPTED, LIVE = "s0", "s1"

_LABELS = 20
_BAR = 26.0


def distribution_chart(name: str, shares: Distribution) -> Markup:
    """Two outlines over the same values."""
    edges = shares.edges
    frame = Frame((edges[0], edges[-1]), (0.0, max(*shares.reference, *shares.live) * 1.1), width=420, height=230)
    parts = [frame.axes(name, "share of the texts", number_ticks(frame.x), percent_ticks(frame.y))]
    for style, title, values in ((ACCEPTED, "accepted", shares.reference), (LIVE, "live", shares.live)):
        corners = [(edge, value) for low, value in enumerate(values) for edge in (edges[low], edges[low + 1])]
        points = frame.points([(edges[0], 0.0), *corners, (edges[-1], 0.0)])
        parts.append(f'<g class="line {style}"><title>{title}</title><polyline points="{points}"/></g>')
    return drawing(frame.width, frame.height, f"Distribution of {name}", "Accepted rows and live texts.", parts)


def labels_chart(labels: dict[str, tuple[float, float]]) -> Markup:
    """Shares of the labels whose share changed most, a pair of bars a label."""
    moved = sorted(labels.items(), key=lambda item: -abs(item[1][1] - item[1][0]))[:_LABELS]
    width, left = 640.0, 190.0
    most = max(max(pair) for _, pair in moved) or 1.0
    parts = []
    for index, (name, pair) in enumerate(moved):
        y = index * _BAR
        parts.append(text(left - 8, y + 15, short(name, 28), "label", "end"))
        for row, (style, share) in enumerate(zip((ACCEPTED, LIVE), pair, strict=True)):
            title = f"{name}: {share:.1%} {'live' if row else 'accepted'}"
            size = (width - left - 60) * share / most
            parts.append(
                f'<g class="bar {style}"><title>{escape(title)}</title>'
                f'<rect x="{left}" y="{y + 2 + 10 * row}" width="{max(size, 0.5):.1f}" height="9"/></g>'
            )
        parts.append(text(width - 54, y + 15, f"{100 * (pair[1] - pair[0]):+.1f} pts", "tick", "start"))
    words = "; ".join(f"{name} {before:.1%} to {after:.1%}" for name, (before, after) in moved[:5])
    return drawing(width, _BAR * len(moved), "Shares of the answered labels", words, parts)


def accuracy_chart(looks: Sequence[DriftReport]) -> Markup:
    """Estimated accuracy, and that by feedback, look by look."""
    figures = {
        "estimated": [look.estimated_accuracy for look in looks],
        "feedback": [look.feedback_accuracy for look in looks],
    }
    lines = {
        name: [(index, figure.value) for index, figure in enumerate(line) if figure] for name, line in figures.items()
    }
    values = [value for line in lines.values() for _, value in line]
    if len(values) < 2:
        return Markup()
    span = padded(min(values), max(values), least=0.0, most=1.0)
    frame = Frame((0, max(len(looks) - 1, 1)), span, width=640, height=230)
    ticks = {value: written for value, written in number_ticks(frame.x).items() if value == int(value)}
    parts = [frame.axes("look", "accuracy", ticks, percent_ticks(span))]
    for style, (name, line) in zip((LIVE, "s2"), lines.items(), strict=True):
        if line:
            parts.append(f'<g class="line {style}"><title>{name}</title><polyline points="{frame.points(line)}"/></g>')
    return drawing(frame.width, frame.height, "Accuracy over time", f"{len(looks)} looks.", parts)
