"""Any change to a file loads or raises ConfigError with problems; no other exception occurs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from config.loading import FOLDER, SECTIONS, load_site
from config.models import Site
from config.problems import ConfigError

WORDS = (
    r"""\t|\n|- |: |{|}|[|]|&a |*a|? |<<: |!!x |---\n|%|'|"|>\n|~|"""
    r"""null|[]|{}|0b_|1:30|2025-01-01|yes|.nan|=|name: x\n|"\ud800"|- - - """
)
PIECES = st.one_of(
    st.sampled_from([word.replace(r"\t", "\t").replace(r"\n", "\n") for word in WORDS.split("|")]), st.text(max_size=5)
)
FILES = [*SECTIONS.values(), "packages/zlib.yaml"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sections of kitten-10 and the packages of demo, so that it inherits no section file."""
    folder = tmp_path_factory.mktemp("mangled") / "site"
    shutil.copytree(FOLDER / "kitten-10", folder, ignore=shutil.ignore_patterns("packages", "groups.yaml"))
    shutil.copytree(FOLDER / "demo/packages", folder / "packages")
    shutil.copy(FOLDER / "demo/groups.yaml", folder)  # its groups list demo's packages
    signing = (
        "key: {0}\nearlier: [{1}]\npublic_keys: [-----BEGIN PGP PUBLIC KEY BLOCK----- x]\n"
        "secret: {{vault: {{path: a, field: b}}}}\n"
    )
    (folder / "signing.yaml").write_text(signing.format("A" * 40, "B" * 40))
    load_site(str(folder))
    return folder


def load(site: Path) -> Site | ConfigError:
    try:
        return load_site(str(site))
    except ConfigError as error:
        found = error
    assert found.problems, "an error without a problem"
    assert len(str(found).splitlines()) == len(found.problems), "one line for each problem"
    str(found).encode()  # prints on any terminal
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mangled_file_loads_or_has_problems(site: Path, data: st.DataObject) -> None:
    file = site / data.draw(st.sampled_from(FILES))
    whole = file.read_bytes()
    text = whole.decode()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        text = text[:start] + data.draw(PIECES) + text[start + data.draw(st.integers(0, 8)) :]
    try:
        file.write_bytes(text.encode(errors="surrogatepass"))
        load(site)
    finally:
        file.write_bytes(whole)


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.sampled_from(["all", "x86_64"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_at_any_place_loads_or_has_problems(site: Path, data: st.DataObject) -> None:
    import yaml

    file = site / data.draw(st.sampled_from(FILES))
    whole = file.read_bytes()
    document = yaml.safe_load(whole)
    here = document
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(here[key], dict | list) or not here[key] or data.draw(st.booleans()):
            break
        here = here[key]
    here[key] = data.draw(VALUES)
    try:
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        load(site)
    finally:
        file.write_bytes(whole)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60))
@example(content=b"~")
def test_any_bytes_have_problems(site: Path, content: bytes) -> None:
    file = site / "stages.yaml"
    whole = file.read_bytes()
    try:
        file.write_bytes(content)
        assert isinstance(load(site), ConfigError)
    finally:
        file.write_bytes(whole)
