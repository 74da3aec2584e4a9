"""What the description of the API says of this very model: its labels, and how many texts a request may hold."""

from collections.abc import Sequence
from typing import Any

_MOST_NAMED = 1000


def narrow(document: dict[str, Any], labels: Sequence[str], max_texts: int) -> None:
    """Changes the OpenAPI document in place."""
    schemas = document["components"]["schemas"]
    schemas["PredictBody"]["properties"]["texts"]["maxItems"] = max_texts
    for name, field in (("PredictBody", "labels"), ("ExplainBody", "label"), ("FeedbackBody", "label")):
        _only(schemas[name]["properties"][field], labels)
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "labels":
                    _only(parameter["schema"], labels)


def _only(described: dict[str, Any], labels: Sequence[str]) -> None:
    """Says of every string in the schema that it is one of the labels."""
    if len(labels) > _MOST_NAMED:
        return
    if described.get("type") == "string":
        described["enum"] = list(labels)
        described.pop("maxLength", None)
    for inner in [*described.get("anyOf", []), *([described["items"]] if "items" in described else [])]:
        _only(inner, labels)
