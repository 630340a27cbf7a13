"""Packages with a signature that the publishing worker did not make: no user sees one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from config.models import Site
from tests.workers.promotion import hostile
from tests.workers.promotion.hostile import NAME, Refused
from tests.workers.publishing import artifact
from workers.promotion.publish import POOL, publish
from workers.signing.sign import signer

pytestmark = [hostile.needs_rpmbuild, pytest.mark.slow]


@pytest.fixture
def signed(rpm: Path, tmp_path: Path, key_home: Path, request: pytest.FixtureRequest) -> Path:
    """A package somebody has signed already."""
    kind = request.param
    home = tmp_path / "unknown" if kind == "an unknown key" else key_home
    with signer(home, "Somebody") as key:
        if kind == "a signature of another package":
            other = hostile.rpms_of(tmp_path / "other", "odd", "Vendor: another")[0]
            key.sign_packages([other])
            return hostile.with_signature_of(rpm, other)
        key.sign_packages([rpm])
    if kind == "our key over other content":
        hostile.edited(rpm, b"/usr/share/odd/", b"/usr/share/odt/")
    return rpm


FORGED = ["an unknown key", "our key over other content", "a signature of another package", "our key"]


@pytest.mark.parametrize("signed", FORGED, indirect=True)
def test_a_build_that_carries_a_signature(refused: Refused, signed: Path) -> None:
    assert refused(signed) == (
        f"{NAME} is already signed, but workers that build have no key",
        "give the package as it was built; the publishing worker signs it",
    )


@pytest.mark.parametrize("signed", FORGED[:3], indirect=True)
def test_a_forged_signature_among_the_signed_packages_is_found_and_signed_again(
    odd: Site, state: Path, tmp_path: Path, good: list[Path], signed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was signed once is kept and used again: after a kill, and for the next target's source package."""
    build = hostile.result_folder(tmp_path / "build", "odd", good)
    with signer(state / "secrets/gnupg", "Tests") as key:
        place = state / "published" / POOL / key.fingerprint / artifact(good[0]).sha256
    place.mkdir(parents=True)
    shutil.copy(signed, place)
    result = publish(odd, state, "aarch64", str(build))
    assert result.outcome == "passed"
    assert capsys.readouterr().err == (
        f"warning: {NAME} among the signed packages is not signed by the distribution's key; it is signed again\n"
    )
    (published,) = (Path(package.url) for package in result.packages if package.name == NAME)
    from workers.signing.sign import verify_packages

    verify_packages([published], (state / "published/RPM-GPG-KEY-demo").read_text())
    assert published.read_bytes() != signed.read_bytes()
