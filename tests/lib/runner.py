# SPDX-License-Identifier: BSD-3-Clause
"""Counts tests. A suite is a command whose output is TAP; a check is one command that must succeed. Several jobs may
run at once; each one's output comes out whole, in the order in which they were given."""

import concurrent.futures
import contextlib
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
GRACE = 5       # seconds that a command has to end when it is asked to
SKIP = re.compile(r"# *skip\b:? *(.*)$", re.IGNORECASE)


class Tap:
    """Counts the TAP lines of one suite as they come; what was said before a failure is its text."""

    def __init__(self, runner, suite):
        self.runner, self.suite = runner, suite
        self.seen, self.plan, self.said = 0, None, []
        self.start = time.monotonic()

    def line(self, line):
        if match := PLAN.match(line):
            self.plan = (self.plan or 0) + int(match.group(1))
            return
        match = LINE.match(line)
        if not match:
            self.said.append(line)
            return
        self.seen += 1
        seconds, self.start = time.monotonic() - self.start, time.monotonic()
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
            self.runner.ok(title, seconds)
        self.said = []


# So many lines of a failed test's output are shown.
SHOWN = 60


def without_passed(output):
    """What there is to read when a suite ends badly, below a line that says how: the tests that passed are not it."""
    return "\n".join([line[:400] for line in output.splitlines() if not line.startswith("ok ")][1 - SHOWN:])


def default_jobs():
    """Two where there are processors and memory for two of the largest virtual machines."""
    available = next(int(line.split()[1]) for line in open("/proc/meminfo", encoding="ascii")
                     if line.startswith("MemAvailable:"))
    return 2 if len(os.sched_getaffinity(0)) > 1 and available > 10 << 20 else 1


class Stopped(BaseException):
    """The run is being given up: the command was ended, or not even begun."""


class Commands:
    """The commands that run at the moment, to be ended when the run is given up."""

    def __init__(self):
        self.lock = threading.Lock()
        self.running = set()
        self.stopped = False

    def start(self, command, **options):
        """As subprocess.Popen, in a session of its own."""
        with self.lock:
            if self.stopped:
                raise Stopped
            process = subprocess.Popen(command, start_new_session=True, **options)
            self.running.add(process)
            return process

    def forget(self, process):
        with self.lock:
            self.running.discard(process)
            if self.stopped:
                raise Stopped

    def stop(self):
        """End them all, and start no more."""
        with self.lock:
            self.stopped = True
            running = list(self.running)
        end(*running)


def end(*processes):
    """End commands with all they started: first asked, so that virtual machines are cleaned up, then told, and with
    them what those that ended by themselves left behind."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        deadline = time.monotonic() + GRACE
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0, deadline - time.monotonic()))


class Turn:
    """Where one of several jobs writes: kept until those before it have ended, then passed on as it comes."""

    def __init__(self, out):
        self.out, self.kept, self.lock = out, [], threading.Lock()

    def write(self, text):
        with self.lock:
            if self.kept is None:
                self.out.write(text)
            else:
                self.kept.append(text)

    def flush(self):
        with self.lock:
            if self.kept is None:
                self.out.flush()

    def come(self):
        with self.lock:
            self.out.write("".join(self.kept))
            self.out.flush()
            self.kept = None


class Runner:
    def __init__(self, verbose=False, out=sys.stdout, jobs=1):
        self.passed = self.failed = self.skipped = 0
        self.verbose = verbose
        self.out = out
        self.jobs = jobs
        self.start = time.monotonic()
        self.failures = []
        self.commands = Commands()

    def _child(self, out):
        """One that counts for itself, for a job."""
        child = Runner(self.verbose, out, self.jobs)
        child.start, child.commands = self.start, self.commands
        return child

    def _add(self, child):
        self.passed += child.passed
        self.failed += child.failed
        self.skipped += child.skipped
        self.failures += child.failures

    def together(self, tasks):
        """Run tasks, each a function that is given a runner, as many at once as there are jobs."""
        turns = [Turn(self.out) for _ in tasks]
        children = [self._child(turn) for turn in turns]
        ended = 0
        pool = concurrent.futures.ThreadPoolExecutor(self.jobs)
        try:
            futures = [pool.submit(task, child) for task, child in zip(tasks, children)]
            for turn, child, future in zip(turns, children, futures):
                turn.come()
                # A signal that comes just before a wait without end does not end it.
                while not concurrent.futures.wait([future], 0.5).done:
                    pass
                future.result()
                self._add(child)
                ended += 1
        except BaseException:
            self.commands.stop()
            pool.shutdown(cancel_futures=True)
            for turn, child in list(zip(turns, children))[ended:]:
                if turn.kept is not None:
                    turn.come()
                self._add(child)
            raise
        pool.shutdown()

    def seconds(self, alone):
        """How long something may take that takes so long at most when nothing else runs."""
        return alone * self.jobs

    def say(self, text):
        print(text, file=self.out, flush=True)

    def heading(self, text):
        self.say(f"== {text}  [{time.monotonic() - self.start:.0f} s]")

    def ok(self, name, seconds=0.0):
        self.passed += 1
        if self.verbose:
            self.say(f"   ok      {name}" + (f"  ({seconds:.1f} s)" if seconds >= 1 else ""))

    def fail(self, name, text=""):
        self.failed += 1
        self.failures.append(name)
        self.say(f"   FAILED  {name}")
        for line in text.splitlines()[-SHOWN:]:
            self.say(f"           {line}")

    def skip(self, name, reason):
        self.skipped += 1
        self.say(f"   skipped {name}: {reason or 'NO REASON GIVEN'}")

    def command(self, command, timeout, env=None, on_line=None):
        """Run it, giving each line of output to on_line as it comes; (status, output). A timeout is status None."""
        lines, late = [], threading.Event()
        try:
            process = self.commands.start(command, cwd=TREE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=subprocess.STDOUT, env={**os.environ, **(env or {})},
                                          text=True, errors="replace")
        except OSError as error:
            return 127, str(error)

        def stop():
            late.set()
            end(process)

        timer = threading.Timer(timeout, stop)
        timer.start()
        try:
            for line in process.stdout:
                lines.append(line)
                if on_line:
                    on_line(line.rstrip("\n"))
            process.wait()
        except BaseException:
            end(process)
            raise
        finally:
            timer.cancel()
            self.commands.forget(process)
        return None if late.is_set() else process.returncode, "".join(lines)

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
            self.fail(f"{name}: ends in time", f"no end after {timeout} s\n{without_passed(output)}")
        elif status != 0 and self.failed == before[1]:
            self.fail(f"{name}: ends well", f"exit status {status}\n{without_passed(output)}")
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
