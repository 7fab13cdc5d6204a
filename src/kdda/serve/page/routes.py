"""The open routes of the page (`OPEN_ROUTES`): gradio has many more (files, proxy, upload, …), which get 404."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kdda.serve.errors import HTTPError, nothing_here
from kdda.serve.limits import App, Receive, Scope, Send, is_json, replay, send_error

# Method, path, and the parameter of the query that is passed on. What the page's browser asks for, and nothing else.
OPEN_ROUTES = (
    ("GET", r"/", ""),
    ("GET", r"/theme\.css", ""),
    ("GET", r"/favicon\.ico", ""),
    ("GET", r"/config", ""),
    ("GET", r"/robots\.txt", ""),
    ("GET", r"/(assets|static)(/[\w@+-][\w@+.-]*)+", ""),
    ("GET", r"/gradio_api/queue/data", "session_hash"),
    ("POST", r"/gradio_api/queue/join", ""),
)

QUEUE = "/gradio_api/queue/join"

NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")  # a session's

SURROGATE = re.compile(r"[\ud800-\udfff]")

# With these, gradio reads files and users, or takes itself for another address.
DROPPED_HEADERS = re.compile(rb"x-gradio-.*|x-direct-url|x-hf-.*|cookie|range")


class OpenRoutes:
    """Gradio's application behind the list of the routes that are open.

    An event's inputs are texts and numbers: gradio would fetch the address of an input that is a file.
    """

    def __init__(self, app: Any, interface: Sequence[str]):
        """Wrap gradio's application of a page; `interface` are the other routes, which a refusal names."""
        self.app: App = app
        self.interface = interface
        self.inputs_of_events: dict[int, Sequence[Any]] = {}
        for number, event in app.get_blocks().fns.items():
            self.inputs_of_events[number] = event.inputs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of an open route; 404 and 405 for others."""
        if scope["type"] != "http":
            return
        try:
            parameter = _parameter_of_route(scope["method"], scope["path"], self.interface)
            if scope["path"] == QUEUE:
                body = self._checked_event(scope, await _body(receive))
                receive = replay(body, receive)
        except HTTPError as error:
            await send_error(send, error)
            return
        await self.app(_reduced(scope, parameter), receive, send)

    def _checked_event(self, scope: Scope, body: bytes) -> bytes:
        """The body of an event of the page, with the fields that the page sends and no others.

        Raises:
            HTTPError: a body that the page does not send.
        """
        if not is_json(scope):
            raise HTTPError(415, "the body must be JSON, with Content-Type: application/json")
        try:
            event = json.loads(body)
        except (ValueError, RecursionError):
            raise HTTPError(400, "the body is not JSON") from None
        if not _is_event(event, self.inputs_of_events):
            raise HTTPError(422, "the body is not an event of this page")
        fields = {name: event.get(name) for name in ("data", "fn_index", "trigger_id", "session_hash")}
        return json.dumps(fields, allow_nan=False).encode()


def _parameter_of_route(method: str, path: str, interface: Sequence[str]) -> str:
    """The name of the parameter that an open route takes, or ""; `interface` are the routes beside the page's.

    Raises:
        HTTPError: 404 and 405 where the route is not open.
    """
    others = []
    for open_method, pattern, parameter in OPEN_ROUTES:
        if re.fullmatch(pattern, path, re.ASCII):
            if method == open_method:
                return parameter
            others.append(open_method)
    if others:
        raise HTTPError(405, f"only {others[0]}", {"Allow": others[0]})
    raise nothing_here(interface)


async def _body(receive: Receive) -> bytes:
    """The whole body, which the server's limits have read already."""
    message = await receive()
    return bytes(message.get("body", b""))


def _is_event(event: Any, inputs_of_events: Mapping[int, Sequence[Any]]) -> bool:
    """Whether a body is an event of the page: one of its functions, a session, and inputs that its components give.

    Args:
        inputs_of_events: number of an event → the components whose values are its inputs.
    """
    if not isinstance(event, dict):
        return False
    number = event.get("fn_index")
    components = inputs_of_events.get(number) if isinstance(number, int) else None
    if components is None or isinstance(number, bool):
        return False
    session = event.get("session_hash")
    if not isinstance(session, str) or not NAME.fullmatch(session):
        return False
    trigger = event.get("trigger_id")
    if trigger is not None and not _is_whole(trigger):
        return False
    values = event.get("data")
    if not isinstance(values, list) or len(values) != len(components):
        return False
    return all(map(_fits, components, values))


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _fits(component: Any, value: Any) -> bool:
    """Whether a value is one that a gradio component gives: a choice or several, a number of a slider, or a text."""
    if component.get_block_name() == "checkboxgroup":
        are_choices = isinstance(value, list) and all(isinstance(choice, str) for choice in value)
        return (
            are_choices and len(value) <= len(component.choices) and set(value) <= set(dict(component.choices).values())
        )
    is_free = getattr(component, "allow_custom_value", False)  # what may be chosen changes: the event's function checks
    if hasattr(component, "choices") and not is_free:  # Radio and Dropdown: pairs of what is read and its value
        return value is None or (isinstance(value, str) and value in dict(component.choices).values())
    if hasattr(component, "maximum"):  # Slider
        is_number = isinstance(value, float) or _is_whole(value)
        return is_number and bool(component.minimum <= value <= component.maximum)
    return value is None or (isinstance(value, str) and not SURROGATE.search(value))


def _reduced(scope: Scope, parameter: str) -> Scope:
    """A request with the one parameter of its route, where it has a right value, and without the dropped headers."""
    query = b""
    match = re.search(rb"(?:^|&)session_hash=([0-9A-Za-z_-]{1,64})(?:&|$)", scope["query_string"])
    if parameter and match:
        query = b"session_hash=" + match[1]
    headers = []
    for name, value in scope["headers"]:
        if not DROPPED_HEADERS.fullmatch(name) and name != b"content-length":
            headers.append((name, value))
    return {**scope, "query_string": query, "headers": headers}
