# SPDX-License-Identifier: BSD-3-Clause
"""The suite's own runner: what it takes for passed, failed and skipped, and several jobs at once."""

import io
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from runner import TREE, Runner


def run(script, **options):
    out = io.StringIO()
    runner = Runner(out=out)
    runner.tap("suite", [sys.executable, "-c", script], timeout=20, **options)
    return (runner.passed, runner.failed, runner.skipped), out.getvalue()


class Counting(unittest.TestCase):
    def test_passed_failed_skipped(self):
        counts, text = run("print('1..3\\nok 1 - a\\n# why\\nnot ok 2 - b\\nok 3 - c # SKIP no card')")
        self.assertEqual(counts, (1, 1, 1))
        self.assertIn("# why", text)
        self.assertIn("suite: c: no card", text)

    def test_skip_of_cmocka(self):
        counts, text = run("print('1..1\\nskipped: no hugetlbfs\\nnot ok 1 # SKIP mounted')")
        self.assertEqual(counts, (0, 0, 1))
        self.assertIn("mounted: no hugetlbfs", text)

    def test_a_skip_without_a_reason_says_so(self):
        self.assertIn("NO REASON GIVEN", run("print('1..1\\nok 1 - a # SKIP')")[1])

    def test_ends_badly(self):
        self.assertEqual(run("print('ok 1 - a'); raise SystemExit(3)")[0], (1, 1, 0))
        self.assertEqual(run("import os; print('ok 1 - a', flush=True); os.abort()")[0], (1, 1, 0))

    def test_stops_short(self):
        self.assertEqual(run("print('1..3\\nok 1 - a')")[0], (1, 1, 0))

    def test_says_nothing(self):
        self.assertEqual(run("pass")[0], (0, 1, 0))
        self.assertEqual(run("pass", may_be_empty=True)[0], (0, 0, 0))

    def test_never_ends(self):
        runner = Runner(out=io.StringIO())
        runner.tap("suite", [sys.executable, "-c", "import time; print('ok 1 - a', flush=True); time.sleep(60)"],
                   timeout=1)
        self.assertEqual((runner.passed, runner.failed), (1, 1))

    def test_nothing_at_all_is_no_success(self):
        self.assertEqual(Runner(out=io.StringIO()).finish(), 1)


# Two of three jobs run when a signal comes: their commands end, the first on being asked, leaving something behind, the
# second only on being told. The third is never begun.
STOPPED = r"""
import signal, sys
sys.path.insert(0, "tests/lib")
import runner
from runner import Runner
runner.GRACE = 1
# One started in the background may have been told to ignore the first.
for number in signal.SIGINT, signal.SIGTERM:
    signal.signal(number, signal.default_int_handler)
place = sys.argv[1]
runner = Runner(jobs=2)
def job(name, trap):
    script = (f"echo ok 1 - said by {name}; {trap} (trap '' TERM; exec sleep 1000) & echo $! $$ >{place}/{name}.new; "
              f"mv {place}/{name}.new {place}/{name}; while :; do wait; done")
    return lambda runner: runner.tap(name, ["sh", "-c", script])
try:
    runner.together([job("first", "trap 'echo asked; exit 0' TERM;"), job("second", "trap '' TERM;"),
                     job("third", "")])
except KeyboardInterrupt:
    print(f"stopped with {runner.passed} passed, {runner.failed} failed")
"""


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Together(unittest.TestCase):
    def setUp(self):
        self.out = io.StringIO()
        self.runner = Runner(verbose=True, out=self.out, jobs=2)

    def tap(self, name, script):
        return lambda runner: runner.tap(name, ["sh", "-c", script], timeout=20)

    def test_two_at_once_and_no_more(self):
        lock, running, most = threading.Lock(), [], []

        def task(_):
            with lock:
                running.append(1)
                most.append(len(running))
            time.sleep(0.1)
            with lock:
                running.pop()

        self.runner.together([task] * 6)
        self.assertEqual((len(most), max(most)), (6, 2))

    def test_output_is_whole_and_in_order(self):
        with tempfile.TemporaryDirectory() as place:
            # The first ends when the second has ended.
            self.runner.together([
                self.tap("slow", f"echo ok 1 - a; while ! test -e {place}/done; do sleep 0.02; done; echo ok 2 - b"),
                self.tap("quick", f"echo ok 1 - c; echo '# why'; echo not ok 2 - d; touch {place}/done"),
                self.tap("last", "echo 'ok 1 - e # SKIP no card'"),
                lambda runner: runner.check("alone", ["false"]),
            ])
        said = [line.split(" (")[0].strip() for line in self.out.getvalue().splitlines()]
        self.assertEqual(said[:8], [
            "ok      slow: a", "ok      slow: b", "slow: 2 passed, 0 failed, 0 skipped",
            "ok      quick: c", "FAILED  quick: d", "# why", "quick: 1 passed, 1 failed, 0 skipped",
            "skipped last: e: no card"])
        self.assertEqual((self.runner.passed, self.runner.failed, self.runner.skipped), (3, 2, 1))
        self.assertEqual(self.runner.failures, ["quick: d", "alone"])
        self.assertEqual(self.runner.finish(), 1)

    def test_a_bad_end_is_told_first(self):
        """What of a long output is shown somewhere can be cut: why it failed comes before what was said, without the
        tests that passed."""
        tests = "i=0; while [ $i -lt 100 ]; do i=$((i + 1)); echo ok $i - a; done; "
        log = "i=0; while [ $i -lt 100 ]; do i=$((i + 1)); echo line $i; done; "
        for words, first, last in (("", "vm: went down", "vm: went down"), (log, "line 43", "vm: went down")):
            self.out.truncate(0)
            self.runner.together([self.tap("suite", tests + words + "echo vm: went down; exit 3")])
            said = [line.strip() for line in self.out.getvalue().splitlines()]
            said = said[said.index("FAILED  suite: ends well"):]
            self.assertEqual((said[1], said[2], said[-2]), ("exit status 3", first, last))

    def test_the_first_is_shown_as_it_goes(self):
        with tempfile.TemporaryDirectory() as place:
            file = os.path.join(place, "go")
            seen = []

            def watch(_):
                end = time.monotonic() + 20
                while "ok      first: a" not in self.out.getvalue() and time.monotonic() < end:
                    time.sleep(0.02)
                seen.append(self.out.getvalue())
                pathlib.Path(file).touch()

            self.runner.together([self.tap("first", f"echo ok 1 - a; while ! test -e {file}; do sleep 0.02; done"),
                                  watch])
        self.assertIn("ok      first: a", seen[0])

    def test_a_task_that_raises(self):
        """It is told, what else runs is ended, and what was counted counts."""
        def wrong(_):
            raise ValueError("wrong")
        began = time.monotonic()
        with self.assertRaisesRegex(ValueError, "wrong"):
            self.runner.together([self.tap("before", "echo ok 1 - a"), wrong, self.tap("long", "sleep 1000")])
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual(self.runner.passed, 1)

    def test_time_grows_with_the_jobs(self):
        self.assertEqual((Runner(jobs=1).seconds(10), Runner(jobs=3).seconds(10)), (10, 30))

    def test_stopped_by_a_signal(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number), tempfile.TemporaryDirectory() as place:
                self.stop_by(number, place)

    def stop_by(self, number, place):
        process = subprocess.Popen([sys.executable, "-c", STOPPED, place], cwd=TREE, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        end = time.monotonic() + 20
        while not {"first", "second"} <= set(os.listdir(place)) and time.monotonic() < end:
            time.sleep(0.02)
        pids = [pid for file in os.listdir(place) for pid in pathlib.Path(place, file).read_text().split()]
        self.assertEqual(len(pids), 4)
        process.send_signal(number)
        said, _ = process.communicate(timeout=30)
        # Killed, a process needs a moment to go.
        while any(map(is_alive, pids)) and time.monotonic() < end + 10:
            time.sleep(0.02)
        self.assertEqual([pid for pid in pids if is_alive(pid)], [])
        self.assertEqual(said, "stopped with 2 passed, 0 failed\n")
        self.assertEqual(sorted(os.listdir(place)), ["first", "second"])


SUBTESTS = """
import unittest
class Some(unittest.TestCase):
    def test_parts(self):
        for part in (1, 2):
            with self.subTest(part):
                self.assertEqual(part, 1)
"""


class Unittests(unittest.TestCase):
    def test_a_failed_subtest_is_told(self):
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(SUBTESTS)
            file.flush()
            counts, text = run(f"import sys; sys.argv[1:] = [{file.name!r}]; sys.path.insert(0, 'tests/lib'); "
                               "import unittest_tap; sys.exit(unittest_tap.main())")
        self.assertEqual(counts, (0, 1, 0))
        self.assertIn("AssertionError: 2 != 1", text)


class Options(unittest.TestCase):
    def test_jobs(self):
        for text, status in (("1", 0), ("3", 0), ("0", 2), ("-1", 2), ("many", 2), ("65", 2)):
            done = subprocess.run(["tests/run", "--check", "--jobs", text], cwd=TREE, stderr=subprocess.PIPE, text=True,
                                  check=False)
            self.assertEqual(done.returncode, status, f"--jobs {text}: {done.stderr}")
            self.assertTrue(status == 0 or repr(text) in done.stderr, done.stderr)
