# SPDX-License-Identifier: BSD-3-Clause
"""The companion kernel module, built for each kernel of the matrix."""

import os
import subprocess

from runner import TREE

RUN = os.path.join(TREE, "tests/vm/run")


def folder(kernel):
    return os.path.join(TREE, "build-test", "kmod", kernel)


def kernel_dir(kernel):
    """Where to build modules for a kernel, and what to say if that is nowhere."""
    done = subprocess.run([RUN, "--kerneldir", kernel], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode == 0:
        return done.stdout.strip(), ""
    # A kernel of the distribution's: the headers of the very image, once they are installed.
    for word in done.stderr.split():
        found = os.path.join("/usr/src", word)
        if word.startswith("linux-headers-") and os.path.exists(os.path.join(found, "Makefile")):
            return found, ""
    return "", done.stderr.strip()


def build(runner, kernel):
    """Builds it without a warning; False if it cannot be built here, which has been said then."""
    path, reason = kernel_dir(kernel)
    if not path:
        runner.skip(f"{kernel}: kmod", reason)
        return False
    return runner.check(f"{kernel}: build of the companion module, warnings are errors",
                        [os.path.join(TREE, "kmod/build"), path, folder(kernel), "W=1", "KCFLAGS=-Werror",
                         "PINION_TEST=m", "modules"], timeout=600)
