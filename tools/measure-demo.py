"""Measure what ``make demo`` needs: time, memory, disk and download, from an empty cache and an empty state folder.

    .venv/bin/python tools/measure-demo.py [--packages all] [--folder FOLDER] [--json FILE] [--keep] [-- OPTION-OF-KITTEN-DEMO …]

Three runs: nothing is there; the cache is warm and the state is empty; all is there. Set up first (`make setup host`): neither
the Python environment nor the host's packages are part of a figure.

Memory is the largest sum of the proportional set sizes (PSS) of all processes below this one, sampled each second. Disk is
what the files occupy, sampled while it runs. The download is what a network namespace of the demo's own received; that needs
root and slirp4netns. Without them the host's counters stand for it, and the table says so.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from workers.base.cache import disk_usage
from workers.base.cache_entries import remove_folder

CHECKOUT = Path(__file__).resolve().parent.parent
KITTEN = CHECKOUT / ".venv" / "bin" / "kitten"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h: what daemonizes stays below this process
MIB, GIB = 1 << 20, 1 << 30


@dataclass
class Run:
    """One run of the demo. Sizes in bytes."""

    what: str
    status: int = -1
    seconds: float = 0.0
    memory: int = 0
    largest: str = ""
    """The three largest processes at the peak of the memory."""
    cache: int = 0
    state: int = 0
    disk: int = 0
    """The most that cache, state and temporary files together occupied."""
    download: int = 0


def below(pid: int) -> Iterator[int]:
    """All processes that descend from one."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    wanted = list(children.get(pid, []))
    while wanted:
        yield (found := wanted.pop())
        wanted += children.get(found, [])


def memory(pid: int) -> int:
    """Proportional set size of a process in bytes; 0 when it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def name_of(pid: int) -> str:
    """The name of a process, for people."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def received(file: Path) -> int:
    """Bytes that all interfaces but loopback received, of a file as /proc/net/dev."""
    lines = (line.split(":") for line in file.read_text().splitlines() if ":" in line)
    return sum(int(counters.split()[0]) for name, counters in lines if name.strip() != "lo")


@contextlib.contextmanager
def network() -> Iterator[tuple[list[str], Path, set[int], bool]]:
    """Words that run a command in a network of its own; its counters; its helpers; and whether it is its own."""
    if os.geteuid() != 0 or not shutil.which("slirp4netns"):
        yield [], Path("/proc/net/dev"), set(), False
        return
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as holder:
        enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        try:
            while Path(f"/proc/{holder.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
                time.sleep(0.05)
            reader, writer = os.pipe()
            words = ["slirp4netns", "--configure", "--mtu=65520", f"--ready-fd={writer}", str(holder.pid), "tap0"]
            with subprocess.Popen(words, pass_fds=[writer], stdout=subprocess.DEVNULL) as slirp:
                try:
                    os.close(writer)
                    if os.read(reader, 1) != b"1":
                        raise SystemExit("measure-demo: slirp4netns did not start; its words are above")
                    os.close(reader)
                    yield enter, Path(f"/proc/{holder.pid}/net/dev"), {holder.pid, slirp.pid}, True
                finally:
                    slirp.terminate()
        finally:
            holder.kill()


def measure(what: str, words: list[str], environment: dict[str, str], counters: Path, others: set[int]) -> Run:
    """Run the demo once."""
    run = Run(what)
    cache, state = Path(environment["KITTEN_CACHE"]), Path(environment["KITTEN_STATE"])
    ended = threading.Event()

    def disk() -> None:
        folders = (cache, state, Path(environment["TMPDIR"]))
        while not ended.wait(10):
            run.disk = max(run.disk, disk_usage(*folders))

    def processes() -> None:
        while not ended.wait(1):
            sizes = {pid: memory(pid) for pid in below(os.getpid()) if pid not in others}
            if (total := sum(sizes.values())) > run.memory:
                run.memory = total
                largest = sorted(sizes, key=lambda pid: -sizes[pid])[:3]
                run.largest = ", ".join(f"{name_of(pid)} {sizes[pid] / MIB:.0f} MiB" for pid in largest)

    before, begun = received(counters), time.monotonic()
    samplers = [threading.Thread(target=function, daemon=True) for function in (disk, processes)]
    for sampler in samplers:
        sampler.start()
    try:
        run.status = subprocess.run(words, env=environment, check=False).returncode
    finally:
        run.seconds = time.monotonic() - begun
        ended.set()
        for sampler in samplers:
            sampler.join()
    run.download = received(counters) - before
    run.cache, run.state = disk_usage(cache), disk_usage(state)
    run.disk = max(run.disk, run.cache + run.state)
    return run


def table(runs: list[Run], *, own_network: bool) -> str:
    """The runs, for people."""
    head = ("run", "time", "memory", "cache", "state", "disk, at most", "download", "exit")
    rows = [head]
    for run in runs:
        time_taken = f"{int(run.seconds) // 60} min {int(run.seconds) % 60:02} s"
        sizes = (f"{size / GIB:.2f} GiB" for size in (run.memory, run.cache, run.state, run.disk))
        rows.append((run.what, time_taken, *sizes, f"{run.download / MIB:.0f} MiB", str(run.status)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"{run.what}: at the peak of the memory {run.largest}" for run in runs]
    lines.append(f".venv: {disk_usage(CHECKOUT / '.venv') / GIB:.2f} GiB")
    if not own_network:
        lines.append("download: what the whole host received (root and slirp4netns would count the demo's alone)")
    return "\n".join(lines)


def main() -> int:
    """Run and print; 1 when a demo did not pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", default="", help='as of kitten demo: names, or "all"')
    parser.add_argument("--folder", default="/var/tmp", help="where cache and state are made [default: /var/tmp]")  # noqa: S108
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--keep", action="store_true", help="leave cache and state in place")
    parser.add_argument("options", nargs="*", help="further options of kitten demo, after --")
    asked = parser.parse_args()
    if not KITTEN.exists():
        raise SystemExit("measure-demo: no .venv; run: make setup host")
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    folder = Path(tempfile.mkdtemp(prefix="kd-", dir=asked.folder))  # short: sockets are made below it
    runs: list[Run] = []
    try:
        with network() as (enter, counters, others, own):
            for what, state in (("nothing there", "one"), ("warm cache", "two"), ("all there", "two")):
                names = {"KITTEN_CACHE": "cache", "KITTEN_STATE": state, "TMPDIR": "tmp"}
                environment = {**os.environ, **{name: str(folder / place) for name, place in names.items()}}
                (folder / "tmp").mkdir(exist_ok=True)
                if what == "warm cache":
                    down(enter, {**environment, "KITTEN_STATE": str(folder / "one")})
                    if not asked.keep:
                        remove_folder(folder / "one")
                words = [*enter, str(KITTEN), "demo", "--packages", asked.packages, *asked.options]
                print(f"--- {what}: {folder}", flush=True)
                try:
                    runs.append(measure(what, words, environment, counters, others))
                finally:
                    if what == "all there" or not runs or runs[-1].status != 0:
                        down(enter, environment)
                print(table(runs, own_network=own), flush=True)  # so far: the next run may be interrupted
                if asked.json:
                    asked.json.write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")
                if runs[-1].status != 0:
                    break
    finally:
        if asked.keep:
            print(f"kept: {folder}")
        elif why := remove_folder(folder):
            print(f"measure-demo: {why}", file=sys.stderr)
    return 0 if all(run.status == 0 for run in runs) else 1


def down(enter: list[str], environment: dict[str, str]) -> None:
    """End what a demo started."""
    subprocess.run([*enter, str(KITTEN), "down"], env=environment, check=False)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
