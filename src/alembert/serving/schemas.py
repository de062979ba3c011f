"""The JSON of requests and responses, as in text-embeddings-inference."""

import codecs
from collections.abc import Mapping
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, WithJsonSchema

from alembert.io.answers import Texts

# error_type by status, with the names of text-embeddings-inference where it has one
TYPES = {
    400: "BadRequest",
    401: "Unauthorized",
    404: "NotFound",
    405: "NotAllowed",
    408: "Timeout",
    413: "Validation",
    415: "Encoding",
    422: "Validation",
    424: "Backend",
    429: "Overloaded",
    431: "HeadTooLarge",
    499: "Gone",  # the client has disconnected; nginx logs this status
    500: "Internal",
    503: "Unhealthy",
}
TEXTS = "give a text, or a list of them"
OBJECT = 'give a JSON object such as {"inputs": "a text"}'
MARKS = codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE


class RefusedError(Exception):
    """The refusal of a request: a status, a message, the seconds until a retry, and a type.

    kind is the error_type, where the status does not say it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind or TYPES.get(status, "Refused")
        self.status, self.message, self.retry_after = status, message, retry_after
        self.headers = headers or {}


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextsRequest(_Request):
    """The fields of every route that computes answers; each narrows the type of its inputs."""

    truncate: bool = Field(False, description="truncate texts that are too long, not refuse them")
    inputs: Texts


# empty lists and texts are refused by the application, with better messages than pydantic's
Text = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"\S"})]
LEAST: dict[str, JsonValue] = {"minItems": 1}
Several = Annotated[list[Text], Field(fail_fast=True, json_schema_extra=LEAST)]
Pair = Annotated[list[Text], Field(min_length=1, max_length=2)]
Mixed = Annotated[list[Text | Pair], Field(fail_fast=True, json_schema_extra=LEAST)]
Worded = Annotated[list[Text | Several], Field(fail_fast=True, json_schema_extra=LEAST)]


class PredictRequest(TextsRequest):
    """A text, or a list whose entries are texts, [text] or pairs [text, text]."""

    inputs: Text | Mixed
    raw_scores: bool = Field(False, description="logits, not probabilities")


class EmbedRequest(TextsRequest):
    """A text or a list of texts."""

    inputs: Text | Several
    normalize: bool = Field(True, description="vectors of length 1")


class TokenizeRequest(_Request):
    """A text or a list of texts."""

    inputs: Text | Several


class FillMaskRequest(TextsRequest):
    """A text with [MASK] in it, or a list of them."""

    inputs: Text | Several
    top: int = Field(5, ge=1, le=200, description="tokens for each mask")
    temperature: float = Field(1.0, ge=0.01, le=100, description="softens the probabilities")


class TagRequest(TextsRequest):
    """A text, or a list whose entries are texts or lists of words."""

    inputs: Text | Worded


class Question(_Request):
    """A question and the context in which its answer is sought."""

    question: Text
    context: Text


Asked = Question | Annotated[list[Text], Field(min_length=2, max_length=2)]


class AnswerRequest(_Request):
    """A question with its context, or a list of them, which may be pairs [question, context]."""

    inputs: Question | Annotated[list[Asked], Field(fail_fast=True, json_schema_extra=LEAST)]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The questions and contexts of all inputs."""
        asked = [self.inputs] if isinstance(self.inputs, Question) else self.inputs
        return [
            (each.question, each.context) if isinstance(each, Question) else (each[0], each[1])
            for each in asked
        ]


class AttentionsRequest(_Request):
    """A text, and the number of a layer, from 1."""

    inputs: Text
    layer: int = Field(1, ge=1)


class Attentions(BaseModel):
    """The attention probabilities of each head, from each token to each token."""

    tokens: list[str]
    layers: int
    layer: int
    heads: int
    attentions: list[list[list[float]]]


class Prediction(BaseModel):
    """A label and its probability, or the score of a regression."""

    score: float
    label: str


class SimpleToken(BaseModel):
    """A token of a text, from character start to stop."""

    id: int
    text: str
    special: bool
    start: int
    stop: int


class ModelInfo(BaseModel):
    """One of the served models."""

    name: str
    kind: str
    labels: list[str]
    backend: str
    precision: str
    parameters: int
    size_mb: float
    max_input_length: int
    attentions: bool


class Info(BaseModel):
    """The served models and the limits; requests without a model's name use the first."""

    model_id: str
    models: list[ModelInfo]
    max_concurrent_requests: int
    max_batch_tokens: int
    max_client_batch_size: int
    max_body_bytes: int
    max_wait_seconds: float
    threads: int
    version: str


class ErrorAnswer(BaseModel):
    """The reason why a request was refused."""

    error: str
    error_type: str


# what inputs have to be, where it is not TEXTS
WRONG: dict[type[BaseModel], str] = {
    PredictRequest: "give a text, or a list of texts and of pairs [text, text]",
    TagRequest: "give a text, or a list of texts and of lists of words",
    AnswerRequest: 'give {"question": "...", "context": "..."}, or a list of them or of pairs',
    AttentionsRequest: "give a text, and no list",
}
R = TypeVar("R", bound=BaseModel)


def parsed(model: type[R], body: bytes) -> R:
    """The request in a body. Raises RefusedError 422 with one line on its first mistake."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "json_invalid":
        if body.startswith(MARKS) or 0 in body[:4]:
            message = "Invalid JSON: it has to be UTF-8, without a byte order mark"
            raise RefusedError(422, message, kind="Json")
        raise RefusedError(422, first["msg"][:200], kind="Json")
    if first["type"] == "extra_forbidden":
        fields = ", ".join(model.model_fields)
        raise RefusedError(422, f"{ascii(field)[:40]}: no such field: there is {fields}")
    if not field:
        raise RefusedError(422, OBJECT)
    message = WRONG.get(model, TEXTS) if field == "inputs" else first["msg"]
    raise RefusedError(422, f"{field}: {message}")
