"""Each mistake gets one clear line: where, what was found, what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.loading import load_site
from tests.config.conftest import Break, lines



# file, old text, new text, the line there must be (and must be all there is)
ONE_LINE = {
    "tab": ("stages.yaml", "  url: staged", "\turl: staged", "demo/stages.yaml:3: found a tab, allowed: spaces for indentation"),
    "tab after the dash": ("stages.yaml", "- name: staged", "-\t\t- \tname: x", "demo/stages.yaml:1: found a tab, "),
    "syntax": ("site.yaml", "name: demo", "name: [demo", "demo/site.yaml:2: found a YAML syntax error ("),
    "duplicate key": (
        "site.yaml",
        "title: Kitten CI demo",
        "title: a\nname: b",
        "demo/site.yaml:3: name: found the key twice, first on line 1, allowed: each key once",
    ),
    "unknown key": ("web.yaml", "port: 0", "port: 0\nlogs_max_byte: 5000", "demo/web.yaml:4: logs_max_byte: found unknown key 'logs_max_byte', allowed: log_max_bytes? (all: "),
    "unknown key deep down": (
        "web.yaml",
        "name: admin, ",
        "name: admin, user: [x], ",
        "demo/web.yaml:5: roles[0].user: found unknown key 'user', allowed: users? (all: description, may, name, users)",
    ),
    "wrong type": ("schedules.yaml", "hour: 2", "hour: two", "demo/schedules.yaml:1: schedules[0].hour: found 'two', allowed: a whole number"),
    "out of range": ("schedules.yaml", "hour: 2", "hour: 24", "demo/schedules.yaml:1: schedules[0].hour: found 24, allowed: less than or equal to 23"),
    "unknown word": (
        "web.yaml",
        "may: [everything]",
        "may: [everythin]",
        "demo/web.yaml:5: roles[0].may[0]: found 'everythin', allowed: everything? (all: ",
    ),
    "a word for a list": ("workers.yaml", "roles: [try]", "roles: try", "demo/workers.yaml:3: workers[1].roles: found 'try', allowed: a list"),
    "neither all nor a list": (
        "suites.yaml",
        "  timeout_seconds: 60",
        "  targets: everywhere",
        "demo/suites.yaml:3: suites[0].targets: found 'everywhere', allowed: all, or a list",
    ),
    "missing key": ("schedules.yaml", "hour: 2, ", "", "demo/schedules.yaml:1: schedules[0].hour: found nothing, allowed: this key is required: UTC"),
    "a bad name": ("build.yaml", "suite: trixie", "suite: trixie\nmacros: {a: 1}", "demo/build.yaml:16: macros.a: found 1, allowed: text (in quotes, if it looks like a number, a date or yes/no)"),
    "a worse name": ("schedules.yaml", "name: nightly", "name: every night", "demo/schedules.yaml:1: schedules[0].name: found 'every night', allowed: a name of letters, digits and . _ + -"),
    "a bad flag": ("build.yaml", "  - -g\n", "  - g\n", "demo/build.yaml:7: optflags[1]: found 'g', allowed: a compiler flag: begins with -, holds no space"),
    "unknown schedule package": (
        "schedules.yaml",
        "hour: 2",
        "hour: 2, packages: [zlob]",
        "demo/schedules.yaml:1: schedules[0].packages[0]: found unknown package 'zlob', allowed: zlib? (all: ",
    ),
    "target of a suite": ("suites.yaml", "  timeout_seconds: 60", "  targets: [x86_64, aarch64, ppc64le, s390x, x86_64_v2, x86_64_v3]", "demo/suites.yaml:3: suites[0].targets[5]: found unknown target 'x86_64_v3', allowed: x86_64_v2? (all: "),
    "target of a schedule": ("schedules.yaml", "hour: 2", "hour: 2, targets: [arm]", "demo/schedules.yaml:1: schedules[0].targets[0]: found unknown target 'arm', allowed: "),
    "target of a repository": (
        "repositories.yaml",
        "name: CRB,",
        "name: CRB, targets: [arm],",
        "demo/repositories.yaml:7: repositories[2].targets[0]: found unknown target 'arm', allowed: ",
    ),
    "target of a pool": ("workers.yaml", "roles: [publish],", "roles: [publish], targets: [arm],", "demo/workers.yaml:4: workers[2].targets[0]: found unknown target 'arm', allowed: "),
    "target of a package": ("packages/zlib.yaml", "name: zlib", "name: zlib\ntargets: [arm]", "demo/packages/zlib.yaml:2: targets[0]: found unknown target 'arm', allowed: "),
    "no target of a package": ("packages/zlib.yaml", "name: zlib", "name: zlib\ntargets: []", "demo/packages/zlib.yaml:2: targets: found an empty list, allowed: all, or at least one target"),
    "suite of a package": ("packages/zlib.yaml", "name: zlib", "name: zlib\nsuites: [package]", "demo/packages/zlib.yaml:2: suites[0]: found unknown suite 'package', allowed: packages? (all: packages)"),
    "repository of a package": ("packages/zlib.yaml", "name: zlib", "name: zlib\nrepository: Base", "demo/packages/zlib.yaml:2: repository: found unknown repository 'Base', allowed: BaseOS? (all: "),
    "repository of a binary": ("packages/zlib.yaml", "name: zlib", "name: zlib\nplacement: {zlib-devel: crb}", "demo/packages/zlib.yaml:2: placement.zlib-devel: found unknown repository 'crb', allowed: "),
    "binary that is none": ("packages/zlib.yaml", "name: zlib", "name: zlib\nplacement: {zlib-dev: CRB}", "demo/packages/zlib.yaml:2: placement.zlib-dev: found unknown binary package 'zlib-dev', allowed: zlib-devel? (all: "),
    "default repository": ("repositories.yaml", "default: BaseOS", "default: baseos", "demo/repositories.yaml:3: default: found unknown repository 'baseos', allowed: BaseOS? (all: "),
    "file name": ("packages/zlib.yaml", "name: zlib", "name: zlib2", "demo/packages/zlib.yaml:1: name: found 'zlib2', allowed: 'zlib', as the file is named"),
    "package twice": ("packages/zlib.yaml", "name: zlib", "name: bzip2", "demo/packages/zlib.yaml:1: name: found package 'bzip2' twice, first in "),
    "repository twice": ("repositories.yaml", "name: CRB", "name: BaseOS", "demo/repositories.yaml:7: repositories[2].name: found repository 'BaseOS' twice, first on line 5, allowed: each once"),
    "stage twice": ("stages.yaml", "name: kitten", "name: staged", "demo/stages.yaml:5: stages[1].name: found stage 'staged' twice, first on line 1, allowed: each once"),
    "pool twice": ("workers.yaml", "name: try,", "name: build,", "demo/workers.yaml:3: workers[1].name: found pool 'build' twice, first on line 2, allowed: each once"),
    "role twice": ("web.yaml", "name: contributor", "name: admin", "demo/web.yaml:7: roles[2].name: found role 'admin' twice, first on line 5, allowed: each once"),
    "worker in two pools": ("workers.yaml", "[try-1]", "[build-2]", "demo/workers.yaml:3: workers[1].workers[0]: found worker 'build-2' twice, first on line 2, allowed: each once"),
    "pool without a worker": ("workers.yaml", "[try-1]", "[]", "demo/workers.yaml:3: workers[1].workers: found an empty list, allowed: at least one worker"),
    "extends nothing": ("site.yaml", "extends: kitten-10", "extends: kitten-11", ""),
    "extends itself": ("site.yaml", "extends: kitten-10", "extends: demo", ""),
    "no pool for a role": ("workers.yaml", "- {name: publish, roles: [publish], workers: [publish-1]}", "", "demo/workers.yaml:2: found no worker pool for the role publish, allowed: at least one pool with roles: [publish]"),
    "target without a build worker": (
        "workers.yaml",
        "roles: [source, build],",
        "roles: [source, build], targets: [x86_64, x86_64_v2, aarch64, ppc64le],",
        "demo/workers.yaml:2: found no build worker for s390x, allowed: a pool with roles: [build] for each target",
    ),
    "publisher that builds": ("workers.yaml", "roles: [publish]", "roles: [publish, source]", "demo/workers.yaml:4: workers[2].roles: found publish beside source, allowed: publish alone: a worker that builds holds no key"),
    "no lookaside": ("sources.yaml", '  - {kind: folder, location: "{state}/lookaside"}\n  - {kind: apt-source}', "  []", "demo/sources.yaml:4: lookaside: found an empty list, allowed: at least one place to take tarballs from"),
    "lookaside without a place": ("sources.yaml", '{kind: folder, location: "{state}/lookaside"}', "{kind: http}", "demo/sources.yaml:5: lookaside[0]: found a lookaside of kind http without a location, allowed: a location"),
    "no branch": ("sources.yaml", "[c10s]", "[]", "demo/sources.yaml:3: branches: found an empty list, allowed: at least one branch"),
    "everything for nobody": ("web.yaml", "users: [admin], ", "", "demo/web.yaml:5: roles[0].may[0]: found everything, for a role without users, allowed: that only for a role that names its users"),
    "placeholder": ("sources.yaml", "{package}.git", "{pkg}.git", ""),
    "placeholder of the web": ("web.yaml", "{port}", "{prot}", "demo/web.yaml:2: url: found the placeholder '{prot}', allowed: {port}"),
    "alias": ("workers.yaml", "workers: [try-1]", "workers: &a [try-1], targets: *a", "demo/workers.yaml:3: workers[1].targets: found an alias (*name), allowed: the value itself, written out"),
    "tag": ("stages.yaml", "url: staged", "url: !!binary AAAA", "demo/stages.yaml:3: stages[0].url: found the tag 'tag:yaml.org,2002:binary', allowed: plain values without tags"),
    "two documents": ("stages.yaml", "- name: kitten", "---\n- name: kitten", "demo/stages.yaml:5: found a YAML syntax error ("),
}  # fmt: skip
SEVERAL = {case for case, (*_, line) in ONE_LINE.items() if not line}


@pytest.mark.parametrize("case", sorted(ONE_LINE.keys() - SEVERAL))
def test_one_mistake_one_line(problems: Break, case: str) -> None:
    file, old, new, expected = ONE_LINE[case]
    found = problems(file, old, new)
    assert len(found) == 1, found
    assert found[0].startswith(expected)


def test_extends_a_folder_that_is_not_there(problems: Break) -> None:
    found = problems("site.yaml", "extends: kitten-10", "extends: kitten-11")
    assert found[0] == (
        "demo/site.yaml:4: extends: found 'kitten-11', which is no site's folder, allowed: kitten-10? (all: kitten-10)"
    )
    assert len(found) == 1


def test_extends_in_a_circle(problems: Break, folder: Path) -> None:
    (folder / "kitten-10/site.yaml").open("a").write("extends: demo\n")
    assert any("'demo', which leads back here" in line for line in lines(folder, "demo"))
    found = problems("site.yaml", "extends: kitten-10", "extends: demo")
    assert found[0] == "demo/site.yaml:4: extends: found 'demo', which leads back here, allowed: a folder that does not"


def test_misspelt_placeholder_of_dist_git(problems: Break) -> None:
    assert problems("sources.yaml", "{package}.git", "{pkg}.git") == [
        "demo/sources.yaml:2: dist_git: found '{state}/dist-git/{pkg}.git' for every package, "
        "allowed: a template with {package} in it",
        "demo/sources.yaml:2: dist_git: found the placeholder '{pkg}', allowed: {package}, {state}",
    ]


def test_target_twice(problems: Break) -> None:
    found = problems("targets.yaml", "- name: aarch64", "- name: x86_64", site="kitten-10")
    assert "kitten-10/targets.yaml:56: targets[2].name: found target 'x86_64' twice, first on line 4, allowed: each once" in found


def test_suite_twice(problems: Break) -> None:
    found = problems("suites.yaml", "- name: spice", "- name: packages", site="kitten-10")
    assert any(line.endswith("found suite 'packages' twice, first on line 2, allowed: each once") for line in found)


def test_suite_of_a_target_that_is_not_for_it(problems: Break) -> None:
    found = problems("targets.yaml", "suites: [packages]", "suites: [packages, power-kvm]", site="kitten-10")
    assert [line.split(": ", 2)[1:] for line in found] == [
        ["targets[0].suites[1]", "found suite 'power-kvm', not for this target, allowed: a suite whose targets hold it"]
    ]  # fmt: skip


def test_suite_of_a_package_that_runs_on_none_of_its_targets(problems: Break) -> None:
    found = problems("packages/spice.yaml", "suites: [spice]", "suites: [power-kvm]", site="kitten-10")
    assert found == [
        "kitten-10/packages/spice.yaml:6: suites[0]: found suite 'power-kvm', on none of the package's targets, "
        "allowed: a suite of theirs"
    ]


def test_repository_that_lacks_a_target_of_the_package(problems: Break) -> None:
    found = problems("packages/kernel.yaml", "repository: BaseOS", "repository: RT", site="kitten-10")
    assert found == [
        "kitten-10/packages/kernel.yaml:4: repository: found 'RT', which has no aarch64, ppc64le, s390x, "
        "allowed: a repository of all the package's targets, or fewer targets"
    ]


def test_tags_run_nothing(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (folder / "demo/stages.yaml").write_text(f"!!python/object/apply:os.system ['touch {mark}']\n")
    assert lines(folder, "demo")[0].startswith("demo/stages.yaml:1: found the tag 'tag:yaml.org,2002:python/object")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "demo/stages.yaml: found an empty file, allowed: the keys of stages; see: kitten schema"),
        (b"# only words\n", "demo/stages.yaml: found an empty file, "),
        (b"[]\n", "demo/stages.yaml:1: found no stage, allowed: at least one stage"),
        (b"name: staged\n", "demo/stages.yaml:1: found a mapping of 1 keys, allowed: a list"),
        (b"just words\n", "demo/stages.yaml:1: found 'just words', allowed: a list"),
        (b"\xff\xfe\x00", "demo/stages.yaml: found byte 0xff at 0, allowed: UTF-8 text"),
        (b"a: \x00\n", "demo/stages.yaml: found unacceptable character"),
        (b"- " * 5000, "demo/stages.yaml"),
        (b"[" * 100_000, "demo/stages.yaml"),
    ],
)
def test_file_that_holds_no_list_of_stages(folder: Path, content: bytes, expected: str) -> None:
    (folder / "demo/stages.yaml").write_bytes(content)
    found = lines(folder, "demo")
    assert len(found) == 1
    assert found[0].startswith(expected)


def test_missing_file(folder: Path) -> None:
    (folder / "kitten-10/suites.yaml").unlink()
    assert lines(folder, "kitten-10") == [
        "kitten-10/suites.yaml: found no such file, allowed: suites.yaml here, or in the folder this one extends"
    ]


def test_unreadable_file(folder: Path) -> None:
    (folder / "demo/stages.yaml").unlink()
    (folder / "demo/stages.yaml").mkdir()
    (folder / "demo/web.yaml").unlink()
    (folder / "demo/web.yaml").symlink_to("nowhere")
    assert lines(folder, "demo") == [
        "demo/stages.yaml: found Is a directory, allowed: a readable file",
        "demo/web.yaml: found No such file or directory, allowed: a readable file",
    ]


def test_misspelt_file_is_not_taken_for_absent(folder: Path) -> None:
    (folder / "demo/target.yaml").write_text("[]\n")
    (folder / "demo/packages/zlib.yml").write_text("name: zlib\n")
    found = lines(folder, "demo")
    assert found[0] == "demo/packages/zlib.yml: found a file named 'zlib.yml', allowed: NAME.yaml, one for each package"
    assert found[1].startswith("demo/target.yaml: found a file of no section, allowed: targets.yaml? (all: ")


def test_no_package(folder: Path) -> None:
    for path in (folder / "demo/packages").iterdir():
        path.unlink()
    assert lines(folder, "demo") == ["demo/packages: found no package, allowed: at least one NAME.yaml"]


def test_dates_stay_text(folder: Path) -> None:
    with (folder / "demo/packages/zlib.yaml").open("a") as package:
        package.write("exemptions:\n  - {rule: isa, where: '*', reason: as the test needs one, until: 2030-01-31}\n")
    assert load_site(str(folder / "demo")).package("zlib").exemptions[0].until == "2030-01-31"
