# SPDX-License-Identifier: BSD-3-Clause
"""Debian packages: which is newest, and downloading without installing."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from . import cache
from .errors import DownloadError, HarnessError

LISTS = pathlib.Path("/var/lib/apt/lists")


def _output(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    return done.stdout if done.returncode == 0 else ""


def lists_stamp():
    """Changes whenever apt's idea of the archive can have changed."""
    try:
        return int(LISTS.stat().st_mtime)
    except OSError:
        return 0


def candidate(package):
    """The version apt would install, or None."""
    match = re.search(r"^  Candidate: (\S+)$", _output("apt-cache", "policy", package), re.M)
    return match.group(1) if match and match.group(1) != "(none)" else None


def versions(package):
    """The versions that apt could install."""
    return re.findall(r"^ [ *]{3} (\S+) ", _output("apt-cache", "policy", package), re.M)


def update():
    """apt-get update; False when it is impossible here."""
    print("vm: apt-get update", file=sys.stderr, flush=True)
    return subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "update"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


def image_package(series):
    """The newest standard kernel image of a series such as "6.12"."""
    wanted = re.compile(rf"^linux-image-{re.escape(series)}(\.|\.0-)\d+[^ ]*-amd64$")
    plain = re.compile(r"-(cloud|rt)-amd64$")
    for meta in (f"linux-image-{series}-amd64", "linux-image-amd64"):
        for name in re.findall(r"^\s*Depends: (\S+)", _output("apt-cache", "depends", meta), re.M):
            if wanted.match(name) and candidate(name):
                return name
    names = [line.split(" ")[0] for line in _output("apt-cache", "search", f"^linux-image-{series}").splitlines()]
    names = [n for n in names if wanted.match(n.removesuffix("-unsigned")) and
             not plain.search(n.removesuffix("-unsigned"))]

    def age(name):
        return [int(number) for number in re.findall(r"\d+", name)], not name.endswith("-unsigned")
    for name in sorted(names, key=age, reverse=True):
        if candidate(name):
            return name
    return None


def download(package, version):
    """The .deb of exactly this version, from the cache when it is there."""
    if not shutil.which("apt-get"):
        raise HarnessError("no apt-get here: kernels come from Debian packages")
    place = cache.root() / "packages"
    place.mkdir(exist_ok=True)
    pattern = f"{package}_{version.replace(':', '%3a')}_*.deb"
    for attempt in (1, 2):
        found = list(place.glob(pattern))
        if found:
            return found[0]
        print(f"vm: downloading {package} {version}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=place) as work:
            done = subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download",
                                   f"{package}={version}"], cwd=work, text=True, check=False,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for deb in pathlib.Path(work).glob("*.deb"):
                os.replace(deb, place / deb.name)
        if done.returncode == 0:
            continue
        if attempt == 2 or not update():
            break
    found = list(place.glob(pattern))
    if found:
        return found[0]
    said = done.stdout.strip().splitlines() or ["apt-get said nothing"]
    raise DownloadError(f"cannot download {package} {version}: {said[-1]}")
