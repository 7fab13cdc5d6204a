"""The page at /docs: the OpenAPI description as HTML for people, with a curl line a route; nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font-family: ui-monospace, monospace; font-size: .92em } pre { overflow-x: auto; padding: .8rem }
pre, code { background: #8881; border-radius: 4px }
table { border-collapse: collapse; display: block; overflow-x: auto }
td, th { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #8883; vertical-align: top }
h2 { margin-top: 2.5rem } :root { color-scheme: light dark }
"""


def docs_page(api: Mapping[str, Any], base: str) -> str:
    """The interface as a page of HTML.

    Args:
        api: an OpenAPI 3.1 document.
        base: the server's address, for the examples.
    """
    parts = []
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation_html(api, base.rstrip("/") + path, f"{method.upper()} {path}", operation))
    title = escape(f"{api['info']['title']}: the HTTP interface")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>{escape(api['info'].get('description', ''))} For programs: "
        f'<a href="openapi.json">openapi.json</a>. The page: <a href=".">/</a>.</p>{"".join(parts)}</body></html>'
    )


def _operation_html(api: Mapping[str, Any], url: str, title: str, operation: Mapping[str, Any]) -> str:
    """One route: its title, a curl line, its fields with their limits, and the statuses that it answers."""
    fields = _fields(api, operation.get("requestBody", {}))
    html = f"<h2><code>{escape(title)}</code></h2><p>{escape(operation.get('summary', ''))}</p>"
    html += f"<pre>{escape(_curl(url, fields))}</pre>"
    if fields:
        limits = []
        for name, schema in fields.items():
            limits.append((name, _limit(schema)))
        html += _table(("field", "value"), limits)
    responses = [(code, response["description"]) for code, response in operation["responses"].items()]
    return html + _table(("status", "meaning"), responses)


def _limit(schema: Mapping[str, Any]) -> str:
    """How long a field's text may be; of a list, how many texts and how long each."""
    if "items" in schema:
        return f"list of at most {schema['maxItems']:,} texts, each {_limit(schema['items'])}"
    return f"text, at most {schema['maxLength']:,} characters"


def _curl(url: str, fields: Mapping[str, Mapping[str, Any]]) -> str:
    """A command that calls an operation with the fields' samples."""
    if not fields:
        return f"curl {url}"
    samples = {name: schema["examples"][0] for name, schema in fields.items()}
    body = json.dumps(samples, ensure_ascii=False, allow_nan=False)
    return f"curl {url} \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"


def _fields(api: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The fields of a request's body, with their schemas; none where it has no body."""
    reference = body.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref")
    if not reference:
        return {}
    name = reference.rsplit("/", 1)[1]
    fields: dict[str, dict[str, Any]] = api["components"]["schemas"][name]["properties"]
    return fields


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as an HTML table."""
    body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{_cells('th', header)}</tr></thead><tbody>{body}</tbody></table>"


def _cells(tag: str, cells: Sequence[str]) -> str:
    """The cells of one row, escaped; `tag` is td or th."""
    return "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
