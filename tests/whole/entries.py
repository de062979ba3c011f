"""Entries of the list of capabilities: what commands, classes, schemas and source code say.

Nothing here knows Alembert: what is read is handed in.
"""

import ast
import inspect
import json
import re
import typing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
FILE = re.compile(
    r"[\w.{}/-]*[\w}]\.(bin|html|jsonl?|md|np[yz]|onnx|parquet|safetensors|tsv|txt|xml|yaml)"
    r"|[\w.{}]*\.(lock|partial|unfinished)"
)
Given = dict[str, list[ast.AST]]  # a name -> the expressions that it may stand for


def differences(listed: Iterable[str], found: Iterable[str]) -> list[str]:
    """A line for every entry that is gone, then one for every entry that is not listed yet."""
    before, now = set(listed), set(found)
    gone = [f"gone: {entry}" for entry in sorted(before - now)]
    return gone + [f"not listed: {entry}" for entry in sorted(now - before)]


def options(command: Any, path: str) -> Iterator[str]:
    """A command of typer's and those below it; type and default of each option and argument."""
    yield f"verb {path}"
    hints = typing.get_type_hints(inspect.unwrap(command.callback))
    for option in command.params:
        name = "/".join([*option.opts, *option.secondary_opts])
        least = "" if option.min is None else f" >= {option.min}"
        usual = "required" if option.required else f"default {option.default}"
        kind = typed(hints.get(option.name, bool))  # typer's own for completion are flags
        yield f"option {path} {name}: {kind}{least}, {usual}"
    for name, below in getattr(command, "commands", {}).items():
        yield from options(below, f"{path} {name}")


def methods(kind: type) -> Iterator[str]:
    """What a class is made with, and its public methods with their parameters.

    Those that it has from another package are left out.
    """
    family = [each for each in kind.__mro__ if _package(each) == _package(kind)]
    made = [vars(each)["__init__"] for each in family if "__init__" in vars(each)]
    yield from (f"python {kind.__name__}{parameters(each)}" for each in made[-1:])
    for name, member in inspect.getmembers(kind):
        public = not name.startswith("_") or name == "__call__"
        if public and any(name in vars(each) for each in family):
            given = parameters(member) if callable(member) else ", an attribute"
            yield f"python {kind.__name__}.{name}{given}"


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def keywords(function: Callable[..., Any]) -> Iterator[str]:
    """The keywords behind a function's **options, where a TypedDict names them."""
    for parameter in inspect.signature(function).parameters.values():
        if typing.get_origin(parameter.annotation) is typing.Unpack:
            (options,) = typing.get_args(parameter.annotation)
            yield from (
                f"python {function.__name__}, keyword {name}" for name in options.__annotations__
            )


def parameters(function: Callable[..., Any]) -> str:
    """The parameters of a function with their defaults."""
    given = inspect.signature(function).parameters.values()
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in given]
    return str(inspect.Signature(bare))


def typed(hint: Any) -> str:
    """A type as it is written, without the modules that its parts come from."""
    return re.sub(r"[\w.]+\.(?=[A-Z])", "", inspect.formatannotation(hint))


def routes(document: dict[str, Any]) -> Iterator[str]:
    """The routes of an OpenAPI document, and the fields of what they take and give."""
    yield from fields("schema", {"$defs": document["components"]["schemas"]})
    for path, methods_of in document["paths"].items():
        for method, route in methods_of.items():
            takes, codes = "nothing", " ".join(sorted(route["responses"]))
            for content in route.get("requestBody", {}).get("content", {}).values():
                takes = content["schema"].get("title") or shape(content["schema"])
                yield from fields("schema", content["schema"])
            for kind, content in route["responses"]["200"]["content"].items():
                gives = f"{kind}, {shape(content.get('schema', {}))}"
                yield f"route {method.upper()} {path}: {codes}; takes {takes}; gives {gives}"


def fields(kind: str, schema: dict[str, Any]) -> Iterator[str]:
    """The fields of a JSON schema and of those that it refers to."""
    for part in (schema, *schema.get("$defs", {}).values()):
        for name, field in part.get("properties", {}).items():
            usual = f", default {json.dumps(field['default'])}" if "default" in field else ""
            yield f"{kind} {part['title']}.{name}: {shape(field)}{usual}"


def shape(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    match schema:
        case {"$ref": place}:
            return str(place).rpartition("/")[2]
        case {"anyOf": several} | {"oneOf": several}:
            return " | ".join(map(shape, several))
        case {"enum": values}:
            return " | ".join(map(json.dumps, values))
        case {"const": value}:
            return json.dumps(value)
        case {"prefixItems": several}:
            return f"({', '.join(map(shape, several))})"
        case {"items": one}:
            return f"list of ({shape(one)})"
        case {"additionalProperties": dict(one)}:
            return f"map of ({shape(one)})"
    bounds = [f" {sign} {schema[key]:g}" for key, sign in BOUNDS.items() if key in schema]
    return str(schema.get("type", "anything")) + "".join(bounds)


def said(folder: Path) -> Iterator[str]:
    """What the source code in a folder says: refusals, names of files, environment variables."""
    files = sorted(folder.rglob("*.py"))
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    for node in nodes:
        yield from _read_from_environment(node)
        yield from _file_names(node)
    yield from _refusals(nodes)


def _read_from_environment(node: ast.AST) -> Iterator[str]:
    match node:
        case (
            ast.Call(ast.Attribute(ast.Attribute(attr="environ"), "get"), [ast.Constant(name), *_])
            | ast.Subscript(ast.Attribute(attr="environ"), ast.Constant(name), ast.Load())
            | ast.Compare(ast.Constant(name), comparators=[ast.Attribute(attr="environ")])
            | ast.keyword("envvar", ast.Constant(name))
        ):
            yield f"environment variable {name}"


def _file_names(node: ast.AST) -> Iterator[str]:
    """A text that is a file's name, and what is put behind a path of the user's with /."""
    if FILE.fullmatch(_text(node)):
        yield f"file {_text(node)}"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        name, start = _text(node.right), node.left
        while isinstance(start, ast.BinOp):
            start = start.left
        if re.search(r"\w", name) and _called(start) != "files":  # importlib's, of the package
            yield f"file {name}"


def _refusals(nodes: list[ast.AST]) -> Iterator[str]:
    """The text of every error that is made and of every warning, {} for what is put into it.

    In part: a phrase that is put in, or that a called function returns. It is looked up where the
    names in the text get their values, in the function itself and in the calls of it.
    """
    returned: Given = defaultdict(list)
    calls: dict[str, list[ast.Call]] = defaultdict(list)
    for node in nodes:
        if isinstance(node, FUNCTIONS):
            values = (each.value for each in ast.walk(node) if isinstance(each, ast.Return))
            returned[node.name] += filter(None, values)
        elif isinstance(node, ast.Call):
            calls[_called(node)].append(node)
    modules = (node for node in nodes if isinstance(node, ast.Module))
    constants = list(_assigned(part for module in modules for part in module.body))
    for function in (node for node in nodes if isinstance(node, FUNCTIONS)):
        given: Given = defaultdict(list)
        inside, passed = list(ast.walk(function)), _passed(function, calls[function.name])
        for name, value in (*constants, *passed, *_assigned(inside)):
            given[name].append(value)
        for error in (node for node in inside if isinstance(node, ast.Call)):
            kind = _called(error)
            # `bad` takes a row that cannot be read, which is refused or left out
            if not kind.endswith("Error") and kind not in ("warning", "bad"):
                continue
            for argument in error.args:
                whole = _phrases(argument)
                yield from (f"refusal ({kind}) {phrase}" for phrase in whole)
                for each in (argument, *returned[_called(argument)]):
                    parts = _behind(each, given, 2) - whole
                    yield from (f"refusal (in part) {phrase}" for phrase in parts)


def _passed(
    function: ast.FunctionDef | ast.AsyncFunctionDef, calls: list[ast.Call]
) -> Iterator[tuple[str, ast.AST]]:
    """The parameters of a function with their defaults and with what they are given in calls."""
    names = [each.arg for each in function.args.args if each.arg != "self"]
    yield from zip(reversed(names), reversed(function.args.defaults), strict=False)
    for call in calls:
        yield from zip(names, call.args, strict=False)
        yield from ((each.arg or "", each.value) for each in call.keywords)


def _assigned(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Names with what is assigned to them, and with what they run through in a loop."""
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AugAssign | ast.For):
            value = node.iter if isinstance(node, ast.For) else node.value
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from ((name, value) for name in _names(target))


def _behind(expression: ast.AST, given: Given, steps: int) -> set[str]:
    """The phrases in an expression, and in what its names stand for."""
    found = _phrases(expression)
    for name in _names(expression) if steps else ():
        for value in given[name]:
            found |= _behind(value, given, steps - 1)
    return found


def _names(expression: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}


def _phrases(expression: ast.AST) -> set[str]:
    """The texts of two words or more in an expression."""
    if words := " ".join(_text(expression).split()):
        return {words} if re.search("[a-z]+ [a-z]+", words) else set()
    return {phrase for part in ast.iter_child_nodes(expression) for phrase in _phrases(part)}


def _text(expression: ast.AST) -> str:
    """A text as it is written, {} for each value that is put into it; "" of what is none."""
    match expression:
        case ast.Constant(str(words)):
            return words
        case ast.JoinedStr(parts):
            return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in parts)
    return ""


def _called(expression: ast.AST) -> str:
    """The name of the function that is called; "" where none is."""
    match expression:
        case ast.Call(ast.Name(name)) | ast.Call(ast.Attribute(attr=name)):
            return name
    return ""
