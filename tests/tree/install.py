# SPDX-License-Identifier: BSD-3-Clause
"""Installs a build into a scratch root and uses what is there: install.py BUILD."""

import os
import re
import subprocess
import sys
import tempfile

PROGRAM = r"""
#include <stdio.h>
#include <pinion/pinion.h>
int main(void)
{
	struct pn_region *region;
	struct pn_region_info info;
	struct pn_region_opts opts = PN_REGION_OPTS_INIT;
	opts.page_size = PN_PAGE_4K;
	if (pn_region_create(&region, 10000, &opts))
		return 1;
	pn_region_get_info(region, &info);
	printf("%s %lu\n", pn_version(), (unsigned long)info.size);
	return pn_region_destroy(region) ? 1 : 0;
}
"""
count = failed = 0


def test(name, good, text=""):
    global count, failed
    count += 1
    failed += not good
    if not good:
        for line in str(text).splitlines():
            print(f"# {line}")
    print(f"{'ok' if good else 'not ok'} {count} - {name}", flush=True)


def run(*command, **kwargs):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          **kwargs)


def main():
    build = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as root:
        env = {**os.environ, "DESTDIR": root}
        done = run("meson", "install", "-C", build, "--no-rebuild", env=env)
        test("meson install", done.returncode == 0, done.stdout)
        paths = [os.path.join(top, name) for top, _, names in os.walk(root) for name in names]
        pc = next((p for p in paths if p.endswith("/pinion.pc")), None)
        test("pinion.pc is installed", pc, paths)
        headers = [p for p in paths if "/include/pinion/" in p and p.endswith(".h")]
        test("headers are under include/pinion", len(headers) >= 8, headers)
        test("no private header is installed", not [p for p in headers if "_priv" in p], headers)
        library = next((p for p in paths if ".so." in p and not os.path.islink(p)), None)
        test("the shared library is installed", library, paths)
        if not (pc and library):
            print(f"1..{count}")
            return 1
        names = run("nm", "-D", "--defined-only", library).stdout.split("\n")
        foreign = [n for n in names if n and not n.split()[-1].startswith(("pn_", "PINION_"))]
        test("only pn_ symbols are exported", names and not foreign, foreign)
        exported = {n.split()[-1].split("@")[0] for n in names if n}

        declared = set()
        for header in headers:
            with open(header, encoding="utf-8") as file:
                text = file.read()
                declared |= set(re.findall(r"PN_API [^;]*?\b(pn_\w+)\(", text))
                declared |= set(re.findall(r"extern PN_API [^;(]*?\b(pn_\w+)[\[;]", text))
        missing = declared - exported
        test("every public function is exported", declared and not missing, missing)
        test("nothing else is exported", not {n for n in exported if n.startswith("pn_")} - declared,
             exported - declared)
        env = {**os.environ, "PKG_CONFIG_PATH": os.path.dirname(pc), "PKG_CONFIG_SYSROOT_DIR": root}
        flags = run("pkg-config", "--cflags", "--libs", "pinion", env=env).stdout.split()
        source = os.path.join(root, "use.c")
        with open(source, "w", encoding="ascii") as file:
            file.write(PROGRAM)
        program = os.path.join(root, "use")
        done = run("gcc", "-o", program, source, *flags)
        test("a program builds with pkg-config", done.returncode == 0, f"{flags}\n{done.stdout}")
        if done.returncode == 0:
            done = run(program, env={**os.environ, "LD_LIBRARY_PATH": os.path.dirname(library)})
            test("and runs", done.returncode == 0 and done.stdout.endswith(" 12288\n"), done.stdout)
        for name in ("bin/pinion", "bin/pinion-testpmd", "pinion/seccomp.json", "image/make-rootfs",
                     "kubernetes/pod-cdi.yaml", "systemd/system/pinion-testpmd@.service", "man1/pinion-cdi.1",
                     "completions/pinion", "completions/pinion-testpmd"):
            test(f"{name} is installed", [p for p in paths if p.endswith(f"/{name}")], paths)
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
