# SPDX-License-Identifier: BSD-3-Clause
"""The caller's terminal, lent to a command in the guest (--tty)."""

import contextlib
import os
import shutil
import sys
import termios
import tty


def size():
    """(columns, rows) of the caller's terminal."""
    return tuple(shutil.get_terminal_size())


@contextlib.contextmanager
def raw():
    """Every key goes to the guest; the terminal is as before afterwards."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def keys():
    """What was typed; empty at its end."""
    return os.read(sys.stdin.fileno(), 4096)
