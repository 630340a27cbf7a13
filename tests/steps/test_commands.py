"""Each step against each answer of a worker: passed, failed, cannot run, garbled, contradicting, lost, cancelled."""

from __future__ import annotations

import json
from typing import Any

from buildbot.process.results import CANCELLED, EXCEPTION, FAILURE, RETRY, SUCCESS
from twisted.internet import error
from twisted.python.failure import Failure

from steps.command import FileCollector, one_line
from steps.verify import VerifyStep
from tests.steps.cases import (
    BUILT,
    CONSOLE,
    INSTALLATION,
    STAGED,
    STEPS,
    VERIFIED,
    StepTestCase,
)


class TestCommands(StepTestCase):
    async def passed(self, command: str) -> None:
        _, result, summary = STEPS[command]
        self.set_up(command)
        self.answers(command, 0, json.dumps(result))
        if command == "test":
            self.expect_commands(self.upload("boot\n", CONSOLE["url"]))
            self.expect_log_file("packages-console", "boot\n")
        self.expect_shown(command, result)
        self.expect_outcome(result=SUCCESS, state_string=summary)
        await self.run_step()

    async def failed(self, command: str) -> None:
        self.set_up(command)
        result = {**STEPS[command][1], "outcome": "failed", "cause": "bzip2.c:7: error: no such thing"}
        self.answers(command, 1, json.dumps(result))
        if command == "test":
            self.expect_commands(self.upload(None, CONSOLE["url"]))
        self.expect_shown(command, result)
        self.expect_outcome(result=FAILURE, state_string="bzip2.c:7: error: no such thing")
        await self.run_step()

    async def cannot_run(self, command: str) -> None:
        self.set_up(command)
        message = "noise\nkitten: rpmbuild is not installed\n  → make setup\n"
        self.expect_commands(self.shell(command).stderr(message).exit(2))
        self.expect_outcome(result=FAILURE, state_string="could not run: rpmbuild is not installed")
        await self.run_step()

    async def absent(self, command: str) -> None:
        self.set_up(command)
        self.answers(command, 143, None)
        self.expect_outcome(result=EXCEPTION, state_string=f"kitten {command} ended with status 143 and left no result")
        await self.run_step()

    async def garbled(self, command: str) -> None:
        self.set_up(command)
        self.answers(command, 0, '{"version": 99}')
        self.expect_outcome(result=EXCEPTION)
        await self.run_step()
        assert f"kitten {command} ended with status 0 and left not a result" in self.step.getResultSummary()["step"]

    async def contradicting(self, command: str) -> None:
        self.set_up(command)
        self.answers(command, 0, json.dumps({**STEPS[command][1], "outcome": "failed"}))
        message = f"kitten {command} ended with status 0 but its result says failed"
        self.expect_outcome(result=EXCEPTION, state_string=message)
        await self.run_step()

    async def lost(self, command: str) -> None:
        self.set_up(command)
        self.expect_commands(self.shell(command).error(Failure(error.ConnectionLost())))
        self.expect_outcome(result=RETRY, state_string="worker lost")
        await self.run_step()

    async def cancelled(self, command: str) -> None:
        self.set_up(command)
        shell = self.shell(command).exit(143)
        shell.interrupted = True
        self.expect_commands(shell)
        self.interrupt_nth_remote_command(0)
        self.expect_outcome(result=CANCELLED, state_string="cancelled")
        await self.run_step()

    async def test_the_log_begins_with_the_command_line_that_repeats_the_step(self) -> None:
        self.set_up("stage")
        self.answers("stage", 0, json.dumps(STAGED))
        self.expect_shown("stage", STAGED)
        self.expect_outcome(result=SUCCESS)
        await self.run_step()
        first, second = self.step.logs["stdio"].header.splitlines()[:2]
        self.assertIn("repeat this step by hand", first)
        self.assertEqual(second, "kitten stage --site demo --state /state")

    async def test_a_file_name_adds_no_line_to_the_log_of_checks(self) -> None:
        self.set_up("verify")
        check = {"rule": "isa", "file": "a\nOK  b\x1b[2J", "outcome": "failed", "detail": "x\u202ey"}
        result = {**VERIFIED, "outcome": "failed", "checks": [check]}
        self.answers("verify", 1, json.dumps(result))
        kept = VerifyStep.result_type.model_validate(result).model_dump_json().encode()
        self.expect_build_data("verify", kept, "kitten")
        self.expect_test_result_sets([("verify", "pass_fail", "boolean")])
        self.expect_test_results([(1000, "0", "isa", check["file"], None, None)])
        self.expect_log_file("checks", "BAD     a OK  b  isa: x\ufffdy\n")
        self.expect_outcome(result=FAILURE)
        await self.run_step()

    async def test_slow_hardware_gets_more_time(self) -> None:
        self.set_up("build", time_limit=100, timeout_factor=3)
        self.expect_commands(self.shell("build", factor=3, limit=300).exit(0), self.upload(json.dumps(BUILT)))
        self.expect_shown("build", BUILT)
        self.expect_outcome(result=SUCCESS)
        await self.run_step()


def test_a_character_may_be_in_two_blocks_of_a_file() -> None:
    file, data = FileCollector(100), "snapshot 7 → 8".encode()
    for place in range(len(data)):
        file.remote_write(data[place : place + 1])
    assert file.text == "snapshot 7 → 8"


def test_a_file_is_collected_up_to_its_limit() -> None:
    file = FileCollector(5)
    for block in (b"abc", b"def", b"ghi"):
        file.remote_write(block)
    assert file.text == "abcde"


def test_a_summary_is_one_line_without_control_characters() -> None:
    assert one_line("\n  \x1b[31mred\x1b[0m\x07 line \nsecond") == "red line"
    assert len(one_line("x" * 999)) == 200


def test_links_stay_below_their_folder() -> None:
    assert INSTALLATION.link("/state/artifacts-of-others/x") is None
    assert INSTALLATION.link("file:///state/artifacts/a b") == "http://ci/plugins/kitten/artifacts/a%20b"
    assert INSTALLATION.link("https://elsewhere/x") == "https://elsewhere/x"
    assert INSTALLATION.link("/state/artifacts/../secrets/web-admin") is None
    assert INSTALLATION.link("/state/artifacts/x/../../..") is None
    assert INSTALLATION.served_address("https://elsewhere/x") is None
    assert INSTALLATION.served_address("/state/artifacts/a?b#c") == "http://ci/plugins/kitten/artifacts/a%3Fb%23c"


def _add_cases() -> None:
    for command in STEPS:
        for case in ("passed", "failed", "cannot_run", "absent", "garbled", "contradicting", "lost", "cancelled"):

            def test(self: TestCommands, command: str = command, case: str = case) -> Any:
                from twisted.internet.defer import ensureDeferred

                return ensureDeferred(getattr(self, case)(command))

            setattr(TestCommands, f"test_{command}_{case}", test)


_add_cases()
