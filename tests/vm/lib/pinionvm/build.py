# SPDX-License-Identifier: BSD-3-Clause
"""Kernels built from the distribution's source package and our fragments.

Object trees stay in the cache, one a kernel, and a variant starts from a copy
of its base kernel's: the kernel's own makefiles know which files depend on
which symbols, so a changed fragment recompiles only those. (A compiler cache
cannot do that: every file includes every symbol.)
"""

import contextlib
import os
import re
import shutil
import subprocess

from . import apt, cache
from .errors import HarnessError
from .progress import Progress

RECIPE = 1      # change it when the same configuration should be built anew
NEEDED = ["gcc", "make", "flex", "bison", "bc", "strip", "depmod"]
STEP = re.compile(r"^\s+(CC|AS|LD|AR|HOSTCC|HOSTLD|LINK|CHK|GEN|UPD|OBJCOPY)\b")
# What out-of-tree modules need from the object tree, besides all of scripts/.
KEEP = re.compile(r"^(scripts|include|tools/objtool)/|^arch/x86/include/|"
                  r"^(Makefile|Module\.symvers|System\.map|\.config|source|modules\.(order|builtin.*))$")


def key_parts(configs, fragments):
    """Everything but the source that decides what a build gives."""
    return [RECIPE] + [(configs / f"{name}.config").read_bytes() for name in fragments]


def parse_fragment(text):
    """{symbol: value}, with "n" for "# CONFIG_X is not set"."""
    wanted = {}
    for line in text.splitlines():
        line = line.strip()
        unset = re.fullmatch(r"# (CONFIG_\w+) is not set", line)
        if unset:
            wanted[unset.group(1)] = "n"
        elif line and not line.startswith("#"):
            symbol, equals, value = line.partition("=")
            if not equals or not re.fullmatch(r"CONFIG_\w+", symbol):
                raise HarnessError(f"kernel fragment: cannot read {line!r}")
            wanted[symbol] = value
    return wanted


def merged(configs, fragments):
    """The fragments in order, a later one overriding the earlier."""
    wanted = {}
    for name in fragments:
        wanted.update(parse_fragment((configs / f"{name}.config").read_text(encoding="utf-8")))
    return wanted


def not_honoured(wanted, config_text):
    """The symbols whose value in .config is not the one wanted."""
    have = parse_fragment("\n".join(line for line in config_text.splitlines()
                                    if "CONFIG_" in line))
    return [f"{symbol}={value} (is {have.get(symbol, 'n')})"
            for symbol, value in wanted.items() if have.get(symbol, "n") != value]


def _source(package, version):
    """The unpacked source tree, shared by every kernel of this version."""
    final = cache.root() / "src" / f"{package}-{version}"
    with cache.lock(final.name):
        if final.is_dir():
            return final
        deb = apt.download(package, version)
        with cache.new_directory(final) as work:
            # Beside the tree, not in it: a kernel has a directory usr of its own.
            package_files = work / ".package"
            subprocess.run(["dpkg-deb", "-x", str(deb), str(package_files)], check=True)
            archive = next((package_files / "usr" / "src").glob("linux-source-*.tar.xz"))
            print(f"vm: unpacking {archive.name}", flush=True)
            subprocess.run(["tar", "-xf", str(archive), "-C", str(work),
                            "--strip-components=1"], check=True)
            shutil.rmtree(package_files)
    return final


def _environment():
    env = dict(os.environ, LC_ALL="C", KBUILD_BUILD_TIMESTAMP="Thu Jan  1 00:00:00 UTC 1970",
               KBUILD_BUILD_USER="pinion", KBUILD_BUILD_HOST="pinion", KBUILD_BUILD_VERSION="1")
    env["PATH"] = env.get("PATH", "") + ":/usr/sbin:/sbin"
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CC", "CFLAGS", "ARCH", "CROSS_COMPILE", "O", "V"):
        env.pop(name, None)
    return env


class Tree:
    """One object directory and the make commands run in it."""

    def __init__(self, name, source, objects):
        self.name, self.source, self.objects = name, source, objects
        self.log = objects / "build.log"

    def make(self, *arguments, progress=None):
        command = ["nice", "-n", "5", "make", "-C", str(self.source), f"O={self.objects}",
                   f"-j{os.cpu_count() or 1}", *arguments]
        with open(self.log, "ab") as log, \
                subprocess.Popen(command, env=_environment(), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            try:
                for line in process.stdout:
                    log.write(line)
                    if progress and STEP.match(line.decode("ascii", "replace")):
                        progress.step()
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            kept = cache.root() / f"failed-{self.name}.log"
            shutil.copy(self.log, kept)
            text = kept.read_text(encoding="utf-8", errors="replace").splitlines()
            wrong = [line for line in text if "error" in line.lower() or "***" in line][:15]
            raise HarnessError("\n".join([f"building the kernel {self.name} failed ({kept}):"] +
                                         (wrong or text[-15:])))

    def configure(self, wanted):
        fragment = self.objects / "wanted.config"
        fragment.write_text("".join(
            f"# {symbol} is not set\n" if value == "n" else f"{symbol}={value}\n"
            for symbol, value in wanted.items()), encoding="ascii")
        self.make(f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig")
        missing = not_honoured(wanted, (self.objects / ".config").read_text(encoding="utf-8"))
        if missing:
            raise HarnessError(f"the kernel {self.name} cannot have: {', '.join(missing)}")

    def copy_kerneldir(self, target):
        """Copy what a module build needs, without the kernel's own objects."""
        for path in self.objects.rglob("*"):
            relative = path.relative_to(self.objects)
            if KEEP.match(relative.as_posix()) and (path.is_symlink() or not path.is_dir()):
                (target / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target / relative, follow_symlinks=False)


@contextlib.contextmanager
def _object_tree(name, base, version):
    """The kernel's own object directory, begun as a copy of its base's, and how
    many steps of an earlier build of this kernel it holds.

    Trees take turns at one path, since the build's own tools note where they
    were built: elsewhere they, and then everything, would be built anew.
    """
    objects = cache.root() / "objects"
    turn = objects / f"turn-{version}"
    with cache.lock(turn.name):
        if turn.exists():           # left by a build that was killed
            os.rename(turn, objects / (turn / "tree-of").read_text(encoding="utf-8"))
        own, seed = objects / f"{name}-{version}", objects / f"{base}-{version}"
        done = sum(1 for _ in own.rglob("*.o"))
        if not own.exists() and seed.exists():
            with cache.new_directory(own) as work:
                subprocess.run(["cp", "-a", "--reflink=auto", f"{seed}/.", str(work)], check=True)
        own.mkdir(parents=True, exist_ok=True)
        (own / "tree-of").write_text(own.name, encoding="utf-8")
        os.rename(own, turn)
        try:
            yield turn, done
        finally:
            os.rename(turn, own)


def _steps_known(configs, name):
    for line in (configs / "steps.txt").read_text(encoding="ascii").splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[0] == name:
            return int(fields[1])
    return 0


def build(name, fragments, configs, package, version, final):
    """Make the kernel directory `final`."""
    missing = [tool for tool in NEEDED if not shutil.which(tool, path=_environment()["PATH"])]
    if missing:
        raise HarnessError(f"building a kernel needs {', '.join(missing)}: run scripts/deps kernel")
    source = _source(package, version)
    counted = cache.root() / "steps" / f"{name}.json"
    total = cache.read_json(counted).get("steps") or _steps_known(configs, name)
    with _object_tree(name, fragments[0], version) as (objects, done), cache.new_directory(final) as work:
        tree = Tree(name, source, objects)
        tree.log.unlink(missing_ok=True)
        tree.configure(merged(configs, fragments))
        with Progress(f"building the kernel {name} ({version})", max(total - done, 0)) as progress:
            tree.make("vmlinux", "modules", progress=progress)
        tree.make(f"INSTALL_MOD_PATH={work}", "modules_install")
        release = (objects / "include/config/kernel.release").read_text(encoding="ascii").strip()
        subprocess.run(["strip", "-s", "-o", str(work / "vmlinux"), str(objects / "vmlinux")], check=True)
        shutil.copy(objects / ".config", work / "config")
        tree.copy_kerneldir(work / "build")
        modules = work / "lib" / "modules" / release
        for link, target in (("build", final / "build"), ("source", source)):
            (modules / link).unlink(missing_ok=True)
            (modules / link).symlink_to(target)
        cache.write_json(work / "kernel.json", {
            "name": name, "release": release, "version": version, "package": package,
            "early": [], "kerneldir": "build"})
        if not done:
            cache.write_json(counted, {"steps": progress.count})
