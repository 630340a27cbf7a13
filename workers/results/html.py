"""HTML from the templates in ``templates/``. Nothing of a result becomes markup.

Jinja escapes every value. Before that, what a terminal or a browser obeys in a text is taken out or made visible.
"""

from __future__ import annotations

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from config.text import plain_text


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
    if isinstance(value, Markup) or not isinstance(value, str):
        return value  # markup comes from macros alone: its texts went through this already
    return plain_text(value)
