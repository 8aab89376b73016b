# SPDX-License-Identifier: BSD-3-Clause
"""Says how far a long job is and how long it will still take."""

import sys
import time

EVERY = 20.0        # seconds between lines when the output is no terminal


def clock(seconds):
    """Seconds as M:SS."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Progress:
    """Counts steps; one line kept up to date on a terminal, else one each 20 s."""

    def __init__(self, what, total, out=None):
        self.what, self.total, self.count = what, total, 0
        self.out = out or sys.stderr
        self.tty = self.out.isatty()
        self.began = self.said = time.monotonic()

    def __enter__(self):
        print(f"vm: {self.what}" + (f", {self.total} steps" if self.total else ""),
              file=self.out, flush=True)
        return self

    def __exit__(self, kind, value, trace):
        if self.tty:
            self.out.write("\r\033[K")
        if kind is None:
            print(f"vm: {self.what}: done in {clock(self.elapsed())}", file=self.out, flush=True)

    def elapsed(self):
        return time.monotonic() - self.began

    def line(self):
        if not self.total or self.count > self.total:
            return f"{self.count} steps, {clock(self.elapsed())} so far"
        left = self.elapsed() / max(self.count, 1) * (self.total - self.count)
        share = 100 * self.count // self.total
        return f"{self.count}/{self.total} ({share} %), about {clock(left)} left"

    def step(self):
        self.count += 1
        now = time.monotonic()
        if now - self.said < (0.5 if self.tty else EVERY):
            return
        self.said = now
        if self.tty:
            self.out.write(f"\r\033[Kvm: {self.line()}")
            self.out.flush()
        else:
            print(f"vm: {self.what}: {self.line()}", file=self.out, flush=True)
