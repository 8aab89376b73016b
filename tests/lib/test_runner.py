# SPDX-License-Identifier: BSD-3-Clause
"""The counting of the suite's own runner: what it takes for passed, failed and skipped."""

import io
import sys
import unittest

from runner import Runner


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
