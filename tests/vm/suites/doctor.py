# SPDX-License-Identifier: BSD-3-Clause
"""What pinion doctor says, against what happens: it says that something blocks exactly if pinion-testpmd, run the same
way, does not start; and what it names as the mend is carried out, and the finding goes away."""

import contextlib
import glob
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import time

from guest import (BUILD, GUEST, MIB, NICS, PAGE, PINION, TESTPMD, UID, Skip, Suite, as_user, backends, bind, check,
                   equal, must, run, testpmd, unbind)

REFUSE = os.path.join(BUILD, "tests/vm/programs/refuse")
POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB"
UNLIMITED = "unlimited"
STATUS = {"ok": (0,), "unseen": (0,), "hurts": (3,), "blocks": (4,)}
# Little memory is enough for these.
SMALL = ["--forward", "io", "--duration", "0.1", "--pool", "700", "--rxd", "64", "--txd", "64"]
WHERES = {"root", "user", "setting", "host", "podman", "docker", "oci", "kubernetes", "bwrap", "systemd-nspawn"}


def user(memlock=64 * MIB, uid=UID):
    return lambda command: as_user(command, memlock, uid)


def root(command):
    return command


def doctor(*arguments, way=root):
    """The document, after a look at whether it is one."""
    done = run(*way([PINION, "doctor", "--json", *arguments]))
    check(done.stdout, f"doctor {arguments}: {done.returncode} {done.stderr}")
    document = json.loads(done.stdout)
    equal(document["schema"], "pinion.doctor/1", "schema")
    check(done.returncode in STATUS[document["verdict"]], f"status {done.returncode}: {document['verdict']}")
    states = [finding["state"] for finding in document["findings"]]
    equal(document["counts"], {state: states.count(state) for state in STATUS}, "counts")
    worst = max(states, key=list(STATUS).index)
    equal(document["verdict"], worst, "verdict")
    for finding in document["findings"]:
        equal(sorted(finding), ["id", "mends", "numbers", "object", "state", "text"], "fields")
        check(all(mend["where"] in WHERES for mend in finding["mends"]), finding)
    return document


def of_state(document, *states):
    return [f for f in document["findings"] if f["state"] in states]


def texts(findings):
    return "; ".join(f"{f['id']} {f['object'] or ''} {f['state']}: {f['text']}" for f in findings)


def found(document, name, thing=None):
    matching = [f for f in document["findings"] if f["id"] == name and thing in (None, f["object"])]
    check(len(matching) == 1, f"{len(matching)} findings {name} {thing}: {texts(document['findings'])}")
    return matching[0]


def both(*arguments, way=user()):
    """Doctor and testpmd, run the same way with the same options: they agree."""
    document = doctor(*arguments, way=way)
    done = run(*way([TESTPMD, *SMALL, *arguments]))
    blocks = of_state(document, "blocks")
    if done.returncode == 0:
        check(not blocks, f"testpmd {arguments} starts; doctor: {texts(blocks)}")
    else:
        check(blocks, f"testpmd {arguments} does not start ({done.returncode}, {done.stderr}); doctor: nothing blocks")
    return document, done


def starts(*arguments, way=user()):
    document, done = both(*arguments, way=way)
    equal(done.returncode, 0, f"testpmd {arguments}: {done.stderr}")
    return document


def fails(name, thing, *arguments, way=user()):
    """It is this that blocks, and nothing else. The finding."""
    document, done = both(*arguments, way=way)
    check(done.returncode != 0, f"testpmd {arguments} starts: {texts(of_state(document, 'blocks'))}")
    finding = found(document, name, thing)
    equal(finding["state"], "blocks", texts([finding]))
    equal([f["id"] for f in of_state(document, "blocks")], [name], texts(of_state(document, "blocks")))
    return finding


def mend_of(finding, where="root"):
    matching = [mend["text"] for mend in finding["mends"] if mend["where"] == where]
    check(len(matching) == 1, f"{len(matching)} mends for {where}: {finding}")
    return matching[0]


def apply(finding):
    must("/bin/sh", "-ec", mend_of(finding))


def take_back():
    """What mends bound and granted goes back."""
    must(PINION, "revoke", "--all")
    must(PINION, "unbind", "--all")


def common(card, mem="4M", page="2M", dma=None):
    return ["-a", card, "--mem", mem, "--page-size", page, *(["--dma", dma] if dma else [])]


def put(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(text))


def get(path):
    with open(path, encoding="ascii") as file:
        return file.read().strip()


@contextlib.contextmanager
def changed(path, text):
    before = get(path)
    put(path, text)
    try:
        yield
    finally:
        put(path, before)


def available():
    return [name for name, reason in backends().items() if not reason]


#
# All is well; limits
#

def test_ok(card, dma):
    document = starts(*common(card, dma=dma))
    equal(document["looked_at"]["backend"], dma, "backend")
    equal(document["looked_at"]["devices"], [card], "devices")
    # Of the distribution's kernel the image is here, and no configuration.
    others = [f for f in of_state(document, "hurts", "unseen", "blocks")
              if f["state"] != "unseen" or f["id"] not in ("kernel.config", "kernel.iommufd")]
    check(not others, texts(others))
    found(document, "iommu.interrupts")
    starts(*common(card, page="4K", dma=dma))


def test_memlock(card, dma):
    """Exactly what is needed, and a page less; then what is named as the mend."""
    need = found(doctor(*common(card, page="4K", dma=dma), way=user()), "limits.memlock")["numbers"]["needed_bytes"]
    equal(need, 4 * MIB, "needed")
    # A page of room above, so that what others have can be measured.
    room = ["/usr/bin/prlimit", f"--memlock={need}:{need + 4 * PAGE}"]
    short = ["/usr/bin/prlimit", f"--memlock={need - PAGE}:{need + 4 * PAGE}"]
    document = starts(*common(card, page="4K", dma=dma), way=lambda c: as_user([*room, *c], need + 4 * PAGE))
    equal(found(document, "limits.memlock")["numbers"]["soft_bytes"], need, "soft")
    finding = fails("limits.memlock", None, *common(card, page="4K", dma=dma),
                    way=lambda c: as_user([*short, *c], need + 4 * PAGE))
    raise_soft = mend_of(finding, "user")
    starts(*common(card, page="4K", dma=dma), way=lambda c: as_user(
        [*short, "/bin/sh", "-ec", f"{raise_soft}; exec {shlex.join(c)}"], need + 4 * PAGE))
    finding = fails("limits.memlock", None, *common(card, page="4K", dma=dma), way=user(need // 2))
    raised = mend_of(finding)
    starts(*common(card, page="4K", dma=dma),
           way=lambda c: ["/bin/sh", "-ec", f"{raised}; exec {shlex.join(as_user(c))}"])


def test_others(card, cards, dma):
    """What another process of the user has counts on iommufd, and does not on type1."""
    arguments = common(card, page="4K", dma=dma)
    with testpmd(*common(cards[1], page="4K", dma=dma), *SMALL[:2], *SMALL[4:], memlock=8 * MIB):
        by_user = "counted by user" in found(doctor(*arguments, way=user()), "limits.memlock")["text"]
        if by_user:
            fails("limits.memlock", None, *arguments, way=lambda c: as_user(
                ["/usr/bin/prlimit", f"--memlock={6 * MIB}:{64 * MIB}", *c], 64 * MIB))
        else:
            starts(*arguments, way=user(6 * MIB))
        starts(*arguments, way=user(64 * MIB))


def test_zero(card):
    fails("limits.memlock", None, *common(card), way=user(0))
    finding = found(doctor("-a", card, way=user(0)), "limits.memlock")
    equal(finding["state"], "blocks", finding["text"])


def test_exempt(card):
    document = starts(*common(card), way=lambda c: ["/usr/bin/prlimit", "--memlock=0:0", *c])
    check("CAP_IPC_LOCK" in found(document, "limits.memlock")["text"], "the exemption is said")


def test_sizes(card):
    """RLIMIT_FSIZE, RLIMIT_AS, and the mappings that type1 allows."""
    for name, option, short in (("limits.fsize", "--fsize", 2 * MIB), ("limits.as", "--as", 100 * MIB)):
        mem = "4M" if name == "limits.fsize" else "128M"
        limited = [*user()(["/usr/bin/prlimit", f"{option}={short}:unlimited"])]
        arguments = common(card, mem=mem, page="4K")
        finding = fails(name, None, *arguments, way=lambda c, limited=limited: as_user(
            [*limited[limited.index("/usr/bin/prlimit"):], *c], 256 * MIB))
        lifted = mend_of(finding, "user")
        starts(*arguments, way=lambda c, limited=limited, lifted=lifted: as_user(
            [*limited[limited.index("/usr/bin/prlimit"):], "/bin/sh", "-ec", f"{lifted}; exec {shlex.join(c)}"],
            256 * MIB))


def test_entries(card):
    path = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"
    if "type1" not in available():
        raise Skip("no type1 here")
    with changed(path, 0):
        apply(fails("limits.dma_entries", None, *common(card, dma="type1")))
        equal(get(path), "65535", "the mend")
        starts(*common(card, dma="type1"))


#
# Devices and nodes
#

def test_bind(card):
    """From the kernel's driver to a node that the user may open, by what doctor says at each step."""
    unbind(card)
    try:
        for step in range(2):
            finding = fails("devices.usable", card, *common(card))
            check(("not to VFIO" if not step else "may not be opened") in finding["text"], finding["text"])
            apply(finding)
        starts(*common(card))
        put(f"/sys/bus/pci/devices/{card}/driver/unbind", card)
        finding = fails("devices.usable", card, *common(card))
        check("bound to no driver" in finding["text"], finding["text"])
        apply(finding)
        apply(fails("devices.usable", card, *common(card)))
        starts(*common(card))
    finally:
        take_back()
        bind(card)


def test_node(card, dma):
    """A node that belongs to root, of each kind."""
    group = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{card}/iommu_group"))
    node = f"/dev/vfio/{group}"
    if dma == "iommufd":
        node = f"/dev/vfio/devices/{os.listdir(f'/sys/bus/pci/devices/{card}/vfio-dev')[0]}"
        # Another of the user's, or iommufd itself is not available.
        bind(NICS[1])
    os.chown(node, 0, 0)
    try:
        apply(fails("devices.usable", card, *common(card, dma=dma)))
        starts(*common(card, dma=dma))
    finally:
        take_back()
        bind(card)


def test_no_device():
    bind(NICS[1], uid=UID + 1)
    try:
        document = doctor("--mem", "4M", way=user())
        equal([found(document, "devices.usable", card)["state"] for card in NICS[:2]], ["ok", "hurts"], "one is enough")
    finally:
        bind(NICS[1])
    fails("devices.usable", "00:1e.7", *common("00:1e.7"))
    fails("devices.usable", "dead:beef", *common("dead:beef"))
    unbind(*NICS)
    try:
        finding = found(doctor("--mem", "4M", way=user()), "devices.usable")
        equal(finding["state"], "blocks", "with none bound")
    finally:
        bind(*NICS)


def test_busy(card):
    with testpmd(*common(card), *SMALL[:2], *SMALL[4:]) as program:
        finding = fails("devices.usable", card, *common(card))
        check(f"in use by process {program.process.pid} (pinion-testpmd)" in finding["text"], finding["text"])
    time.sleep(0.1)
    starts(*common(card))


def shared_group():
    for number in os.listdir("/sys/kernel/iommu_groups"):
        cards = [d for d in os.listdir(f"/sys/kernel/iommu_groups/{number}/devices")
                 if get(f"/sys/bus/pci/devices/{d}/class").startswith("0x0200")]
        if len(cards) > 1:
            return sorted(cards)
    raise Skip("no IOMMU group with two cards in this machine")


def test_viable(dma):
    cards = shared_group()
    unbind(*cards)
    finding = found(doctor(*common(cards[0], dma=dma), way=user()), "devices.usable", cards[0])
    check(cards[1] in finding["text"] and mend_of(finding).endswith(" --group"), finding)
    bind(cards[0])
    try:
        finding = fails("devices.usable", cards[0], *common(cards[0], dma=dma))
        check(cards[1] in finding["text"], finding["text"])
        done = run(PINION, "bind", cards[0])
        check(done.returncode == 1 and "'group'" in done.stderr and cards[1] in done.stderr, done.stdout + done.stderr)
        apply(finding)
        starts(*common(cards[0], dma=dma))
        must(PINION, "unbind", "--all")
        must(PINION, "bind", cards[0], "--group")
        starts(*common(cards[0], dma=dma))
    finally:
        take_back()
        put(f"/sys/bus/pci/devices/{cards[0]}/driver_override", "\n")
        unbind(cards[0])
        put("/sys/bus/pci/drivers_probe", cards[1])


def test_backend_node(card, dma):
    """The node of the backend that was asked for; iommufd-compat goes on to another where that is iommufd's too."""
    nodes = [] if dma == "type1" else ["/dev/iommu"]
    if dma == "type1" or (dma == "iommufd-compat" and "type1" not in available()):
        nodes.append("/dev/vfio/vfio")
    for node in nodes:
        os.chmod(node, 0o600)
    try:
        finding = fails("backends.available", dma, *common(card, dma=dma))
        check(f"pinion grant {card} --user {UID}" in mend_of(finding), finding)
        apply(finding)
        starts(*common(card, dma=dma))
    finally:
        take_back()
        for node in nodes:
            os.chmod(node, 0o666)


def test_unavailable(card):
    """Each backend that is not there, by name; noiommu, which is root's."""
    for name in set(("type1", "iommufd", "iommufd-compat")) - set(available()):
        fails("backends.available", name, *common(card, dma=name))
    document, _ = both(*common(card, dma="noiommu"))
    equal(document["verdict"], "blocks", "noiommu for a user")


def test_none():
    """Software ports need nothing of this."""
    document = doctor("--dma", "none", "--mem", "4M", way=user(0))
    check(not of_state(document, "blocks"), texts(of_state(document, "blocks")))
    done = run(*as_user([TESTPMD, *SMALL, "--dma", "none", "--mem", "4M", "--port", "null"], 0))
    equal(done.returncode, 0, done.stderr)


#
# Hugepages and memory
#

def test_no_hugepages(card):
    with changed(f"{POOL}/nr_hugepages", 0):
        finding = fails("memory.hugepages", "2 MiB", *common(card))
        equal(finding["numbers"]["needed"], 2, "needed")
        # Left to itself the library takes small pages: it hurts.
        document = starts("-a", card, "--mem", "4M")
        equal(found(document, "memory.hugepages", "2 MiB")["state"], "hurts", "with pages of any size")
        equal(document["looked_at"]["page_bytes"], PAGE, "page size")
        apply(finding)
        equal(get(f"{POOL}/nr_hugepages"), "2", "the mend")
        starts(*common(card))
        starts("-a", card, "--mem", "4M")
        put(f"{POOL}/nr_hugepages", 0)
        put(f"{POOL}/nr_overcommit_hugepages", 8)
        try:
            document = starts(*common(card))
            equal(found(document, "memory.hugepages", "2 MiB")["state"], "hurts", "pages made on the fly")
        finally:
            put(f"{POOL}/nr_overcommit_hugepages", 0)


def test_gigantic(card):
    fails("memory.hugepages", "1 GiB", *common(card, mem="1G", page="1G"), way=user(2048 * MIB))


HOLD = """
import mmap, os, sys
fd = os.memfd_create("hold", os.MFD_HUGETLB)
os.ftruncate(fd, int(sys.argv[1]) << 21)
memory = mmap.mmap(fd, int(sys.argv[1]) << 21)
for at in range(0, len(memory), 1 << 21):
    memory[at] = 1
if sys.argv[2] == "map":
    os.close(fd)
else:
    memory.close()
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def holding(*command):
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        equal(program.stdout.readline(), "ready\n", "what holds")
        try:
            yield program.pid
        finally:
            program.stdin.close()


def test_holders(card, kind):
    with holding(sys.executable, "-c", HOLD, "15", kind) as pid:
        finding = fails("memory.hugepages", "2 MiB", *common(card))
        equal(finding["numbers"]["free"], 1, "free")
        seen = found(doctor(*common(card)), "memory.holders", "2 MiB")
        equal(seen["state"], "ok", seen["text"])
        check(f"process {pid} (python3" in seen["text"] and " 15" in seen["text"], seen["text"])
        # The user cannot look into root's process, and says so.
        unseen = found(doctor(*common(card), way=user()), "memory.holders", "2 MiB")
        equal((unseen["state"], unseen["numbers"]["pages"]), ("unseen", 15), unseen["text"])
        # Root looks for the user: who keeps them is seen, the rest as the user sees it.
        document = doctor("--as-user", str(UID), *common(card))
        check(f"process {pid} (" in found(document, "memory.holders", "2 MiB")["text"], "as root for the user")


def test_namespace(card):
    """A mount namespace that was left over: the file in it is in no process."""
    script = ("mkdir -p /tmp/left && mount -t hugetlbfs -o pagesize=2M none /tmp/left && "
              "fallocate -l 30M /tmp/left/file && echo ready && exec sleep 1000")
    with subprocess.Popen(["unshare", "-m", "/bin/sh", "-ec", script], stdout=subprocess.PIPE, text=True) as program:
        try:
            equal(program.stdout.readline(), "ready\n", "what was left")
            time.sleep(0.2)
            for status in glob.glob("/proc/[0-9]*/status"):
                with contextlib.suppress(OSError):
                    check(not re.search(r"^HugetlbPages:\s+[1-9]", get(status), re.M), status)
            equal(get(f"{POOL}/free_hugepages"), "1", "free pages")
            unseen = found(doctor(*common(card), way=user()), "memory.holders", "2 MiB")
            equal((unseen["state"], unseen["numbers"]["pages"]), ("unseen", 15), unseen["text"])
            fails("memory.hugepages", "2 MiB", *common(card))
            finding = found(doctor(*common(card)), "memory.mount", "/tmp/left")
            equal((finding["state"], finding["numbers"]["pages"], finding["numbers"]["pid"]),
                  ("hurts", 15, program.pid), finding["text"])
            apply(finding)
            equal(get(f"{POOL}/free_hugepages"), "16", "free pages after the mend")
            starts(*common(card))
        finally:
            program.kill()


def group_of_user():
    must(*as_user(["/bin/true"]))
    return f"/sys/fs/cgroup/user-{UID}"


def test_cgroup_hugetlb(card, level):
    group = group_of_user()
    path = f"{group}{level}/hugetlb.2MB.max"
    if not os.path.exists(path):
        put(f"{group}/cgroup.subtree_control", "+hugetlb")
    with changed(path, 2 * MIB):
        finding = fails("memory.cgroup_hugetlb", None, *common(card))
        check(path in finding["text"], finding["text"])
        equal(finding["numbers"], {"left_bytes": 2 * MIB, "needed_bytes": 4 * MIB}, "numbers")
        document = starts("-a", card, "--mem", "4M")
        equal(found(document, "memory.cgroup_hugetlb")["state"], "hurts", "with pages of any size")
        apply(finding)
        starts(*common(card))


def test_cgroup_memory(card):
    group = group_of_user()
    with changed(f"{group}/memory.max", 64 * MIB):
        arguments = common(card, mem="128M", page="4K")
        finding = fails("memory.cgroup_memory", None, *arguments, way=user(256 * MIB))
        apply(finding)
        starts(*common(card, mem="32M", page="4K"), way=user(256 * MIB))


def test_memory(card):
    """More small pages than the machine has."""
    fails("memory.available", None, *common(card, mem="64G", page="4K"), way=user(UNLIMITED))


#
# Privileges
#

def test_user_namespace(card):
    unshare = ["/usr/bin/unshare", "-Ur"]
    document = starts(*common(card), way=lambda c: as_user([*unshare, *c], 64 * MIB))
    check("user namespace" in found(document, "privileges.user_namespace")["text"], "it is said")
    equal(document["looked_at"]["container"], None, "container")
    finding = fails("limits.memlock", None, *common(card), way=lambda c: as_user([*unshare, *c], 2 * MIB))
    raised = mend_of(finding, "host")
    starts(*common(card), way=lambda c: ["/bin/sh", "-ec", f"{raised}; exec {shlex.join(as_user([*unshare, *c]))}"])


def filtered(calls, *kill, memlock=64 * MIB):
    return lambda command: as_user([REFUSE, *kill, calls, *command], memlock)


def test_io_uring(card):
    document = starts(*common(card), way=filtered("io_uring_setup"))
    finding = found(document, "syscalls.io_uring")
    equal(finding["state"], "ok", "the second meter is there")
    check("MSG_ZEROCOPY" in finding["text"], finding["text"])
    check("filter is in force" in found(document, "privileges.seccomp")["text"], "the filter is said")
    for kill in ((), ("--kill",)):
        document = starts(*common(card), way=filtered("io_uring_setup,sendmsg", *kill))
        equal(found(document, "syscalls.io_uring")["state"], "hurts", "with neither meter")
    equal(found(document, "limits.user_locked")["state"] if "iommufd" in available() else "unseen", "unseen",
          "what others have")


def test_sysctl(card):
    path = "/proc/sys/kernel/io_uring_disabled"
    with changed(path, 2):
        finding = found(starts(*common(card)), "syscalls.io_uring")
        check("not allowed" in finding["text"], finding["text"])
        apply(finding)
        finding = found(starts(*common(card)), "syscalls.io_uring")
        check("is allowed" in finding["text"] and not finding["mends"], finding["text"])


def test_filters(card):
    """System calls that memory is made with: refused, or deadly."""
    document = starts(*common(card), way=filtered("memfd_create"))
    equal(found(document, "syscalls.refused", "memfd_create")["state"], "hurts", "with a hugetlbfs")
    fails("syscalls.refused", "memfd_create", *common(card, page="4K"), way=filtered("memfd_create"))
    fails("syscalls.refused", "memfd_create", *common(card), way=filtered("memfd_create", "--kill"))
    document, _ = both(*common(card), way=filtered("madvise"))
    equal(found(document, "syscalls.refused", "MADV_DONTFORK")["state"], "blocks", "madvise")
    equal(found(document, "syscalls.refused", "MADV_POPULATE_WRITE")["state"], "blocks", "madvise")
    for kill in ((), ("--kill",)):
        document, _ = both(*common(card), way=filtered("ioctl", *kill))
        equal(document["verdict"], "blocks", "ioctl")
    for call in ("ftruncate", "getrandom", "mincore,munlock,move_pages,fallocate,get_mempolicy"):
        both(*common(card), way=filtered(call))
    document = starts(*common(card), way=filtered("mlock,userfaultfd,kcmp,ptrace"))
    found(document, "syscalls.tried")


def test_hidepid(card):
    """/proc shows nobody else's processes: what is looked for there is said to be unseen, and nothing else changes."""
    hidden = ["/usr/bin/unshare", "-m", "/bin/sh", "-ec",
              'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh"]
    with holding(sys.executable, "-c", HOLD, "4", "map"):
        document = starts(*common(card), way=lambda c: [*hidden, *as_user(c, 64 * MIB)])
    finding = found(document, "memory.holders", "2 MiB")
    equal((finding["state"], finding["numbers"]["pages"]), ("unseen", 4), finding["text"])
    check("hidepid" in finding["text"], finding["text"])


def test_directory(card):
    at = ["/usr/bin/env", "PINION_RUNTIME_DIR=/nowhere/at/all"]
    document = starts(*common(card), way=lambda c: as_user([*at, *c], 64 * MIB))
    equal(found(document, "reports.directory")["state"], "hurts", "no directory")
    os.makedirs("/nowhere/at", exist_ok=True)
    apply(found(document, "reports.directory"))
    document = starts(*common(card), way=lambda c: as_user([*at, *c], 64 * MIB))
    equal(found(document, "reports.directory")["state"], "ok", "after the mend")


#
# From elsewhere
#

@contextlib.contextmanager
def account(name, uid):
    """A user with an entry in the password file and none in the shadow file."""
    before = open("/etc/passwd", encoding="utf-8").read()
    put("/etc/passwd", f"{before}{name}:*:{uid}:{uid}::/tmp:/bin/sh\n")
    try:
        yield
    finally:
        put("/etc/passwd", before)


def test_as_user(card):
    """Root looks for the user, and finds what the user finds."""
    theirs = doctor(*common(card), way=user(8 * MIB))
    document = doctor("--as-user", str(UID), *common(card))
    equal(document["looked_at"]["uid"], UID, "uid")
    for name in ("devices.usable", "backends.available", "privileges.ipc_lock", "memory.hugepages"):
        equal([(f["state"], f["object"]) for f in document["findings"] if f["id"] == name],
              [(f["state"], f["object"]) for f in theirs["findings"] if f["id"] == name], name)
    group = f"/dev/vfio/{os.path.basename(os.readlink(f'/sys/bus/pci/devices/{card}/iommu_group'))}"
    dma = available_as_group()
    try:
        os.chown(group, 0, 0)
        finding = found(doctor("--as-user", str(UID), *common(card, dma=dma)), "devices.usable", card)
        equal(finding["state"], "blocks", finding["text"])
        apply(finding)
        finding = found(doctor("--as-user", str(UID), *common(card, dma=dma)), "devices.usable", card)
        equal(finding["state"], "ok", finding["text"])
    finally:
        take_back()
        bind(card)
    equal(run(*as_user([PINION, "doctor", "--as-user", "0"])).returncode, 1, "--as-user without root")
    equal(run(PINION, "doctor", "--as-user", "nobody-here").returncode, 1, "--as-user of nobody")


def available_as_group():
    return [name for name in available() if name != "iommufd"][0]


LIMITS = [
    "{name} - memlock 4096\n",
    "* - memlock 2048\n{name} soft memlock 1024\n",
    "{name} hard memlock 3072\n* - memlock 100\n",
    "@{name} - memlock 5120\n* - memlock 100\n",
    "{uid}: - memlock 6144\n",
    ":{uid} - memlock 6144\n",
    "* hard memlock 512\n",
    "{name} -\n* - memlock 512\n",
    "{name} - memlock unlimited\n# {name} - memlock 1\n",
    "{name} - memlock 4096\n{name} - memlock 8191\nroot - memlock 7\n",
    "* soft memlock 7777\n",
]


def test_limits_d():
    """The limits of a session: what pam_limits gives, asked of PAM itself."""
    if not shutil.which("su") or "pam_limits" not in get("/etc/pam.d/su"):
        raise Skip("su does not use pam_limits here")
    path = "/etc/security/limits.d/99-doctor.conf"
    name, uid = "pinion-doctor", 2345
    before = open("/etc/group", encoding="utf-8").read()
    put("/etc/group", f"{before}{name}:x:{uid}:\n")
    try:
        with account(name, uid):
            for text in LIMITS:
                put(path, text.format(name=name, uid=uid))
                given = must("su", name, "-c", "ulimit -S -l; ulimit -H -l").split()
                want = [None if word == "unlimited" else int(word) << 10 for word in given]
                numbers = found(doctor("--as-user", name, "--dma", "type1"), "limits.memlock")["numbers"]
                equal([numbers["soft_bytes"], numbers["hard_bytes"]], want, f"limits of {text!r}")
            put(path, LIMITS[0].format(name=name, uid=uid))
            check(f"{path}, line 1" in found(doctor("--as-user", name), "limits.memlock")["text"], "where it is from")
            # What it names as the mend gives a session what is needed.
            arguments = ["--as-user", name, "--mem", "64M", "--dma", available_as_group()]
            os.unlink(path)
            # Also where a grant of less is there already.
            must(PINION, "grant", NICS[0], "--user", name, "--memlock", "4M")
            finding = found(doctor(*arguments), "limits.memlock")
            equal(finding["state"], "blocks", finding["text"])
            apply(finding)
            equal(must("su", name, "-c", "ulimit -H -l").strip(), str(65536), "the mend")
            equal(found(doctor(*arguments), "limits.memlock")["state"], "ok", "after the mend")
    finally:
        must(PINION, "revoke", "--all")
        put("/etc/group", before)
        for left in (path, "/etc/security/limits.d/90-pinion.conf"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(left)


def test_bwrap(card):
    """From a sandbox that has nothing to one in which it runs, by what doctor says at each step."""
    folder = os.path.dirname(os.path.dirname(BUILD))
    options = ["--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64",
               "/lib64", "--symlink", "usr/bin", "/bin", "--tmpfs", "/tmp", "--ro-bind", folder, folder, "--dev", "/dev",
               "--proc", "/proc", "--tmpfs", "/run"]

    def inside(command):
        return as_user(["/usr/bin/bwrap", *options, *command], 64 * MIB)

    arguments = common(card, dma=available()[-1])
    for _ in range(6):
        document, done = both(*arguments, way=inside)
        equal(document["looked_at"]["container"], "bwrap", "container")
        blocks = of_state(document, "blocks")
        if not blocks:
            break
        more = [shlex.split(mend["text"]) for f in blocks for mend in f["mends"] if mend["where"] == "bwrap"]
        check(more, f"no option of bwrap: {texts(blocks)}")
        for words in more:
            if words not in [options[i:i + len(words)] for i in range(len(options))]:
                options += words
    equal(done.returncode, 0, f"in the end: {done.stderr}")
    document, _ = both(*arguments, way=lambda c: as_user(["/usr/bin/bwrap", *options, *c], 2 * MIB))
    raised = mend_of(found(document, "limits.memlock"), "host")
    starts(*arguments, way=lambda c: ["/bin/sh", "-ec", f"{raised}; exec {shlex.join(as_user(['bwrap', *options, *c]))}"])


def test_in_container(card):
    """Where nothing shows which container it is, each runtime's option is named."""
    document = doctor("--in-container", *common(card), way=user(2 * MIB))
    finding = found(document, "limits.memlock")
    equal({mend["where"] for mend in finding["mends"]}, {"podman", "docker", "kubernetes", "oci"}, "wheres")
    limit = json.loads(mend_of(finding, "oci").split(": ", 1)[1])
    equal(limit["hard"], 4 * MIB, "the limit in config.json")
    with changed_environment("container", "podman"):
        document = doctor(*common(card), way=user(2 * MIB))
    equal({mend["where"] for mend in found(document, "limits.memlock")["mends"]}, {"podman"}, "of podman")
    equal(document["looked_at"]["container"], "podman", "container")


@contextlib.contextmanager
def changed_environment(name, value):
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


#
# How it is shown
#

def in_terminal(environment):
    """What a terminal of 80 columns gets."""
    pid, fd = pty.fork()
    if not pid:
        os.environ.update({"TERM": "xterm", **environment})
        os.execv(PINION, [PINION, "doctor", "--mem", "4M"])
    text = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(fd, 65536):
            text += chunk
    os.waitpid(pid, 0)
    return text.decode()


def test_text(card):
    text = run(*user()([PINION, "doctor", *common(card)])).stdout
    check("\033" not in text, "no colour into a pipe")
    check(all(len(line) <= 100 for line in text.splitlines()), text)
    last = text.splitlines()[-1]
    check(last.startswith("Nothing is in the way: 0 block, 0 hurt, 0 not seen, "), last)
    text = run(*user(0)([PINION, "doctor", "--problems", *common(card)])).stdout
    check("BLOCKS" in text and not re.search(r"^  ok ", text, re.M), text)
    check(text.splitlines()[-1].startswith("It will not run as asked: 1 blocks, "), text)
    check("\033[" in in_terminal({}), "colour on a terminal")
    check("\033[" not in in_terminal({"NO_COLOR": "1"}), "NO_COLOR")


def test_usage():
    for arguments in (["--mem", "0"], ["--mem", "x"], ["--page-size", "3M"], ["--dma", "magic"], ["-a", "banana"],
                      ["-a", "00:01.0,"], ["more"], ["--frobnicate"], ["-a", "../../etc/x:."], ["--as-user"]):
        done = run(PINION, "doctor", *arguments)
        equal(done.returncode, 2, f"{arguments}: {done.stderr}")
        equal(len(done.stderr.splitlines()), 1, done.stderr)
    check("Examples:" in must(PINION, "help", "doctor"), "examples in the help")


def test_nothing_left():
    """It looked, and nothing else: the pool, the nodes and /proc are as before."""
    before = get(f"{POOL}/free_hugepages"), sorted(os.listdir("/run")), sorted(os.listdir("/tmp"))
    doctor("--mem", "4M")
    doctor("--mem", "4M", way=user())
    equal((get(f"{POOL}/free_hugepages"), sorted(os.listdir("/run")), sorted(os.listdir("/tmp"))), before, "left")


#
# Other machines
#

def test_no_iommu():
    card = NICS[0]
    run(os.path.join(GUEST, "bind"), card)
    document, done = both(*common(card))
    finding = found(document, "iommu.present")
    equal(finding["state"], "blocks", finding["text"])
    check(finding["mends"] and finding["mends"][0]["where"] == "setting", finding)
    check(done.returncode == 1, done.stderr)


def test_turned_off():
    test_no_iommu()
    finding = found(doctor(), "iommu.present")
    check("intel_iommu=off" in finding["text"], finding["text"])


def test_interrupts():
    card = NICS[0]
    bind(card)
    for dma in available():
        finding = fails("iommu.interrupts", None, *common(card, dma=dma))
        apply(finding)
        document = starts(*common(card, dma=dma))
        equal(found(document, "iommu.interrupts")["state"], "hurts", "with allow_unsafe_interrupts")
        for path in glob.glob("/sys/module/*/parameters/allow_unsafe_interrupts"):
            put(path, "0")


def test_numa():
    """The device is on node 1; its memory must be too."""
    card = NICS[0]
    bind(card)
    nodes = [f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages" for node in (0, 1)]
    put(nodes[0], 8)
    put(nodes[1], 0)
    finding = fails("memory.hugepages", "2 MiB", *common(card))
    check("on node 1" in finding["text"], finding["text"])
    apply(finding)
    equal((get(nodes[0]), get(nodes[1])), ("8", "2"), "the mend")
    document = starts(*common(card))
    check("on node 1" in found(document, "memory.node")["text"], "the node is said")
    fails("syscalls.refused", "mbind", *common(card), way=filtered("mbind"))
    both(*common(card), way=filtered("mbind,get_mempolicy"))


def test_module():
    card = NICS[0]
    bind(card)
    check("not loaded" in found(doctor(way=user()), "reports.module")["text"], "without the module")
    must("insmod", os.path.join(os.environ["PINION_KMOD"], "pinion.ko"))
    try:
        finding = found(doctor(way=user()), "reports.module")
        equal(finding["state"], "hurts", finding["text"])
        equal(found(doctor(), "reports.module")["numbers"], {"version": 1}, "for root")
        os.chmod("/dev/pinion", 0o666)
        equal(found(doctor(way=user()), "reports.module")["state"], "ok", "with the node open")
        starts(*common(card))
    finally:
        must("rmmod", "pinion")


# What differs between kernels, and what does not.
OF_KERNELS = (("CAP_IPC_LOCK", test_exempt), ("mappings", test_entries), ("binding", test_bind),
              ("device in use", test_busy), ("backends that are not there", test_unavailable),
              ("no hugepages", test_no_hugepages), ("left-over mount namespace", test_namespace),
              ("memory.max", test_cgroup_memory), ("user namespace", test_user_namespace),
              ("io_uring refused", test_io_uring), ("filters", test_filters), ("hidepid", test_hidepid),
              ("as user", test_as_user), ("bubblewrap", test_bwrap))
OF_ONE = (("limit of 0", test_zero), ("sizes", test_sizes), ("1 GiB pages", test_gigantic),
          ("too much memory", test_memory), ("io_uring by sysctl", test_sysctl),
          ("directory of ledgers", test_directory), ("container by name", test_in_container), ("text", test_text))


def cards_suite(suite):
    bind(*NICS)
    card, found_backends = NICS[0], available()
    one = os.environ["PINION_KERNEL"] == "6.12"
    for dma in found_backends:
        suite.run(f"doctor: {dma}: ok", test_ok, card, dma)
        suite.run(f"doctor: {dma}: memlock", test_memlock, card, dma)
        # What does not depend on the backend, or little.
        if dma != found_backends[0] and not os.environ.get("PINION_LONG"):
            continue
        suite.run(f"doctor: {dma}: others of the user", test_others, card, NICS, dma)
        suite.run(f"doctor: {dma}: group that is not viable", test_viable, dma)
        suite.run(f"doctor: {dma}: node of the device", test_node, card, dma)
        suite.run(f"doctor: {dma}: node of the backend", test_backend_node, card, dma)
    for name, function in (*OF_KERNELS, *(OF_ONE if one else ())):
        suite.run(f"doctor: {name}", function, card)
    for kind in ("map", "file"):
        suite.run(f"doctor: holders by {kind}", test_holders, card, kind)
    for level in ("", "/command"):
        suite.run(f"doctor: hugetlb limit of user{level}", test_cgroup_hugetlb, card, level)
    suite.run("doctor: no device", test_no_device)
    if one:
        suite.run("doctor: software only", test_none)
        suite.run("doctor: limits of a session", test_limits_d)
        suite.run("doctor: usage", test_usage)
    suite.run("doctor: nothing is left", test_nothing_left)
    unbind(*NICS)


OTHERS = {"doctor-no-iommu": test_no_iommu, "doctor-off": test_turned_off, "doctor-interrupts": test_interrupts,
          "doctor-numa": test_numa, "doctor-module": test_module}


def main():
    # Mends are for where Pinion is installed.
    os.environ["PATH"] = f"{os.path.dirname(PINION)}:{os.environ['PATH']}"
    suite = Suite()
    name = sys.argv[1] if len(sys.argv) > 1 else "doctor"
    if name == "doctor":
        cards_suite(suite)
    else:
        suite.run(name, OTHERS[name])
    suite.end()


if __name__ == "__main__":
    main()
