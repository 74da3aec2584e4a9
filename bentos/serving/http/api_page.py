"""`/docs`: the OpenAPI document for people, one page without scripts."""

import json
from html import escape
from typing import Any

_STYLE = """
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{max-width:52rem;margin:2rem auto;padding:0 1rem}
code,pre{font:14px/1.45 ui-monospace,monospace}
pre{overflow:auto;padding:.75rem;border:1px solid #8886;border-radius:.4rem}
section{border-top:1px solid #8886;margin-top:1.5rem}
b{display:inline-block;min-width:3.5rem}
"""

_EXAMPLES = {
    "predict": '{"texts": ["a first text", "a second one"], "top_k": 3}',
    "explain": '{"text": "a text"}',
    "feedback": '{"id": "the id of a prediction", "text": "its text", "label": "the right label"}',
    "v2_infer": '{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a text"]}]}',
}


def page(document: dict[str, Any]) -> bytes:
    """HTML in UTF-8."""
    title = escape(document["info"]["title"])
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}: API</title>',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<style>{_STYLE}</style><body><h1>{title} <small>{escape(document['info']['version'])}</small></h1>",
        '<p>As a document for tools: <a href="openapi.json">openapi.json</a>. The page: <a href="./">/</a>.</p>',
    ]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(_operation(path, method, operation))
    parts.append("<section><h2>Types</h2>")
    for name, schema in document["components"]["schemas"].items():
        parts.append(f'<h3 id="{escape(name)}">{escape(name)}</h3>{_code(schema)}')
    parts.append("</section></body></html>")
    return "".join(parts).encode()


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    name = operation["operationId"]
    text = [f'<section id="{name}"><h2><b>{method.upper()}</b> <code>{escape(path)}</code></h2>']
    text.append(f"<p>{escape(operation['summary'])}. {escape(operation.get('description', ''))}</p>")
    if name in _EXAMPLES:
        command = f"curl -H 'Content-Type: application/json' -d '{_EXAMPLES[name]}' http://127.0.0.1:3000{path}"
        text.append(f"<pre>{escape(command)}</pre>")
    for kind, described in operation.get("requestBody", {}).get("content", {}).items():
        text.append(f"<p>Body: {escape(kind)} {_type(described['schema'])}</p>")
    text.append("<ul>")
    for status, response in operation["responses"].items():
        types = " ".join(_type(content["schema"]) for content in response["content"].values())
        text.append(f"<li><code>{status}</code> {escape(response['description'])} {types}</li>")
    text.append("</ul></section>")
    return "".join(text)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#{name}"><code>{name}</code></a>'
    return escape(schema.get("description", ""))


def _code(schema: dict[str, Any]) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=2))}</pre>"
