# SPDX-License-Identifier: BSD-3-Clause
"""Writes a man page from what a program says of itself, so that they cannot differ: page.py HELP2MAN OUTPUT VERSION
PROGRAM [COMMAND]. The summaries of pinion's commands are those of its list."""

import re
import subprocess
import sys


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def summary(program, command):
    if not command:
        return {"pinion": "userspace PCI drivers: devices, pinned memory, limits",
                "pinion-testpmd": "drive network cards from user space, and show what is pinned for it",
                "pinion-broker": "open devices for programs that may open none, as a policy says"}[
                    program.rsplit("/", 1)[-1]]
    return re.search(rf"^  {command} +(.*)$", output(program, "--help"), re.M).group(1)


def main():
    tool, target, version, program, *command = sys.argv[1:]
    name = "-".join([program.rsplit("/", 1)[-1], *command])
    page = output(tool, "--no-info", "--no-discard-stderr", f"--version-string={version}",
                  f"--name={summary(program, command[0] if command else None)}", " ".join([program, *command]))
    lines = page.splitlines()
    # The first line names the tool's version, which says nothing of the page.
    lines[0] = '.\\" SPDX-License-Identifier: BSD-3-Clause. Made of --help.'
    lines[1] = f'.TH {name.upper()} "1" "" "Pinion {version}" "User Commands"'
    lines[3] = lines[3].replace(" ".join(name.split("-", 1)) if command else name, name.replace("-", "\\-"), 1)
    others = [] if name == "pinion" else ["pinion"]
    others += [f"pinion-{other}" for other in ("plan", "pins", "cdi") if name != f"pinion-{other}"]
    see = [f".BR {other} (1)," for other in [*others, "pinion-testpmd"] if other != name]
    see[-1] = see[-1].rstrip(",")
    with open(target, "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, '.SH "SEE ALSO"', *see]) + "\n")


if __name__ == "__main__":
    main()
