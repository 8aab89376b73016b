# SPDX-License-Identifier: BSD-3-Clause
"""What can go wrong in the harness itself, and the exit status it gets."""

EXIT_USAGE = 2
EXIT_TIMEOUT = 124
EXIT_HARNESS = 125


class UsageError(Exception):
    """The caller asked for something that makes no sense."""


class HarnessError(Exception):
    """The machine could not be prepared, died, or its kernel complained."""

    status = EXIT_HARNESS


class DownloadError(HarnessError):
    """A package could not be had; an older one in the cache may do."""


class TimeoutExpired(HarnessError):
    """The command did not end in the time it was given."""

    status = EXIT_TIMEOUT
