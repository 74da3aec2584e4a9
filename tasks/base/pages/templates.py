"""The templates of every page and of the model card, and how they write a value."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tasks.base.pages.wording import metric_name, percent

_JOINTS = re.compile(r"([_/.:-])(?=\w)")


def templates() -> Environment:
    """The templates of the pages and the model card, HTML escaped; a name that the view lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: bool(name and name.endswith(".html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "metric": metric_name, "bytes": _bytes, "cut": _cut, "name": _name}
    environment.filters["score"] = lambda value: ">99.9%" if value > 0.999 else percent(value)
    return environment


def _bytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def _cut(value: object, most: int = 160) -> str:
    written = ", ".join(map(_item, value)) or "nothing" if isinstance(value, list) else str(value)
    return written if len(written) <= most else written[: most - 1] + "…"


def _item(item: object) -> str:
    """One of several labels; of a span its label and place."""
    return f"{item['label']} {item['start']}–{item['end']}" if isinstance(item, dict) else str(item)


def _name(label: object, most: int = 80) -> Markup:
    """A label that may break after its own joints rather than in the middle of a word."""
    return Markup(_JOINTS.sub(r"\1<wbr>", str(escape(_cut(label, most)))))
