"""Cached facts are found by everything that they depend on: content, level and readers."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from workers.base import cache
from workers.formats.facts import AboveLevel, FileFacts, Framing, Function, Hit, IsaFacts, Traits, Unframed, Unit
from workers.verify import facts_cache

FACTS = FileFacts(
    "elf", "EM_X86_64", "ET_DYN", True,
    traits=Traits(build_id="ab", pie=True, rpath=("/x",), go_settings=(("GOAMD64", "v2"),)),
    units=(Unit("a.c", "GNU C", "", "/builddir", ((16, 32),)),),
    framing=Framing("cfi", 2, 1, 0, (Unframed(Function(16, 4, "f", ".text"), "why"),)),
    isa=IsaFacts("x86-64-v2", 100, 0, (AboveLevel(Function(16, 4), ("AVX2",), 1, (Hit(17, 4, ("AVX2",), "vpaddb"),)),)),
    problems=("one",),
)  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KITTEN_CACHE", str(tmp_path))


def test_facts_come_back_as_they_were():
    name = facts_cache.key(level="x86-64-v2", contents="abc")
    assert facts_cache.load(name) is None
    facts_cache.store(name, FACTS)
    assert facts_cache.load(name) == FACTS


def test_entry_name_depends_on_level_content_and_readers(monkeypatch):
    names = {facts_cache.key(level=level, contents=contents) for level in ("v2", "v3") for contents in ("a", "b")}
    monkeypatch.setattr(facts_cache, "_readers", lambda: "newer")
    names.add(facts_cache.key(level="v2", contents="a"))
    assert len(names) == 5


def test_a_damaged_entry_is_dropped():
    name = facts_cache.key(level="v2", contents="a")
    facts_cache.store(name, FACTS)
    (entry,) = (cache.root() / "facts").rglob("*.json")
    entry.write_text(entry.read_text()[:50])
    assert facts_cache.load(name) is None
    assert not entry.exists()


def test_used_entry_is_copied_to_the_current_month_and_old_months_are_removed(monkeypatch):
    name = facts_cache.key(level="v2", contents="a")
    facts_cache.store(name, FACTS)
    now, last = facts_cache._months()
    folder = cache.root() / "facts"
    (folder / now).rename(folder / last)
    (folder / "2001-01").mkdir()
    assert facts_cache.load(name) == FACTS
    assert (folder / now).is_dir()
    facts_cache.remove_old()
    assert sorted(path.name for path in folder.iterdir()) == sorted([now, last])
    assert now == f"{datetime.now(UTC):%Y-%m}"


def test_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("KITTEN_CACHE", str(blocked))
    name = facts_cache.key(level="v2", contents="a")
    facts_cache.store(name, FACTS)
    assert facts_cache.load(name) is None


def test_an_entry_is_plain_json():
    facts_cache.store(facts_cache.key(level="v2", contents="a"), FACTS)
    (entry,) = (cache.root() / "facts").rglob("*.json")
    assert json.loads(entry.read_text())["traits"]["build_id"] == "ab"
