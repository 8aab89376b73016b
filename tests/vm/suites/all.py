# SPDX-License-Identifier: BSD-3-Clause
"""Runs several suites in one boot: all.py SUITE..."""

import os
import subprocess
import sys

FILES = {"no-iommu": "refusals", "noiommu": "backends", "kmod-movable": "kmod"}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    bad = 0
    for name in sys.argv[1:]:
        print(f"# suite {name}", flush=True)
        bad |= subprocess.run([sys.executable, os.path.join(here, f"{FILES.get(name, name)}.py")],
                              check=False).returncode
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
