# SPDX-License-Identifier: BSD-3-Clause
"""Runs a Python unittest file and prints TAP: unittest_tap.py FILE."""

import importlib.util
import os
import sys
import unittest


class TapResult(unittest.TestResult):
    count = 0

    def _line(self, test, good, note=""):
        self.count += 1
        print(f"{'ok' if good else 'not ok'} {self.count} - {test.id().split('.', 1)[-1]}{note}", flush=True)

    def _bad(self, test, error):
        for line in self._exc_info_to_string(error, test).splitlines():
            print(f"# {line}")
        self._line(test, False)

    def addSuccess(self, test):
        self._line(test, True)

    def addSkip(self, test, reason):
        self._line(test, True, f" # SKIP {reason}")

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._bad(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self._bad(test, err)

    def addSubTest(self, test, subtest, err):
        """A test whose subtest failed is no success, and nobody is told of it in another way."""
        super().addSubTest(test, subtest, err)
        if err:
            self._bad(subtest, err)


def main():
    path = os.path.abspath(sys.argv[1])
    sys.path.insert(0, os.path.dirname(path))
    spec = importlib.util.spec_from_file_location("tests_under_tap", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where setUpModule() is looked for
    spec.loader.exec_module(module)
    result = TapResult()
    unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
    print(f"1..{result.count}")
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
