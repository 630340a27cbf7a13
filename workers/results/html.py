"""HTML from the templates in ``templates/``. Nothing of a result becomes markup.

Jinja escapes every value. Before that, what a terminal or a browser obeys in a text is taken out or made visible.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)|\r")
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]"
)  # controls, and what reorders text


def render(template: str, **values: object) -> str:
    """The page of a template.

    :param template: name of a file in ``templates/``.
    """
    return _environment().get_template(template).render(values)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = "{:,}".format
    return environment


def _visible(value: object) -> object:
    """A value as it is shown: text without what moves a cursor, and with a mark for each character that nobody sees."""
    if not isinstance(value, str) or isinstance(
        value, Markup
    ):  # markup comes from macros alone: its texts went through
        return value
    return _UNSEEN.sub("\ufffd", _ESCAPES.sub("", value))
