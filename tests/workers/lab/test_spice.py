"""SPICE without a guest: pictures, the pattern, and the parts of the suite."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from config.loading import load_site
from workers.base.errors import CannotRun
from workers.formats.rpm_payload import Entry
from workers.lab.pictures import NoPictureError, Picture, count_different_pixels, read_ppm
from workers.lab.spice import inside, pattern
from workers.lab.suites import spice

SITE = load_site("demo")


# ---------------------------------------------------------------------------------------------------------- pictures


def ppm(pixels: np.ndarray, header: str = "P6\n{} {}\n255\n") -> bytes:
    return header.format(pixels.shape[1], pixels.shape[0]).encode() + pixels.tobytes()


def pattern_pixels(number: int, width: int = 1000, height: int = 600) -> np.ndarray:
    """The pattern, drawn pixel by pixel by its two rules."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for x in range(width):
        if x // (width // 8) < 8:
            pixels[: height // 4, x] = list(bytes.fromhex(pattern.BARS[x // (width // 8)]))
        if x // (width // 32) < 32 and number >> (31 - x // (width // 32)) & 1:
            pixels[height // 4 : height // 4 + height // 16, x] = 255
    return pixels


def test_a_picture_goes_from_ppm_to_png_unchanged():
    pixels = np.random.default_rng(1).integers(0, 256, (37, 53, 3), np.uint8)
    for header in ("P6\n{} {}\n255\n", "P6\n# by somebody\n{}\n{}\n255\n"):
        picture = read_ppm(ppm(pixels, header))
        assert (picture.width, picture.height) == (53, 37)
        with Image.open(io.BytesIO(picture.png()), formats=("PNG",)) as png:
            assert png.mode == "RGB"
            assert (np.array(png) == pixels).all()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"P5\n1 1\n255\n0",
        b"P6\n2 2\n255\n12345678901",
        b"P6\n0 9\n255\n",
        b"P6\n2 2\n65535\n",
        b"P3\n1 1\n255\n1 2 3\n",
        b"P6\n99999 99999\n255\n",
    ],
)
def test_an_incomplete_picture_is_refused(data):
    with pytest.raises(NoPictureError):
        read_ppm(data)


def test_pictures_are_compared_pixel_by_pixel():
    one = pattern_pixels(7)
    other = one.copy()
    other[3, 4, 1] ^= 0x40
    other[5, 6] ^= 1
    assert count_different_pixels(Picture(one), Picture(other)) == 2
    assert count_different_pixels(Picture(one), Picture(other), tolerance=1) == 1
    assert count_different_pixels(Picture(one), Picture(one[:-1])) == 600_000


@pytest.mark.parametrize(("width", "height"), [(1000, 600), (1024, 768), (1280, 800), (720, 400), (1366, 768)])
def test_the_pattern_is_found_in_a_picture_of_any_size(width, height):
    assert pattern.Pattern(0xC0FFEE01).problem(Picture(pattern_pixels(0xC0FFEE01, width, height))) == ""


def test_another_picture_does_not_show_the_pattern():
    shown = pattern.Pattern(0xC0FFEE01)
    assert shown.problem(Picture(pattern_pixels(0xC0FFEE03))).startswith(
        "square 31 of 32 is not 000000: 1147 of its 1147 pixels"
    )
    assert shown.problem(Picture(np.zeros((600, 1000, 3), np.uint8))).startswith("bar 1 of 8 is not ffffff")
    for pixel, what in (((0, 0), "bar 1"), ((149, 999), "bar 8"), ((150, 0), "square 1"), ((186, 991), "square 32")):
        flawed = pattern_pixels(0xC0FFEE01)
        flawed[pixel] ^= 0x20
        assert shown.problem(Picture(flawed)).startswith(f"{what} of "), pixel
    assert shown.problem(Picture(np.roll(pattern_pixels(0xC0FFEE01), 1, axis=1)))
    assert shown.problem(Picture(np.zeros((2, 2, 3), np.uint8)))


# ------------------------------------------------------------------------------------------------------------- suite


def test_each_target_that_ships_spice_has_display_devices():
    suite = next(suite for suite in SITE.suites if suite.name == "spice")
    for target in SITE.targets:
        variants = [name for name in target.machine.variants if name.startswith(spice.PREFIX)]
        devices = [spice.display_device(target.machine.variant(name)) for name in sorted(variants)]
        x86 = ["qxl-vga", "virtio-vga"]
        assert devices == {"x86_64": x86, "x86_64_v2": x86, "aarch64": ["virtio-gpu-pci"]}.get(target.name, [])
        assert suite.fits(target) == bool(devices)


def test_a_variant_without_a_display_is_refused():
    with pytest.raises(CannotRun, match="no display device among -vga none"):
        spice.display_device(SITE.target("ppc64le").machine)


def test_the_scripts_of_the_guest_contain_the_values():
    distribution = SITE.distribution.model_copy(update={"title": "Kitten's BARS"})
    site = SITE.model_copy(update={"distribution": distribution})
    scripts = spice.guest_scripts(site, SITE.target("aarch64"), "virtio-gpu-pci", pattern.Pattern(1), ("one", "two"))
    draw, agent = scripts["1-draw.sh"].decode(), scripts["2-agent.sh"].decode()
    assert "for module in one two; do" in draw
    assert " ".join(pattern.BARS) in draw
    assert "com.redhat.spice.0" in agent
    assert """'Kitten'"'"'s BARS'""" in draw
    left = [word for word in ("MODULES", "WORDS", "SQUARES", "AGENT_PORT") if word in draw + agent]
    assert left == []


@pytest.mark.parametrize(
    "words",
    [
        "qemu-system-x86_64: -spice port=0: spice support is disabled",
        "qemu-kvm: -spice port=0: There is no option group 'spice'",
        "qemu-kvm: -spice: invalid option",
    ],
)
def test_a_qemu_without_spice_is_not_confused_with_other_failures(words):
    reason = words.split("port=0: ")[-1].removeprefix("qemu-kvm: ")
    assert spice.failure_reason(f"QEMU did not start: {words}\nqemu -spice") == f"this QEMU has no SPICE: {reason}"
    other = "QEMU did not start: 'qxl-vga' is not a valid device model name"
    assert spice.failure_reason(f"{other}\nqemu -spice port=0") == other


def test_a_server_inside_a_guest_uses_its_network_and_ports():
    words = inside.command(SITE.target("x86_64").machine.variant("spice-qxl"), "/usr/libexec/qemu-kvm")
    assert words[0] == "/usr/libexec/qemu-kvm"
    assert [word for word in words if "path=/run/inside-" in word] == [
        f"pipe,id={name},path=/run/inside-{name}" for name in ("monitor", "console", "tap")
    ]
    spoken = words[words.index("-spice") + 1]
    assert spoken.startswith("port=5900,tls-port=5901,addr=10.0.2.15,password-secret=ticket,x509-cacert-file=/inside/")
    assert "qxl-vga" in words
    assert not [word for word in words if "fd=" in word]


def test_packages_bring_the_emulator():
    target = SITE.target("x86_64")
    library = Entry("/usr/lib64/libspice-server.so.1", "file", 0o755)
    qemu = Entry("/usr/libexec/qemu-kvm", "file", 0o755)
    found = inside.packaged_emulator(target, [(library,), (qemu,)])
    assert (found.path, found.packages) == ("/usr/libexec/qemu-kvm", ((library,), (qemu,)))
    with pytest.raises(CannotRun, match="no package contains /usr/libexec/qemu-kvm or"):
        inside.packaged_emulator(target, [(library,)])
