# SPDX-License-Identifier: BSD-3-Clause
"""Counts tests. A suite is a command whose output is TAP; a check is one command that must succeed."""

import os
import re
import subprocess
import sys
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LINE = re.compile(r"^(not )?ok\b\s*(\d+)?\s*(?:- )?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)\b")
SKIP = re.compile(r"# *skip\b:? *(.*)$", re.IGNORECASE)


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

    def command(self, command, timeout, env=None):
        """Run it; (status, output). A timeout is status None."""
        try:
            done = subprocess.run(command, cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=timeout, env={**os.environ, **(env or {})})
        except subprocess.TimeoutExpired as late:
            return None, (late.stdout or b"").decode(errors="replace")
        except OSError as error:
            return 127, str(error)
        return done.returncode, done.stdout.decode(errors="replace")

    def check(self, name, command, timeout=600, env=None):
        """One test: the command must end with 0."""
        status, output = self.command(command, timeout, env)
        if status == 0:
            self.ok(name)
            return True
        self.fail(name, f"{output}\n{' '.join(command)}: " +
                  (f"no end after {timeout} s" if status is None else f"exit status {status}"))
        return False

    def tap(self, name, command, timeout=600, env=None):
        """A suite: every TAP line of the command counts. The command must also end well, and do all it planned."""
        start = time.monotonic()
        status, output = self.command(command, timeout, env)
        before = (self.passed, self.failed, self.skipped)
        seen, plan = self._count(name, output)
        if status is None:
            self.fail(f"{name}: ends in time", f"{output[-6000:]}\nno end after {timeout} s")
        elif status != 0 and self.failed == before[1]:
            self.fail(f"{name}: ends well", f"{output[-6000:]}\nexit status {status}")
        elif plan is not None and plan != seen:
            self.fail(f"{name}: runs all its tests", f"{seen} of {plan} tests ran")
        elif seen == 0:
            self.fail(f"{name}: runs tests", output[-3000:] or "no output")
        done = (self.passed - before[0], self.failed - before[1], self.skipped - before[2])
        self.say(f"   {name}: {done[0]} passed, {done[1]} failed, {done[2]} skipped "
                 f"({time.monotonic() - start:.1f} s)")

    def _count(self, suite, output):
        """Count the TAP lines, with what was said before a failure as its text. (lines seen, lines planned)"""
        seen, plan, said = 0, None, []
        for line in output.splitlines():
            if match := PLAN.match(line):
                plan = (plan or 0) + int(match.group(1))
                continue
            match = LINE.match(line)
            if not match:
                said.append(line)
                continue
            seen += 1
            title = f"{suite}: {match.group(3)}"
            if match.group(1):
                self.fail(title, "\n".join(said))
            elif reason := SKIP.search(match.group(3)):
                self.skip(SKIP.sub("", title).strip(), reason.group(1))
            else:
                self.ok(title)
            said = []
        return seen, plan

    def finish(self):
        self.heading("done")
        for name in self.failures:
            self.say(f"   FAILED  {name}")
        self.say(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed or not self.passed else 0
