"""Measure what ``make demo`` needs: time, memory, disk and download.

    .venv/bin/python tools/measure-demo.py [--packages all] [--folder FOLDER] [--json FILE] [--keep] [-- OPTION …]

Each OPTION is passed to ``kitten demo``. Three runs: with an empty cache and state; with a warm cache and an empty
state; with both warm. First run `make setup host`: the figures include neither the Python environment nor the packages
of the host.

Memory is the largest sum of the proportional set sizes (PSS) of all processes below this one, sampled each second. Disk
is the space that the files occupy, sampled during the run. The download is what the network namespace of the demo
received; that needs root and slirp4netns. Without them it is what the whole host received, and a line below the table
warns of that.
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

from workers.base.cache import occupied
from workers.base.cache_entries import remove_folder

CHECKOUT = Path(__file__).resolve().parent.parent
KITTEN = CHECKOUT / ".venv" / "bin" / "kitten"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h: daemons stay below this process
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
    """The peak of cache, state and temporary files together."""
    download: int = 0


def descendants(pid: int) -> Iterator[int]:
    """Yield all processes that descend from one."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    pending = list(children.get(pid, []))
    while pending:
        yield (child := pending.pop())
        pending += children.get(child, [])


def memory(pid: int) -> int:
    """Return the proportional set size of a process in bytes; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def name_of(pid: int) -> str:
    """Return the name of a process; ``?`` if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def bytes_received(file: Path) -> int:
    """Return the bytes that all interfaces except loopback received, from a file such as /proc/net/dev."""
    lines = (line.split(":") for line in file.read_text().splitlines() if ":" in line)
    return sum(int(counters.split()[0]) for name, counters in lines if name.strip() != "lo")


@contextlib.contextmanager
def network() -> Iterator[tuple[list[str], Path, set[int], bool]]:
    """Yield a command prefix that enters a separate network, its counters, its helpers, and whether it is separate."""
    if os.geteuid() != 0 or not shutil.which("slirp4netns"):
        yield [], Path("/proc/net/dev"), set(), False
        return
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as holder:
        enter = ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
        try:
            while Path(f"/proc/{holder.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
                time.sleep(0.05)
            reader, writer = os.pipe()
            command = ["slirp4netns", "--configure", "--mtu=65520", f"--ready-fd={writer}", str(holder.pid), "tap0"]
            with subprocess.Popen(command, pass_fds=[writer], stdout=subprocess.DEVNULL) as slirp:
                try:
                    os.close(writer)
                    if os.read(reader, 1) != b"1":
                        raise SystemExit("measure-demo: slirp4netns did not start; its output is above")
                    os.close(reader)
                    yield enter, Path(f"/proc/{holder.pid}/net/dev"), {holder.pid, slirp.pid}, True
                finally:
                    slirp.terminate()
        finally:
            holder.kill()


def measure(what: str, command: list[str], environment: dict[str, str], counters: Path, others: set[int]) -> Run:
    """Run the demo once; return its figures."""
    run = Run(what)
    cache, state = Path(environment["KITTEN_CACHE"]), Path(environment["KITTEN_STATE"])
    ended = threading.Event()

    def disk() -> None:
        folders = (cache, state, Path(environment["TMPDIR"]))
        while not ended.wait(10):
            run.disk = max(run.disk, occupied(*folders))

    def processes() -> None:
        while not ended.wait(1):
            sizes = {pid: memory(pid) for pid in descendants(os.getpid()) if pid not in others}
            if (total := sum(sizes.values())) > run.memory:
                run.memory = total
                largest = sorted(sizes, key=lambda pid: -sizes[pid])[:3]
                run.largest = ", ".join(f"{name_of(pid)} {sizes[pid] / MIB:.0f} MiB" for pid in largest)

    before, begun = bytes_received(counters), time.monotonic()
    samplers = [threading.Thread(target=function, daemon=True) for function in (disk, processes)]
    for sampler in samplers:
        sampler.start()
    try:
        run.status = subprocess.run(command, env=environment, check=False).returncode
    finally:
        run.seconds = time.monotonic() - begun
        ended.set()
        for sampler in samplers:
            sampler.join()
    run.download = bytes_received(counters) - before
    run.cache, run.state = occupied(cache), occupied(state)
    run.disk = max(run.disk, run.cache + run.state)
    return run


def table(runs: list[Run], *, own_network: bool) -> str:
    """Return the table of the runs, for people."""
    head = ("run", "time", "memory", "cache", "state", "disk, at most", "download", "exit")
    rows = [head]
    for run in runs:
        time_taken = f"{int(run.seconds) // 60} min {int(run.seconds) % 60:02} s"
        sizes = (f"{size / GIB:.2f} GiB" for size in (run.memory, run.cache, run.state, run.disk))
        rows.append((run.what, time_taken, *sizes, f"{run.download / MIB:.0f} MiB", str(run.status)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"{run.what}: largest processes at the peak of the memory: {run.largest}" for run in runs]
    lines.append(f".venv: {occupied(CHECKOUT / '.venv') / GIB:.2f} GiB")
    if not own_network:
        lines.append(
            "download: what the whole host received (to count only the demo, run this as root with slirp4netns)"
        )
    return "\n".join(lines)


def main() -> int:
    """Run the demos and print the table; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", default="", help='as for kitten demo: names, or "all"')
    folder = "/var/tmp"  # noqa: S108
    parser.add_argument("--folder", default=folder, help="folder for cache and state [default: %(default)s]")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--keep", action="store_true", help="do not remove cache and state")
    parser.add_argument("options", nargs="*", help="more options of kitten demo, after --")
    options = parser.parse_args()
    if not KITTEN.exists():
        raise SystemExit("measure-demo: no .venv; run: make setup host")
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    folder = Path(tempfile.mkdtemp(prefix="kd-", dir=options.folder))  # a short path: it will contain sockets
    runs: list[Run] = []
    try:
        with network() as (enter, counters, others, own):
            for what, state in (("empty", "one"), ("warm cache", "two"), ("all warm", "two")):
                names = {"KITTEN_CACHE": "cache", "KITTEN_STATE": state, "TMPDIR": "tmp"}
                environment = {**os.environ, **{name: str(folder / place) for name, place in names.items()}}
                (folder / "tmp").mkdir(exist_ok=True)
                if what == "warm cache":
                    down(enter, {**environment, "KITTEN_STATE": str(folder / "one")})
                    if not options.keep:
                        remove_folder(folder / "one")
                command = [*enter, str(KITTEN), "demo", "--packages", options.packages, *options.options]
                print(f"--- {what}: {folder}", flush=True)
                try:
                    runs.append(measure(what, command, environment, counters, others))
                finally:
                    if what == "all warm" or not runs or runs[-1].status != 0:
                        down(enter, environment)
                print(table(runs, own_network=own), flush=True)  # already now: the next run may be interrupted
                if options.json:
                    options.json.write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")
                if runs[-1].status != 0:
                    break
    finally:
        if options.keep:
            print(f"kept: {folder}")
        elif why := remove_folder(folder):
            print(f"measure-demo: {why}", file=sys.stderr)
    return 0 if all(run.status == 0 for run in runs) else 1


def down(enter: list[str], environment: dict[str, str]) -> None:
    """End the service that a demo started."""
    subprocess.run([*enter, str(KITTEN), "down"], env=environment, check=False)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
