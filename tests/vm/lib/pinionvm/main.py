# SPDX-License-Identifier: BSD-3-Clause
"""tests/vm/run: from the command line to an exit status."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from . import headers, kernels, options as command_line, terminal
from .errors import EXIT_HARNESS, EXIT_USAGE, HarnessError, UsageError
from .machine import PREFIX, Machine

PROJECT = pathlib.Path(__file__).resolve().parents[4]
LAST_LINES = 25
STARTS = 3


def say(text):
    print(f"vm: {text}", file=sys.stderr, flush=True)


class Stopped(BaseException):
    """A signal asked the run to end."""

    def __init__(self, number):
        super().__init__(number)
        self.number = number


def _stop(number, _frame):
    raise Stopped(number)


def _list():
    for name in kernels.names():
        state, version = kernels.state(name)
        print(f"{name:24} {state:12} {version:24} {kernels.source_of(name).about}")
    return 0


def _build(names):
    for name in kernels.names() if names == ["all"] else names:
        kernels.source_of(name)
    for name in kernels.names() if names == ["all"] else names:
        kernel = kernels.prepare(name)
        say(f"{name}: {kernel.release} is ready")
    return 0


def _kerneldir(name):
    kernels.source_of(name)
    kernel = kernels.prepare(name)
    print(kernel.kerneldir or headers.directory(kernel.package, kernel.version, kernel.release))
    return 0


def _was_emulator(machine):
    """Did the guest die at start because of QEMU's TCG, not of its own? With several processors TCG sometimes runs
    an instruction that the kernel is patching at that moment (jump labels, while the clock is set up), and the int3
    that stands in for it meanwhile is an oops. Nothing of ours has run by then."""
    return machine.ready_after is None and any("Oops: int3" in line for line in machine.log_lines())


@contextlib.contextmanager
def _kernel(options):
    """The kernel asked for, and its place as long as it is used."""
    if not options.kernel_image:
        yield kernels.prepare(options.kernel)
        return
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}.") as place:
        yield kernels.from_image(*options.kernel_image, pathlib.Path(place))


def run(options, nics, project=PROJECT, out=None, err=None):
    """Run one command in one machine. Returns (status, machine, troubles)."""
    with _kernel(options) as kernel:
        for _ in range(STARTS - 1):
            result = _run_once(kernel, options, nics, project, out, err)
            if not _was_emulator(result[1]):
                return result
            say("that was the emulator's doing (int3 while the kernel patched itself); starting again")
        return _run_once(kernel, options, nics, project, out, err)


def _run_once(kernel, options, nics, project, out, err):
    with Machine(kernel, options, nics, str(project), out, err) as machine:
        try:
            with terminal.raw() if options.tty else contextlib.nullcontext():
                status = machine.wait()
            failure = None
        except HarnessError as error:
            status, failure = error.status, error
        finally:
            if options.log:
                pathlib.Path(options.log).write_text("\n".join(machine.log_lines()) + "\n", encoding="utf-8")
    troubles = machine.troubles()
    for trouble in troubles:
        say(f"{trouble.kind} in the log of the kernel {kernel.name}:\n{trouble.text()}")
    if failure:
        if not troubles and machine.log and not options.verbose:
            say("the kernel's log ends with:\n" +
                "\n".join("    " + line for line in machine.log_lines()[-LAST_LINES:]))
        say(str(failure))
    elif troubles:
        say(f"failed: {len(troubles)} complaint(s) in the kernel's log (the command's status was {status})")
        status = EXIT_HARNESS
    if options.times:
        total = time.monotonic() - machine.began
        ready = machine.ready_after
        say("the guest did not start" if ready is None else
            f"started in {ready:.2f} s, command {total - ready:.2f} s")
    return status, machine, troubles


def main(arguments):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        options, nics = command_line.parse(arguments)
        if options.list:
            return _list()
        if options.build:
            return _build(options.build)
        if options.kerneldir:
            return _kerneldir(options.kerneldir)
        return run(options, nics)[0]
    except UsageError as error:
        say(f"{error} (tests/vm/run --help says more)")
        return EXIT_USAGE
    except HarnessError as error:
        say(str(error))
        return error.status
    except (OSError, subprocess.CalledProcessError) as error:
        say(str(error))
        return EXIT_HARNESS
    except Stopped as stopped:
        say(f"stopped by {signal.Signals(stopped.number).name}")
        return 128 + stopped.number
