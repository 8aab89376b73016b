# SPDX-License-Identifier: BSD-3-Clause
"""Prints the names of pinion's commands, from its table: commands.py MAIN_C. The build has a page made of each."""

import re
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        table = re.search(r"struct command commands\[\] = \{(.*?)^\};", file.read(), re.M | re.S).group(1)
    print("\n".join(re.findall(r'^\t\{"([a-z-]+)",', table, re.M)))


if __name__ == "__main__":
    main()
