"""The routes that need no model: the playground, /info, /health, /metrics."""

import base64
import hashlib
import re
from importlib.resources import files

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from alembert import __version__
from alembert.inference.texts import CHARACTERS
from alembert.serving.middleware import Answer
from alembert.serving.openapi import Operation
from alembert.serving.schemas import Info, ModelInfo, RefusedError
from alembert.serving.served_model import ServedModel
from alembert.serving.service import Service


def playground() -> Answer:
    """The page at /, under a policy that allows nothing but its own scripts and styles."""
    page = (files("alembert") / "serving" / "playground.html").read_text(encoding="utf-8")
    headers = {"content-security-policy": _policy(page), "referrer-policy": "no-referrer"}

    async def answer(request: Request, name: str | None) -> Response:
        return HTMLResponse(page, headers=headers)

    return answer


def pages(service: Service) -> dict[Operation, Answer]:
    """The routes of the document that are answered without a model."""

    async def health(request: Request, name: str | None) -> Response:
        service.check()
        if service.leaving:
            raise RefusedError(503, "the server is being stopped", 1)
        return JSONResponse({"status": "ok"})

    async def info(request: Request, name: str | None) -> Response:
        service.check()
        return JSONResponse(_info(service).model_dump())

    async def metrics(request: Request, name: str | None) -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    up = "200 when requests are answered; 503 while models load or the server stops"
    return {
        Operation(
            method="GET", path="/health", summary=up, answer=dict[str, str], errors=(503,)
        ): health,
        Operation(
            method="GET",
            path="/info",
            summary="The served models and the limits of requests",
            answer=Info,
            errors=(401, 503),
        ): info,
        Operation(
            method="GET",
            path="/metrics",
            summary="Counters for Prometheus",
            answer=None,
            errors=(401,),
        ): metrics,
    }


def _info(service: Service) -> Info:
    limits = service.limits
    return Info(
        model_id=next(iter(service.models)),
        models=[_model_info(model) for model in service.models.values()],
        max_concurrent_requests=limits.requests,
        max_batch_tokens=limits.tokens,
        max_client_batch_size=limits.inputs,
        max_body_bytes=limits.body,
        max_wait_seconds=limits.wait,
        threads=limits.threads,
        version=__version__,
    )


def _model_info(model: ServedModel) -> ModelInfo:
    facts, variant = model.session.facts, model.variant
    return ModelInfo(
        name=model.name,
        kind=facts.kind,
        labels=list(facts.labels),
        backend=variant.backend,
        precision=variant.precision,
        parameters=facts.parameters,
        size_mb=variant.size_mb,
        # a text in windows may be as long as a request; a token has a character or more
        max_input_length=CHARACTERS if model.session.reader.windows else model.session.max_length,
        attentions=model.attending is not None,
    )


def _policy(page: str) -> str:
    """A content security policy that allows only the page's own scripts and styles."""

    def hashes(tag: str) -> str:
        elements = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.S)
        digests = (base64.b64encode(hashlib.sha256(each.encode()).digest()) for each in elements)
        return " ".join(f"'sha256-{digest.decode()}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
