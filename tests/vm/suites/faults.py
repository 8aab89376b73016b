# SPDX-License-Identifier: BSD-3-Clause
"""What becomes of an operation when the kernel has no memory for it, or cannot copy from or to the process, at each
place where it could: refused, nothing changed, and possible afterwards."""

import os

from guest import BUILD, GUEST, Skip, Suite, as_user, backends, bind, check, equal, must, run

FAULTS = os.path.join(BUILD, "tests/vm/programs/faults")
CARD = os.environ["PINION_EDUS"].split()[0]
SLOW = bool(os.environ.get("PINION_SLOW"))


def test_operation(backend, name, limit, *kinds):
    if limit and SLOW:
        raise Skip("it has a hundred places, each of which takes a second under KASAN (--long runs it)")
    if kinds and SLOW and "2 MiB" not in name:
        raise Skip("a 2 MiB page has the same places, fewer times (--long runs it)")
    must(os.path.join(GUEST, "fault-injection"), *kinds, *(["in", limit] if limit else []))
    done = run(*as_user([FAULTS, backend, CARD, name], "unlimited"), timeout=600)
    print(f"# {backend}, {done.stdout.splitlines()[0]}", flush=True)
    equal((done.returncode, done.stdout.splitlines()[-1:]), (0, ["ok"]), f"{done.stdout}{done.stderr}")


def main():
    suite = Suite()
    bind(CARD)
    operations = [line.split("|") for line in must(FAULTS, "list").splitlines()]
    check(operations, "the program has operations")
    for backend, reason in backends().items():
        for name, limit in () if reason else operations:
            suite.run(f"{backend}: {name}", test_operation, backend, name, limit)
            if not limit:
                suite.run(f"{backend}: {name}, and copies fail", test_operation, backend, name, limit, "usercopy")
    suite.end()


if __name__ == "__main__":
    main()
