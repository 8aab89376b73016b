# SPDX-License-Identifier: BSD-3-Clause
"""What a pin is charged, told by the library and by the kernel, through refusals and life cycles."""

import os

from guest import (BUILD, MIB, NICS, PAGE, Suite, as_user, backends, bind, check, equal, run,
                   test_backends_expected, testpmd_json, unbind)

LIMITS = os.path.join(BUILD, "tests/vm/programs/limits")
CARD = NICS[0]


def test_limits(backend):
    done = run(*as_user([LIMITS, backend, CARD], 16 * PAGE))
    equal(done.returncode, 0, f"limits {backend}: {done.stdout}{done.stderr}")


def test_exact(backend):
    """The memory it maps is what it needs: that limit works, one page less does not."""
    command = ["--forward", "io", "--dma", backend, "-a", CARD, "--duration", "0.2", "--mem", "2M", "--page-size",
               "4K", "--pool", "700"]
    code, _, errors = testpmd_json(*command, memlock=2 * MIB)
    equal(code, 0, f"with 2 MiB: {errors}")
    code, _, errors = testpmd_json(*command, memlock=2 * MIB - PAGE)
    equal(code, 1, "with one page less")
    check("short by 1" in errors, errors)


def test_exempt(backend):
    """root has CAP_IPC_LOCK: no limit, and the counters move as the kernel's rule says."""
    code, document, errors = testpmd_json("--forward", "io", "--dma", backend, "-a", CARD, "--duration", "0.2",
                                          "--mem", "16M", "--page-size", "4K", uid=0)
    equal(code, 0, f"as root: {errors}")
    process, = document["pins"]["processes"]
    domain, = process["domains"]
    equal(domain["exempt"], True, "exempt")
    pages = 16 * MIB // PAGE
    locked = pages if backend == "type1" else 0
    for name, want in (("mm->locked_vm", locked), ("mm->pinned_vm", pages - locked), ("user->locked_vm", 0)):
        equal(process["counters"][name]["predicted"], want, f"prediction of {name}")
    for name in ("mm->locked_vm", "mm->pinned_vm"):
        equal(process["counters"][name]["unexplained"], 0, f"unexplained in {name}")


def test_class(backend):
    """Which of iommufd's two ways of accounting is in force is read, not assumed."""
    nodes = [None] if backend == "type1" else [n for n in ("/dev/iommu", "/dev/vfio/vfio") if os.path.exists(n)]
    for node in nodes:
        name = backend if node is None else f"{backend}:{node}"
        done = run(*as_user([os.path.join(BUILD, "apps/testpmd/pinion-testpmd"), "--dma", name, "-a", CARD,
                             "--forward", "io", "--duration", "0.2"], 8 * MIB))
        if node == "/dev/vfio/vfio" and "type1" in os.environ["PINION_BACKENDS"]:
            check(done.returncode == 1 and "iommufd" in done.stderr, f"{name}: {done.stderr}")
            continue
        equal(done.returncode, 0, f"{name}: {done.stderr}")
        code, document, _ = testpmd_json("--dma", name, "-a", CARD, "--forward", "io", "--duration", "0.2")
        process, = document["pins"]["processes"]
        want = {"type1": ({"mm->locked_vm"}), "/dev/iommu": {"user->locked_vm", "mm->pinned_vm"},
                "/dev/vfio/vfio": {"mm->locked_vm", "mm->pinned_vm"}}[node or "type1"]
        moved = {n for n, c in process["counters"].items() if c["predicted"]}
        equal(moved, want, f"counters that {name} moves")
        for counter in ("mm->locked_vm", "mm->pinned_vm"):
            equal(process["counters"][counter]["unexplained"], 0, f"unexplained in {counter}")


def main():
    suite = Suite()
    bind(CARD)
    suite.run("the kernel offers the backends it should", test_backends_expected)
    for backend, reason in backends().items():
        if reason:
            continue
        suite.run(f"{backend}: counters through refusals, detach and reattach", test_limits, backend)
        suite.run(f"{backend}: exactly what is needed, and one page less", test_exact, backend)
        suite.run(f"{backend}: CAP_IPC_LOCK", test_exempt, backend)
        suite.run(f"{backend}: which counters", test_class, backend)
    unbind(CARD)
    suite.end()


if __name__ == "__main__":
    main()
