"""A worker command as a Buildbot step: run ``kitten``, read its result file, show the result.

The exit status and the result file must agree. If the worker is lost, Buildbot handles the exception and retries the
build.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar
from urllib.parse import quote

from buildbot.process.buildstep import BuildStep, ShellMixin
from buildbot.process.logobserver import LogLineObserver
from buildbot.process.remotecommand import RemoteCommand
from buildbot.process.results import CANCELLED, EXCEPTION, FAILURE, SUCCESS, WARNINGS
from buildbot.steps.worker import CompositeStepMixin
from buildbot.worker.protocols.base import FileWriterImpl

from config.text import plain_line
from workers.results import Artifact, Result

RESULT_FILE = "result.json"
RESULT_BYTES = 128 << 20  # the largest result file; the proof of a kernel with 6,500 modules has 30 MiB
BLOCK_BYTES = 32 * 1024
PASSED, FAILED, CANNOT_RUN = 0, 1, 2
SUMMARY_CHARACTERS = 200
LINKS = 24  # most links of a step; each one is a call to the database
SILENCE_SECONDS = 1200  # a command that prints nothing for longer hangs
TERM_SECONDS = 15  # from SIGTERM to SIGKILL: time to end guests and to unmount
RUN_FRESH = 'rm -f "$0"; exec kitten "$@"'
"""Shell script that removes the result of an earlier build, which the workdir may contain, and then becomes kitten."""

ResultT = TypeVar("ResultT", bound=Result)


@dataclass(frozen=True)
class Installation:
    """The options that all commands of a service share, and the addresses at which people can read artifacts."""

    site: str
    """Name or folder of the site, as in ``--site``."""
    links: tuple[tuple[str, str], ...] = ()
    """(prefix of an artifact's URL, the address in a browser that replaces it)"""

    def served_address(self, url: str) -> str | None:
        """Return the address at which this service, or its object storage, shows an artifact; None for other URLs."""
        plain = url.removeprefix("file://")
        for prefix, address in self.links:
            below = plain.removeprefix(prefix.rstrip("/"))
            if below != plain and below.startswith("/") and not {"..", "."} & set(below.split("/")):
                return address.rstrip("/") + quote(below)
        return None

    def link(self, url: str) -> str | None:
        """Return the address at which people can open an artifact; None if there is no such address."""
        return self.served_address(url) or (url if url.startswith(("http://", "https://")) else None)


def one_line(text: str, limit: int = SUMMARY_CHARACTERS) -> str:
    """Return the first line that is not empty, without control characters and with at most ``limit`` characters."""
    lines = (plain_line(line).strip() for line in text.splitlines())
    first = next((line for line in lines if line), "")
    return first if len(first) <= limit else first[: limit - 1] + "…"


def command_line(arguments: Sequence[str], site: str, state: str | None) -> list[str]:
    """Return the worker command as people type it."""
    where = ["--site", site] + (["--state", state] if state else [])
    return ["kitten", *arguments, *where]


class FileCollector(FileWriterImpl):
    """Collects the blocks of a worker's file, up to a limit, because the worker may be hostile.

    Buildbot's own writer has no limit. It also decodes each block separately, and fails if a character of several bytes
    begins in one block and ends in the next.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()

    def remote_write(self, data: bytes) -> None:
        """Add a block; what exceeds the limit is dropped."""
        self._data += data[: self._limit - len(self._data)]

    def remote_close(self) -> None:
        """Do nothing: the blocks are in memory."""

    @property
    def text(self) -> str:
        """The collected blocks as text."""
        return self._data.decode(errors="replace")


class _OutputObserver(LogLineObserver):
    """Keeps the newest line, for the summary of a running step, and kitten's error message."""

    def __init__(self, step: BuildStep) -> None:
        super().__init__()
        self._owner = step
        self.newest = ""
        self.error_message = ""
        self.last_error = ""

    def outLineReceived(self, line: str) -> None:
        if text := one_line(line, 100):
            self.newest = text
            self._owner.updateSummary()  # Buildbot writes at most one summary a second

    def errLineReceived(self, line: str) -> None:
        if line.startswith("kitten: "):
            self.error_message = one_line(line.removeprefix("kitten: "))
        self.last_error = one_line(line) or self.last_error


class KittenCommand(ShellMixin, CompositeStepMixin, BuildStep, Generic[ResultT]):
    """Runs ``kitten ARGUMENTS --site … --state … --json result.json`` on the worker.

    Passed: SUCCESS, or WARNINGS if the result is not clean. Failed: FAILURE with the cause. Cannot run: FAILURE with
    the command's error message. No result, or one that contradicts the exit status: EXCEPTION. Interrupted: CANCELLED.
    Worker lost: RETRY.
    """

    renderables: ClassVar[Sequence[str]] = ["arguments", "state_folder", "timeout_factor"]
    result_type: ClassVar[type[Result]] = Result
    haltOnFailure = True
    flunkOnFailure = True

    def __init__(
        self,
        *,
        arguments: Sequence[Any],
        installation: Installation,
        state_folder: Any = None,
        timeout_factor: Any = 1.0,
        time_limit: float | None = None,
        silence_limit: float = SILENCE_SECONDS,
        **kwargs: Any,
    ) -> None:
        """Make the step.

        :param arguments: the command and its options; each may be a renderable.
        :param state_folder: renderable; None: ``KITTEN_STATE`` of the worker.
        :param timeout_factor: renderable; the factor by which time limits are longer on this worker.
        :param time_limit: seconds for the whole command, before the factor; None: no limit.
        :param silence_limit: seconds for which the command may print nothing, before the factor.
        """
        kwargs = self.setupShellMixin(kwargs, prohibitArgs=["command", "env", "maxTime", "timeout", "logEnviron"])
        super().__init__(**kwargs)
        self.arguments = list(arguments)
        self.installation = installation
        self.state_folder = state_folder
        self.timeout_factor = timeout_factor
        self.time_limit = time_limit
        self.silence_limit = silence_limit
        self._output = _OutputObserver(self)
        self._message = ""

    # ------------------------------------------------------------------------------- what subclasses may override

    async def prepare(self) -> list[str]:
        """Prepare the worker, such as by copying files to it, and return further arguments."""
        return []

    def summary(self, result: ResultT) -> str:
        """Return the step's summary of a passed result."""
        return result.summary

    def failure_message(self, result: ResultT) -> str:
        """Return the step's summary of a failed result."""
        return result.cause or result.summary

    def is_clean(self, result: ResultT) -> bool:  # noqa: ARG002 - for subclasses
        """Check whether a passed result is a success without a warning."""
        return True

    def properties_of(self, result: ResultT) -> Mapping[str, Any]:  # noqa: ARG002 - for subclasses
        """Return the build properties for later steps and builds."""
        return {}

    def artifacts_of(self, result: ResultT) -> Sequence[Artifact]:  # noqa: ARG002 - for subclasses
        """Return the artifacts to link, the most useful ones first."""
        return ()

    async def show(self, result: ResultT) -> None:
        """Add logs, test results and links for a result, passed or failed."""

    async def file_text(self, path: str, limit: int) -> str | None:
        """Return the first ``limit`` bytes of a file of the worker, as text; None if the file cannot be read."""
        file = FileCollector(limit)
        where = {"workdir": self.workdir, "workersrc": path}
        command = RemoteCommand("uploadFile", {**where, "writer": file, "maxsize": None, "blocksize": BLOCK_BYTES})
        await self.runCommand(command)
        return None if command.didFail() else file.text

    # ------------------------------------------------------------------------------------------------- the step

    async def run(self) -> int:
        """Run the command and judge its result."""
        arguments = [str(word) for word in self.arguments if word is not None] + await self.prepare()
        by_hand = command_line(arguments, self.installation.site, self.state_folder)
        factor = float(self.timeout_factor or 1.0)
        log = await self.addLog("stdio")
        self.addLogObserver("stdio", self._output)
        where = self.getProperty("workername")
        await log.addHeader(f"To repeat this step by hand, on {where}:\n{shlex.join(by_hand)}\n\n")
        command = await self.makeRemoteShellCommand(
            command=["sh", "-c", RUN_FRESH, RESULT_FILE, *by_hand[1:], "--json", RESULT_FILE],
            env={"KITTEN_DIE_WITH_PARENT": "1", "PYTHONUNBUFFERED": "1"},
            logEnviron=False,
            usePTY=False,
            sigtermTime=TERM_SECONDS,
            timeout=self.silence_limit * factor,
            maxTime=None if self.time_limit is None else self.time_limit * factor,
        )
        await self.runCommand(command)
        if self.stopped:
            return self._finish("cancelled", CANCELLED)
        if self.timed_out:
            limit = f"{self.time_limit * factor / 60:.0f} min" if self.time_limit else "its time"
            silent = f"{self.silence_limit * factor / 60:.0f} min"
            return self._finish(f"not done within {limit}, or silent for {silent}", FAILURE)
        if command.rc == CANNOT_RUN:
            # Most often the input has a mistake. For an EXCEPTION, Buildbot would put the worker in quarantine.
            why = self._output.error_message or self._output.last_error or "no error message"
            return self._finish(f"could not run: {why}", FAILURE)
        text = await self.file_text(RESULT_FILE, RESULT_BYTES)
        if self.stopped:
            return self._finish("cancelled", CANCELLED)
        return await self._judge(command.rc, text)

    async def _judge(self, status: int, text: str | None) -> int:
        name = f"kitten {self.arguments[0]}"
        if text is None:
            last = f": {self._output.last_error}" if self._output.last_error else ""
            return self._finish(f"{name} ended with status {status} and left no result{last}", EXCEPTION)
        try:
            result = self.result_type.read(text)
        except ValueError as error:
            return self._finish(one_line(f"{name} ended with status {status} and left {error}"), EXCEPTION)
        if (status, result.outcome) not in ((PASSED, "passed"), (FAILED, "failed")):
            return self._finish(f"{name} ended with status {status} but its result says {result.outcome}", EXCEPTION)
        for key, value in self.properties_of(result).items():  # type: ignore[arg-type]
            self.setProperty(key, value, self.name)
        await self.setBuildData(self.name, result.model_dump_json().encode(), "kitten")
        await self._link(result)
        await self.show(result)  # type: ignore[arg-type]
        if status == PASSED:
            clean = self.is_clean(result)  # type: ignore[arg-type]
            return self._finish(self.summary(result), SUCCESS if clean else WARNINGS)  # type: ignore[arg-type]
        return self._finish(self.failure_message(result), FAILURE)  # type: ignore[arg-type]

    async def _link(self, result: Result) -> None:
        artifacts = self.artifacts_of(result)  # type: ignore[arg-type]
        for artifact in artifacts[:LINKS]:
            if address := self.installation.link(artifact.url):
                await self.addURL(artifact.name, address)
        if artifacts and not any(self.installation.link(artifact.url) for artifact in artifacts):
            lines = (plain_line(f"{a.name}  {a.size} bytes  {a.url}") for a in artifacts)
            await self.addCompleteLog("artifacts", "".join(f"{line}\n" for line in lines))

    def _finish(self, message: str, status: int) -> int:
        self._message = one_line(message)
        return status

    def getCurrentSummary(self) -> dict[str, str]:
        """Return the newest line of the command's output."""
        return {"step": self._output.newest or "started"}

    def getResultSummary(self) -> dict[str, str]:
        """Return the summary of the result, or the reason why there is no result."""
        return {"step": self._message or "worker lost"}


class ResultRow(NamedTuple):
    """A row of a set of test results."""

    name: str
    file: str | None
    value: bool | str
    """Whether it passed; for skipped and flaky ones, the reason."""
    seconds: float = 0.0


async def add_result_rows(
    step: BuildStep, what: str, outcomes: Sequence[ResultRow], others: Mapping[str, Sequence[ResultRow]]
) -> None:
    """Record test results: passed and failed ones in one set; skipped and flaky ones in a set each, with the reasons.

    Buildbot counts passed and failed results only in sets of its category ``pass_fail``, so other results are never
    counted as passed.

    :param others: kind, such as ``skipped`` → its rows.
    """
    sets = [(what, "pass_fail", "boolean", outcomes)]
    sets += [(f"{what}: {kind}", what, "reason", rows) for kind, rows in others.items()]
    for description, category, unit, rows in sets:
        if rows:
            number = await step.addTestResultSet(description, category, unit)
            for row in rows:
                value = row.value if isinstance(row.value, str) else str(int(row.value))
                nanoseconds = round(row.seconds * 1e9) or None
                step.addTestResult(number, value, test_name=row.name, test_code_path=row.file, duration_ns=nanoseconds)
