"""config/kitten-10 agrees with the release notes, the build system reference data and ALESCo RFC 0001."""

from __future__ import annotations

import pytest

from config.loading import hardware_list, load_site
from config.models import Site
from config.placement import decide


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site("kitten-10")


@pytest.mark.parametrize(
    ("target", "flags"),
    [
        ("x86_64", "-march=x86-64-v3 -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer"),
        ("x86_64_v2", "-march=x86-64-v2 -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer"),
        ("aarch64", "-fno-omit-frame-pointer -mno-omit-leaf-frame-pointer"),
        ("ppc64le", "-mcpu=power9"),
        ("s390x", "-march=z14 -mtune=z15 -mbackchain"),
    ],
)
def test_flags_of_a_target(site: Site, target: str, flags: str) -> None:
    assert set(flags.split()) <= set(site.target(target).flags.compiler)


def test_rust_and_go_have_the_level_and_frame_pointers_too(site: Site) -> None:
    v2 = site.target("x86_64_v2").flags
    assert "-Ctarget-cpu=x86-64-v2" in v2.rust
    assert v2.go == {"GOAMD64": "v2"}
    assert all("-Cforce-frame-pointers=yes" in target.flags.rust for target in site.targets)


def test_mock_configurations_are_the_published_ones(site: Site) -> None:
    assert [t.mock.config for t in site.targets] == [f"almalinux-kitten-10-{t.rpm_arch}" for t in site.targets]
    assert site.target("x86_64_v2").mock.options["target_arch"] == "x86_64_v2"


def test_repositories_and_their_targets(site: Site) -> None:
    found = {r.name: r.targets.root for r in site.repositories.repositories}
    everywhere = "BaseOS AppStream CRB HighAvailability ResilientStorage extras-common SAP SAPHANA devel"
    assert found == dict.fromkeys(everywhere.split(), "all") | dict.fromkeys(["NFV", "RT"], ("x86_64", "x86_64_v2"))
    assert [r.name for r in site.repositories.repositories if not r.published] == ["devel"]


def test_the_layout_is_the_one_of_the_mirrors(site: Site) -> None:
    layout = site.repositories.layout
    assert layout.root == "10-kitten"
    assert layout.packages.format(repository="BaseOS", arch="x86_64_v2") == "BaseOS/x86_64_v2/os"
    assert layout.debuginfo.format(repository="BaseOS", arch="s390x") == "BaseOS/debug/s390x"
    assert layout.source.format(repository="CRB") == "CRB/Source"


def test_users_get_only_builds_that_are_verified_and_tested(site: Site) -> None:
    last = site.stages[-1]
    assert last.signed
    assert set(last.requires) == {"built", "verified", "tested"}


def test_modified_sources_come_first(site: Site) -> None:
    assert site.sources.branches == ("a10s", "c10s")
    url = site.sources.lookaside[1].location.format(package="zlib", file="z.tar.xz", algorithm="sha512", hash="ab12")
    assert url == "https://sources.stream.centos.org/sources/rpms/zlib/z.tar.xz/sha512/ab12/z.tar.xz"


def test_each_target_has_workers_of_its_own_architecture(site: Site) -> None:
    for role in ("build", "try"):
        for target in site.targets:
            pools = [p for p in site.workers if role in p.roles and p.targets.includes(target.name)]
            assert pools, (role, target.name)
            for pool in pools:
                assert {site.target(t).machine_arch for t in pool.targets.root} == {target.machine_arch}


def test_the_workers_that_publish_do_nothing_else(site: Site) -> None:
    assert [p.roles for p in site.workers if "publish" in p.roles] == [("publish",)]


def test_special_features_are_tested_on_the_targets_that_have_them(site: Site) -> None:
    suites = {suite.name: suite.targets.root for suite in site.suites}
    assert suites["spice"] == ("x86_64", "x86_64_v2", "aarch64")
    assert suites["power-kvm"] == ("ppc64le",)
    assert suites["secure-boot"] == ("x86_64", "aarch64")
    assert suites["cpu-level"] == suites["perf"] == "all"


@pytest.mark.parametrize(
    ("package", "target", "suites"),
    [
        ("qemu-kvm", "x86_64", "packages spice"),
        ("qemu-kvm", "ppc64le", "packages power-kvm"),
        ("qemu-kvm", "s390x", "packages"),
        ("spice", "aarch64", "packages spice"),
        ("kernel", "ppc64le", "packages cpu-level power-kvm"),
        ("kernel", "aarch64", "packages secure-boot"),
        *((package, "aarch64", "packages secure-boot") for package in ("edk2", "shim", "grub2")),
        ("glibc", "x86_64_v2", "packages cpu-level"),
        ("tzdata", "x86_64", "packages"),
    ],
)
def test_a_package_runs_the_suites_that_depend_on_it(site: Site, package: str, target: str, suites: str) -> None:
    chosen = site.suites_of(site.target(target), site.package(package))
    assert set(suites.split()) <= set(chosen)
    assert all(suite.targets.includes(target) for suite in site.suites if suite.name in chosen)


def test_each_night_runs_every_suite_that_needs_no_package_on_each_target(site: Site) -> None:
    (lab,) = [schedule for schedule in site.schedules if schedule.suites]
    assert site.runs_of(lab) == {
        target.name: suites for target in site.targets if (suites := site.suites_without_package(target))
    }
    assert "packages" not in {suite for suites in site.runs_of(lab).values() for suite in suites}


def test_browsers_are_in_appstream_on_every_target(site: Site) -> None:
    for name in ("firefox", "thunderbird"):
        package = site.package(name)
        placed = [decide(site.repositories, package, name, target.name) for target in site.targets]
        assert {p.repository for p in placed if p} == {"AppStream"}
        assert site.targets_of(package) == site.targets


@pytest.mark.parametrize(
    "package",
    [
        *(
            "virt-viewer",
            "virtiofsd",
            "plymouth",
            "dnf",
            "fwupd-efi",
            "golang",
            "qemu-kvm",
            "seabios",
            "kernel",
            "libvirt",
        ),
        *("libguestfs", "supermin", "guestfs-tools", "virt-top", "thunderbird", "edk2", "ipxe", "rpm", "glibc", "gcc"),
        *("redhat-rpm-config", "grub2", "shim"),
    ],
)
def test_modified_packages_have_a_modification(site: Site, package: str) -> None:
    modification = site.package(package).modification
    assert modification is not None
    assert modification.branch == "a10s"
    assert modification.summary


def test_171_devices_of_11_drivers() -> None:
    devices = hardware_list("kitten-10", "hardware/pci.tsv")
    assert len(devices) == 171
    assert sorted({device.driver for device in devices}) == [
        *("aacraid", "be2iscsi", "be2net", "hpsa", "lpfc", "megaraid_sas", "mlx4_core", "mpt3sas", "mptsas", "qla2xxx"),
        "qla4xxx",
    ]
    by_name = {(device.driver, device.name): str(device) for device in devices}
    assert by_name["hpsa", "HP"] == "103C:any:any:any:01:04"
    assert by_name["aacraid", "Dell Catchall"] == "9005:0285:1028"
    assert by_name["mptsas", "LSI SAS1064"] == "1000:0050"


def test_the_kernel_must_support_the_devices_on_three_targets(site: Site) -> None:
    assert [(entry.list, entry.targets.root) for entry in site.package("kernel").hardware] == [
        ("hardware/pci.tsv", ("x86_64", "x86_64_v2", "aarch64"))
    ]


def test_x86_firmware_is_built_for_the_lowest_level(site: Site) -> None:
    levels = {target.name: target.firmware_isa_level for target in site.targets}
    assert levels == {"x86_64": "x86-64-v2", "x86_64_v2": "x86-64-v2", "aarch64": None, "ppc64le": None, "s390x": None}


@pytest.mark.parametrize(
    ("target", "there", "not_there"),
    [
        ("x86_64", "kernel firefox thunderbird spice-server virt-viewer qemu-kvm libvirt", "guestfs-tools"),
        ("ppc64le", "kernel firefox thunderbird qemu-kvm libvirt guestfs-tools supermin", "spice-server virt-viewer"),
        ("s390x", "kernel firefox thunderbird", "spice-server qemu-kvm"),
    ],
)
def test_required_packages_of_a_target(site: Site, target: str, there: str, not_there: str) -> None:
    required = {package: repository for repository, package in site.required_of(site.target(target))}
    assert set(there.split()) <= required.keys()
    assert not required.keys() & set(not_there.split())
    assert required["kernel"] == "BaseOS"
    assert required["firefox"] == "AppStream"


def test_the_demo_has_the_same_targets_and_six_packages() -> None:
    demo = load_site("demo")
    assert demo.targets == load_site("kitten-10").targets
    assert {package.name for package in demo.packages if package.default} == {"bzip2", "zlib", "pigz"}
    assert {package.name for package in demo.packages} == {"bzip2", "zlib", "pigz", "xz", "lz4", "zstd"}
    assert all(package.binaries for package in demo.packages)
