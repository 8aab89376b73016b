# SPDX-License-Identifier: BSD-3-Clause
"""The part of the suite that runs on the host: builds, checks of the tree, unit tests, a short run of the fuzzers."""

import functools
import json
import os
import shutil
import subprocess

from runner import TREE

# Compilers and sanitizers: name -> (environment, meson options, unit tests run under it).
BUILDS = {
    "gcc": ({"CC": "ccache gcc"}, [], True),
    "clang": ({"CC": "ccache clang"}, [], False),
    "release": ({"CC": "ccache gcc"}, ["--buildtype=release"], False),
    "asan-ubsan": ({"CC": "ccache gcc"}, ["-Db_sanitize=address,undefined", "-Db_lundef=false"], True),
    "tsan": ({"CC": "ccache gcc"}, ["-Db_sanitize=thread", "-Db_lundef=false"], "threads"),
}
# Objects are the same wherever a clone lies. Not those of kernels, which have other ways (tests/vm/lib/pinionvm).
CACHE = {"CCACHE_BASEDIR": TREE, "CCACHE_NOHASHDIR": "yes", "CCACHE_MAXSIZE": "1G"}
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}
FUZZERS = ["ledger", "policy", "request"]
# They count the free hugepages of the machine, of which any other test may take some: nothing runs beside them.
ALONE = ("mem",)


def folder(name):
    return os.path.join(TREE, "build-test", name)


def build(runner, name):
    env, options, _ = BUILDS[name]
    path = folder(name)
    if not os.path.exists(os.path.join(path, "build.ninja")):
        shutil.rmtree(path, ignore_errors=True)
        setup = ["meson", "setup", path, "-Dwerror=true", "-Dapps=enabled", "-Dtests=enabled", *options]
        if not runner.check(f"meson setup ({name})", setup, env=env):
            return False
    return runner.check(f"build with {name}, warnings are errors", ["ninja", "-C", path], env=CACHE, timeout=1200)


def unit_tests(name, suite):
    """The unit tests of a build: name and task of each."""
    path = folder(name)
    tests = json.loads(subprocess.run(["meson", "introspect", "--tests", path], stdout=subprocess.PIPE,
                                      check=True).stdout)
    for test in sorted(tests, key=lambda entry: entry["name"]):
        suites = [entry.split(":")[-1] for entry in test["suite"]]
        if suite is not True and suite not in suites:
            continue
        yield test["name"], functools.partial(one_unit_test, title=f"{test['name']} ({name})", command=test["cmd"],
                                env={**test["env"], **SANITIZERS})


def one_unit_test(runner, title, command, env):
    runner.tap(title, command, env=env, timeout=runner.seconds(600))


def fuzzers(runner, options):
    seconds = 300 if options.long else 10
    for name in FUZZERS:
        source = os.path.join(TREE, "tests/fuzz", f"{name}_fuzz.c")
        if not os.path.exists(source):
            continue
        runner.check(f"fuzz {name} for {seconds} s", [os.path.join(TREE, "tests/fuzz/run"), name, str(seconds)],
                     timeout=seconds + 300)


def scripts(runner):
    runner.tap("tree", ["/usr/bin/python3", "tests/tree/check.py"])
    runner.tap("runner", ["/usr/bin/python3", "tests/lib/unittest_tap.py", "tests/lib/test_runner.py"])
    runner.tap("vm harness", ["/usr/bin/python3", "tests/lib/unittest_tap.py", "tests/vm/test_harness.py"])


def installed(runner):
    runner.tap("install", ["/usr/bin/python3", "tests/tree/install.py", folder("gcc")])


def run(runner, options):
    """Compilers fill all processors by themselves; what they made is then run beside each other."""
    runner.heading("the tree")
    scripts(runner)
    runner.heading("builds")
    built = [name for name in BUILDS if build(runner, name)]
    runner.heading("unit tests, what gets installed, fuzzers")
    tests = [test for name in built if BUILDS[name][2] for test in unit_tests(name, BUILDS[name][2])]
    for name, task in tests:
        if name.startswith(ALONE):
            task(runner)
    runner.together([task for name, task in tests if not name.startswith(ALONE)] +
                    [installed, functools.partial(fuzzers, options=options)])


def guest_build(runner):
    """The build that the VM suites use; None if there is none."""
    if os.path.exists(os.path.join(folder("gcc"), "libpinion.so")) or build(runner, "gcc"):
        return folder("gcc")
    return None
