"""One worker command as a Buildbot step: run ``kitten``, read its result file, show what it says.

The exit status and the result file must agree; neither is believed alone. A lost worker is Buildbot's own affair: the
exception passes through and the build is retried.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar
from urllib.parse import quote

from buildbot.process.buildstep import BuildStep, ShellMixin
from buildbot.process.logobserver import LogLineObserver
from buildbot.process.results import CANCELLED, EXCEPTION, FAILURE, SUCCESS, WARNINGS
from buildbot.steps.worker import CompositeStepMixin

from config.text import plain_line
from workers.results import Artifact, Result

RESULT_FILE = "result.json"
PASSED, FAILED, CANNOT_RUN = 0, 1, 2
SUMMARY_CHARACTERS = 200
LINKS = 24  # each link is a call to the database
SILENCE_SECONDS = 1200  # a command that prints nothing for so long hangs
TERM_SECONDS = 15  # from TERM to KILL: time to end guests and to unmount
# The workdir may hold the result of an earlier build. `sh` removes it in the same round trip and then becomes kitten.
_FRESH = 'rm -f "$0"; exec kitten "$@"'

ResultT = TypeVar("ResultT", bound=Result)


@dataclass(frozen=True)
class Installation:
    """What every command of one service is told, and where people can read what it leaves behind."""

    site: str
    """Name or folder of the site, as in ``--site``."""
    links: tuple[tuple[str, str], ...] = ()
    """(prefix of an artifact's URL, address in a browser that stands for it)"""

    def served(self, url: str) -> str | None:
        """The address under which this service, or the store it names, shows an artifact; none for any other place."""
        plain = url.removeprefix("file://")
        for prefix, address in self.links:
            below = plain.removeprefix(prefix.rstrip("/"))
            if below != plain and below.startswith("/") and not {"..", "."} & set(below.split("/")):
                return address.rstrip("/") + quote(below)
        return None

    def link(self, url: str) -> str | None:
        """The address under which a person can open an artifact, if there is one."""
        return self.served(url) or (url if url.startswith(("http://", "https://")) else None)


def one_line(text: str, limit: int = SUMMARY_CHARACTERS) -> str:
    """Return the first line with something in it, plain, at most ``limit`` characters."""
    lines = (plain_line(line).strip() for line in text.splitlines())
    first = next((line for line in lines if line), "")
    return first if len(first) <= limit else first[: limit - 1] + "…"


def command_line(arguments: Sequence[str], site: str, state: str | None) -> list[str]:
    """The worker command as a person would type it."""
    where = ["--site", site] + (["--state", state] if state else [])
    return ["kitten", *arguments, *where]


class _LastWords(LogLineObserver):
    """Remembers the newest line, for the running summary, and the line in which kitten says why it cannot run."""

    def __init__(self, step: BuildStep) -> None:
        super().__init__()
        self._owner = step
        self.newest = ""
        self.complaint = ""
        self.last_error = ""

    def outLineReceived(self, line: str) -> None:
        if text := one_line(line, 100):
            self.newest = text
            self._owner.updateSummary()  # Buildbot writes at most one summary a second

    def errLineReceived(self, line: str) -> None:
        if line.startswith("kitten: "):
            self.complaint = one_line(line.removeprefix("kitten: "))
        self.last_error = one_line(line) or self.last_error


class KittenCommand(ShellMixin, CompositeStepMixin, BuildStep, Generic[ResultT]):
    """Runs ``kitten ARGUMENTS --site … --state … --json result.json`` on the worker.

    Outcome: held → SUCCESS, or WARNINGS where it is not clean; not held → FAILURE with the cause; could not run → FAILURE
    with the command's own line; no result, or one that contradicts the exit status → EXCEPTION; interrupted → CANCELLED;
    worker lost → RETRY.
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
        :param state_folder: renderable; none: the worker's own ``KITTEN_STATE``.
        :param timeout_factor: renderable; how much more time this worker needs than an ordinary one.
        :param time_limit: seconds for the whole command on an ordinary worker.
        :param silence_limit: seconds for which it may print nothing there.
        """
        kwargs = self.setupShellMixin(kwargs, prohibitArgs=["command", "env", "maxTime", "timeout", "logEnviron"])
        super().__init__(**kwargs)
        self.arguments = list(arguments)
        self.installation = installation
        self.state_folder = state_folder
        self.timeout_factor = timeout_factor
        self.time_limit = time_limit
        self.silence_limit = silence_limit
        self._words = _LastWords(self)
        self._said = ""

    # ------------------------------------------------------------------------------------- what a subclass may say

    async def prepare(self) -> list[str]:
        """Further arguments, after whatever has to be on the worker first has been put there."""
        return []

    def summary(self, result: ResultT) -> str:
        """What the step says of a result that held."""
        return result.summary

    def complaint(self, result: ResultT) -> str:
        """What the step says of a result that did not hold."""
        return result.cause or result.summary

    def is_clean(self, result: ResultT) -> bool:  # noqa: ARG002 - for subclasses
        """Whether a result that held is a plain success; else it is shown with a warning."""
        return True

    def properties_of(self, result: ResultT) -> Mapping[str, Any]:  # noqa: ARG002 - for subclasses
        """What later steps and builds need to know."""
        return {}

    def artifacts_of(self, result: ResultT) -> Sequence[Artifact]:  # noqa: ARG002 - for subclasses
        """What a person may want to open."""
        return ()

    async def show(self, result: ResultT) -> None:
        """Logs, test results and build data of a result, held or not."""

    # ------------------------------------------------------------------------------------------------- the step

    async def run(self) -> int:
        """Run the command and judge its result."""
        arguments = [str(word) for word in self.arguments if word is not None] + await self.prepare()
        by_hand = command_line(arguments, self.installation.site, self.state_folder)
        factor = float(self.timeout_factor or 1.0)
        log = await self.addLog("stdio")
        self.addLogObserver("stdio", self._words)
        where = self.getProperty("workername")
        await log.addHeader(f"To repeat this step by hand, on {where}:\n{shlex.join(by_hand)}\n\n")
        command = await self.makeRemoteShellCommand(
            command=["sh", "-c", _FRESH, RESULT_FILE, *by_hand[1:], "--json", RESULT_FILE],
            env={"KITTEN_DIE_WITH_PARENT": "1", "PYTHONUNBUFFERED": "1"},
            logEnviron=False,
            usePTY=False,
            sigtermTime=TERM_SECONDS,
            timeout=self.silence_limit * factor,
            maxTime=None if self.time_limit is None else self.time_limit * factor,
        )
        await self.runCommand(command)
        if self.stopped:
            return self._says("cancelled", CANCELLED)
        if self.timed_out:
            limit = f"{self.time_limit * factor / 60:.0f} min" if self.time_limit else "its time"
            silent = f"{self.silence_limit * factor / 60:.0f} min"
            return self._says(f"not done within {limit}, or silent for {silent}", FAILURE)
        if command.rc == CANNOT_RUN:
            # A mistake in the input is most of these; as an EXCEPTION Buildbot would put the worker in quarantine for it.
            why = self._words.complaint or self._words.last_error or "it did not say why"
            return self._says(f"could not run: {why}", FAILURE)
        text = await self.getFileContentFromWorker(RESULT_FILE)
        if self.stopped:
            return self._says("cancelled", CANCELLED)
        return await self._judge(command.rc, text)

    async def _judge(self, status: int, text: str | None) -> int:
        name = f"kitten {self.arguments[0]}"
        if text is None:
            last = f": {self._words.last_error}" if self._words.last_error else ""
            return self._says(f"{name} ended with status {status} and left no result{last}", EXCEPTION)
        try:
            result = self.result_type.read(text)
        except ValueError as error:
            return self._says(one_line(f"{name} ended with status {status} and left {error}"), EXCEPTION)
        if (status, result.outcome) not in ((PASSED, "passed"), (FAILED, "failed")):
            return self._says(f"{name} ended with status {status} but its result says {result.outcome}", EXCEPTION)
        for key, value in self.properties_of(result).items():  # type: ignore[arg-type]
            self.setProperty(key, value, self.name)
        await self.setBuildData(self.name, result.model_dump_json().encode(), "kitten")
        await self._link(result)
        await self.show(result)  # type: ignore[arg-type]
        if status == PASSED:
            clean = self.is_clean(result)  # type: ignore[arg-type]
            return self._says(self.summary(result), SUCCESS if clean else WARNINGS)  # type: ignore[arg-type]
        return self._says(self.complaint(result), FAILURE)  # type: ignore[arg-type]

    async def _link(self, result: Result) -> None:
        artifacts = self.artifacts_of(result)  # type: ignore[arg-type]
        for artifact in artifacts[:LINKS]:
            if address := self.installation.link(artifact.url):
                await self.addURL(artifact.name, address)
        if artifacts and not any(self.installation.link(artifact.url) for artifact in artifacts):
            await self.addCompleteLog("artifacts", "".join(f"{a.name}  {a.size} bytes  {a.url}\n" for a in artifacts))

    def _says(self, text: str, status: int) -> int:
        self._said = one_line(text)
        return status

    def getCurrentSummary(self) -> dict[str, str]:
        """The newest line of the command's output."""
        return {"step": self._words.newest or "started"}

    def getResultSummary(self) -> dict[str, str]:
        """What the result said, or why there is none."""
        return {"step": self._said or "worker lost"}


class Outcome(NamedTuple):
    """One row of a set of test results."""

    name: str
    file: str | None
    value: bool | str
    """Whether it held; for what did neither, why."""
    seconds: float = 0.0


async def add_outcomes(
    step: BuildStep, what: str, outcomes: Sequence[Outcome], others: Mapping[str, Sequence[Outcome]]
) -> None:
    """Record test results: those that held or did not, and by kind those that did neither, with the reason.

    Buildbot counts passed and failed in sets of its category ``pass_fail``, and in no other. Each kind of the others, skipped
    or flaky, is in a set of its own, never among the passed.
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
