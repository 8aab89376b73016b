# SPDX-License-Identifier: BSD-3-Clause
"""The cache outside the tree: places, locks, all-or-nothing directories."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile


def root():
    """${XDG_CACHE_HOME:-~/.cache}/pinion/vm, made when missing."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    path = pathlib.Path(base) / "pinion" / "vm"
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts):
    """A short name for everything the parts say."""
    state = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        state.update(len(data).to_bytes(8, "big") + data)
    return state.hexdigest()[:16]


@contextlib.contextmanager
def lock(name):
    """One process at a time; says so when it has to wait."""
    path = root() / "locks"
    path.mkdir(exist_ok=True)
    with open(path / name, "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"vm: another run is preparing {name}; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def new_directory(final):
    """A work directory that becomes `final` when the block ends well."""
    final = pathlib.Path(final)
    final.parent.mkdir(parents=True, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    work.chmod(0o755)
    try:
        yield work
        os.rename(work, final)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def read_json(path):
    """What the file says, or an empty dict when it says nothing usable."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def write_json(path, value):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
