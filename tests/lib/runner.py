# SPDX-License-Identifier: BSD-3-Clause
"""Counts tests. A suite is a command whose output is TAP; a check is one command that must succeed."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LINE = re.compile(r"^(not )?ok\b\s*(\d+)?\s*(?:- )?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)\b")
SKIP = re.compile(r"# *skip\b:? *(.*)$", re.IGNORECASE)


class Tap:
    """Counts the TAP lines of one suite as they come; what was said before a failure is its text."""

    def __init__(self, runner, suite):
        self.runner, self.suite = runner, suite
        self.seen, self.plan, self.said = 0, None, []

    def line(self, line):
        if match := PLAN.match(line):
            self.plan = (self.plan or 0) + int(match.group(1))
            return
        match = LINE.match(line)
        if not match:
            self.said.append(line)
            return
        self.seen += 1
        title = f"{self.suite}: {match.group(3)}"
        skip = SKIP.search(match.group(3))
        if skip and match.group(1):
            # cmocka 1.1 says "not ok 3 # SKIP name", and the reason on a line before.
            said = [line for line in self.said if line.startswith("skipped: ")]
            self.runner.skip(f"{self.suite}: {skip.group(1)}", said[-1][9:] if said else "")
        elif match.group(1):
            self.runner.fail(title, "\n".join(self.said))
        elif skip:
            self.runner.skip(SKIP.sub("", title).strip(), skip.group(1))
        else:
            self.runner.ok(title)
        self.said = []


class Runner:
    def __init__(self, verbose=False, out=sys.stdout):
        self.passed = self.failed = self.skipped = 0
        self.verbose = verbose
        self.out = out
        self.start = time.monotonic()
        self.failures = []

    def say(self, text):
        print(text, file=self.out, flush=True)

    def heading(self, text):
        self.say(f"== {text}  [{time.monotonic() - self.start:.0f} s]")

    def ok(self, name):
        self.passed += 1
        if self.verbose:
            self.say(f"   ok      {name}")

    def fail(self, name, text=""):
        self.failed += 1
        self.failures.append(name)
        self.say(f"   FAILED  {name}")
        for line in text.splitlines()[-60:]:
            self.say(f"           {line}")

    def skip(self, name, reason):
        self.skipped += 1
        self.say(f"   skipped {name}: {reason or 'NO REASON GIVEN'}")

    def command(self, command, timeout, env=None, on_line=None):
        """Run it, giving each line of output to on_line as it comes; (status, output). A timeout is status None."""
        lines, late = [], threading.Event()
        try:
            process = subprocess.Popen(command, cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.STDOUT, env={**os.environ, **(env or {})},
                                       text=True, errors="replace", start_new_session=True)
        except OSError as error:
            return 127, str(error)

        def stop():
            late.set()
            self._end(process)

        timer = threading.Timer(timeout, stop)
        timer.start()
        try:
            for line in process.stdout:
                lines.append(line)
                if on_line:
                    on_line(line.rstrip("\n"))
            process.wait()
        except BaseException:
            self._end(process)
            raise
        finally:
            timer.cancel()
        return None if late.is_set() else process.returncode, "".join(lines)

    @staticmethod
    def _end(process):
        """End a command with all it started: first asked, so that a virtual machine is cleaned up, then told."""
        for number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            try:
                os.killpg(process.pid, number)
                process.wait(seconds)
                return
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def check(self, name, command, timeout=600, env=None):
        """One test: the command must end with 0."""
        status, output = self.command(command, timeout, env)
        if status == 0:
            self.ok(name)
            return True
        self.fail(name, f"{output}\n{' '.join(command)}: " +
                  (f"no end after {timeout} s" if status is None else f"exit status {status}"))
        return False

    def tap(self, name, command, timeout=600, env=None, may_be_empty=False):
        """A suite: every TAP line of the command counts. The command must also end well, and do all it planned."""
        start = time.monotonic()
        before = (self.passed, self.failed, self.skipped)
        count = Tap(self, name)
        status, output = self.command(command, timeout, env, count.line)
        if status is None:
            self.fail(f"{name}: ends in time", f"{output[-6000:]}\nno end after {timeout} s")
        elif status != 0 and self.failed == before[1]:
            self.fail(f"{name}: ends well", f"{output[-6000:]}\nexit status {status}")
        elif count.plan is not None and count.plan != count.seen:
            self.fail(f"{name}: runs all its tests", f"{count.seen} of {count.plan} tests ran")
        elif count.seen == 0 and not may_be_empty:
            self.fail(f"{name}: runs tests", output[-3000:] or "no output")
        done = (self.passed - before[0], self.failed - before[1], self.skipped - before[2])
        self.say(f"   {name}: {done[0]} passed, {done[1]} failed, {done[2]} skipped "
                 f"({time.monotonic() - start:.1f} s)")

    def finish(self):
        self.heading("done")
        for name in self.failures:
            self.say(f"   FAILED  {name}")
        self.say(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed or not self.passed else 0
