"""What a publication makes uninstallable: each kind of breakage, with its sentence."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest
import zstandard

from tests.workers.repository.synthetic import element, primary
from workers.base.errors import CannotRun
from workers.promotion.gate.closure import Closure, closure
from workers.repository.primary import Repositories, elements, replace_packages, repositories_below

GTK = element("spice-gtk-0.42-1", requires=["libspice.so.5"])
SPICE = element("spice-0.14-1", provides=["libspice.so.5"])
NEWER = element("spice-0.15-1", provides=["libspice.so.6"])


def compared(staying: list[bytes], gone: list[bytes], fresh: list[bytes], arch: str = "x86_64") -> Closure:
    return closure(Repositories((*staying, *gone)), Repositories((*staying, *fresh)), arch)


def words(staying: list[bytes], gone: list[bytes], fresh: list[bytes], arch: str = "x86_64") -> list[str]:
    return [each.words for each in compared(staying, gone, fresh, arch).breakages]


def test_what_stays_whole_is_not_refused() -> None:
    found = compared([GTK], [SPICE], [element("spice-0.14-2", provides=["libspice.so.5"])])
    assert (found.broken, found.broken_before, found.checked) == ((), (), 2)


SHAPES: dict[str, tuple[list[bytes], list[bytes], list[bytes], list[str]]] = {
    "a soname that is gone": (
        [GTK],
        [SPICE],
        [NEWER],
        ["spice-gtk 0.42-1 needs libspice.so.5, which only spice 0.14-1 has; spice 0.15-1 replaces it"],
    ),
    "a chain of needs": (
        [GTK, element("virt-viewer-11-1", requires=["spice-gtk >= 0.40"])],
        [SPICE],
        [NEWER],
        [
            "spice-gtk 0.42-1 needs libspice.so.5, which only spice 0.14-1 has; spice 0.15-1 replaces it; "
            "this breaks virt-viewer 11-1",
        ],
    ),
    "a need of one version": (
        [element("tool-1-1", requires=["lib = 1-1"])],
        [element("lib-1-1")],
        [element("lib-1-2")],
        ["tool 1-1 needs lib = 1-1, which only lib 1-1 has; lib 1-2 replaces it"],
    ),
    "an epoch": (
        [element("tool-1-1", requires=["lib < 2"])],
        [element("lib-1-1")],
        [element("lib-1:1-1")],
        ["tool 1-1 needs lib < 2, which only lib 1-1 has; lib 1:1-1 replaces it"],
    ),
    "a subpackage that is no longer made": (
        [element("tool-1-1", requires=["lib-plugins"]), element("lib-2-1")],
        [element("lib-plugins-1-1", source="lib")],
        [],
        ["tool 1-1 needs lib-plugins, which only lib-plugins 1-1 has; nothing replaces it"],
    ),
    "two providers that both go": (
        [element("tool-1-1", requires=["mail"])],
        [element("exim-1-1", provides=["mail"]), element("postfix-1-1", provides=["mail"])],
        [element("exim-2-1")],
        [
            "tool 1-1 needs mail, which only exim 1-1 and postfix 1-1 have; "
            "exim 2-1 replaces exim 1-1; nothing replaces postfix 1-1"
        ],
    ),
    "a file that moved": (
        [element("tool-1-1", requires=["/usr/bin/lib-config"])],
        [element("lib-1-1", files=["/usr/bin/lib-config"])],
        [element("lib-2-1", files=["/usr/bin/lib2-config"])],
        ["tool 1-1 needs /usr/bin/lib-config, which only lib 1-1 has; lib 2-1 replaces it"],
    ),
    "a conflict with what is needed": (
        [element("app-1-1", requires=["engine", "theme"]), element("engine-1-1")],
        [element("theme-1-1")],
        [element("theme-2-1", conflicts=["engine < 2"])],
        [
            "app 1-1 needs theme; app 1-1 needs engine; theme 2-1 conflicts with engine < 2, which is engine 1-1; "
            "this breaks app 1-1"
        ],
    ),
    "two packages that exclude each other": (
        [element("app-1-1", requires=["one", "other"])],
        [element("one-1-1"), element("other-1-1")],
        [element("one-2-1", conflicts=["other"]), element("other-2-1", conflicts=["one"])],
        [
            "app 1-1 needs one; app 1-1 needs other; one 2-1 conflicts with other; other 2-1 conflicts with one; "
            "this breaks app 1-1"
        ],
    ),
    "an obsoleted package": (
        [element("app-1-1", requires=["new", "old"]), element("old-1-1")],
        [element("new-1-1")],
        [element("new-2-1", obsoletes=["old < 2"])],
        ["app 1-1 needs new; app 1-1 needs old; new 2-1 obsoletes old < 2, which is old 1-1; this breaks app 1-1"],
    ),
    "a package that obsoletes another and lacks what it had": (
        [element("app-1-1", requires=["oldlib.so.1"])],
        [element("oldlib-1-1", provides=["oldlib.so.1"])],
        [element("newlib-2-1", obsoletes=["oldlib < 2"])],
        ["app 1-1 needs oldlib.so.1, which only oldlib 1-1 has; newlib 2-1 replaces it"],
    ),
    "a rich dependency": (
        [element("app-1-1", requires=["(lang-de or lang-en)"])],
        [element("lang-de-1-1"), element("lang-en-1-1")],
        [],
        [
            "app 1-1 needs (lang-de or lang-en), which only lang-de 1-1 and lang-en 1-1 have; "
            "nothing replaces lang-de 1-1; nothing replaces lang-en 1-1"
        ],
    ),
    "a rich dependency whose condition begins to hold": (
        [element("app-1-1", requires=["(helper if engine)", "engine"])],
        [element("engine-1-1"), element("helper-1-1")],
        [element("engine-2-1")],
        ["app 1-1 needs engine; app 1-1 needs (helper if engine), which cannot be met; this breaks app 1-1"],
    ),
    "a rich dependency of which one part goes": (
        [element("app-1-1", requires=["(engine and helper)"]), element("engine-1-1")],
        [element("helper-1-1")],
        [],
        [
            "app 1-1 needs (engine and helper), which only engine 1-1 and helper 1-1 have; engine 1-1 is still there; "
            "nothing replaces helper 1-1"
        ],
    ),
    "another architecture": (
        [element("app-1-1", requires=["lib"])],
        [element("lib-1-1")],
        [element("lib-2-1", arch="aarch64")],
        [
            "app 1-1 needs lib, which only lib 1-1 has; lib 2-1 replaces it",
            "lib 2-1 is of architecture aarch64, and systems of x86_64 take x86_64 and noarch",
        ],
    ),
    "a new package that lacks something": (
        [],
        [],
        [element("fresh-1-1", requires=["never.so.1"])],
        ["fresh 1-1 needs never.so.1, which nothing has"],
    ),
    "a new package that conflicts with what it needs": (
        [element("lib-1-1")],
        [],
        [element("fresh-1-1", requires=["lib"], conflicts=["lib"])],
        ["fresh 1-1 needs lib; fresh 1-1 conflicts with lib; this breaks fresh 1-1"],
    ),
    "two versions of one package that are both needed": (
        [element("app-1-1", requires=["lib = 1-1", "tool"]), element("lib-1-1")],
        [element("tool-1-1")],
        [element("tool-2-1", requires=["lib = 2-1"]), element("lib-2-1")],
        [
            "app 1-1 needs tool; tool 2-1 needs lib = 2-1; app 1-1 needs lib = 1-1; "
            "lib 1-1 and lib 2-1 cannot be installed together; this breaks app 1-1"
        ],
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_breaks_is_reported_with_its_cause(shape: str) -> None:
    staying, gone, fresh, expected = SHAPES[shape]
    assert words(staying, gone, fresh) == expected


def test_the_part_of_the_broken_package_is_data_for_programs_too() -> None:
    (broken,) = compared([GTK], [SPICE], [NEWER]).broken
    assert (broken.package, broken.name, broken.source) == ("spice-gtk-0.42-1.x86_64", "spice-gtk", "spice-gtk")
    assert broken.needs == ("libspice.so.5",)


def test_weak_dependencies_break_nothing() -> None:
    assert words([element("app-1-1", recommends=["extra"])], [element("extra-1-1")], []) == []


def test_a_package_that_conflicts_with_what_it_provides_itself_is_sound() -> None:
    mta = {"provides": ["mta"], "conflicts": ["mta"]}
    assert words([element("exim-1-1", **mta)], [], [element("postfix-1-1", **mta)]) == []


def test_packages_that_exclude_each_other_are_each_installable() -> None:
    each = [element(f"alternative{n}-1-1", provides=["choice"], conflicts=["choice"]) for n in range(20)]
    assert words(each, [], [element("another-1-1", provides=["choice"], conflicts=["choice"])]) == []


def test_what_was_broken_before_is_listed_and_not_refused() -> None:
    orphan = element("orphan-1-1", requires=["never.so.1"])
    found = compared([orphan, GTK], [SPICE], [element("spice-0.14-2", provides=["libspice.so.5"])])
    assert found.broken == ()
    assert found.broken_before == ("orphan-1-1.x86_64",)


def test_x86_64_v2_takes_its_own_packages_and_no_others() -> None:
    app = element("app-1-1", arch="x86_64_v2", requires=["lib"])
    ours, other = element("lib-1-1", arch="x86_64_v2"), element("lib-1-1", arch="x86_64")
    assert words([app], [], [ours], "x86_64_v2") == []
    assert words([app], [ours], [other], "x86_64_v2") == [
        "app 1-1 needs lib, which only lib 1-1 has; lib 1-1 replaces it",
        "lib 1-1 is of architecture x86_64, and systems of x86_64_v2 take x86_64_v2 and noarch",
    ]


def filelists(package: bytes, name: str, file: str) -> bytes:
    checksum = package.split(b'pkgid="YES">')[1][:64].decode()
    return (
        '<?xml version="1.0"?><filelists xmlns="http://linux.duke.edu/metadata/filelists" packages="1">'
        f'<package pkgid="{checksum}" name="{name}" arch="x86_64"><version epoch="0" ver="1" rel="1"/>'
        f"<file>{file}</file></package></filelists>"
    ).encode()


def test_a_file_that_primary_metadata_does_not_name_is_looked_up_in_the_file_lists() -> None:
    app, lib = element("app-1-1", requires=["/usr/share/lib/data"]), element("lib-1-1")
    listed = (filelists(lib, "lib", "/usr/share/lib/data"),)
    assert closure(Repositories((lib,), listed), Repositories((app, lib), listed), "x86_64").broken == ()
    (found,) = closure(Repositories((app, lib), listed), Repositories((app,)), "x86_64").breakages
    assert found.words == "app 1-1 needs /usr/share/lib/data, which only lib 1-1 has; nothing replaces it"


def test_metadata_is_read_plain_from_gzip_and_from_several_zstandard_frames(tmp_path: Path) -> None:
    content = primary([SPICE, GTK])
    frames = [zstandard.compress(content[at : at + 500]) for at in range(0, len(content), 500)]
    (tmp_path / "primary.xml.zst").write_bytes(b"".join(frames))
    (tmp_path / "primary.xml.gz").write_bytes(gzip.compress(content))
    (tmp_path / "primary.xml").write_bytes(content)
    for file in tmp_path.iterdir():
        assert elements(file) == (SPICE, GTK)
    assert elements(content) == (SPICE, GTK)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("primary.xml.zst", b"no zstd", "is no readable metadata"),
        ("primary.xml.gz", gzip.compress(primary([SPICE]), mtime=0)[:40], "is no readable metadata"),
        ("primary.xml", primary([SPICE])[:-30], "the metadata is cut short"),
        ("primary.xml", primary([SPICE]).replace(b"</name>", b"</name><!-- x -->"), "has comments or CDATA"),
    ],
)
def test_unreadable_metadata_is_reported_in_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CannotRun, match=message):
        elements(tmp_path / name)


def test_an_element_that_is_no_xml_is_reported_in_one_line() -> None:
    broken = SPICE.replace(b"<name>", b"<name><")
    with pytest.raises(CannotRun, match="no XML that libsolv reads"):
        closure(Repositories(()), Repositories((broken,)), "x86_64")


def test_what_comes_takes_the_place_of_what_its_source_package_had() -> None:
    plugins = element("spice-plugins-0.14-1", source="spice")
    after = replace_packages(Repositories((GTK, SPICE, plugins)), {"spice": (NEWER,)})
    assert after.packages == (GTK, NEWER)


def test_repository_folders_are_read_as_their_index_names_them(tmp_path: Path) -> None:
    content = primary([SPICE])
    folder = tmp_path / "repodata"
    folder.mkdir()
    (folder / "p.xml").write_bytes(content)
    (folder / "repomd.xml").write_text(
        '<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo"><data type="primary">'
        f'<checksum type="sha256">{hashlib.sha256(content).hexdigest()}</checksum>'
        '<location href="repodata/p.xml"/></data></repomd>'
    )
    assert repositories_below([tmp_path, tmp_path / "none"]).packages == (SPICE,)
