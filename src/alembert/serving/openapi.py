"""The OpenAPI document of the routes, made from the types of their requests and answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from alembert import __version__
from alembert.serving.schemas import TYPES, ErrorAnswer

REF = "#/components/schemas/{model}"
NAME = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of a path; answer is its type, or None for plain text, and errors are statuses."""

    method: str
    path: str
    summary: str
    answer: Any
    request: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        """A name for generated clients, such as predict or predict-named."""
        return self.path.rpartition("/")[2] + "-named" * ("{name}" in self.path)


def document(operations: Sequence[Operation]) -> dict[str, object]:
    """The document at /openapi.json."""
    typed: list[tuple[Operation, Literal["serialization"], TypeAdapter[object]]] = [
        (each, "serialization", TypeAdapter(each.answer))
        for each in operations
        if each.answer is not None
    ]
    answers, schemas = TypeAdapter.json_schemas(typed, ref_template=REF)
    errors = models_json_schema([(ErrorAnswer, "serialization")], ref_template=REF)[1]
    paths: dict[str, dict[str, object]] = {}
    for each in operations:
        success: dict[str, object] = {"text/plain": {}}
        if each.answer is not None:
            success = _json(answers[each, "serialization"])
        refused = _json({"$ref": REF.format(model=ErrorAnswer.__name__)})
        operation: dict[str, object] = {
            "operationId": each.id,
            "summary": each.summary,
            "responses": {
                "200": {"description": "the answer", "content": success},
                **{str(s): {"description": TYPES[s], "content": refused} for s in each.errors},
            },
        }
        if each.request is not None:
            schema = each.request.model_json_schema(ref_template=REF)
            operation["requestBody"] = {"required": True, "content": _json(schema)}
        if "{name}" in each.path:
            operation["parameters"] = [NAME]
        paths.setdefault(each.path, {})[each.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Alembert", "version": __version__},
        "paths": paths,
        "components": {"schemas": {**schemas.get("$defs", {}), **errors["$defs"]}},
    }


def _json(schema: object) -> dict[str, object]:
    return {"application/json": {"schema": schema}}
