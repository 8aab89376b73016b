# SPDX-License-Identifier: BSD-3-Clause
"""Writes the systemd unit from its template, with the system calls of the container profile: unit.py TEMPLATE
PROFILE BINDIR OUTPUT. One list serves both."""

import json
import sys
import textwrap


def main():
    template, profile, folder, output = sys.argv[1:]
    with open(profile, encoding="utf-8") as file:
        rules = json.load(file)["syscalls"]
    # systemd sets the filter earlier than container runtimes do, and has a set of its own for what it needs itself.
    # clone and clone3 are in it too: RestrictNamespaces= keeps them from what the profile does, or has clone3 say ENOSYS.
    names = sorted({name for rule in rules for name in rule["names"]})
    calls = "\nSystemCallFilter=".join(textwrap.wrap(" ".join(names), 90))
    with open(template, encoding="utf-8") as file:
        text = file.read().replace("@SYSTEM_CALLS@", calls).replace("@BINDIR@", folder)
    with open(output, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()
