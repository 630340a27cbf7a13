"""``kitten bucket`` with a real S3 server: its output and exit status."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
import yaml
from click.testing import CliRunner, Result

from config.loading import load_site
from tests.workers.mirrors import s3
from tests.workers.mirrors.pushes import content
from tests.workers.publishing import BuildFactory
from workers.base.errors import CannotRun, CheckFailed
from workers.mirrors.bucket import Bucket
from workers.mirrors.bucket_cli import bucket
from workers.promotion.publish import publish

pytestmark = pytest.mark.slow

URL = "s3://stage/p"
INDEX = "10-kitten/BaseOS/aarch64/os/repodata/repomd.xml"
PACKAGE = "10-kitten/BaseOS/aarch64/os/Packages/t/tiny-libs-1-1.el10.aarch64.rpm"
Kitten = Callable[..., Result]


@pytest.fixture
def pushed(site_path: Path, tmp_path: Path) -> Path:
    """A site whose signed stage has a bucket."""
    folder = tmp_path / "config"
    shutil.copytree(site_path.parent, folder)
    stages = folder / "demo" / "stages.yaml"
    entries = yaml.safe_load(stages.read_text())
    for entry in entries:
        if entry["name"] == "kitten":
            entry["bucket"] = URL
    stages.write_text(yaml.safe_dump(entries))
    return folder / "demo"


@pytest.fixture
def kitten(pushed: Path, state: Path) -> Kitten:
    """A function (words) → the result of ``kitten bucket``."""

    def call(*words: str, at: Path | None = None) -> Result:
        return CliRunner().invoke(bucket, [*words, "--site", str(pushed), "--state", str(at or state)])

    return call


@pytest.fixture
def there(port: int, proxy: s3.Proxy, pushed: Path, state: Path, make_build: BuildFactory) -> Path:
    """The same site after a package was published and pushed."""
    publish(load_site(str(pushed)), state, "aarch64", str(make_build()))
    return pushed


def findings(result: Result) -> list[str]:
    assert isinstance(result.exception, CheckFailed), result
    return str(result.exception).splitlines()


def cannot(result: Result) -> tuple[str, str]:
    assert isinstance(result.exception, CannotRun), result
    assert "\n" not in result.exception.what
    return result.exception.what, result.exception.hint


@pytest.mark.parametrize("more", [(), ("--content",)])
def test_a_pushed_publication_passes_verify(there: Path, kitten: Kitten, more: tuple[str, ...]) -> None:
    done = kitten("verify", *more)
    assert done.exception is None, done
    assert done.stdout.startswith(f"{URL} is publication 1: ")
    assert done.stdout.endswith("by content\n" if more else "by noted checksum\n")
    assert int(done.stdout.split()[4]) > 20


def test_an_index_edited_by_hand_is_found_and_restored(there: Path, port: int, kitten: Kitten) -> None:
    before = content(port, INDEX)
    assert before is not None
    Bucket(URL).put(INDEX, before.replace(b"<revision>", b"<revision>1"), "application/xml")
    assert findings(kitten("verify")) == [f"{URL}/{INDEX} is not what was published → kitten bucket push --everything"]
    assert kitten("push").stdout == f"{URL}: publication 1 is there already; 0 objects deleted\n", (
        "it looks at the mark"
    )
    assert kitten("push", "--everything").stdout.startswith(f"{URL}: publication 1: 0 objects (0.0 MB), 1 repositories")
    assert content(port, INDEX) == before
    assert kitten("verify").exception is None


def test_missing_changed_and_foreign_objects_are_found_and_fixed(there: Path, port: int, kitten: Kitten) -> None:
    bucket_of_stage = Bucket(URL)
    key, evil = "RPM-GPG-KEY-demo", "10-kitten/BaseOS/aarch64/os/Packages/e/evil.rpm"
    bucket_of_stage.delete([PACKAGE, f"{INDEX}.asc"])
    boto3.client("s3").put_object(
        Bucket="stage", Key=f"p/{key}", Body=b"another key"
    )  # by another tool: no checksum is noted
    bucket_of_stage.put(evil, b"x", "application/x-rpm")
    push = "kitten bucket push --everything"
    assert findings(kitten("verify")) == [
        f"{URL}/{evil} is named by no index → {push} removes it after a day",
        f"{URL}/{PACKAGE} is missing → {push}",
        f"{URL}/{INDEX}.asc is missing → {push}",
        f"{URL}/{key} is not what was published → {push}",
    ]
    assert kitten("push", "--everything").exception is None
    assert kitten("verify", "--content").exception is None
    assert content(port, key) != b"another key"


def test_other_content_under_the_noted_checksum_is_found_by_content(there: Path, port: int, kitten: Kitten) -> None:
    noted = Bucket(URL).checksum(PACKAGE)
    evil = {"Key": f"p/{PACKAGE}", "Body": b"evil", "Metadata": {"sha256": noted}}
    boto3.client("s3").put_object(Bucket="stage", **evil)
    assert kitten("verify").exception is None
    assert findings(kitten("verify", "--content")) == [
        f"{URL}/{PACKAGE} is not what was published → kitten bucket push --everything"
    ]


def test_an_empty_bucket_an_old_one_and_an_interrupted_push_are_reported(
    there: Path, port: int, proxy: s3.Proxy, state: Path, make_build: BuildFactory, kitten: Kitten
) -> None:
    proxy.act = lambda number, path: "drop" if path.split("?")[0].endswith("tiny-libs-2-1.el10.aarch64.rpm") else "pass"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bucket.__init__, "__kwdefaults__", {"attempts": 1})
        with pytest.raises(CannotRun, match=f"cannot reach {URL}"):
            publish(load_site(str(there)), state, "aarch64", str(make_build(version="2")))
    proxy.act = lambda number, path: "pass"
    assert findings(kitten("verify")) == [
        f"a push of publication 2 to {URL} is under way or was cut off → kitten bucket push"
    ]
    assert kitten("push").stdout.startswith(f"{URL}: publication 2: ")
    assert kitten("verify").exception is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "workers.promotion.publish.push_current", lambda *words, **keys: None
        )  # as if the bucket did not exist
        publish(load_site(str(there)), state, "aarch64", str(make_build(version="3")))
    assert findings(kitten("verify")) == [f"{URL} shows publication 2, users of the folder see 3 → kitten bucket push"]
    s3.fresh_bucket(port, "stage")
    assert findings(kitten("verify")) == [
        f"{URL} has no publication.json: nothing was pushed there → kitten bucket push"
    ]
    assert kitten("push").exception is None
    assert kitten("verify", "--content").exception is None


def test_a_bucket_of_another_publisher_is_taken_over_with_yes(
    there: Path, port: int, proxy: s3.Proxy, state: Path, tmp_path: Path, make_build: BuildFactory, kitten: Kitten
) -> None:
    ours = (state / "published/.publisher").read_text().strip()
    other = tmp_path / "other"
    shutil.copytree(state, other, symlinks=True)
    (other / "published/.publisher").unlink()  # a restored backup on another host is another publisher
    found = findings(kitten("verify", at=other))
    theirs = (other / "published/.publisher").read_text().strip()
    host = found[0].split("@")[1].split(",")[0]
    assert found == [
        f"{URL} belongs to the publisher {ours}@{host}, this one is {theirs}@{host}; it shows publication 1 "
        "→ if that publisher no longer exists: kitten bucket take-over"
    ]
    assert cannot(kitten("push", at=other)) == (
        f"{URL} belongs to the publisher {ours}@{host}; this one is {theirs}@{host}",
        "if that publisher no longer exists: kitten bucket take-over",
    )
    asked = kitten("take-over", at=other)
    assert asked.stdout == (
        f"{URL} shows publication 1 of {ours}@{host}; here is 1\n  → take it over: kitten bucket take-over --yes\n"
    )
    assert json.loads(content(port, "publication.json") or b"")["publisher"] == f"{ours}@{host}"
    assert kitten("take-over", "--yes", at=other).stdout.startswith(f"{URL}: publication 1")
    assert json.loads(content(port, "publication.json") or b"")["publisher"] == f"{theirs}@{host}"
    assert kitten("verify", "--content", at=other).exception is None
    site = load_site(str(there))
    publish(site, other, "aarch64", str(make_build(version="2")))
    with pytest.raises(CannotRun, match=f"belongs to the publisher {theirs}@"):
        publish(site, state, "aarch64", str(make_build(version="3")))


def test_a_bucket_that_cannot_be_verified_is_reported_in_one_line(
    site_path: Path, pushed: Path, port: int, proxy: s3.Proxy, state: Path, kitten: Kitten
) -> None:
    for words in (("verify",), ("push",)):
        assert cannot(kitten(*words)) == (
            "nothing is published to kitten here yet",
            "run kitten publish: it also pushes",
        )
    assert cannot(kitten("take-over"))[0] == "nothing is published to kitten here yet"
    without = CliRunner().invoke(bucket, ["verify", "--site", str(site_path), "--state", str(state)])
    assert cannot(without) == ("stage kitten has no bucket", "add bucket: s3://BUCKET/PREFIX to it in stages.yaml")
    unsigned = CliRunner().invoke(bucket, ["push", "--stage", "staged", "--site", str(pushed), "--state", str(state)])
    assert cannot(unsigned)[0] == "stage staged is not a signed one"


def test_help_explains_each_command() -> None:
    for words in ((), ("verify",), ("push",), ("take-over",)):
        done = CliRunner().invoke(bucket, [*words, "--help"])
        assert done.exit_code == 0
        assert len(done.output) > 300
