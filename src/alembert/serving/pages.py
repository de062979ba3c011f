"""The routes that need no model: the playground, /info, /health, /metrics."""

import base64
import hashlib
import re
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import HTMLResponse

from alembert import __version__
from alembert.serving.schemas import ErrorAnswer, Info, ModelInfo, RefusedError
from alembert.serving.served_model import ServedModel
from alembert.serving.service import Service


def add_pages(app: FastAPI, service: Service) -> None:
    """Adds these routes to an application."""
    page = (files("alembert") / "serving" / "playground.html").read_text(encoding="utf-8")
    headers = {"content-security-policy": _policy(page), "referrer-policy": "no-referrer"}
    refused: dict[int | str, dict[str, Any]] = {503: {"model": ErrorAnswer}}

    @app.get("/", include_in_schema=False)
    async def playground() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)

    @app.get("/health", responses=refused)
    async def health() -> dict[str, str]:
        """200 when requests are answered; 503 while models load or the server stops."""
        service.check()
        if service.leaving:
            raise RefusedError(503, "the server is being stopped")
        return {"status": "ok"}

    @app.get("/info", responses={401: {"model": ErrorAnswer}, **refused})
    async def info() -> Info:
        """The served models and the limits of requests."""
        service.check()
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

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


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
        max_input_length=model.session.max_length,
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
