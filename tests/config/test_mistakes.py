"""Each mistake is reported in one line: the place, what was found, what is allowed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from config.loading import load_site
from tests.config.conftest import Break, lines

CASES = yaml.safe_load(Path(__file__).with_name("mistakes.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_a_mistake_is_one_line(problems: Break, case: dict[str, str]) -> None:
    found = problems(case["file"], case["old"], case["new"])
    assert len(found) == 1, found
    assert found[0].startswith(case["line"])


def test_extends_a_missing_folder(problems: Break) -> None:
    found = problems("site.yaml", "extends: kitten-10", "extends: kitten-11")
    assert found[0] == (
        "demo/site.yaml:4: extends: found 'kitten-11', which is not the folder of a site, "
        "allowed: kitten-10? (all: kitten-10)"
    )
    assert len(found) == 1


def test_extends_in_a_circle(problems: Break, folder: Path) -> None:
    (folder / "kitten-10/site.yaml").open("a").write("extends: demo\n")
    assert any("'demo', which leads back to this folder" in line for line in lines(folder, "demo"))
    found = problems("site.yaml", "extends: kitten-10", "extends: demo")
    assert found[0] == (
        "demo/site.yaml:4: extends: found 'demo', which leads back to this folder, "
        "allowed: a folder that does not extend this one"
    )


def test_misspelt_placeholder_of_dist_git(problems: Break) -> None:
    assert problems("sources.yaml", "{package}.git", "{pkg}.git") == [
        "demo/sources.yaml:2: dist_git: found '{state}/dist-git/{pkg}.git', the same for every package, "
        "allowed: a template with {package} in it",
        "demo/sources.yaml:2: dist_git: found the placeholder '{pkg}', allowed: {package}, {state}",
    ]


def test_target_twice(problems: Break) -> None:
    found = problems("targets.yaml", "- name: aarch64", "- name: x86_64", site="kitten-10")
    assert (
        "kitten-10/targets.yaml:49: targets[2].name: found target 'x86_64' twice, first on line 5, allowed: each once"
        in found
    )


def test_suite_twice(problems: Break) -> None:
    found = problems("suites.yaml", "- name: spice", "- name: packages", site="kitten-10")
    assert any(line.endswith("found suite 'packages' twice, first on line 2, allowed: each once") for line in found)


def test_unknown_suite_of_a_target(problems: Break) -> None:
    assert problems("targets.yaml", "suites: [packages]", "suites: [package]", site="kitten-10") == [
        "kitten-10/targets.yaml:22: targets[0].suites[0]: found unknown suite 'package', "
        "allowed: packages? (all: cpu-level, packages, power-kvm, secure-boot, spice)"
    ]


def test_suite_that_does_not_run_on_the_target(problems: Break) -> None:
    found = problems("targets.yaml", "suites: [packages]", "suites: [packages, power-kvm]", site="kitten-10")
    (line,) = found
    assert line.endswith(
        "targets[0].suites[1]: found suite 'power-kvm', which does not run on this target, "
        "allowed: a suite that runs on it"
    )


def test_suite_of_a_package_that_runs_on_no_target_of_it(problems: Break) -> None:
    found = problems("packages/spice.yaml", "suites: [spice]", "suites: [power-kvm]", site="kitten-10")
    assert found == [
        "kitten-10/packages/spice.yaml:6: suites[0]: found suite 'power-kvm', which runs on no target of the package, "
        "allowed: a suite that runs on one"
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("[spice, power-kvm]", "[spicy]", "suites[0]: found unknown suite 'spicy', allowed: spice? (all: "),
        ("[spice, power-kvm]", "[]", "suites: found an empty list, allowed: all, or at least one suite"),
        ("[spice, power-kvm]", "some", "suites: found 'some', allowed: all, or a list"),
        (
            "[spice, power-kvm]",
            "[packages]",
            "suites[0]: found suite 'packages', which needs a package, "
            "allowed: cpu-level, power-kvm, secure-boot, spice",
        ),
        (
            "targets: [x86_64, ppc64le]",
            "targets: [ppc64le]",
            "suites[0]: found suite 'spice', which runs on none of these targets, allowed: a suite that runs on one",
        ),
        (
            "targets: [x86_64, ppc64le]",
            "targets: [x86_64, ppc64le, s390x]",
            "targets[2]: found target 's390x', on which none of its suites runs, allowed: a target of its suites",
        ),
        (
            "[x86_64, ppc64le]\n  suites: [spice, power-kvm]",
            "[s390x]\n  suites: all",
            "suites: found all, but no suite runs without a package there, allowed: a schedule that starts something",
        ),
        (
            "targets: [x86_64, ppc64le]",
            "packages: all",
            "packages: found packages beside suites, allowed: two schedules, one for each",
        ),
    ],
)
def test_schedule_with_wrong_suites(problems: Break, old: str, new: str, expected: str) -> None:
    (found,) = problems("schedules.yaml", old, new, site="kitten-10")
    assert re.fullmatch(r"kitten-10/schedules\.yaml:\d+", found.split(": ")[0])
    assert found.split(": ", 1)[1].startswith(f"schedules[1].{expected}")


def test_repository_that_lacks_a_target_of_the_package(problems: Break) -> None:
    found = problems("packages/kernel.yaml", "repository: BaseOS", "repository: RT", site="kitten-10")
    assert found == [
        "kitten-10/packages/kernel.yaml:4: repository: found 'RT', which has no aarch64, ppc64le, s390x, "
        "allowed: a repository of all the package's targets, or fewer targets"
    ]


def test_yaml_tags_run_no_code(folder: Path, tmp_path: Path) -> None:
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
def test_file_that_is_no_list_of_stages(folder: Path, content: bytes, expected: str) -> None:
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


def test_misspelt_file_names_are_reported(folder: Path) -> None:
    (folder / "demo/target.yaml").write_text("[]\n")
    (folder / "demo/packages/zlib.yml").write_text("name: zlib\n")
    found = lines(folder, "demo")
    assert found[0] == "demo/packages/zlib.yml: found a file named 'zlib.yml', allowed: NAME.yaml, one for each package"
    assert found[1].startswith("demo/target.yaml: found a file that is no section, allowed: targets.yaml? (all: ")


def test_no_package(folder: Path) -> None:
    for path in (folder / "demo/packages").iterdir():
        path.unlink()
    assert lines(folder, "demo") == ["demo/packages: found no package, allowed: at least one NAME.yaml"]


def test_dates_stay_text(folder: Path) -> None:
    with (folder / "demo/packages/zlib.yaml").open("a") as package:
        package.write("exemptions:\n  - {rule: isa, where: '*', reason: as the test needs one, until: 2030-01-31}\n")
    assert load_site(str(folder / "demo")).package("zlib").exemptions[0].until == "2030-01-31"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "repository: AppStream, packages",
            "repository: AppStreem, packages",
            "found unknown repository 'AppStreem', allowed: AppStream? (all: ",
        ),
        (
            "repository: BaseOS, packages",
            "repository: RT, packages",
            "found 'RT', which has no aarch64, ppc64le, s390x, "
            "allowed: a repository of all these targets, or fewer targets",
        ),
        (
            "repository: BaseOS, packages",
            "repository: devel, packages",
            "found 'devel', which is not published, allowed: a published repository",
        ),
        ("targets: [ppc64le]", "targets: [ppc64]", "found unknown target 'ppc64', allowed: ppc64le? (all: "),
        ("targets: [ppc64le]", "targets: []", "found an empty list, allowed: all, or at least one target"),
        ("packages: [kernel]", "packages: []", "found an empty list, allowed: at least one binary package"),
        ("[qemu-kvm, libvirt]", "[libvirt, libvirt]", "found package 'libvirt' twice, first on line "),
    ],
)
def test_required_package_of_a_wrong_repository(problems: Break, old: str, new: str, expected: str) -> None:
    found = problems("repositories.yaml", old, new, site="kitten-10")
    assert len(found) == 1
    assert expected in found[0]
    assert found[0].startswith("kitten-10/repositories.yaml:")
    assert ": required[" in found[0]


@pytest.mark.parametrize("until", ["2030-02-30", "2030-13-01", "0000-01-01"])
def test_exemption_until_a_day_that_does_not_exist(folder: Path, until: str) -> None:
    with (folder / "demo/packages/zlib.yaml").open("a") as package:
        package.write(f"exemptions:\n  - {{rule: isa, where: '*', reason: as the test needs one, until: {until}}}\n")
    assert lines(folder, "demo") == [
        f"demo/packages/zlib.yaml:6: exemptions[0].until: found '{until}', allowed: a day of the calendar: YYYY-MM-DD"
    ]


def test_missing_hardware_list(problems: Break) -> None:
    assert problems("packages/kernel.yaml", "hardware/pci.tsv", "hardware/pcie.tsv", site="kitten-10") == [
        "kitten-10/packages/kernel.yaml:11: hardware[0].list: found 'hardware/pcie.tsv', which does not exist, "
        "allowed: hardware/pci.tsv? (all: hardware/pci.tsv)"
    ]


@pytest.mark.parametrize("name", ["/etc/passwd", "hardware/../targets.yaml", "../x.tsv"])
def test_hardware_list_outside_its_folder(problems: Break, name: str) -> None:
    found = problems("packages/kernel.yaml", "hardware/pci.tsv", name, site="kitten-10")
    assert found == [
        f"kitten-10/packages/kernel.yaml:11: hardware[0].list: found '{name}', "
        "allowed: a file of the site's folder: hardware/NAME.tsv"
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            "0x1000\tmptsas\tLSI",
            "6: pci_id: found '0x1000', allowed: vendor:device[:subvendor:subdevice[:class:subclass]]",
        ),
        ("0x1000:0x50:1:2:3:4:5\tmptsas\tLSI", "6: pci_id: found '0x1000:0x50:1:2:3:4:5', allowed: vendor:device"),
        ("0x1000:0x10050\tmptsas\tLSI", "6: pci_id: found the device '0x10050', allowed: at most 4 hexadecimal digits"),
        ("0x1000:5g\tmptsas\tLSI", "6: pci_id: found the device '5g', allowed: at most 4 hexadecimal digits"),
        ("*:0x50\tmptsas\tLSI", "6: pci_id: found '*:0x50', which matches any vendor, allowed: a vendor"),
        ("0x1000:0x50 mptsas LSI", "6: found 1 columns, allowed: 3: pci_id, driver, device, separated by tabs"),
        ("0x1000:0x51\t\tLSI", "6: driver: found '', allowed: the name of a kernel module"),
        (
            "1000:50:*:_\tmptsas\tAgain",
            "6: pci_id: found 1000:0050 of mptsas twice, first on line 3, allowed: each once",
        ),
    ],
)
def test_wrong_row_of_a_hardware_list(folder: Path, row: str, expected: str) -> None:
    with (folder / "kitten-10/hardware/pci.tsv").open("a") as devices:
        devices.write(row + "\n")
    found = lines(folder, "kitten-10")
    assert len(found) == 1
    assert found[0].startswith(f"kitten-10/hardware/pci.tsv:{expected}")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ": found an empty list, allowed: the columns pci_id, driver, device, separated by tabs"),
        (b"pci_id\tdriver\tdevice\n", ": found no device, allowed: at least one device"),
        (b"a\tb\tc\n", ":1: found 'a\\tb\\tc', allowed: the columns pci_id, driver, device, separated by tabs"),
        (b"\xff\n", ": found byte 0xff at 0, allowed: UTF-8 text"),
    ],
)
def test_file_that_is_no_hardware_list(folder: Path, content: bytes, expected: str) -> None:
    (folder / "kitten-10/hardware/pci.tsv").write_bytes(content)
    assert lines(folder, "kitten-10") == [f"kitten-10/hardware/pci.tsv{expected}"]


def test_lag_days_of_a_required_target(problems: Break) -> None:
    (line,) = problems("targets.yaml", "  rpm_arch: x86_64\n", "  rpm_arch: x86_64\n  lag_days: 7\n", site="kitten-10")
    assert line.startswith("kitten-10/targets.yaml:")
    assert line.endswith(
        "targets[0].lag_days: found lag_days of a target that is required, "
        "allowed: lag_days only beside required: false"
    )


def test_lag_days_of_a_target_that_is_not_required_are_valid(folder: Path) -> None:
    path = folder / "kitten-10/targets.yaml"
    old = "  rpm_arch: x86_64\n"
    path.write_text(path.read_text().replace(old, f"{old}  required: false\n  lag_days: 7\n", 1))
    assert load_site(str(folder / "kitten-10")).targets[0].lag_days == 7
