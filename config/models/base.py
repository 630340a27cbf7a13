"""Words that all files share: a frozen record without unknown keys, and the forms of names."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)]
Folder = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._+-]*|[^\x00-\x1f]*/[^\x00-\x1f]*)$")]
"""A folder by its name among its neighbours, or a path: whatever has a / in it."""
Glob = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+*?\[\]!-]+$", max_length=100)]
Flag = Annotated[str, StringConstraints(pattern=r"^-[^\s]+$")]


class Model(BaseModel):
    """A frozen record in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
