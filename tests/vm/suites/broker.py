# SPDX-License-Identifier: BSD-3-Clause
"""pinion-broker: a user who may open nothing drives cards through it, and one who means harm gets nothing else. No node
is accessible: all are root's, with mode 0600."""

import contextlib
import glob
import json
import os
import re
import signal
import stat
import subprocess
import time

from guest import (BUILD, GUEST, MIB, NICS, PAGE, PINION, TESTPMD, UID, Skip, Suite, as_user, bind, check, equal, hosts, must,
                   run, status, testpmd, unbind)
from traffic import ping

BROKER = os.path.join(BUILD, "apps/broker/pinion-broker")
CLIENT = os.path.join(BUILD, "tests/vm/programs/broker")
FOLDER = "/run/pinion-broker"
SOCKET, POLICY, LEDGER, LOG = (os.path.join(FOLDER, name) for name in ("socket", "policy", "ledger.json", "log"))
CARDS = NICS[0:2]
PEERS = NICS[2:4]
MEM = 4 * MIB
BACKENDS = [name for name in os.environ["PINION_BACKENDS"].split(",") if name in ("iommufd", "type1")]
BACKEND = "iommufd" if "iommufd" in BACKENDS else "type1"


def allow(devices, memory=MEM, who=f"uid {UID}", more=""):
    return "".join(f"allow {who} device {device} memory {memory} {more}\n" for device in devices)


def write_policy(text, mode=0o644):
    with open(POLICY, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(POLICY, mode)


class Broker:
    """A pinion-broker that listens on a socket of its own."""

    def __init__(self, policy, *before):
        os.makedirs(FOLDER, exist_ok=True)
        write_policy(policy)
        self.log_from = os.path.getsize(LOG) if os.path.exists(LOG) else 0
        with open(LOG, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([*before, BROKER, "--policy", POLICY, "--socket", SOCKET, "--ledger", LEDGER],
                                            stderr=log)
        self.wait(lambda: os.path.exists(SOCKET) and stat.S_IMODE(os.stat(SOCKET).st_mode) == 0o666 and
                  run(*as_user([CLIENT, SOCKET, "connects", "1"])).stdout == "connects 1\n", "it listens")

    def log(self):
        with open(LOG, encoding="utf-8") as file:
            file.seek(self.log_from)
            return file.read()

    def wait(self, condition, what, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            check(self.process.poll() is None, f"the broker ended with {self.process.poll()}: {self.log()}")
            check(time.monotonic() < deadline, f"not so within {seconds} s: {what}: {self.log()}")
            time.sleep(0.02)

    def reload(self, text, good=True):
        seen = len(self.log())
        write_policy(text)
        self.process.send_signal(signal.SIGHUP)
        self.wait(lambda: ("is in force:" if good else "stays in force") in self.log()[seen:], "the policy was read")
        return self.log()[seen:]

    def leases(self):
        with open(LEDGER, encoding="utf-8") as file:
            return json.load(file)["leases"]

    def free(self):
        """Wait until nothing is handed out."""
        self.wait(lambda: not self.leases(), "nothing is handed out")

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(30)


@contextlib.contextmanager
def broker(policy, *before):
    program = Broker(policy, *before)
    try:
        yield program
        check(program.process.poll() is None, f"the broker ended with {program.process.poll()}: {program.log()}")
    finally:
        if program.process.poll() is None:
            equal(program.stop(), 0, "exit status of the broker")
        for name in (SOCKET, LEDGER):
            if os.path.exists(name):
                os.unlink(name)


def client(*arguments, uid=UID, memlock=8 * MIB, **kwargs):
    return must(*as_user([CLIENT, SOCKET, *map(str, arguments)], memlock, uid), **kwargs)


class Holder:
    """A client that asks for devices and holds them."""

    def __init__(self, *devices, backend=0, uid=UID, memlock=8 * MIB, action="open"):
        words = [action, str(backend), *devices] if action == "open" else [action, *devices]
        self.process = subprocess.Popen(as_user([CLIENT, SOCKET, *words], memlock, uid), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.answer = self.process.stdout.readline().strip()
        self.more = self.process.stdout.readline().strip() if action == "open" else ""

    def end(self):
        self.process.stdin.close()
        self.process.wait(30)


def holds(*devices, **kwargs):
    holder = Holder(*devices, **kwargs)
    equal(holder.answer, "open: 0", "the request")
    return holder


def limits(pid):
    return tuple(must("prlimit", "--pid", str(pid), "--memlock", "--output=SOFT,HARD", "--noheadings").split())


def wire(backend, *more, **kwargs):
    return testpmd(f"--broker={SOCKET}", "--forward", "bridge", "--dma", backend, "--mem", str(MEM), "--page-size", "2M",
                   "--pool", "1600", "-a", CARDS[0], "-a", CARDS[1], *more, memlock=64 * 1024, **kwargs)


def test_no_access():
    """What the other tests stand on: without the broker this user gets nowhere."""
    for node in [*glob.glob("/dev/vfio/*"), *glob.glob("/dev/vfio/devices/*"), "/dev/iommu"]:
        if os.path.exists(node) and not os.path.isdir(node):
            equal((os.stat(node).st_uid, stat.S_IMODE(os.stat(node).st_mode)), (0, 0o600), node)
    done = run(*as_user([TESTPMD, "-a", CARDS[0], "--forward", "io", "--duration", "0.1"]))
    equal(done.returncode, 1, "testpmd without the broker")


def test_traffic(backend):
    """Two kernel hosts talk through cards that the broker handed out, and the report is right page by page."""
    with broker(allow(CARDS)) as program, hosts(*PEERS, "b") as pair, wire(backend) as forwarder:
        must(*pair.on(0, "ping", "-c", "1", "-w", "20", pair.addresses[1]))
        ping(pair, 100, 0.01)
        ping(pair, 20, 0.01, size=1472)
        process, = [entry for entry in json.loads(must(PINION, "pins", "--json"))["processes"] if entry["alive"]]
        locked, pinned = status(process["pid"])
        equal(process["uid"], UID, "uid in the report")
        equal(locked, MEM // PAGE, "VmLck: both backends charge the process")
        equal(pinned, MEM // PAGE if backend == "iommufd" else 0, "VmPin")
        for name, want in (("mm->locked_vm", locked), ("mm->pinned_vm", pinned)):
            equal(process["counters"][name]["predicted"], want, f"prediction of {name}")
            equal(process["counters"][name]["observed"], want, f"observation of {name}")
        equal(process["counters"]["mm->locked_vm"]["left"], 0, "pages left")
        equal(limits(process["pid"]), (str(MEM), str(MEM)), "RLIMIT_MEMLOCK")
        equal([(lease["device"], lease["pid"], lease["backend"], lease["state"]) for lease in program.leases()],
              [(card, process["pid"], backend, "held") for card in CARDS], "the ledger")
        text = must(*as_user([BROKER, "--status", "--ledger", LEDGER]))
        check(all(f"{card}  {backend:7}  uid {UID}  pid {process['pid']}  4 MiB per process" in text for card in CARDS), text)
        with open(f"/proc/{process['pid']}/status", encoding="ascii") as lines:
            equal({line.split()[1] for line in lines if line.startswith("Cap")}, {"0" * 16}, "capabilities")
        equal(forwarder.stop(), 0, "exit status")
        check("RX-packets:" in forwarder.output, forwarder.output)
        program.free()
        check("nothing is handed out" in must(*as_user([BROKER, "--status", "--ledger", LEDGER])), "status")


def test_page_less(backend):
    """A page less than is mapped: refused, with the right words, and nothing stays."""
    with broker(allow(CARDS, MEM - PAGE)) as program:
        done = run(*as_user([TESTPMD, f"--broker={SOCKET}", "--forward", "io", "--dma", backend, "--mem", str(MEM),
                             "--page-size", "4K", "--pool", "1600", "--duration", "0.2", "-a", CARDS[0]], 64 * MIB))
        equal(done.returncode, 1, done.stdout)
        check("short by 1" in done.stderr and "RLIMIT_MEMLOCK" in done.stderr, done.stderr)
        program.free()
        program.reload(allow(CARDS, MEM))
        must(*as_user([TESTPMD, f"--broker={SOCKET}", "--forward", "io", "--dma", backend, "--mem", str(MEM),
                       "--page-size", "4K", "--pool", "1600", "--duration", "0.2", "-a", CARDS[0]], 64 * 1024))


def test_confined():
    with broker(allow(CARDS)) as program, open(f"/proc/{program.process.pid}/status", encoding="ascii") as lines:
        found = dict(line.split(":\t") for line in lines.read().splitlines() if ":\t" in line)
        only = f"{1 << 24:016x}"
        equal([found[name] for name in ("CapPrm", "CapEff", "CapInh", "CapBnd", "CapAmb")],
              [only, only, "0" * 16, "0" * 16, "0" * 16], "capabilities")
        equal((found["NoNewPrivs"], found["Seccomp"]), ("1", "2"), "no_new_privs and seccomp")
    # With no more than the unit of systemd leaves it.
    with broker(allow(CARDS), "setpriv", "--bounding-set=-all,+sys_resource", "--inh-caps=-all", "--no-new-privs") as program:
        holds(CARDS[0], memlock=64 * 1024).end()
        program.free()


def test_policy_refused():
    """Errors with line and column, files that somebody else could write, and what no file may be."""
    os.makedirs(FOLDER, exist_ok=True)
    good = allow(CARDS[:1])
    for text, where, word in [
            ("deny uid 0", "1:1", "allow"), ("\n\nallow user 1", "3:7", "uid"), ("allow uid x", "1:11", "x"),
            ("allow uid -1", "1:11", "-1"), ("allow uid 4294967295", "1:11", "4294967295"),
            ("allow uid 1000 gid 1", "1:16", "device"), ("allow cgroup a/b device", "1:14", "a/b"),
            ("allow cgroup /a/../b device", "1:14", ".."), ("allow cgroup /a//b device", "1:14", "//"),
            ("allow uid 1 device 00:10.0", "1:20", "00:10.0"), ("allow uid 1 device 0000:00:10.8", "1:20", "10.8"),
            ("allow uid 1 device *", "1:20", "*"), (f"allow uid 1 device {CARDS[0]}", "1:32", "memory"),
            (f"allow uid 1 device {CARDS[0]} memory 1", "1:40", "4096"),
            (f"allow uid 1 device {CARDS[0]} memory -4K", "1:40", "-4K"),
            (f"allow uid 1 device {CARDS[0]} memory 99999999999G", "1:40", "99999999999G"),
            (f"allow uid 1 device {CARDS[0]} memory 4K per cent", "1:47", "cent"),
            (f"allow uid 1 device {CARDS[0]} memory 4K unlimited", "1:43", "unlimited"),
            (f"allow uid 1 device {CARDS[0]} memory 4K per user now", "1:52", "now"),
            (good + good, "2:23", "line 1"), ("# \n" + good.replace(" ", "\u00a0"), "2:6", "0xc2"),
            (good + "x" * 1001, "2:1001", "1000"), ("\0", "1:1", "0x00"), ("a" * 300, "1:1", "255")]:
        write_policy(text)
        done = run(BROKER, "--check", POLICY)
        equal(done.returncode, 1, repr(text))
        check(f"{POLICY}:{where}: " in done.stderr and word in done.stderr.split(where, 1)[1], f"{text!r}: {done.stderr}")
        done = run(BROKER, "--policy", POLICY, "--socket", SOCKET, "--ledger", LEDGER)
        check(done.returncode == 1 and f":{where}: " in done.stderr and not os.path.exists(SOCKET), done.stderr)
    write_policy(good)
    must(BROKER, "--check", POLICY)
    for mode, owner in ((0o666, 0), (0o664, 0), (0o644, UID)):
        os.chmod(POLICY, mode), os.chown(POLICY, owner, 0)
        done = run(BROKER, "--policy", POLICY, "--socket", SOCKET, "--ledger", LEDGER)
        check(done.returncode == 1 and "a policy must be root's" in done.stderr, done.stderr)
    os.chown(POLICY, 0, 0)
    os.unlink(POLICY)
    os.mkfifo(POLICY)
    check("no regular file" in run(BROKER, "--policy", POLICY, "--socket", SOCKET, timeout=10).stderr, "a FIFO")
    os.unlink(POLICY)
    done = run(BROKER, "--policy", POLICY, "--socket", SOCKET)
    check(done.returncode == 1 and "No such file" in done.stderr, done.stderr)


def test_who():
    """By user, by control group, by both; not by a name that only begins alike."""
    group = f"/user-{UID}/command"
    with broker(allow(CARDS)) as program:
        for who, granted in [(f"uid {UID}", True), (f"uid {UID + 1}", False), (f"cgroup /user-{UID}", True),
                             (f"cgroup {group}", True), ("cgroup /user-100", False), (f"cgroup {group}/x", False),
                             ("cgroup /", True), (f"uid {UID} cgroup {group}", True), (f"uid {UID} cgroup /other", False),
                             (f"uid {UID + 1} cgroup {group}", False)]:
            # A second rule lets it connect, so that it is the request that is looked at.
            program.reload(allow(CARDS[:1], who=who) + allow(CARDS[1:]))
            holder = Holder(CARDS[0])
            equal(holder.answer == "open: 0", granted, f"{who}: {holder.answer}")
            check(granted or (holder.answer.startswith("open: 13 the policy grants") and group in holder.answer), holder.answer)
            holder.end()
            program.free()
    with broker(allow(CARDS)):
        holder = Holder(CARDS[0], uid=UID + 7)
        check(holder.answer.startswith("open: 13 the policy has no rule for uid 1007"), holder.answer)
        holder.end()
    with broker(""):
        check(Holder(CARDS[0]).answer.startswith("open: 13 "), "an empty policy grants nothing")


def test_limit():
    """Raised, lowered, and put back; never above what is granted."""
    for memlock in (64 * 1024, MEM, 64 * MIB):
        with broker(allow(CARDS, MEM)) as program:
            holder = holds(CARDS[0], memlock=memlock)
            equal(holder.more, f"files 2 limit {MEM} {MEM}", "RLIMIT_MEMLOCK")
            equal(program.leases()[0]["hard_before"], memlock, "the limit of before in the ledger")
            holder.end()
            program.free()
    with broker(allow(CARDS, MEM)) as program:
        holder = holds(CARDS[0], memlock=64 * 1024)
        program.stop(signal.SIGKILL)
        program.process.wait()
        pid, = {lease["pid"] for lease in program.leases()}
        text = must(*as_user([BROKER, "--status", "--ledger", LEDGER]))
        check("does not run" in text and f"pid {pid}" in text, text)
        program.__init__(allow(CARDS, MEM))
        equal([lease["state"] for lease in program.leases()], ["held"], "a broker that was killed has forgotten nothing")
        check(Holder(CARDS[0]).answer.startswith("open: 16 "), "it is in use still")
        holder.end()
        program.free()


def test_memory_wanted():
    """The soft limit is what is asked for, up to what is granted; given back, both are as before."""
    with broker(allow(CARDS[:1], MEM) + allow(CARDS[1:], 2 * MEM)) as program:
        holder = holds(CARDS[0], backend=f"0:{MEM - PAGE}")
        equal(holder.more, f"files 2 limit {MEM - PAGE} {MEM}", "less than is granted")
        holder.end()
        holder = Holder(CARDS[0], backend=f"0:{MEM + PAGE}")
        check(holder.answer.startswith(f"open: 122 {MEM + PAGE} bytes") and "line 1 of the policy" in holder.answer,
              holder.answer)
        equal(holder.more, f"files 0 limit {8 * MIB} {8 * MIB}", "a refusal changes nothing")
        holder.end()
        program.free()
        lines = client("release", *CARDS, memlock=64 * MIB).splitlines()
        equal([line.strip() for line in lines],
              ["open: 0", f"files 2 limit {MEM} {MEM}", "open: 0", f"files 2 limit {2 * MEM} {2 * MEM}",
               "release: 0", f"files 0 limit {MEM} {MEM}", f"release: 2 {CARDS[1]} was not handed to this process",
               "release: 0", f"files 0 limit {64 * MIB} {64 * MIB}"], "limits from step to step")
        program.free()


def test_exclusive():
    """Two clients race for a device, many times: one has it, the other is told who."""
    with broker(allow(CARDS)) as program:
        for _ in range(8):
            both = [subprocess.Popen(as_user([CLIENT, SOCKET, "open", "0", CARDS[0]]), text=True, stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE) for _ in range(2)]
            answers = sorted(process.stdout.readline().strip() for process in both)
            equal(answers[0], "open: 0", "one has it")
            check(re.match(r"open: 16 .* is in use by process \d+ of uid 1000", answers[1]), answers[1])
            for process in both:
                process.communicate()
            program.free()
        # The same user a second time, and beside it the other card.
        one = holds(CARDS[0])
        check(Holder(CARDS[0]).answer.startswith("open: 16 "), "a second time")
        check(Holder(CARDS[1], CARDS[0]).answer.startswith("open: 16 "), "all or nothing")
        equal([lease["device"] for lease in program.leases()], [CARDS[0]], "nothing of a refused request stays")
        two = holds(CARDS[1])
        one.end(), two.end()
        program.free()


def test_kept():
    """A child that keeps the files of a process that has ended: the ledger says so, nobody else gets the device, and
    when the files are closed it is free."""
    with broker(allow(CARDS) + allow(CARDS, who=f"uid {UID + 1}")) as program:
        holder = Holder(CARDS[0], action="keep")
        equal(holder.answer, "open: 0", "the request")
        program.wait(lambda: [lease["state"] for lease in program.leases()] == ["lingering"], "it lingers")
        other = Holder(CARDS[0], uid=UID + 1)
        check(other.answer.startswith("open: 16 ") and "has a copy of its file open" in other.answer, other.answer)
        other.end()
        check("stays with whoever has its file open" in must(BROKER, "--status", "--ledger", LEDGER), "status")
        # A broker after this one sees it too.
        program.stop(signal.SIGKILL)
        program.process.wait()
        program.__init__(allow(CARDS) + allow(CARDS, who=f"uid {UID + 1}"))
        equal([lease["state"] for lease in program.leases()], ["lingering"], "after a restart")
        holder.end()
        program.free()
        holds(CARDS[0], uid=UID + 1).end()
        program.free()


def shown(card=CARDS[0]):
    """What pinion status says, to anybody, of a card that was handed out: its entry, and its problems."""
    devices = json.loads(must(*as_user([PINION, "status", "--json"])))["devices"]
    found, = [device for device in devices if device["device"] == card]
    return found["handed_out"], found["problems"]


def test_taken_back():
    """pinion status shows what is handed out, and pinion revoke --all takes it back, from a broker that runs and after one
    that was killed; what it cannot take it names."""
    policy, low = allow(CARDS), (str(64 * 1024),) * 2

    def revoke(pid=None):
        done = run(PINION, "revoke", "--all")
        equal(done.returncode, 1 if pid else 0, done.stdout + done.stderr)
        if pid:
            line, = done.stderr.splitlines()
            check(f"process {pid} (" in line and f"'kill {pid}'" in line and f"unbind --force {CARDS[0]}" in line, line)

    with broker(policy) as program:
        equal(shown(), (None, []), "before")
        for killed in (False, True):
            holder = holds(CARDS[0], memlock=64 * 1024)
            pid, = {lease["pid"] for lease in program.leases()}
            if killed:
                program.stop(signal.SIGKILL)
            entry, problems = shown()
            equal((entry["state"], entry["pid"], entry["uid"], entry["memory"]), ("held", pid, UID, MEM), "handed out")
            equal([word in text for text in problems for word in ("does not run", "revoke --all")], [True] * 2 * killed, problems)
            revoke(pid)
            # What could be taken back is.
            equal(limits(pid), low, "RLIMIT_MEMLOCK")
            equal(shown()[0]["state"], "lingering", "it has the file")
            if not killed:
                other = Holder(CARDS[0])
                check("has a copy of its file open" in other.answer, other.answer)
                other.end()
            revoke(pid)
            holder.end()
            if not killed:
                program.free()
            revoke()
            equal(shown(), (None, []), "afterwards")
        program.__init__(policy)
        # A client that was killed with its broker leaves nothing that stays.
        holder = holds(CARDS[0])
        program.stop(signal.SIGKILL)
        holder.process.kill()
        holder.end()
        entry, problems = shown()
        equal((entry["state"], "has ended" in problems[0]), ("lingering", True), problems)
        revoke()
        equal(shown(), (None, []), "afterwards")
        program.__init__(policy)
        second = run(BROKER, "--policy", POLICY, "--socket", f"{SOCKET}2", "--ledger", LEDGER, timeout=60)
        check(second.returncode == 1 and "in use by another pinion-broker" in second.stderr, second.stderr)
        holds(CARDS[0]).end()
        program.free()


def test_reset():
    """That a card may master the bus is over when the next client gets it. What is in its own registers is up to its
    reset: that of these cards, by power management, leaves them."""
    if BACKEND != "iommufd":
        raise Skip("the program drives cards of iommufd")
    with broker(allow(CARDS)) as program:
        first = client("scribble", CARDS[0], "0x12345678")
        program.free()
        second = client("scribble", CARDS[0], "0x12345678")
        program.free()
        check("now 0x12345678 master 1" in first, first)
        check("master 0 register" in first and "master 0 register" in second, first + second)


def test_old_mappings():
    """What one client mapped is out of the IOMMU when the next one gets the device, though the first kept its iommufd."""
    if BACKEND != "iommufd":
        raise Skip("the program maps through iommufd")
    leaf = [os.path.join(GUEST, "iommu-leaf"), CARDS[0], str(1 << 33), str(16 * PAGE)]
    with broker(allow(CARDS)) as program:
        first = Holder(CARDS[0], "16", action="mapped")
        equal(first.answer, "mapped", "the first")
        equal(must(*leaf), "4096 rw 16\n", "pages in the IOMMU")
        first.process.stdin.write("\n")
        first.process.stdin.flush()
        program.free()
        second = Holder(CARDS[0], "0", action="mapped")
        equal(second.answer, "mapped", "the second")
        equal(must(*leaf), "", "pages in the IOMMU")
        second.end(), first.end()
        program.free()


def test_children():
    """What bounds memory and what does not, once an iommufd has been handed over: doc/broker.md says it."""
    if BACKEND != "iommufd":
        raise Skip("the program maps through iommufd")
    for more, mapped in (("", 5), ("per user", 1)):
        with broker(allow(CARDS, MIB, more=more)) as program:
            equal(client("children", CARDS[0], 5).splitlines()[1],
                  f"a page too many: 12; children that mapped all: {mapped}", f"memory 1M {more}")
            program.free()


def test_per_group():
    """The group's own limits bound it, if only root can change them, whatever its processes and their children do."""
    group = f"/sys/fs/cgroup/user-{UID}"
    run(*as_user(["true"]))
    with open("/sys/fs/cgroup/cgroup.subtree_control", "w", encoding="ascii") as file:
        file.write("+memory +hugetlb")
    limits_of = {name: os.path.join(group, name) for name in ("memory.max", "hugetlb.2MB.max", "hugetlb.1GB.max")}

    def limit(name, value):
        with open(limits_of[name], "w", encoding="ascii") as file:
            file.write(str(value))

    def answer(program):
        holder = Holder(CARDS[0])
        holder.end()
        program.free()
        return holder.answer

    try:
        with broker(allow(CARDS, 64 * MIB, more="per group")) as program:
            check("nothing that only root may change bounds" in answer(program), "no limit")
            limit("memory.max", 48 * MIB)
            check("may have" in answer(program), "hugepages come on top")
            limit("hugetlb.2MB.max", 16 * MIB)
            limit("hugetlb.1GB.max", 0)
            equal(answer(program), "open: 0", "48 and 16 MiB")
            limit("hugetlb.2MB.max", 18 * MIB)
            check(f"may have {66 * MIB}" in answer(program), "2 MiB more")
            limit("hugetlb.2MB.max", 0)
            os.chown(limits_of["memory.max"], UID, 0)
            check("nothing that only root" in answer(program), "the user could raise it")
            os.chown(limits_of["memory.max"], 0, 0)
    finally:
        for name in limits_of:
            limit(name, "max")


def test_garbage():
    with broker(allow(CARDS)) as program:
        lines = client("garbage", CARDS[0]).splitlines()
        check(len(lines) > 60, lines)
        # An empty message cannot be told from the end of the connection.
        for line in lines[1:]:
            check(re.search(r": (71|22) files 0$", line), line)
        equal(program.leases(), [], "the ledger")
        holds(CARDS[0]).end()
        program.free()


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_files():
    """Files sent to the broker stay nowhere."""
    with broker(allow(CARDS)) as program:
        before = open_files(program.process.pid)
        lines = client("files", CARDS[0], timeout=300).splitlines()
        equal(len(lines), 20, "requests")
        check(all(re.match(r"with a file: (0 files 2|16 files 0)$", line) for line in lines), lines)
        program.free()
        program.wait(lambda: open_files(program.process.pid) == before, "its files are those of before")


def test_flood():
    with broker(allow(CARDS) + allow(CARDS, who=f"uid {UID + 1}")) as program:
        before = open_files(program.process.pid)
        found = re.match(r"open (\d+) refused (\d+)", client("flood", 500, timeout=300))
        equal([int(n) for n in found.groups()], [8, 492], "connections")
        flood = subprocess.Popen(as_user([CLIENT, SOCKET, "flood", "500"]), stdout=subprocess.PIPE)
        # Another user is served meanwhile.
        holds(CARDS[0], uid=UID + 1).end()
        flood.communicate()
        equal(client("connects", 1000, timeout=300), "connects 1000\n", "connects")
        program.free()
        program.wait(lambda: open_files(program.process.pid) == before, "its files are those of before")
        check(len(program.log().splitlines()) < 400, "the log does not fill up")


def test_forked():
    with broker(allow(CARDS)) as program:
        child, parent = client("forked", CARDS[0]).splitlines()
        check(child.startswith("child: 1 this connection is of process"), child)
        equal(parent.strip(), "parent: 0", "the parent")
        program.free()


def test_die():
    with broker(allow(CARDS)) as program:
        before = open_files(program.process.pid)
        client("die", CARDS[0])
        program.free()
        equal(client("deaf", CARDS[0], timeout=300), "deaf: cut off\n", "one that does not read")
        program.free()
        program.wait(lambda: open_files(program.process.pid) == before, "its files are those of before")


def test_reuse():
    """The number of the process that connected, given out again, is nobody's way in."""
    if os.uname().release.startswith("6.1."):
        raise Skip("SO_PEERPIDFD is of Linux 6.5")
    with open("/proc/sys/kernel/pid_max", "r+", encoding="ascii") as file:
        old = file.read()
        file.seek(0)
        file.write("1500")
        file.flush()
        try:
            with broker(allow(CARDS)) as program:
                text = client("reuse", CARDS[0], timeout=500)
                check(text.startswith("reused: 3 the process has ended"), text)
                equal(program.leases(), [], "the ledger")
        finally:
            file.seek(0)
            file.write(old)


def test_reload():
    """A bad file leaves the old one in force; a good one counts from then on; under load."""
    with broker(allow(CARDS)) as program:
        load = subprocess.Popen(as_user([CLIENT, SOCKET, "connects", "3000"]), stdout=subprocess.DEVNULL)
        holder = holds(CARDS[0])
        for _ in range(3):
            said = program.reload("allow nonsense\n", good=False)
            check(f"{POLICY}:1:7: " in said, said)
            program.reload(allow(CARDS[:1]))
            check(Holder(CARDS[1]).answer.startswith("open: 13 "), "the new policy")
            program.reload(allow(CARDS))
        # What was handed out stays.
        equal([lease["device"] for lease in program.leases()], [CARDS[0]], "the ledger")
        program.reload("")
        check(Holder(CARDS[1]).answer.startswith("open: 13 "), "nobody is known any more")
        holder.end()
        load.kill()
        load.communicate()
        program.free()


def test_exhaustion():
    """No file descriptors left: requests are refused, nothing is half handed out, and it recovers."""
    with broker(allow(CARDS), "prlimit", "--nofile=16:16") as program:
        for count in range(1, 7):
            flood = [subprocess.Popen(as_user([CLIENT, SOCKET, "open", "0", "0000:00:1f.7"]), text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(count)]
            time.sleep(0.3)
            request = subprocess.Popen(as_user([CLIENT, SOCKET, "open", "0", *CARDS]), text=True, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE)
            time.sleep(0.3)
            for process in flood:
                process.communicate()
            answer = request.stdout.readline()
            check(re.match(r"open: (0|-1|24|5|13) ", answer), answer)
            if not answer.startswith("open: 0 "):
                equal(program.leases(), [], "the ledger")
            request.communicate()
            program.free()
        holds(CARDS[0]).end()
        program.free()


def test_activation():
    """As systemd starts it: the socket is file 3."""
    os.makedirs(FOLDER, exist_ok=True)
    write_policy(allow(CARDS))
    script = ("import os, socket, sys\n"
              f"s = socket.socket(socket.AF_UNIX, socket.{{}})\ns.bind({SOCKET!r}); os.chmod({SOCKET!r}, 0o666); s.listen()\n"
              "os.dup2(s.fileno(), 3) if s.fileno() != 3 else None\nos.set_inheritable(3, True)\n"
              "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
              f"os.execv({BROKER!r}, [{BROKER!r}, '--policy', {POLICY!r}, '--ledger', {LEDGER!r}])\n")
    for kind, good in (("SOCK_STREAM", False), ("SOCK_SEQPACKET", True)):
        process = subprocess.Popen(["/usr/bin/python3", "-c", script.format(kind)], stderr=subprocess.PIPE, text=True)
        try:
            if not good:
                check("ListenSequentialPacket" in process.communicate(timeout=20)[1], "a socket of another kind")
                continue
            while not os.path.exists(LEDGER):
                check(process.poll() is None, "it ended")
                time.sleep(0.02)
            holds(CARDS[0]).end()
        finally:
            process.kill()
            process.communicate()
            for name in (SOCKET, LEDGER):
                if os.path.exists(name):
                    os.unlink(name)


def test_group():
    """On type1 a group goes as a whole: one device of it is not handed out without the right to the others."""
    if "type1" not in BACKENDS:
        raise Skip("no type1 here")
    shared = [folder for folder in glob.glob("/sys/kernel/iommu_groups/*/devices") if
              len([d for d in os.listdir(folder) if os.path.exists(f"/sys/bus/pci/devices/{d}/net") or
                   os.path.basename(os.path.realpath(f"/sys/bus/pci/devices/{d}/driver")) == "vfio-pci"]) == 2]
    check(shared, "two cards share a group")
    cards = sorted(d for d in os.listdir(shared[0]) if os.path.exists(f"/sys/bus/pci/devices/{d}/resource0") and
                   open(f"/sys/bus/pci/devices/{d}/class", encoding="ascii").read().startswith("0x0200"))
    bind(*cards, uid=0)
    close_nodes()
    try:
        with broker(allow(cards[:1])) as program:
            holder = Holder(cards[0], backend=2)
            check("a group goes as a whole" in holder.answer and cards[1] in holder.answer, holder.answer)
            holder.end()
            # One without a driver could be given to vfio-pci while the group is open.
            with open(f"/sys/bus/pci/devices/{cards[1]}/driver/unbind", "w", encoding="ascii") as file:
                file.write(cards[1])
            program.reload(allow([f"{cards[0]} without reset"]))
            holder = Holder(cards[0], backend=2)
            check("a group goes as a whole" in holder.answer and cards[1] in holder.answer, holder.answer)
            holder.end()
            with open("/sys/bus/pci/drivers_probe", "w", encoding="ascii") as file:
                file.write(cards[1])
            program.reload(allow(cards))
            holder = Holder(*cards, backend=2)
            check("has no reset" in holder.answer, holder.answer)
            holder.end()
            equal(program.leases(), [], "the ledger")
            program.reload(allow([f"{card} without reset" for card in cards]))
            holder = holds(*cards, backend=2)
            check(holder.more.startswith("files 3 "), holder.more)
            holder.end()
            program.free()
    finally:
        unbind(*cards)


def close_nodes():
    for node in [*glob.glob("/dev/vfio/*"), *glob.glob("/dev/vfio/devices/*"), "/dev/iommu"]:
        if os.path.exists(node) and not os.path.isdir(node):
            os.chown(node, 0, 0)
            os.chmod(node, 0o600)


def main():
    suite = Suite()
    bind(*CARDS, uid=0)
    close_nodes()
    suite.run("no node is accessible", test_no_access)
    for backend in BACKENDS:
        suite.run(f"{backend}: real traffic, and the report", test_traffic, backend)
        suite.run(f"{backend}: a page less", test_page_less, backend)
    for name, function in [
            ("capabilities and system calls", test_confined), ("policies that are refused", test_policy_refused),
            ("who gets it", test_who), ("RLIMIT_MEMLOCK, and a broker that is killed", test_limit),
            ("memory asked for", test_memory_wanted), ("one client a device", test_exclusive),
            ("files that are kept", test_kept), ("status, and revoke --all", test_taken_back), ("reset", test_reset),
            ("old mappings", test_old_mappings), ("children that map too", test_children), ("memory per group", test_per_group),
            ("garbage", test_garbage), ("files sent to it", test_files), ("floods", test_flood),
            ("a child with the connection", test_forked), ("clients that die, or are deaf", test_die),
            ("numbers of processes", test_reuse), ("SIGHUP", test_reload), ("no descriptors left", test_exhaustion),
            ("socket activation", test_activation), ("a group of two", test_group)]:
        suite.run(name, function)
    unbind(*CARDS)
    suite.end()


if __name__ == "__main__":
    main()
