"""The routes of text-embeddings-inference, for one model or several."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from alembert.inference.predictions import Floats
from alembert.inference.questions import Windowed
from alembert.inference.texts import CHARACTERS
from alembert.io.answers import Answer as Found
from alembert.io.answers import Guess, Tags, Text, Texts
from alembert.serving import schemas
from alembert.serving.keys import Keys
from alembert.serving.middleware import Answer, Endpoint, Front, Refusals, body_of, unless_gone
from alembert.serving.openapi import Operation, document
from alembert.serving.pages import pages, playground
from alembert.serving.queue import Queue
from alembert.serving.schemas import RefusedError
from alembert.serving.served_model import (
    LongText,
    Row,
    ServedModel,
    label_scores,
    mask_guesses,
    tags,
    vector,
)
from alembert.serving.service import Limits, Opener, Service

GUESSES = 20_000  # tokens predicted for a request, over all masks
REFUSED = (400, 401, 404, 408, 413, 415, 422, 424, 429, 431, 503)  # statuses of error responses
LONG = 4_000  # tokens whose answers would block the event loop
INLINE = 16_000  # bytes of a body that is parsed on the event loop; larger ones would block it


T = TypeVar("T")
_Work = Callable[[Request, ServedModel, Service, Queue], Awaitable[object]]


@dataclass(frozen=True)
class _Verb:
    """The types of a route's request and answer; lists: one text gives a list, too."""

    request: type[schemas.TextsRequest]
    answer: object
    finish: Callable[[ServedModel, Any, Row, Floats], object]
    lists: bool = False


VERBS = {
    "predict": _Verb(
        schemas.PredictRequest,
        list[schemas.Prediction] | list[list[schemas.Prediction]],
        label_scores,
    ),
    "embed": _Verb(schemas.EmbedRequest, list[list[float]], vector, lists=True),
    "fill_mask": _Verb(
        schemas.FillMaskRequest, list[list[Guess]] | list[list[list[Guess]]], mask_guesses
    ),
    "tag": _Verb(schemas.TagRequest, Tags | list[Tags], tags),
}


def app_of(
    openers: Sequence[Opener],
    limits: Limits,
    keys: Keys | None = None,
    origins: Sequence[str] = (),
    failed: Callable[[], None] = lambda: None,
    wait: bool = False,
    open_metrics: bool = True,
    lag: Callable[[], float] = lambda: 0.0,
) -> tuple[ASGIApp, Service]:
    """An ASGI application that serves models by name, and the first one without a name.

    origins are those of pages that may send requests (CORS). failed is called when a model cannot
    be opened. With wait, startup ends when the models are loaded; otherwise requests get 503 until
    then. lag returns the seconds that the event loop is behind. open_metrics answers /metrics
    without a key.
    """
    service = Service(openers, limits, lag)

    @asynccontextmanager
    async def lifespan(app: object) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.load(failed))
        if wait:
            await loading
            if service.failed is not None:
                raise service.failed
        with suppress(asyncio.CancelledError):  # the loop ends so after a second signal
            yield
        loading.cancel()  # what is being loaded is not waited for
        await service.stop()

    answers = {**_model_routes(service), **pages(service)}
    openapi_document = document(list(answers))

    async def openapi(request: Request, name: str | None) -> Response:
        return JSONResponse(openapi_document)

    routes = [(each.method, each.path, answer) for each, answer in answers.items()]
    routes += [("GET", "/openapi.json", openapi), ("GET", "/", playground())]
    router = Router(
        [Route(path, Endpoint(path, answer), methods=[method]) for method, path, answer in routes],
        redirect_slashes=False,  # a redirect would name the host that the client wrote
        lifespan=lifespan,
    )
    front: ASGIApp = Front(Refusals(router), service, keys, open_metrics)
    if origins:
        headers = ["authorization", "content-type"]
        front = CORSMiddleware(front, origins, allow_methods=["*"], allow_headers=headers)
    return front, service


def _model_routes(service: Service) -> dict[Operation, Answer]:
    """The routes that need a model: those of the first model, and of each model by name."""
    tokens, attentions = schemas.TokenizeRequest, schemas.AttentionsRequest
    routes: dict[str, tuple[type[BaseModel], object, Answer]] = {
        "/" + verb.replace("_", "-"): (
            route.request,
            route.answer,
            _route(service, partial(_infer, verb)),
        )
        for verb, route in VERBS.items()
    }
    asked, found = schemas.AnswerRequest, Found | list[Found]
    routes["/answer"] = (asked, found, _route(service, _answer))
    routes["/tokenize"] = (tokens, list[list[schemas.SimpleToken]], _route(service, _tokenize))
    routes["/attentions"] = (attentions, schemas.Attentions, _route(service, _attend))
    return {
        Operation(
            method="POST",
            path=prefix + path,
            summary=str(request.__doc__),
            answer=answer,
            request=request,
            errors=REFUSED,
        ): handle
        for prefix in ("", "/models/{name}")
        for path, (request, answer, handle) in routes.items()
    }


def _route(service: Service, work: _Work) -> Answer:
    """The route that answers with the JSON of a model's work on a request."""

    async def answer(request: Request, name: str | None) -> Response:
        model = service.model(name)
        fields = request.scope.setdefault("alembert", {})  # of the access log
        fields["model"] = model.name
        with service.admitted() as queue:
            content = await work(request, model, service, queue)
            kind = {"alembert-kind": model.session.kind}  # tells a client which answer this is
            return Response(to_json(content), headers=kind, media_type="application/json")

    return answer


async def _read(
    parse: Callable[[ServedModel, Limits, bytes], T],
    request: Request,
    model: ServedModel,
    service: Service,
) -> T:
    """The parsed body of a request; a large one is parsed on another thread."""
    body = await body_of(request, service.limits)
    work = partial(parse, model, service.limits, body)
    if len(body) < INLINE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(service.parser, work)


async def _infer(
    verb: str, request: Request, model: ServedModel, service: Service, queue: Queue
) -> object:
    model.check(verb)
    route = VERBS[verb]
    asked, one = await _read(partial(_questions, route), request, model, service)
    rows = [row for each in asked for row in each.windows]
    tokens = sum(map(len, rows))
    request.scope["alembert"] |= {"inputs": len(asked), "tokens": tokens}
    service.check_wait(tokens)
    computed: list[Any] = await unless_gone(queue.ask(model, rows), request.receive)
    work = partial(model.joined, asked, computed)
    answers = await _worked(work, tokens, service)
    return answers[0] if one and not route.lists else answers


async def _answer(request: Request, model: ServedModel, service: Service, queue: Queue) -> object:
    model.check("answer")
    read, rows, one = await _read(_windows, request, model, service)
    tokens = sum(map(len, rows))
    request.scope["alembert"] |= {"inputs": len(read), "tokens": tokens}
    service.check_wait(tokens)
    computed: list[Any] = await unless_gone(queue.ask(model, rows), request.receive)
    session = model.session
    work = partial(session.questions.joined, read, computed, session.facts.null_threshold)
    answers = await _worked(work, tokens, service)
    return answers[0] if one else answers


async def _worked(work: Callable[[], list[Any]], tokens: int, service: Service) -> list[Any]:
    """What is made of a request's logits; of many tokens on another thread."""
    if tokens < LONG:
        return work()
    return await asyncio.get_running_loop().run_in_executor(service.parser, work)


def _windows(
    model: ServedModel, limits: Limits, body: bytes
) -> tuple[list[Windowed], list[Row], bool]:
    """Parses a body into the windows of its questions, and tells whether it had a single one."""
    fields = schemas.parsed(schemas.AnswerRequest, body)
    texts = _texts([list(pair) for pair in fields.pairs], limits)
    read, rows = model.windows([(text[0], text[1]) for text in texts])
    return read, rows, isinstance(fields.inputs, schemas.Question)


def _questions(
    route: _Verb, model: ServedModel, limits: Limits, body: bytes
) -> tuple[list[Row] | list[LongText], bool]:
    """Parses a body into rows, or windows, and tells whether it had a single text."""
    fields = schemas.parsed(route.request, body)
    texts = _texts(fields.inputs, limits)
    if isinstance(fields, schemas.PredictRequest):
        texts = [text[0] if isinstance(text, list) and len(text) == 1 else text for text in texts]
    questions = model.questions(texts, fields.truncate, partial(route.finish, model, fields))
    if isinstance(fields, schemas.FillMaskRequest):
        count = fields.top * sum(len(question.places) for question in questions)
        if count > GUESSES:
            raise RefusedError(413, f"{count:,} tokens would be predicted: at most {GUESSES:,}")
    return questions, isinstance(fields.inputs, str)


def _texts(inputs: Texts, limits: Limits) -> list[Text]:
    """The texts as a list that is not empty and not over the limit."""
    texts: list[Text] = [inputs] if isinstance(inputs, str) else list(inputs)
    if not texts:
        raise RefusedError(422, "inputs: the list is empty", kind="Empty")
    if len(texts) > limits.inputs:
        raise RefusedError(413, f"inputs: {len(texts)} texts: at most {limits.inputs} a request")
    parts = [[text] if isinstance(text, str) else text for text in texts]
    if sum(len(part) for each in parts for part in each) > CHARACTERS:
        raise RefusedError(413, f"inputs: at most {CHARACTERS:,} characters a request")
    return texts


async def _tokenize(request: Request, model: ServedModel, service: Service, queue: Queue) -> object:
    return await _read(_tokens, request, model, service)


def _tokens(model: ServedModel, limits: Limits, body: bytes) -> list[list[dict[str, object]]]:
    texts = _texts(schemas.parsed(schemas.TokenizeRequest, body).inputs, limits)
    return [
        [
            {"id": t.id, "text": t.text, "special": t.special, "start": t.start, "stop": t.end}
            for t in found.tokens
        ]
        for found in model.session.tokenize(texts)
    ]


async def _attend(request: Request, model: ServedModel, service: Service, queue: Queue) -> object:
    fields = schemas.parsed(schemas.AttentionsRequest, await body_of(request, service.limits))
    encoding = model.attention_tokens(fields.inputs)
    assert model.attending is not None
    service.check_wait(len(encoding))
    (layers,) = await unless_gone(queue.ask(model.attending, [encoding]), request.receive)
    if fields.layer > len(layers):
        raise RefusedError(422, f"layer: the model has {len(layers)}")
    chosen = layers[fields.layer - 1]
    return {
        "tokens": encoding.tokens,
        "layers": len(layers),
        "layer": fields.layer,
        "heads": len(chosen),
        "attentions": chosen.round(4).tolist(),
    }
