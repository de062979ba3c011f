"""The routes of text-embeddings-inference, for one model or several."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic_core import to_json
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from alembert.inference.predictions import Floats
from alembert.inference.texts import CHARACTERS
from alembert.io.answers import Guess, Tags
from alembert.serving import schemas
from alembert.serving.middleware import Answer, Endpoint, Front, Refusals, body_of, unless_gone
from alembert.serving.openapi import Operation, document
from alembert.serving.pages import pages, playground
from alembert.serving.schemas import RefusedError
from alembert.serving.served_model import (
    Row,
    ServedModel,
    label_scores,
    mask_guesses,
    tags,
    vector,
)
from alembert.serving.service import Limits, Opener, Service

GUESSES = 20_000  # tokens predicted for a request, over all masks
REFUSED = (401, 404, 408, 413, 422, 424, 429, 503)  # statuses of error responses
INLINE = 16_000  # bytes of a body that is parsed on the event loop; larger ones would block it


@dataclass(frozen=True)
class _Verb:
    """The types of a route's request and answer; lists: one text gives a list, too."""

    request: type[Any]
    answer: Any
    finish: Callable[[ServedModel, Any, Row, Floats], Any]
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
    api_key: str | None = None,
    origins: Sequence[str] = (),
    failed: Callable[[], None] = lambda: None,
    wait: bool = False,
    lag: Callable[[], float] = lambda: 0.0,
) -> tuple[ASGIApp, Service]:
    """An ASGI application that serves models by name, and the first one without a name.

    origins are those of pages that may send requests (CORS). failed is called when a model cannot
    be opened. With wait, startup ends when the models are loaded; otherwise requests get 503 until
    then. lag returns the seconds that the event loop is behind.
    """
    service = Service(openers, limits, lag)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.load(failed))
        if wait:
            await loading
            if service.failed is not None:
                raise service.failed
        yield
        await loading
        await service.stop()

    answers = {**_model_routes(service), **pages(service)}
    openapi_document = document(list(answers))

    async def openapi(request: Request, name: str | None) -> Response:
        return JSONResponse(openapi_document)

    routes = [(each.method, each.path, answer) for each, answer in answers.items()]
    routes += [("GET", "/openapi.json", openapi), ("GET", "/", playground())]
    router = Router(
        [Route(path, Endpoint(path, answer), methods=[method]) for method, path, answer in routes],
        lifespan=lifespan,
    )
    front: ASGIApp = Front(Refusals(router), service, api_key)
    if origins:
        headers = ["authorization", "content-type"]
        front = CORSMiddleware(front, origins, allow_methods=["*"], allow_headers=headers)
    return front, service


def _model_routes(service: Service) -> dict[Operation, Answer]:
    """The routes that need a model: those of the first model, and of each model by name."""
    tokens, attentions = schemas.TokenizeRequest, schemas.AttentionsRequest
    routes: dict[str, tuple[Any, Any, Answer]] = {
        "/" + verb.replace("_", "-"): (route.request, route.answer, _inference_route(service, verb))
        for verb, route in VERBS.items()
    }
    routes["/tokenize"] = (tokens, list[list[schemas.SimpleToken]], _tokenize_route(service))
    routes["/attentions"] = (attentions, schemas.Attentions, _attentions_route(service))
    return {
        Operation("POST", prefix + path, str(request.__doc__), answer, request, REFUSED): handle
        for prefix in ("", "/models/{name}")
        for path, (request, answer, handle) in routes.items()
    }


def _json(content: Any) -> Response:
    return Response(to_json(content), media_type="application/json")


def _inference_route(service: Service, verb: str) -> Answer:
    route = VERBS[verb]

    async def answer(request: Request, name: str | None) -> Response:
        model = service.model(name)
        request.scope["alembert"] = log_fields = dict[str, Any](model=model.name)
        with service.admitted() as queue:
            model.check(verb)
            body = await body_of(request, service.limits)
            read = _reader(route, model, service.limits, body)
            questions, one = read() if len(body) < INLINE else await asyncio.to_thread(read)
            log_fields |= {"inputs": len(questions), "tokens": sum(map(len, questions))}
            answers = await unless_gone(queue.ask(model, questions), request.receive)
        return _json(answers[0] if one and not route.lists else answers)

    return answer


def _reader(
    route: _Verb, model: ServedModel, limits: Limits, body: bytes
) -> Callable[[], tuple[list[Any], bool]]:
    """A function that parses a body into rows, and tells whether it had a single text."""

    def read() -> tuple[list[Any], bool]:
        fields = schemas.parsed(route.request, body)
        texts = _texts(fields.inputs, limits)
        if route.request is schemas.PredictRequest:
            texts = [
                text[0] if isinstance(text, list) and len(text) == 1 else text for text in texts
            ]
        finish = partial(route.finish, model, fields)
        questions = model.questions(texts, fields.truncate, finish)
        if route.request is schemas.FillMaskRequest:
            count = fields.top * sum(len(question.places) for question in questions)
            if count > GUESSES:
                raise RefusedError(413, f"{count:,} tokens would be predicted: at most {GUESSES:,}")
        return questions, isinstance(fields.inputs, str)

    return read


def _texts(inputs: Any, limits: Limits) -> list[Any]:
    """The texts as a list that is not empty and not over the limit."""
    texts = [inputs] if isinstance(inputs, str) else inputs
    if not texts:
        raise RefusedError(422, "inputs: the list is empty")
    if len(texts) > limits.inputs:
        raise RefusedError(413, f"inputs: {len(texts)} texts: at most {limits.inputs} a request")
    parts = [[text] if isinstance(text, str) else text for text in texts]
    if sum(len(part) for each in parts for part in each) > CHARACTERS:
        raise RefusedError(413, f"inputs: at most {CHARACTERS:,} characters a request")
    return texts


def _tokenize_route(service: Service) -> Answer:
    async def answer(request: Request, name: str | None) -> Response:
        model = service.model(name)
        request.scope["alembert"] = {"model": model.name}

        def read() -> Any:
            texts = _texts(schemas.parsed(schemas.TokenizeRequest, body).inputs, service.limits)
            return [
                [
                    {
                        "id": t.id,
                        "text": t.text,
                        "special": t.special,
                        "start": t.start,
                        "stop": t.end,
                    }
                    for t in found.tokens
                ]
                for found in model.session.tokenize(texts)
            ]

        with service.admitted():
            body = await body_of(request, service.limits)
            return _json(read() if len(body) < INLINE else await asyncio.to_thread(read))

    return answer


def _attentions_route(service: Service) -> Answer:
    async def answer(request: Request, name: str | None) -> Response:
        model = service.model(name)
        request.scope["alembert"] = {"model": model.name}
        with service.admitted():
            fields = schemas.parsed(
                schemas.AttentionsRequest, await body_of(request, service.limits)
            )
            return _json(await asyncio.to_thread(model.attentions, fields.inputs, fields.layer))

    return answer
