"""Turn the models' validation errors into problems: the line in the file, what was found, what is allowed."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.hardware import FILE
from config.models import Site, SourcePackage
from config.positions import Document, Key
from config.problems import Problem, one_of, show

_PATTERNS = {
    r"^[A-Za-z0-9][A-Za-z0-9._+-]*$": "a name of letters, digits and . _ + -",
    r"^-[^\s]+$": "a compiler flag: begins with -, has no space in it",
    r"^\d{4}-\d{2}-\d{2}$": "a date: YYYY-MM-DD",
    r"^[A-Za-z0-9._+*?\[\]!-]+$": "a glob: letters, digits and . _ + - * ? [ ]",
    r"^(s3://[^/\s]+(/\S*)?)?$": "s3://BUCKET/PREFIX",
    r"^tag:[^\s:,]+,\d{4}(-\d{2}){0,2}:[^\s]+$": "a tag URI: tag:DOMAIN,YEAR:NAME",
    r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$": "lower-case letters and digits, with - between words",
    r"^\d+(\.\d+)*$": "numbers, with dots between them",
    r"^[0-9A-F]{40}$": "a fingerprint: 40 hexadecimal digits in capitals, no spaces",
    FILE: "a file of the site's folder: hardware/NAME.tsv",
}
_TYPES = {
    "string_type": "text (in quotes, if it looks like a number, a date or yes/no)",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}


def problems_of(
    error: ValidationError, sections: Mapping[str, Document], packages: Sequence[Document]
) -> list[Problem]:
    """Return one problem for each value that the models reject, with its line.

    Sections that could not be read have been reported already; they are left out.
    """
    return _problems(error.errors(include_url=False), sections, packages)


def _problems(
    errors: Sequence[ErrorDetails], sections: Mapping[str, Document], packages: Sequence[Document]
) -> list[Problem]:
    grouped: dict[tuple[str, Key], tuple[Document, list[ErrorDetails]]] = {}
    for detail in errors:
        where = detail["loc"]
        section = str(where[0])
        if section == "packages" and len(where) > 1:
            document, rest = packages[int(where[1])], where[2:]
        elif section in sections:
            document, rest = sections[section], where[1:]
        else:
            continue
        path = _path(document, rest, detail["type"])
        grouped.setdefault((document.file, path), (document, []))[1].append(detail)
    return [
        _problem(document, path, details)
        for (_, path), (document, details) in grouped.items()
        if not _is_redundant(path, details, {p for file, p in grouped if file == document.file})
    ]


def problems_of_package(error: ValidationError, document: Document) -> list[Problem]:
    """Return the problems of a single package's file."""
    inside = ("packages", 0)
    details = [{**detail, "loc": (*inside, *detail["loc"])} for detail in error.errors(include_url=False)]
    return _problems(cast("list[ErrorDetails]", details), {}, [document])


def _path(document: Document, where: Sequence[int | str], kind: str) -> Key:
    """Return the part of an error's location that is a path in the document: without names of union members."""
    path: Key = ()
    for index, part in enumerate(where):
        last = index == len(where) - 1
        if document.at(*path, part) is not None or (*path, part) in document.lines or (last and kind == "missing"):
            path = (*path, part)
    return path


def _is_redundant(path: Key, details: Sequence[ErrorDetails], paths: set[Key]) -> bool:
    """Check for the error "a list is not the word all", which means nothing if items of the list have errors too."""
    inside = any(p[: len(path)] == path and p != path for p in paths)
    return inside and all(d["type"] == "literal_error" for d in details)


def _problem(document: Document, path: Key, details: Sequence[ErrorDetails]) -> Problem:
    kind = details[0]["type"]
    value = document.at(*path)
    model = _model_at(document, path[:-1])
    if kind == "missing":
        field = model.model_fields.get(str(path[-1])) if model else None
        what = f": {field.description}" if field and field.description else ""
        return document.problem(path, "nothing", f"this key is required{what}")
    if kind == "extra_forbidden":
        known = model.model_fields if model else ()
        return document.problem(path, f"unknown key {show(path[-1])}", one_of(known, path[-1]))
    allowed = dict.fromkeys(_allowed_values(detail, document, path) for detail in details)
    return document.problem(path, show(value), ", or ".join(allowed))


def _allowed_values(detail: ErrorDetails, document: Document, path: Key) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        return one_of(words, document.at(*path))
    if kind == "string_pattern_mismatch":
        pattern = str(context.get("pattern", ""))
        return _PATTERNS.get(pattern, f"text that matches {pattern}")
    if kind == "string_too_long":
        return f"at most {context.get('max_length')} characters"
    if kind == "string_too_short":
        return f"at least {context.get('min_length')} characters"
    if kind == "model_type" and (model := _model_at(document, path)):
        return f"a mapping with the keys {', '.join(model.model_fields)}"
    return _TYPES.get(kind, detail["msg"].removeprefix("Input should be ").removeprefix("Value error, "))


def _model_at(document: Document, path: Key) -> type[BaseModel] | None:
    """Return the model of the mapping at a path of a document."""
    section = document.section
    candidates: list[Any] = [SourcePackage if section == "packages" else Site.model_fields[section].annotation]
    for part in path:
        candidates = [inner for candidate in candidates for inner in _step(candidate, part)]
    return next((model for candidate in candidates for model in _models(candidate)), None)


def _step(annotation: Any, part: int | str) -> Iterator[Any]:
    """Yield the type annotations to which one part of a path leads."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        for argument in arguments[:1] if origin is typing.Annotated else arguments:
            yield from _step(argument, part)
    elif isinstance(part, int) and origin is tuple:
        yield arguments[0]
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel) and part in annotation.model_fields:
        yield annotation.model_fields[str(part)].annotation
    elif isinstance(part, str) and len(arguments) == 2 and origin is not tuple:
        yield arguments[1]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation) if typing.get_origin(annotation) is not tuple else ():
        yield from _models(argument)
