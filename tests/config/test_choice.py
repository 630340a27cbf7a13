"""A key that names all of a kind or some of them: targets, packages of a schedule, its suites."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from config.models import Choice, Targets

EVERY = ("x86_64", "aarch64", "s390x")


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ("all", EVERY),
        (["s390x", "x86_64"], ("x86_64", "s390x")),  # in the order of all
        (["riscv64"], ()),
        ([], ()),
    ],
)
def test_a_choice_includes_what_it_names(given: object, chosen: tuple[str, ...]) -> None:
    made = Targets.model_validate(given)
    assert made.names(EVERY) == chosen
    assert [name for name in EVERY if made.includes(name)] == list(chosen)
    assert made.is_all == (given == "all")
    assert bool(made) == bool(given)
    assert made.model_dump(mode="json") == given


@pytest.mark.parametrize("given", ["some", "x86_64", 3, None, {}, ["a b"], ["all", 1]])
def test_anything_else_is_no_choice(given: object) -> None:
    with pytest.raises(ValidationError):
        Choice.model_validate(given)


def test_equal_choices_are_equal_and_can_be_keys() -> None:
    assert len({Targets("all"), Targets("all"), Targets(("x86_64",)), Targets(("x86_64",))}) == 2
