"""The HTTP interface: /answer, /entails, /health, /metrics, /docs."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.routing import Route

from kdda.errors import KddaError
from kdda.inference.predictor import Predictor
from kdda.serve.batching import Batcher, Found, cancel_on_disconnect
from kdda.serve.docs import docs_page
from kdda.serve.limits import HTTPError, Limits
from kdda.serve.metrics import Metrics
from kdda.tasks.classification import LabelResult
from kdda.tasks.qa import AnswerResult

SOLID = r"[^\s\x1c-\x1f]"  # something that is not white space, as Python counts it

ROUTES = {"qa": "/answer", "nli": "/entails"}

METHODS = {"/answer": "POST", "/entails": "POST", "/health": "GET", "/metrics": "GET", "/docs": "GET"}

ABOUT = "Answers questions on a passage, and says what a premise means for a hypothesis."

HELP = {
    400: "The body is no JSON that can be read.",
    401: "A token is needed.",
    404: "No model here does this.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    422: "A field is missing, misspelt, empty, or too long.",
    429: "Too many wait already; come again after Retry-After seconds.",
    504: "No answer within the server's time-out.",
}


class ErrorBody(BaseModel):
    """Why there is no answer."""

    detail: str


class FieldError(BaseModel):
    """What of a request is wrong, and where."""

    loc: list[str | int]
    msg: str
    type: str


class FieldErrors(BaseModel):
    """All that is wrong with a request."""

    detail: list[FieldError] | str


class CandidateBody(BaseModel):
    """A slice of the context."""

    text: str
    start: int
    end: int
    probability: float


class Answered(BaseModel):
    """An answer, which is `context[start:end]`; empty where the model says that there is none."""

    answer: str
    start: int
    end: int
    score: float
    candidates: list[CandidateBody]
    no_answer: float | None = Field(
        description="The probability that there is none; null of models that always answer."
    )


class Entailed(BaseModel):
    """The likeliest label, and every label's probability."""

    label: str
    probabilities: dict[str, float]


class Health(BaseModel):
    """That the server answers, and what it can do."""

    status: str
    answer: bool
    entails: bool


class Service:
    """The models of one server, each behind its queue."""

    def __init__(self, predictors: Sequence[Predictor], limits: Limits):
        self.limits, self.metrics = limits, Metrics()
        self.batchers: dict[str, Batcher] = {}
        for own in predictors:
            if own.task.name in self.batchers:
                other = self.batchers[own.task.name].predictor.name
                raise KddaError(f'"{other}" and "{own.name}" do the same; serve one of them')
            self.batchers[own.task.name] = Batcher(own, limits, self.metrics)

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        readers = [asyncio.create_task(own.run()) for own in self.batchers.values()]
        try:
            yield
        finally:
            for reader in readers:
                reader.cancel()
            for own in self.batchers.values():
                own.close()

    async def find(self, task: str, first: str, second: str) -> Found:
        """What the model of a task says of two texts.

        Raises:
            HTTPError: no such model, too many waiting, or time up.
            KddaError: texts that cannot be read.
        """
        if task not in self.batchers:
            does = ", ".join(ROUTES[own] for own in self.batchers)
            raise HTTPError(404, f"no model here does this; there is {does}")
        return await self.batchers[task].submit((first, second))


def make_app(service: Service, token: bool = False) -> FastAPI:
    """The application without its gate and its page."""
    app = FastAPI(
        title="kdda",
        description=ABOUT,
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=service.running,
        dependencies=[Depends(HTTPBearer(auto_error=False))] if token else [],
    )
    app.add_exception_handler(RequestValidationError, _mistaken)
    app.add_exception_handler(KddaError, _mistaken)
    app.add_exception_handler(HTTPError, _refused)
    _add_tasks(app, service)
    _add_others(app, service)
    for path, method in METHODS.items():  # or else the page, which takes every path, would get them
        app.router.routes.append(Route(path, _WrongMethod(method), include_in_schema=False))
    return app


def _add_tasks(app: FastAPI, service: Service) -> None:
    limits = service.limits
    text = Annotated[str, Field(min_length=1, max_length=limits.characters, pattern=SOLID)]
    question = Annotated[str, Field(min_length=1, max_length=limits.question, pattern=SOLID)]
    strict = ConfigDict(extra="forbid")
    asked: Any = create_model("Asked", __config__=strict, question=(question, ...), context=(text, ...))
    claimed: Any = create_model("Claimed", __config__=strict, premise=(text, ...), hypothesis=(text, ...))
    problems: dict[int | str, dict[str, Any]] = {
        code: {"model": ErrorBody, "description": say} for code, say in HELP.items()
    }
    problems[422]["model"] = FieldErrors

    @app.post("/answer", response_model=Answered, responses=problems, summary="Answer a question on a passage")
    async def answer(body: asked, request: Request) -> Any:  # type: ignore[valid-type]
        own: Any = body
        found = await _found(service, "qa", own.question, own.context, request)
        return _answered(found) if isinstance(found, AnswerResult) else Response(status_code=499)

    @app.post("/entails", response_model=Entailed, responses=problems, summary="Label a premise and a hypothesis")
    async def entails(body: claimed, request: Request) -> Any:  # type: ignore[valid-type]
        own: Any = body
        found = await _found(service, "nli", own.premise, own.hypothesis, request)
        return found.as_dict() if isinstance(found, LabelResult) else Response(status_code=499)


async def _found(service: Service, task: str, first: str, second: str, request: Request) -> Found | None:
    work = asyncio.ensure_future(service.find(task, first, second))
    return await cancel_on_disconnect(request.receive, work)


def _answered(found: AnswerResult) -> dict[str, Any]:
    own = found.as_dict()
    return {"answer": own.pop("text"), **own}


def _add_others(app: FastAPI, service: Service) -> None:
    @app.get("/health", response_model=Health, summary="Whether the server answers, and what it can do")
    async def health() -> Any:
        return {"status": "ok", "answer": "qa" in service.batchers, "entails": "nli" in service.batchers}

    text = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @app.get("/metrics", summary="Counters, as Prometheus reads them", response_class=Response, responses=text)  # type: ignore[arg-type]
    async def metrics() -> Any:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Any:
        return Response(docs_page(app.openapi(), str(request.base_url)), media_type="text/html")


class _WrongMethod:
    """Any other method of a path that has one."""

    def __init__(self, allowed: str):
        self.allowed = allowed

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = {"detail": f"only {self.allowed}"}
        response = _json(body, 405, {"Allow": self.allowed})
        await response(scope, receive, send)


async def _mistaken(request: Request, error: Exception) -> Response:
    """What is wrong, without the text it is wrong in: that may be long, and no valid Unicode."""
    if isinstance(error, RequestValidationError):
        found = [{"loc": list(own["loc"]), "msg": own["msg"], "type": own["type"]} for own in error.errors()]
        return _json({"detail": found}, 422)
    return _json({"detail": str(error)}, 422)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPError)
    return _json({"detail": error.detail}, error.status, error.headers)


def _json(body: Any, status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(body), status, headers, "application/json")
