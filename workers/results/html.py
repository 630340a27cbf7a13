"""HTML from the templates in ``templates/``. No text of a result becomes markup.

Before Jinja escapes a value, control characters that a terminal or a browser acts on are removed or made visible.
"""

from __future__ import annotations

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from config.text import plain_text


def render(template: str, **values: object) -> str:
    """Return the page of a template.

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
    """Return text without control sequences and with a mark for each invisible character; other values unchanged."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value  # markup comes only from macros, and this function has seen its texts already
    return plain_text(value)
