# SPDX-License-Identifier: BSD-3-Clause
"""The companion kernel module: built for each kernel of the matrix, looked through by the kernel's own checkers, and
built in each of the ways that its README names."""

import glob
import os
import shutil
import subprocess
import tempfile

from runner import TREE

RUN = os.path.join(TREE, "tests/vm/run")
KMOD = os.path.join(TREE, "kmod")
# Not part of one kernel, it asks which one it is for; the second takes that macro for a constant.
IGNORED = "LINUX_VERSION_CODE,CONSTANT_COMPARISON"


def folder(kernel):
    return os.path.join(TREE, "build-test", "kmod", kernel)


def kernel_dir(kernel):
    """Where to build modules for a kernel, and what to say if that is nowhere."""
    done = subprocess.run([RUN, "--kerneldir", kernel], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    return done.stdout.strip(), done.stderr.strip()


def sparse(runner, kernel, path):
    """Every file, and no word from sparse about it."""
    with tempfile.TemporaryDirectory(prefix="pinion-sparse.") as place:
        status, output = runner.command([os.path.join(KMOD, "build"), path, place, "C=2", "CHECK=sparse",
                                         "PINION_TEST=m", "modules"], 600)
    lines = output.splitlines()
    looked = {line.split("/")[-1].split()[-1] for line in lines if line.split()[:1] == ["CHECK"]}
    missing = {os.path.basename(name) for name in glob.glob(os.path.join(KMOD, "*.c"))} - looked
    words = [line for line in lines if ": warning:" in line or ": error:" in line]
    name = f"{kernel}: sparse has nothing to say of the companion module"
    if status == 0 and not missing and not words:
        runner.ok(name)
    else:
        runner.fail(name, "\n".join(words) or f"not looked at: {sorted(missing)}\n{output[-3000:]}")


def checkpatch(runner, kernel, path):
    """Where the kernel's source is there, and so its script."""
    script = os.path.join(path, "source/scripts/checkpatch.pl")
    if os.path.exists(script):
        runner.check(f"{kernel}: checkpatch.pl --strict has nothing to say of the companion module",
                     ["perl", script, "--no-tree", "--strict", "--terse", "--max-line-length=100", "--ignore", IGNORED,
                      "-f", *sorted(glob.glob(os.path.join(KMOD, "*.[ch]")))])


def by_make(runner, kernel, path, place):
    copy = shutil.copytree(KMOD, os.path.join(place, "make"))
    runner.check(f"{kernel}: make -C kmod KDIR=...",
                 ["sh", "-e", "-c", 'make -C "$0" KDIR="$1" && test -s "$0/pinion.ko" && make -C "$0" KDIR="$1" clean &&'
                  ' test ! -e "$0/pinion.ko"', copy, path])


def by_meson(runner, kernel, path, place):
    build = os.path.join(place, "meson")
    runner.check(f"{kernel}: meson -Dkmod=enabled",
                 ["sh", "-e", "-c", 'meson setup "$0" -Dkmod=enabled -Dkmod_kdir="$1" -Dapps=disabled -Dtests=disabled &&'
                  ' ninja -C "$0" kmod/pinion.ko && test -s "$0/kmod/pinion.ko"', build, path])


def by_dkms(runner, kernel, path, place):
    """In a root of its own: nothing of the machine's is asked or changed."""
    for name in ("tree", "source", "modules"):
        os.mkdir(os.path.join(place, name))
    shutil.copytree(KMOD, os.path.join(place, "source/pinion-1"))
    where = f'--dkmstree "{place}/tree" --sourcetree "{place}/source"'
    release = os.path.basename(path).removeprefix("linux-headers-")
    runner.check(f"{kernel}: dkms build",
                 ["sh", "-e", "-c", f'dkms add pinion/1 {where} && dkms build pinion/1 {where} --installtree'
                  f' "{place}/modules" -k "{release}" --kernelsourcedir "$0" &&'
                  f' test -s "{place}/tree/pinion/1/{release}/x86_64/module/pinion.ko"', path])


def build(runner, kernel):
    """Builds it without a warning; False if it cannot be built here, which has been said then."""
    path, reason = kernel_dir(kernel)
    if not path:
        runner.fail(f"{kernel}: the directory to build modules against", reason)
        return False
    if not runner.check(f"{kernel}: build of the companion module, warnings are errors",
                        [os.path.join(KMOD, "build"), path, folder(kernel), "W=1", "KCFLAGS=-Werror",
                         "PINION_TEST=m", "modules"], timeout=600):
        return False
    sparse(runner, kernel, path)
    checkpatch(runner, kernel, path)
    # The ways to build it are the distribution's; one of its kernels will do.
    if kernel == "stock-6.12":
        with tempfile.TemporaryDirectory(prefix="pinion-kmod.") as place:
            by_make(runner, kernel, path, place)
            by_meson(runner, kernel, path, place)
            by_dkms(runner, kernel, path, place)
    return True
