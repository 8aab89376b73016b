# SPDX-License-Identifier: BSD-3-Clause
"""Kernels built from the distribution's source package and our fragments."""

import os
import re
import shutil
import subprocess

from . import apt, cache
from .errors import HarnessError
from .progress import Progress

RECIPE = 1      # change it when the same configuration should be built anew
NEEDED = ["gcc", "make", "flex", "bison", "bc", "ccache", "strip", "depmod"]
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
            subprocess.run(["dpkg-deb", "-x", str(deb), str(work)], check=True)
            archive = next((work / "usr" / "src").glob("linux-source-*.tar.xz"))
            print(f"vm: unpacking {archive.name}", flush=True)
            subprocess.run(["tar", "-xf", str(archive), "-C", str(work),
                            "--strip-components=1"], check=True)
            shutil.rmtree(work / "usr")
    return final


def _environment():
    env = dict(os.environ, LC_ALL="C", CCACHE_DIR=str(cache.ccache_dir()),
               CCACHE_MAXSIZE="3G", CCACHE_DEPEND="1", KBUILD_BUILD_TIMESTAMP="Thu Jan  1 00:00:00 UTC 1970",
               KBUILD_BUILD_USER="pinion", KBUILD_BUILD_HOST="pinion", KBUILD_BUILD_VERSION="1")
    env["PATH"] = env.get("PATH", "") + ":/usr/sbin:/sbin"
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CC", "CFLAGS", "ARCH", "CROSS_COMPILE", "O", "V"):
        env.pop(name, None)
    return env


class Tree:
    """One object directory and the make commands run in it."""

    def __init__(self, name, source, objects):
        self.name, self.source, self.objects = name, source, objects
        self.log = objects.parent / "build.log"

    def make(self, *arguments, progress=None):
        command = ["nice", "-n", "5", "make", "-C", str(self.source), f"O={self.objects}",
                   f"-j{os.cpu_count() or 1}", "CC=ccache gcc", "HOSTCC=ccache gcc", *arguments]
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
        fragment = self.objects.parent / "wanted.config"
        fragment.write_text("".join(
            f"# {symbol} is not set\n" if value == "n" else f"{symbol}={value}\n"
            for symbol, value in wanted.items()), encoding="ascii")
        self.make(f"KCONFIG_ALLCONFIG={fragment}", "allnoconfig")
        missing = not_honoured(wanted, (self.objects / ".config").read_text(encoding="utf-8"))
        if missing:
            raise HarnessError(f"the kernel {self.name} cannot have: {', '.join(missing)}")

    def shrink(self):
        """Leave what a module build needs, drop the rest of the objects."""
        for path in sorted(self.objects.rglob("*"), reverse=True):
            relative = path.relative_to(self.objects).as_posix()
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif not KEEP.match(relative):
                path.unlink()


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
    with cache.new_directory(final) as work:
        objects = work / "build"
        objects.mkdir()
        tree = Tree(name, source, objects)
        tree.configure(merged(configs, fragments))
        with Progress(f"building the kernel {name} ({version})", total) as progress:
            tree.make("vmlinux", "modules", progress=progress)
        tree.make(f"INSTALL_MOD_PATH={work}", "modules_install")
        release = (objects / "include/config/kernel.release").read_text(encoding="ascii").strip()
        subprocess.run(["strip", "-s", "-o", str(work / "vmlinux"), str(objects / "vmlinux")], check=True)
        shutil.copy(objects / ".config", work / "config")
        tree.shrink()
        (work / "wanted.config").unlink()
        modules = work / "lib" / "modules" / release
        for link, target in (("build", final / "build"), ("source", source)):
            (modules / link).unlink(missing_ok=True)
            (modules / link).symlink_to(target)
        cache.write_json(work / "kernel.json", {
            "name": name, "release": release, "version": version, "package": package,
            "early": [], "kerneldir": "build"})
        cache.write_json(counted, {"steps": progress.count, "seconds": round(progress.elapsed())})
