# SPDX-License-Identifier: BSD-3-Clause
"""Checks of the tree itself: formatting, licences, headers that stand alone, dependencies that point one way."""

import glob
import os
import re
import subprocess
import sys
import tempfile

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.chdir(TREE)
FOLDERS = sorted({os.path.dirname(name) for name in glob.glob("lib/**/pn_*.h", recursive=True)})
INCLUDES = ["-I" + d for d in ["lib", *FOLDERS]]
# What each folder may use besides itself. base, mem, pins, dma, pci, broker, pkt, port: one way.
MAY_USE = {
    "lib/base": [],
    "lib/mem": ["lib/base"],
    "lib/pins": ["lib/base", "lib/mem"],
    "lib/dma": ["lib/base", "lib/mem", "lib/pins"],
    "lib/pci": ["lib/base", "lib/mem", "lib/pins", "lib/dma"],
    "lib/broker": ["lib/base", "lib/mem", "lib/pins", "lib/dma", "lib/pci"],
    "lib/pkt": ["lib/base", "lib/mem"],
    "lib/port": ["lib/base", "lib/mem", "lib/pins", "lib/dma", "lib/pkt"],
    "drivers": ["lib/base", "lib/mem", "lib/pins", "lib/dma", "lib/pci", "lib/pkt", "lib/port"],
}
failed = count = 0


def result(name, troubles):
    global failed, count
    count += 1
    for line in troubles:
        print(f"# {line}")
    print(f"{'not ok' if troubles else 'ok'} {count} - {name}", flush=True)
    failed += bool(troubles)


def tracked(*patterns):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z", "--", *patterns],
                         stdout=subprocess.PIPE, check=True).stdout
    return [name for name in out.decode().split("\0") if name and os.path.exists(name)]


def check_format():
    done = subprocess.run(["clang-format-14", "--dry-run", "-Werror", *tracked("*.c", "*.h")],
                          stderr=subprocess.PIPE, text=True, check=False)
    return [line for line in done.stderr.splitlines() if "error:" in line]


def check_columns():
    return [f"{name}:{number}: {len(line.expandtabs(8))} columns"
            for name in tracked("*.c", "*.h")
            for number, line in enumerate(open(name, encoding="utf-8").read().splitlines(), 1)
            if len(line.expandtabs(8)) > 100]


def check_licences():
    troubles = []
    for name in tracked():
        if name == "LICENSE" or name.endswith((".svg", ".png")):
            continue
        with open(name, encoding="utf-8", errors="replace") as file:
            text = file.read()
        want = "GPL-2.0-only" if name.startswith("kmod/") else "BSD-3-Clause"
        # The README's first lines are for its reader.
        if f"SPDX-License-Identifier: {want}" not in (text[-200:] if name == "README.md" else text[:600]):
            troubles.append(f"{name} has no SPDX-License-Identifier: {want}")
    return troubles


def anchors(name):
    """The anchors that GitHub makes of a page's headings."""
    with open(name, encoding="utf-8") as file:
        titles = re.findall(r"^#+ +(.*)$", file.read(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def check_links():
    troubles = []
    for name in tracked("*.md"):
        with open(name, encoding="utf-8") as file:
            text = re.sub(r"```.*?```", "", file.read(), flags=re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            page = os.path.normpath(os.path.join(os.path.dirname(name), path)) if path else name
            if not os.path.exists(page):
                troubles.append(f"{name} links to {target}, which is not there")
            elif anchor and page.endswith(".md") and anchor not in anchors(page):
                troubles.append(f"{name} links to {target}: there is no such heading")
    return troubles


def check_headers(compiler, language, standard):
    troubles = []
    with tempfile.TemporaryDirectory() as scratch:
        for header in ["lib/pinion.h", *glob.glob("lib/**/pn_*.h", recursive=True)]:
            source = os.path.join(scratch, "one." + language)
            with open(source, "w", encoding="ascii") as file:
                file.write(f'#include "{os.path.basename(header)}"\n#include "{os.path.basename(header)}"\n')
            done = subprocess.run([compiler, f"-std={standard}", "-Wall", "-Wextra", "-Wconversion", "-Wshadow",
                                   "-Werror", "-fsyntax-only", *INCLUDES, source], stderr=subprocess.PIPE,
                                  text=True, check=False)
            if done.returncode:
                troubles += [header] + done.stderr.splitlines()[:5]
    return troubles


def folder_of(header):
    for folder in MAY_USE:
        if header in owners.get(folder, ()):
            return folder
    return None


owners = {}


def check_dependencies():
    for folder in MAY_USE:
        owners[folder] = {os.path.basename(name) for name in tracked(f"{folder}/**.h", f"{folder}/*.h")}
    troubles = []
    for folder, allowed in MAY_USE.items():
        for name in tracked(f"{folder}/**.c", f"{folder}/**.h", f"{folder}/*.c", f"{folder}/*.h"):
            for header in re.findall(r'^#include "([^"]+)"', open(name, encoding="utf-8").read(), re.M):
                owner = folder_of(os.path.basename(header))
                if owner and owner != folder and owner not in allowed:
                    troubles.append(f"{name} includes {header} of {owner}")
    for name in tracked("apps/**.c", "apps/**.h", "tests/vm/programs/*.c"):
        for header in re.findall(r'^#include "([^"]+)"', open(name, encoding="utf-8").read(), re.M):
            owner = folder_of(os.path.basename(header))
            if owner and not (header.startswith("pn_") or header == "pinion.h"):
                troubles.append(f"{name} includes {header}, which is not public")
    return troubles


def check_words():
    """The library never prints, never exits, never aborts."""
    banned = re.compile(r"(?<![\w.>])(printf|puts|putchar|perror|exit|abort|vprintf|err|warn|errx)\s*\(")
    troubles = []
    for name in tracked("lib/**.c", "drivers/**.c"):
        text = re.sub(r"/\*.*?\*/|\"(\\.|[^\"\\])*\"", "", open(name, encoding="utf-8").read(), flags=re.S)
        for number, line in enumerate(text.splitlines(), 1):
            if banned.search(line):
                troubles.append(f"{name}: {line.strip()}")
    return troubles


def check_unfinished():
    banned = re.compile(r"\b(" + "TO" + "DO|FIX" + "ME|X" + "XX)\\b")
    return [f"{name}: {match.group(0)}" for name in tracked("*.c", "*.h", "*.py", "*.md")
            for match in [banned.search(open(name, encoding="utf-8", errors="replace").read())] if match]


def check_scripts():
    troubles = []
    for name in ["scripts/demo", "scripts/test", "scripts/deps", ".ci/run", "tests/vm/run", "tests/run"]:
        if not os.access(name, os.X_OK):
            troubles.append(f"{name} is missing or cannot be executed")
    with open(".ci/run", encoding="utf-8") as file:
        if "./scripts/test" not in file.read():
            troubles.append(".ci/run does not call ./scripts/test")
    with open("README.md", encoding="utf-8") as file:
        top = "".join(file.readlines()[:10])
    for command in ("./scripts/demo", "./scripts/test"):
        if command not in top:
            troubles.append(f"the first ten lines of README.md do not show {command}")
    return troubles


def main():
    result("C files are formatted", check_format())
    result("C files stay within 100 columns", check_columns())
    result("every file names its licence", check_licences())
    result("public headers stand alone in C", check_headers("gcc", "c", "gnu17"))
    result("public headers stand alone in C11 with clang", check_headers("clang", "c", "gnu11"))
    result("public headers stand alone in C++", check_headers("g++", "cc", "c++17"))
    result("dependencies point one way", check_dependencies())
    result("the library does not print, exit or abort", check_words())
    result("nothing is left for later", check_unfinished())
    result("links between pages lead somewhere", check_links())
    result("README and CI name the same commands", check_scripts())
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
