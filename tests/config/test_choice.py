"""Choices: a key that selects all entries of a kind, or those that it names."""

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
def test_a_choice_includes_the_names_it_lists(given: object, chosen: tuple[str, ...]) -> None:
    choice = Targets.model_validate(given)
    assert choice.names(EVERY) == chosen
    assert [name for name in EVERY if choice.includes(name)] == list(chosen)
    assert choice.is_all == (given == "all")
    assert bool(choice) == bool(given)
    assert choice.model_dump(mode="json") == given


@pytest.mark.parametrize("given", ["some", "x86_64", 3, None, {}, ["a b"], ["all", 1]])
def test_other_values_are_rejected(given: object) -> None:
    with pytest.raises(ValidationError):
        Choice.model_validate(given)


def test_equal_choices_are_equal_and_can_be_keys() -> None:
    assert len({Targets("all"), Targets("all"), Targets(("x86_64",)), Targets(("x86_64",))}) == 2
