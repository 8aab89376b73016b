# SPDX-License-Identifier: BSD-3-Clause
"""Runs several suites in one boot: all.py SUITE..."""

import os
import subprocess
import sys

FILES = {"no-iommu": "refusals", "noiommu": "backends"}


def file_of(here, suite):
    """A suite has its own file, or is that of another on another machine: doctor-numa."""
    own = os.path.join(here, f"{FILES.get(suite, suite).replace('-', '_')}.py")
    return own if os.path.exists(own) else os.path.join(here, f"{suite.split('-')[0]}.py")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    bad = 0
    for name in sys.argv[1:]:
        print(f"# suite {name}", flush=True)
        bad |= subprocess.run([sys.executable, file_of(here, name), name],
                              check=False).returncode
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
