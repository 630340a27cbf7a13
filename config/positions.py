"""Read YAML as plain data with the line of every value. Errors in the text become ``Problem`` records.

The reader is stricter than YAML, because people read configuration files: a key is a word and appears once, anchors,
aliases and tags are errors, dates stay text, and a file has one document.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from config.problems import Problem, path_text, show

Key = tuple[str | int, ...]

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_DEEPEST = 40  # levels of nesting; the models have seven


@dataclass(frozen=True)
class Document:
    """The content of a file, and its section of the site (``packages`` for a package's file)."""

    file: str
    section: str
    data: Any = None
    lines: dict[Key, int] = field(default_factory=dict)

    def line(self, path: Key) -> int:
        """Return the line of a value; if it is absent, the line of the nearest mapping or list around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def problem(self, path: Key, found: str, allowed: str) -> Problem:
        """Make a problem at a path of this document."""
        return Problem(self.file, self.line(path), _key(self.section, path), found, allowed)

    def at(self, *path: str | int) -> Any:
        """Return the value at a path; None if the path does not exist."""
        value = self.data
        for part in path:
            if isinstance(value, dict) and isinstance(part, str):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def mappings(self, *path: str | int) -> Iterator[tuple[Key, dict[str, Any]]]:
        """Yield the mappings of a list, each with its path; the models report entries of other types."""
        entries = self.at(*path)
        for index, item in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(item, dict):
                yield (*path, index), item

    def words(self, *path: str | int) -> Iterator[tuple[Key, str]]:
        """Yield the words of a list, each with its path."""
        entries = self.at(*path)
        for index, item in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(item, str):
                yield (*path, index), item


def _key(section: str, path: Key) -> str:
    """Return a path as text; that of a list's entry begins with the section: ``targets[2].flags``."""
    return path_text((section, *path) if path and isinstance(path[0], int) else path)


def read(path: Path, file: str, section: str) -> tuple[Document, list[Problem]]:
    """Read one YAML file.

    :param file: the name of the file in error messages.
    :returns: the document (its data is None if the text cannot be read), and the problems of the text.
    """
    nothing = Document(file, section)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return nothing, [Problem(file, 0, "", f"byte 0x{error.object[error.start]:02x} at {error.start}", "UTF-8 text")]
    except OSError as error:
        return nothing, [Problem(file, 0, "", f"{error.strerror or error}", "a readable file")]
    loader = None
    try:
        if _too_deep(text):
            return nothing, [Problem(file, 0, "", "values nested too deep", f"at most {_DEEPEST} levels")]
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        return nothing, [_syntax(error, text, file)]
    except yaml.YAMLError as error:
        return nothing, [Problem(file, 0, "", str(error).splitlines()[0], "printable UTF-8 text")]
    finally:
        if loader is not None:
            loader.dispose()
    if node is None:
        return nothing, [Problem(file, 0, "", "an empty file", f"the keys of {path.stem}; see: kitten schema")]
    reader = _Reader(file, section)
    data = reader.value(node, ())
    if data is None and not reader.problems:  # ~ and null
        reader.problems.append(Problem(file, 1, "", "nothing", f"the keys of {path.stem}; see: kitten schema"))
    return Document(file, section, data, reader.lines), reader.problems


def _too_deep(text: str) -> bool:
    """Check whether values nest too deep: reading such a text overflows libyaml's C stack."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            return True
    return False


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    number = mark.line + 1 if mark else 0
    lines = text.splitlines()
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or (mark and line[mark.column : mark.column + 1] == "\t"):
        return Problem(file, number, "", "a tab", "spaces for indentation")
    what = ": ".join(part for part in (error.context, error.problem) if part)
    return Problem(file, number, "", f"a YAML syntax error ({what})", "valid YAML")


class _Reader:
    """Turns nodes into data, and collects lines and problems."""

    def __init__(self, file: str, section: str) -> None:
        self.file, self.section = file, section
        self.lines: dict[Key, int] = {}
        self.problems: list[Problem] = []
        self._seen: set[int] = set()
        self._scalars = yaml.constructor.SafeConstructor()

    def value(self, node: yaml.Node, path: Key) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self._seen:
            return self._report(node, path, "an alias (*name)", "the value itself, written out")
        self._seen.add(id(node))
        if not isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(_TAG) not in ("map", "seq"):
            return self._report(node, path, f"the tag {show(node.tag)}", "plain values without tags")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Key) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _TAG + "merge":
                self._report(key, path, "a key that is not a word", "a word")
                continue
            inner = (*path, key.value)
            if key.value in data:
                first = self.lines[inner]
                self._report(key, inner, f"the key twice, first on line {first}", "each key once")
                continue
            self.lines[inner] = key.start_mark.line + 1
            data[key.value] = self.value(item, inner)
        return data

    def _scalar(self, node: yaml.Node, path: Key) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if kind in ("str", "timestamp", "value", "merge"):
            return node.value
        if kind not in ("null", "bool", "int", "float"):
            return self._report(node, path, f"the tag {show(node.tag)}", "plain values without tags")
        try:
            return self._scalars.construct_object(node)
        except (ValueError, KeyError):  # text that YAML takes for a number and Python does not: 0b_, or 5,000 digits
            return node.value

    def _report(self, node: yaml.Node, path: Key, found: str, allowed: str) -> None:
        self.problems.append(Problem(self.file, node.start_mark.line + 1, _key(self.section, path), found, allowed))
