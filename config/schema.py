"""The keys of the configuration files: JSON Schema for editors, tables for docs/reference/configuration.md."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, RootModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from config.loading import SECTIONS
from config.models import Machine, Site, SourcePackage, Variant


def sections() -> dict[str, Any]:
    """Return file name without .yaml → type of the content; ``package`` stands for the files in packages/."""
    named = {file.removesuffix(".yaml"): Site.model_fields[section].annotation for section, file in SECTIONS.items()}
    return named | {"package": SourcePackage}


# The meaning of keys that many models share, if the model has no other description.
_COMMON = {
    "name": "Unique in its list",
    "description": "For people",
    "title": "For people",
    "targets": "Names of targets",
    "suites": "Names of suites",
    "packages": "Names of packages",
    "minute": "UTC",
}


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each file."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {
        name: head
        | TypeAdapter(kind).json_schema()
        | {"title": "packages/NAME.yaml" if name == "package" else f"{name}.yaml"}
        for name, kind in sections().items()
    }


def reference() -> str:
    """Return the keys of every file as Markdown tables."""
    return "\n".join(line for name, kind in sections().items() for line in _section(name, kind))


def _section(name: str, kind: Any) -> Iterator[str]:
    is_list = typing.get_origin(kind) is tuple
    model = typing.get_args(kind)[0] if is_list else kind
    yield f"### {'packages/NAME' if name == 'package' else name}.yaml\n"
    form = "a list; each entry has" if is_list else "a mapping with"
    yield f"{_first_line(model)} The file is {form} these keys:\n".lstrip()
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    yield from _rows(model, "")
    yield ""


def _first_line(model: type[BaseModel]) -> str:
    line = (model.__doc__ or "").split("\n")[0]
    return "" if line.endswith(".yaml.") else re.sub(r"^\w+\.yaml: (.)", lambda match: match[1].upper(), line)


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for key, field in model.model_fields.items():
        inner, within = _inner(field.annotation)
        alike = Machine.model_fields[key].description if model is Variant else ""
        meaning = _escape(field.description or alike or _COMMON.get(key) or (_first_line(inner) if inner else ""))
        yield f"| `{prefix}{key}` | {_words(field.annotation, field)} | {_default(field)} | {meaning} |"
        if inner is not None:
            yield from _rows(inner, f"{prefix}{key}{within}.")


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """Return the model inside an annotation, and its path: ``[]`` in a list, ``.NAME`` in a mapping."""
    if _is_value(annotation):
        return None, ""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    arguments = typing.get_args(annotation)
    for argument in arguments:
        model, within = _inner(argument)
        if model is not None:
            is_mapping = isinstance(origin := typing.get_origin(annotation), type) and issubclass(origin, Mapping)
            return model, "[]" if origin is tuple else ".NAME" if is_mapping else within
    return None, ""


def _is_value(annotation: Any) -> bool:
    """Check whether a model is written as a value, such as a choice of names, and not as a mapping."""
    return isinstance(annotation, type) and issubclass(annotation, RootModel)


def _words(annotation: Any, field: FieldInfo | None = None) -> str:
    """Return a type in plain words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return " \\| ".join(f"`{argument}`" for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(a) for a in arguments if a is not type(None))
    if origin is tuple:
        return f"list of: {_words(arguments[0])}"
    if origin is typing.Annotated:
        return _words(arguments[0])
    if len(arguments) == 2:
        return f"mapping to: {_words(arguments[1])}"
    if _is_value(annotation):
        return _words(annotation.model_fields["root"].annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    limits = [str(limit) for limit in (field.metadata if field else ())]
    bounds = ", ".join(b for limit in limits for b in _bound(limit))
    word = {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(annotation, str(annotation))
    return f"{word} {bounds}".strip()


def _bound(limit: str) -> Iterator[str]:
    for name, sign in (("Ge(ge=", "≥"), ("Le(le=", "≤"), ("Gt(gt=", ">")):
        if limit.startswith(name):
            yield f"{sign} {limit.removeprefix(name).removesuffix(')')}"


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required" if field.default_factory is None else "none"
    default = field.default.root if isinstance(field.default, RootModel) else field.default
    if default in (None, "", ()):
        return "none"
    if isinstance(default, BaseModel):
        return f"`{{{', '.join(f'{key}: {value}' for key, value in default)}}}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")
