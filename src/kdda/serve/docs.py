"""The page at /docs: what the OpenAPI description says, for people, with nothing loaded from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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

SAMPLES = {
    "question": "Thủ đô của Việt Nam là gì?",
    "context": "Hà Nội là thủ đô của Việt Nam.",
    "premise": "Hà Nội là thủ đô của Việt Nam.",
    "hypothesis": "Việt Nam có thủ đô.",
}


def docs_page(api: Mapping[str, Any], base: str) -> str:
    """The interface as a page of HTML.

    Args:
        api: an OpenAPI 3.1 document.
        base: where the server is, for the examples.
    """
    parts = "".join(part for path, own in api["paths"].items() for part in _path(api, base, path, own))
    title = escape(f"{api['info']['title']}: the HTTP interface")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>{escape(api['info'].get('description', ''))} For programs: "
        f'<a href="openapi.json">openapi.json</a>. The page: <a href=".">/</a>.</p>{parts}</body></html>'
    )


def _path(api: Mapping[str, Any], base: str, path: str, methods: Mapping[str, Any]) -> Iterator[str]:
    for method, own in methods.items():
        yield f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2><p>{escape(own.get('summary', ''))}</p>"
        yield f"<pre>{escape(_curl(api, base, path, own))}</pre>"
        fields = _fields(api, own.get("requestBody", {}))
        if fields:
            yield _table(("field", "what it takes"), fields)
        yield _table(("status", "meaning"), [(code, said["description"]) for code, said in own["responses"].items()])


def _curl(api: Mapping[str, Any], base: str, path: str, own: Mapping[str, Any]) -> str:
    url = base.rstrip("/") + path
    names = [name for name, _ in _fields(api, own.get("requestBody", {}))]
    if not names:
        return f"curl {url}"
    body = json.dumps({name: SAMPLES.get(name, "…") for name in names}, ensure_ascii=False)
    return f"curl {url} \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"


def _fields(api: Mapping[str, Any], body: Mapping[str, Any]) -> list[tuple[str, str]]:
    reference = body.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref")
    if not reference:
        return []
    schema = api["components"]["schemas"][reference.rsplit("/", 1)[1]]
    return [(name, f"text, at most {own['maxLength']:,} characters") for name, own in schema["properties"].items()]


def _table(header: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
