"""The HTTP routes: one for each served model, /health, /metrics, /docs; request and error bodies, 405 and 404."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.routing import Route

from kdda.errors import KddaError
from kdda.inference.predictor import Predictor
from kdda.serve.batching import Batcher, cancel_on_disconnect
from kdda.serve.docs import docs_page
from kdda.serve.errors import HTTPError, nothing_here
from kdda.serve.limits import Limits, is_json
from kdda.serve.metrics import Metrics
from kdda.tasks.base import Result, Task
from kdda.tasks.registry import TASKS

NOT_BLANK = r"[^\s\x1c-\x1f]"  # a character that is not white space, as Python counts it

MAX_LIST = 100  # texts of a field that holds a list, such as the options of a choice

CLIENT_GONE = 499  # nobody reads this response; it is what the counters record

ABOUT = "Predictions of models, one route for each."

HELP = {
    400: "The body is not JSON that can be read.",
    401: "A token is needed.",
    403: "The Host or Origin of the request is not one of this server.",
    404: "No model here does this.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    422: "A field is missing, misspelt, empty, or too long.",
    415: "The body is not declared as JSON: Content-Type: application/json.",
    429: "Too many requests wait; try again after Retry-After seconds.",
    500: "The model failed at this request.",
    504: "No prediction within the server's timeout.",
}


class ErrorBody(BaseModel):
    """Why there is no prediction."""

    detail: str


class FieldError(BaseModel):
    """What of a request is wrong, and where."""

    loc: list[str | int]
    msg: str
    type: str


class FieldErrors(BaseModel):
    """All that is wrong with a request."""

    detail: list[FieldError] | str


class Health(BaseModel):
    """Whether the models can answer, and what is served."""

    status: str
    routes: dict[str, str] = Field(description="The route of each task that is served.")


class Service:
    """The models of one server, each behind its queue.

    Raises:
        KddaError: two models of one task, or of tasks with one route.
    """

    def __init__(self, predictors: Sequence[Predictor], limits: Limits):
        """Make a queue for each predictor; the queues are read while `running` is entered."""
        _check_routes(predictors)
        self.limits = limits
        self.tasks = [predictor.task for predictor in predictors]
        self.routes = {task.name: task.route for task in self.tasks}
        self.metrics = Metrics([*FIXED_ROUTES, *self.routes.values()])
        self.batchers: dict[str, Batcher] = {}
        for predictor in predictors:
            self.batchers[predictor.task.name] = Batcher(predictor, limits, self.metrics)

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """Read the queues for as long as the application runs."""
        for batcher in self.batchers.values():
            batcher.start()
        try:
            yield
        finally:
            for batcher in self.batchers.values():
                batcher.close()

    async def problems(self) -> dict[str, str]:
        """The tasks whose models cannot answer now, and why."""
        problems = {}
        for task, batcher in self.batchers.items():
            problem = await batcher.problem()
            if problem:
                problems[task] = problem
        return problems

    async def predict(self, task: Task, texts: tuple[str, ...]) -> Result:
        """What the model of a task predicts for texts, in the order of the task's fields.

        Raises:
            HTTPError: too many requests wait, or time is up.
            KddaError: texts that cannot be read.
        """
        return await self.batchers[task.name].submit(texts)


def _check_routes(predictors: Sequence[Predictor]) -> None:
    """Refuse two models of one task, and two tasks with one route."""
    by_route: dict[str, Predictor] = {}
    for predictor in predictors:
        other = by_route.get(predictor.task.route)
        if other is None:
            by_route[predictor.task.route] = predictor
            continue
        if other.task.name == predictor.task.name:
            raise KddaError(f'"{other.name}" and "{predictor.name}" are of one task; serve one of them')
        raise KddaError(
            f'tasks "{other.task.name}" and "{predictor.task.name}" have one route, {other.task.route}: serve one of '
            "them, or give one a route of another name"
        )


def make_app(service: Service, token: bool = False) -> FastAPI:
    """The application without its limits and its page.

    Args:
        token: whether clients need one, for the description.
    """
    app = FastAPI(
        title="kdda",
        description=ABOUT,
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=service.running,
        dependencies=[Depends(HTTPBearer(auto_error=False))] if token else [],
    )
    app.add_exception_handler(RequestValidationError, _unprocessable)
    app.add_exception_handler(KddaError, _unprocessable)
    app.add_exception_handler(HTTPError, _http_error)
    for task in service.tasks:
        _add_task(app, service, task)
    _add_fixed_routes(app, service)
    _add_refusals(app, service)
    return app


def _add_task(app: FastAPI, service: Service, task: Task) -> None:
    """The route of one served model."""
    request_type: Any = _request_type(task, service.limits)

    async def predict(body: request_type, request: Request) -> Any:  # type: ignore[valid-type]
        """Predict for one request; the prediction is cancelled if the client goes away."""
        values = {}
        for name in task.fields:
            values[name] = getattr(body, name)
        texts = task.texts_of(values)
        work = asyncio.ensure_future(service.predict(task, texts))
        result = await cancel_on_disconnect(request.receive, work)
        if result is None:
            return Response(status_code=CLIENT_GONE)
        return result.as_response()

    add = app.post(
        task.route,
        name=task.name,
        response_model=task.response_type,
        responses=_error_responses(),
        dependencies=[Depends(_require_json)],
        summary=task.summary or f"A prediction of task {task.name}",
    )
    add(predict)


async def _require_json(request: Request) -> None:
    """Refuse a body of another type, such as the text that a page of another origin may send to any server.

    A coroutine, since FastAPI would hand a plain function to a thread, for every request.
    """
    if not is_json(request.scope):
        raise HTTPError(415, "the body must be JSON, with Content-Type: application/json")


def _request_type(task: Task, limits: Limits) -> type[BaseModel]:
    """A model with a task's fields, each with its limit and a sample."""
    fields: dict[str, Any] = {}
    for name, sample in task.sample_values().items():
        longest = limits.question if name in task.short_fields else limits.characters
        bounds: dict[str, Any] = {"min_length": 1, "max_length": longest, "pattern": NOT_BLANK}
        if name in task.list_fields:
            text = Annotated[str, Field(**bounds)]
            texts = Field(min_length=1, max_length=MAX_LIST, examples=[sample])
            fields[name] = (Annotated[list[text], texts], ...)
        elif name in task.optional_fields:
            fields[name] = (Annotated[str, Field(max_length=longest, examples=[sample])], "")
        else:
            fields[name] = (Annotated[str, Field(**bounds, examples=[sample])], ...)
    return create_model(f"{task.name}-request", __config__=ConfigDict(extra="forbid"), **fields)


def _error_responses() -> dict[int | str, dict[str, Any]]:
    """The errors of `HELP` as FastAPI describes them: status → body model and description."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code, description in HELP.items():
        responses[code] = {"model": ErrorBody, "description": description}
    responses[422]["model"] = FieldErrors
    return responses


FIXED_ROUTES = ("/health", "/metrics", "/docs", "/openapi.json", "/")


def _add_fixed_routes(app: FastAPI, service: Service) -> None:
    """The routes that every server has: /health, /metrics and /docs (FastAPI adds /openapi.json)."""

    unhealthy: Any = {503: {"model": Health, "description": "A model cannot answer; status says why."}}

    @app.get(
        "/health", response_model=Health, summary="Whether every model can answer, and its route", responses=unhealthy
    )
    async def health() -> Any:
        """The body of /health: status is "ok", or what is wrong with which task."""
        problems = await service.problems()
        if not problems:
            return {"status": "ok", "routes": service.routes}
        status = "; ".join(f"{task}: {problem}" for task, problem in problems.items())
        return _json({"status": status, "routes": service.routes}, 503)

    text: Any = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @app.get("/metrics", summary="Counters in Prometheus' format", response_class=Response, responses=text)
    async def metrics() -> Any:
        """The counters as text."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Any:
        """The interface's description for people."""
        return Response(docs_page(app.openapi(), str(request.base_url)), media_type="text/html")


def _add_refusals(app: FastAPI, service: Service) -> None:
    """Other methods of the routes, and the routes of tasks that are not served: or else the page would get them."""
    served = list(service.routes.values())
    for path in served:
        _add_route(app, path, _Refusal(405, "only POST", {"Allow": "POST"}))
    for path in ("/health", "/metrics", "/docs", "/openapi.json"):
        _add_route(app, path, _Refusal(405, "only GET", {"Allow": "GET"}))
    detail = f"no model here does this; expected one of: {', '.join(served) or 'none, the page alone is served'}"
    for task in TASKS.values():
        if task.route not in served:
            _add_route(app, task.route, _Refusal(404, detail, {}))


def refuse_other_paths(app: FastAPI, service: Service) -> None:
    """Say which routes there are, at / and at every path that is no route: for a server whose page is off."""
    interface = [*service.routes.values(), *FIXED_ROUTES]
    interface.remove("/")  # where the page would be
    listed = ", ".join(interface)
    page_is_off = f"the page is off (--no-page); requests go to one of: {listed}; /docs describes them"
    _add_route(app, "/", _Refusal(404, page_is_off, {}))
    _add_route(app, "/{path:path}", _Refusal(404, nothing_here(interface).detail, {}))


def _add_route(app: FastAPI, path: str, refusal: Any) -> None:
    """Append a route for every method; the first route of a path that fits is taken."""
    app.router.routes.append(Route(path, refusal, include_in_schema=False))


class _Refusal:
    """An ASGI application that answers every request with one error."""

    def __init__(self, status: int, detail: str, headers: dict[str, str]):
        """Make the one response: its status, the `detail` of its JSON body, and further headers."""
        self.response = _json({"detail": detail}, status, headers)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request; the arguments are ASGI's."""
        await self.response(scope, receive, send)


async def _unprocessable(request: Request, error: Exception) -> Response:
    """What is wrong, without the text it is wrong in: that may be long, and not valid Unicode."""
    if not isinstance(error, RequestValidationError):
        return _json({"detail": str(error)}, 422)
    return _json({"detail": list(_field_errors(error.errors()))}, 422)


def _field_errors(errors: Iterable[Any]) -> Iterable[dict[str, Any]]:
    """pydantic's errors without the input that each of them repeats."""
    for error in errors:
        yield {"loc": list(error["loc"]), "msg": error["msg"], "type": error["type"]}


async def _http_error(request: Request, error: Exception) -> Response:
    """The response of an `HTTPError` that a route raised."""
    assert isinstance(error, HTTPError)
    return _json({"detail": error.detail}, error.status, error.headers)


def _json(body: Any, status: int, headers: dict[str, str] | None = None) -> Response:
    """A response whose body is JSON, with non-ASCII characters escaped."""
    return Response(json.dumps(body, allow_nan=False), status, headers, "application/json")
