"""What all models share: a frozen record without unknown keys, patterns of names, and a choice of names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, RootModel, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)]
Folder = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9._+-]*|[^\x00-\x1f]*/[^\x00-\x1f]*)$")]
"""A folder: the name of a sibling folder, or a path with a / in it."""
Glob = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._+*?\[\]!-]+$", max_length=100)]
Flag = Annotated[str, StringConstraints(pattern=r"^-[^\s]+$")]


class Model(BaseModel):
    """A frozen record in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Choice(RootModel[Literal["all"] | tuple[Name, ...]]):
    """All entries of a kind, or those that are named."""

    model_config = ConfigDict(frozen=True)

    def __bool__(self) -> bool:
        """Check whether anything is chosen."""
        return bool(self.root)

    def includes(self, name: str) -> bool:
        """Check whether a name is chosen."""
        return self.root == "all" or name in self.root

    def names(self, every: Iterable[str]) -> tuple[str, ...]:
        """Return the chosen names, in the order of ``every``."""
        return tuple(name for name in every if self.includes(name))

    @property
    def is_all(self) -> bool:
        """Whether the choice is ``all``."""
        return self.root == "all"


class Targets(Choice):
    """Targets by name, or all."""
