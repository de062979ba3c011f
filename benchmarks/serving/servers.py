"""The servers that `load` compares with.

    python -m benchmarks.serving.servers KIND MODEL PORT


All of them answer /predict with the labels of a Session on the same model.
"""

import asyncio
import importlib
import os
import sys
from typing import Any

import numpy as np
from pydantic import BaseModel

from alembert.inference import Session
from alembert.inference.predictions import predictions

BATCH, WAIT = 16, 0.005


class Asked(BaseModel):
    inputs: str
    truncate: bool = True


class Score(BaseModel):
    score: float
    label: str


def ranked(answer: Any) -> list[Score]:
    order = sorted(answer.scores.items(), key=lambda item: -item[1])
    return [Score(score=score, label=label) for label, score in order]


def plain(model: str, port: int) -> None:
    """What FastAPI's first page shows."""
    import uvicorn
    from fastapi import FastAPI

    app, session = FastAPI(), Session(model)

    @app.post("/predict")
    def predict(asked: Asked) -> list[Score]:
        return ranked(session.predict(asked.inputs))

    uvicorn.run(app, port=port, log_level="error")


def first_in(model: str, port: int) -> None:
    """Whoever came first, in one batch, padded to the longest."""
    import uvicorn
    from fastapi import FastAPI

    app, session = FastAPI(), Session(model, threads=os.cpu_count())
    line: asyncio.Queue[Any] = asyncio.Queue()

    def together(texts: list[str]) -> list[Any]:
        rows = session.reader(texts)
        logits = session.engine(rows.batch(range(len(texts))))
        return list(predictions(session.kind, logits, session.labels))

    async def work() -> None:
        while True:
            batch = [await line.get()]
            end = asyncio.get_running_loop().time() + WAIT
            while len(batch) < BATCH:
                try:
                    left = end - asyncio.get_running_loop().time()
                    batch.append(await asyncio.wait_for(line.get(), max(0, left)))
                except TimeoutError:
                    break
            answers = await asyncio.to_thread(together, [text for text, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)

    @app.on_event("startup")
    async def begin() -> None:
        app.state.work = asyncio.create_task(work())

    @app.post("/predict")
    async def predict(asked: Asked) -> list[Score]:
        future = asyncio.get_running_loop().create_future()
        line.put_nowait((asked.inputs, future))
        return ranked(await future)

    uvicorn.run(app, port=port, log_level="error")


class Api:
    """LitServe's, but for the class that it wants beneath: it starts workers that import this."""

    def setup(self, device: Any) -> None:
        self.session = Session(sys.argv[2])

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # an annotation is a schema
        return str(request["inputs"])

    def batch(self, inputs: list[str]) -> list[str]:
        return inputs

    def predict(self, texts: Any) -> Any:
        return self.session.predict(texts)

    def unbatch(self, output: Any) -> Any:
        return output

    def encode_response(self, output: Any) -> Any:
        return [each.model_dump() for each in ranked(output)]


def litserve(model: str, port: int) -> None:
    """One worker a core."""
    import litserve as lit

    api = LitApi(max_batch_size=BATCH, batch_timeout=WAIT)
    server = lit.LitServer(
        api, accelerator="cpu", workers_per_device=os.cpu_count(), api_path="/predict"
    )
    server.run(port=port, num_api_servers=1, log_level="error", generate_client_file=False)


if sys.argv[1:2] == ["litserve"]:  # its workers import this file and look for the class
    from litserve import LitAPI

    class LitApi(Api, LitAPI):  # type: ignore[misc]
        """Api as LitServe knows it."""


def ray(model: str, port: int) -> None:
    import signal
    from threading import Event

    serve: Any = importlib.import_module("ray.serve")
    from starlette.requests import Request

    class Replica:
        def __init__(self) -> None:
            self.session = Session(model, threads=os.cpu_count())

        @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT)  # type: ignore[untyped-decorator]
        async def answers(self, texts: list[str]) -> list[Any]:
            return await asyncio.to_thread(self.session.predict, texts)

        async def __call__(self, request: Request) -> Any:
            asked = Asked.model_validate(await request.json())
            return [each.model_dump() for each in ranked(await self.answers(asked.inputs))]

    serve.start(http_options={"port": port})
    deployment = serve.deployment(max_ongoing_requests=512)(Replica)
    serve.run(deployment.bind(), route_prefix="/predict")
    stopped = Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    stopped.wait()
    serve.shutdown()


if __name__ == "__main__":
    kind, model, port = sys.argv[1:]
    np.seterr(all="ignore")
    known = {"plain": plain, "first-in": first_in, "litserve": litserve, "ray": ray}
    known[kind](model, int(port))
