"""The number of functions that a result lists, and that it shows with their code."""

from __future__ import annotations

from tests.workers.verify.compilers import compiled
from workers.formats.elf import Elf
from workers.results import Check, Place
from workers.verify import excerpts
from workers.verify.evidence import Item
from workers.verify.excerpts import LISTED_IN_ALL, SHOWN, add_excerpts


def check(file: str, places: int, address: int = 0) -> Check:
    listed = tuple(Place(function=f"f{n}", address=address, size=1) for n in range(places))
    return Check(rule="isa-level", file=file, outcome="failed", places=listed)


def test_result_limits_the_functions_of_all_findings_together():
    checks = add_excerpts([check(str(n), 1000) for n in range(15)], {})
    assert [len(one.places) for one in checks] == [1000] * 10 + [0] * 5
    assert sum(len(one.places) for one in checks) == LISTED_IN_ALL


def test_the_first_functions_are_shown_with_their_code(tmp_path, monkeypatch):
    program = compiled("x86_64", tmp_path, {"main.c": "int main(void) { return 0; }\n"})
    entry = Elf(program.read_bytes()).entry
    items = {name: Item(name, name, program) for name in ("a", "b")}
    monkeypatch.setattr(excerpts, "SHOWN_IN_ALL", SHOWN + 5)
    found = add_excerpts([check("a", 30, entry), check("b", 30, entry), check("elsewhere", 1, entry)], items)
    assert [sum(bool(place.excerpt) for place in one.places) for one in found] == [SHOWN, 5, 0]
    assert [len(one.places) for one in found] == [30, 30, 1]


def test_place_outside_the_code_has_no_excerpt(tmp_path):
    program = compiled("x86_64", tmp_path, {"main.c": "int main(void) { return 0; }\n"})
    (found,) = add_excerpts([check("a", 1, 1 << 60)], {"a": Item("a", "a", program)})
    assert found.places[0].excerpt == ()
