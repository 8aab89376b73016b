# SPDX-License-Identifier: BSD-3-Clause
"""Programs without any capability, confined as they are deployed, each with a card that forwards frames: with the limit
that the plan names, and with a page less. The commands are those of doc/deploy.md."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time

import jsonschema

import blast
from guest import (BUILD, GUEST, MIB, NICS, PAGE, PINION, TESTPMD, TREE, UID, Suite, as_user, check, equal, interface,
                   must, run, status, test_backends_expected)
from plan import needed, refused_by_one, ways

CARDS, PEERS = NICS[:2], NICS[2:4]
MACS = ["52:54:00:00:01:00", "52:54:00:00:02:00"]
WORK = "/tmp/pinion-containers"
ROOTFS = f"{WORK}/rootfs"
SHARE = "/usr/local/share/pinion"
PROFILE = f"{SHARE}/seccomp.json"
FILTER = f"{WORK}/filter"
SECCOMP_RUN = os.path.join(BUILD, "tests/vm/programs/seccomp_run")
SYSTEMD = os.path.join(GUEST, "systemd")
BROKER = os.path.join(BUILD, "apps/broker/pinion-broker")
MEM = 4 * MIB
APP = ["--json", "--forward", "macswap", "--mem", "4M", "--page-size"]
FRAMES = 64
# What the user's login has, as podman without root can only lower it.
LOGIN = 64 * MIB


def recipe(name):
    """The block of that name of the page that people follow."""
    with open(os.path.join(TREE, "doc/deploy.md"), encoding="utf-8") as file:
        found = re.findall(rf"^```sh recipe={name}\n(.*?)^```", file.read(), re.M | re.S)
    check(len(found) == 1, f"doc/deploy.md has {len(found)} recipes {name}")
    return found[0]


def shell(name, **variables):
    """The command line that follows a recipe."""
    return ["/usr/bin/env", f"SHARE={SHARE}", f"ROOTFS={ROOTFS}", f"FILTER={FILTER}",
            *(f"{key}={value}" for key, value in variables.items()), "/bin/sh", "-euc", recipe(name)]


def app(way, page="4K"):
    return " ".join([*APP, page, "--dma", way.dma])


def nodes(way, card):
    """The device nodes that a container needs."""
    group = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{card}/iommu_group"))
    common = "/dev/vfio/vfio" if way.name in ("type1", "iommufd-as-vfio") else "/dev/iommu"
    if way.name != "iommufd":
        return [common, f"/dev/vfio/{group}"]
    return [common, f"/dev/vfio/devices/{os.listdir(f'/sys/bus/pci/devices/{card}/vfio-dev')[0]}"]


def pids():
    """The programs that run, wherever they are."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            if file.read().strip() == "pinion-testpmd":
                found.append(int(pid))
    return found


class Program:
    """A pinion-testpmd somewhere, and what was run to have it there."""
    count = 0

    def __init__(self, command):
        Program.count += 1
        self.output, self.errors = f"{WORK}/{Program.count}.out", f"{WORK}/{Program.count}.err"
        self.before, self.pid = pids(), None
        with open(self.output, "wb") as out, open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(command, stdout=out, stderr=errors, stdin=subprocess.DEVNULL)

    def text(self):
        with open(self.errors, encoding="utf-8", errors="replace") as file:
            return file.read()

    def found(self):
        """Its number outside of any container, once it forwards."""
        self.pid, = set(pids()) - set(self.before)
        return self.pid

    def stop(self):
        """End the program itself; its document, when all around it has ended too."""
        os.kill(self.pid or self.found(), signal.SIGTERM)
        equal(self.process.wait(timeout=300), 0, f"exit status: {self.text()}")
        with open(self.output, encoding="utf-8") as file:
            return json.load(file)


@contextlib.contextmanager
def started(command):
    program = Program(command)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            for pid in set(pids()) - set(program.before):
                os.kill(pid, signal.SIGKILL)
            program.process.kill()
            program.process.wait()


def refused(command):
    """It ends for want of one page, and says so."""
    done = run(*command, timeout=600)
    refused_by_one(done.returncode, done.stdout + done.stderr)
    return done.stdout + done.stderr


def privilege(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return fields


def forwards(index=0, program=None):
    """Frames from the kernel's card at the other end of the wire come back, their addresses swapped. The first ones may
    come before the program is there."""
    target = bytes.fromhex(MACS[index].replace(":", ""))
    link = blast.open_socket(interface(PEERS[index]))
    deadline = time.monotonic() + 600
    try:
        source = link.getsockname()[4]
        while True:
            waiting = {number: blast.frame(source, target, number, 60) for number in range(FRAMES)}
            # Until there is somebody to receive them they wait in QEMU, and few of them can.
            with contextlib.suppress(TimeoutError):
                for sent in waiting.values():
                    link.send(sent)
            if blast.collect(link, waiting) == FRAMES:
                return
            check(not program or program.process.poll() is None, f"it does not forward: {program and program.text()}")
            check(time.monotonic() < deadline, f"of {FRAMES} frames {len(waiting)} do not come back")
    finally:
        link.close()


def unprivileged(pid, seccomp="2"):
    fields = privilege(pid)
    for name in ("CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd"):
        equal(int(fields[name], 16), 0, name)
    equal(fields["NoNewPrivs"], "1", "NoNewPrivs")
    equal(fields["Seccomp"], seccomp, "Seccomp")
    equal(fields["Uid"].split()[0], str(UID), "real uid, outside")


def agrees(document, way, locked, pinned):
    """What the program's report says, what the plan says, and what the kernel showed."""
    process, = document["pins"]["processes"]
    counters = process["counters"]
    equal(counters["mm->locked_vm"]["predicted"], locked, "VmLck")
    equal(counters["mm->pinned_vm"]["predicted"], pinned, "VmPin")
    for name in ("mm->locked_vm", "mm->pinned_vm"):
        equal(counters[name]["unexplained"], 0, f"unexplained in {name}")
    equal(counters["user->locked_vm"]["predicted"], MEM // PAGE if way.accounting == "user" else 0, "user->locked_vm")
    check(document["totals"]["flow"]["received"] >= FRAMES, f"packets: {document['totals']['flow']}")


def works(command, way):
    """It forwards without privilege, and what is pinned is what everybody says."""
    with started(command) as program:
        forwards(0, program)
        pid = program.found()
        unprivileged(pid)
        locked, pinned = status(pid)
        agrees(program.stop(), way, locked, pinned)
        equal(locked + pinned >= MEM // PAGE, True, "pages pinned")


def need_of(way, *more):
    return needed(way, "--mem", "4M", "--page", "4K", *more)


def exactly(make, way):
    """What make() gives the command line for: with the limit of the plan, and with a page less."""
    need = need_of(way)
    works(make(need), way)
    refused(make(need - PAGE))


# (a) an ordinary user

def confined(way, memlock):
    """With the profile of containers on top."""
    command = shell("bare", MEMLOCK=memlock, CARD=CARDS[0], APP=app(way))
    return ["/usr/bin/env", f"PATH={WORK}/under-profile:{os.environ['PATH']}", *command]


def test_plain(way):
    exactly(lambda memlock: confined(way, memlock), way)


def test_profile(way, *more):
    """The program calls nothing that the profile does not have."""
    report = f"{WORK}/calls"
    if os.path.exists(report):
        os.unlink(report)
    command = [SECCOMP_RUN, "--measure", report, PROFILE, TESTPMD, *APP, "4K", "--dma", way.dma, "-a", CARDS[0],
               "--duration", "0.2", *more]
    done = run(*as_user(command, need_of(way) + MIB))
    equal(done.returncode, 0, done.stderr)
    with open(report, encoding="ascii") as file:
        equal(file.read().split(), [], "system calls that deploy/seccomp/pinion.json lacks")


# (b) a service

def test_service(way):
    unit = f"pinion-testpmd@{CARDS[0]}"
    need = need_of(way)
    must(SYSTEMD, "true")
    drop_ins = "/etc/systemd/system/pinion-testpmd@.service.d"
    os.makedirs(drop_ins)
    # Nothing else of the host's is to start with it, the journal neither.
    with open(f"{drop_ins}/alone.conf", "w", encoding="ascii") as file:
        file.write(f"[Unit]\nDefaultDependencies=no\n[Service]\nRestart=no\nStandardError=file:{WORK}/service.err\n")
    setting = shell("systemd", MEMLOCK=need, MEM="4M", CARD=CARDS[0], APP=" ".join(
        ["--page-size", "4K", "--forward", "macswap", "--dma", way.dma]))
    must(SYSTEMD, *setting, timeout=600)
    try:
        deadline = time.monotonic() + 60
        while not pids() and time.monotonic() < deadline:
            time.sleep(0.1)
        pid, = pids()
        forwards()
        unprivileged(pid)
        locked, pinned = status(pid)
        equal((locked, pinned), (MEM // PAGE, 0) if way.name == "type1" else
              (0 if way.accounting == "user" else locked, MEM // PAGE), "pages locked and pinned")
        # Beside this systemd: the ledger has the number that the program has there.
        report = json.loads(must(SYSTEMD, "/usr/bin/env", "PINION_RUNTIME_DIR=/run/pinion-testpmd", PINION, "pins", "--json"))
        process, = report["processes"]
        equal(process["counters"]["mm->pinned_vm"]["unexplained"], 0, "unexplained")
        equal(process["limit_soft_pages"], need // PAGE, "limit of the service")
        must(SYSTEMD, "systemctl", "stop", unit)
        with open(f"{drop_ins}/memory.conf", "a", encoding="ascii") as file:
            file.write(f"LimitMEMLOCK={need - PAGE}\n")
        must(SYSTEMD, "systemctl", "daemon-reload")
        must(SYSTEMD, "systemctl", "start", unit)
        deadline = time.monotonic() + 60
        while run(SYSTEMD, "systemctl", "is-active", "-q", unit).returncode == 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        with open(f"{WORK}/service.err", encoding="utf-8") as file:
            refused_by_one(1, file.read())
    finally:
        run(SYSTEMD, "systemctl", "stop", unit)
        shutil.rmtree(drop_ins)


# (c) containers

def podman(runtime, command, uid=UID):
    """As a user who has logged in: a runtime and a control group of its own."""
    folder = f"{WORK}/config-{uid}/containers"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/containers.conf", "w", encoding="ascii") as file:
        file.write(f'[engine]\ncgroup_manager = "cgroupfs"\nruntime = "{runtime}"\nevents_logger = "file"\n')
    must("chown", "-R", f"{uid}:{uid}", os.path.dirname(folder))
    login = [os.path.join(GUEST, "as-user"), str(uid), "--memlock", str(LOGIN), "--allow-setuid", "--"] if uid else []
    return [*login, "/usr/bin/env", f"XDG_CONFIG_HOME={WORK}/config-{uid}", f"CONTAINERS_CONF={folder}/containers.conf",
            *command]


def cdi(way, card, name="cdi"):
    shutil.rmtree("/etc/cdi", ignore_errors=True)
    must(*shell(name, CARD=card, BACKEND=way.name, MEM="4M"))


def test_podman(way, runtime):
    cdi(way, CARDS[0])
    exactly(lambda memlock: podman(runtime, shell("podman", CARD=CARDS[0], MEMLOCK=memlock, APP=app(way))), way)


# (e) without any node

@contextlib.contextmanager
def broker(memory, how, who=f"uid {UID}"):
    """One that grants the card and so much memory."""
    folder = "/run/pinion-broker"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/policy", "w", encoding="ascii") as file:
        file.write(f"allow {who} device {CARDS[0]} memory {memory} {how}\n")
    with subprocess.Popen([BROKER, "--policy", f"{folder}/policy", "--socket", f"{folder}/socket"]) as program:
        deadline = time.monotonic() + 60
        while run(*as_user(["/usr/bin/test", "-w", f"{folder}/socket"])).returncode:
            check(program.poll() is None and time.monotonic() < deadline, "the broker does not listen")
            time.sleep(0.1)
        try:
            yield
        finally:
            program.terminate()
    equal(program.returncode, 0, "exit status of the broker")


def test_broker(way):
    """The container has no node, and its user may open none outside either."""
    must(PINION, "revoke", "--all")
    need, how = need_of(way), "per user" if way.accounting == "user" else "per process"
    command = podman("crun", shell("podman-broker", CARD=CARDS[0], APP=" ".join([*APP, "4K", "--dma", way.name])))
    try:
        with broker(need, how), started(command) as program:
            forwards(0, program)
            pid = program.found()
            unprivileged(pid)
            for node in ("vfio", "iommu"):
                check(not os.path.exists(f"/proc/{pid}/root/dev/{node}"), f"the container has /dev/{node}")
            locked, pinned = status(pid)
            agrees(program.stop(), way, locked, pinned)
        with broker(need - PAGE, how):
            refused(command)
    finally:
        for card in CARDS:
            must(*shell("card", CARD=card))


def handed_out():
    devices = json.loads(must(PINION, "status", "--json"))["devices"]
    return {device["device"]: device["handed_out"]["pid"] for device in devices if device["handed_out"]}


def brokered_refused(command, *parts):
    done = run(*command, timeout=600)
    check(done.returncode and all(part in done.stderr for part in parts), f"{parts}: {done.stdout}{done.stderr}")
    equal(handed_out(), {}, "handed out")


def test_broker_group(way):
    """By control group, whose limits only root can change, with runc; who is not in it, or is another user outside, gets
    nothing from inside of a container either."""
    must(PINION, "revoke", "--all")
    command = podman("runc", shell("podman-broker", CARD=CARDS[0], APP=" ".join([*APP, "4K", "--dma", way.name])))
    run(*as_user(["true"]))
    with open("/sys/fs/cgroup/cgroup.subtree_control", "w", encoding="ascii") as file:
        file.write("+memory +hugetlb")
    group, most = f"/sys/fs/cgroup/user-{UID}", 512 * MIB
    limits = {"memory.max": most, "hugetlb.2MB.max": 0, "hugetlb.1GB.max": 0}

    def limit(name, value):
        with open(os.path.join(group, name), "w", encoding="ascii") as file:
            file.write(str(value))

    limits = {name: value for name, value in limits.items() if os.path.exists(os.path.join(group, name))}
    try:
        for name, value in limits.items():
            limit(name, value)
        with broker(most, "per group", f"cgroup /user-{UID}"):
            with started(command) as program:
                forwards(0, program)
                pid = program.found()
                unprivileged(pid)
                equal(handed_out(), {CARDS[0]: pid}, "pinion status")
                with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
                    mount, = [line.split() for line in file if " /run/pinion-broker " in line]
                check("ro" in mount[5].split(","), f"the broker's folder could be written: {mount}")
                locked, pinned = status(pid)
                document = program.stop()
                equal(document["pins"]["processes"][0]["counters"]["mm->pinned_vm"]["predicted"], pinned, "VmPin")
                check(locked + pinned >= MEM // PAGE, "pages pinned")
            limit("memory.max", most + 2 * MIB)
            brokered_refused(command, "per group", f"may have {most + 2 * MIB}")
        with broker(most, "per process", f"uid {UID} cgroup /user-{UID}/other"):
            brokered_refused(command, "the policy has no rule", f"uid {UID}")
        with broker(most, "per process"):
            another = [word.replace("--userns keep-id --user 1000:1000", "--user 5:5") for word in command]
            brokered_refused(another, "the policy has no rule for uid 100004")
    finally:
        for name in limits:
            limit(name, "max")
        for card in CARDS:
            must(*shell("card", CARD=card))


def bubblewrap(way, memlock):
    binds = " ".join(f"--dev-bind {node} {node}" for node in nodes(way, CARDS[0]))
    return as_user(shell("bwrap", NODES=binds, MEMLOCK=memlock, CARD=CARDS[0], APP=app(way)), LOGIN)


def test_bubblewrap(way):
    exactly(lambda memlock: bubblewrap(way, memlock), way)


# (d) two containers of one user

def test_two(way):
    """Whether they fit with the limit that one of them needs, the plan says; they do or do not."""
    cdi(way, ",".join(CARDS))
    one, two = need_of(way), need_of(way, "--processes", "2", "--same-user")
    equal(two, 2 * one if way.accounting == "user" else one, "what two need")

    def container(index, memlock):
        return podman("crun", shell("podman", CARD=CARDS[index], MEMLOCK=memlock, APP=app(way)))

    with started(container(0, two)) as first:
        forwards(0, first)
        first.found()
        with started(container(1, two)) as second:
            forwards(1, second)
            locked, pinned = status(second.found())
            for pid in (first.pid, second.pid):
                unprivileged(pid)
                equal(max(*status(pid)), MEM // PAGE, "pages pinned by each")
            agrees(second.stop(), way, locked, pinned)
        said = refused(container(1, two - PAGE))
        check(f"holds {(two - one) // PAGE} pages already" in said, said)
        forwards(0)
        first.stop()


# Descriptions

def schema(path, name):
    """A validator of a schema of Debian's packages, whose parts refer to each other by file name."""
    folder = os.path.join("/usr/share/gocode/src/github.com", path)
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        document = json.load(file)
    resolver = jsonschema.RefResolver(f"file://{folder}/", document)
    return jsonschema.validators.validator_for(document)(document, resolver=resolver)


def test_cdi(way):
    """CDI's own schema, and nothing beyond it: loaders refuse words that they do not know."""
    cdi(way, ",".join(CARDS))
    with open("/etc/cdi/pinion.json", encoding="utf-8") as file:
        spec = json.load(file)
    schema("container-orchestrated-devices/container-device-interface/schema", "schema.json").validate(spec)
    equal(set(spec), {"cdiVersion", "kind", "devices", "containerEdits"}, "words of the specification")
    equal((spec["cdiVersion"], spec["kind"]), ("0.5.0", "pinion/pci"), "version and kind")
    equal([device["name"] for device in spec["devices"]], [*CARDS, "all"], "devices")
    common = {node["path"] for node in spec["containerEdits"]["deviceNodes"]}
    for card, device in zip(CARDS, spec["devices"]):
        edits = device["containerEdits"]
        equal(set(edits), {"env", "deviceNodes"}, "edits")
        equal({node["path"] for node in edits["deviceNodes"]} | common, set(nodes(way, card)), f"nodes of {card}")
        equal(edits["env"], [f"PINION_DEVICE_{re.sub('[:.]', '_', card)}={card}"], "environment")
        for node in edits["deviceNodes"]:
            equal((set(node), node["permissions"]), ({"path", "permissions"}, "rw"), "a node")
    said = must(PINION, "cdi", "generate", "-a", CARDS[0], "--backend", way.name, "--mem", "4M", "--page-size", "4K",
                "-o", f"{WORK}/spec.json")
    check(f"--ulimit memlock={need_of(way)}:{need_of(way)}" in said, said)


def test_refusals():
    """What a container must not get by the way, or cannot."""
    generate = [PINION, "cdi", "generate", "--mem", "4M", "-a"]
    must(PINION, "unbind", CARDS[1])
    done = run(*generate, CARDS[1])
    check(done.returncode == 1 and "e1000e" in done.stderr and f"pinion bind {CARDS[1]}" in done.stderr, done.stderr)
    must(*shell("card", CARD=CARDS[1]))
    for arguments, part in ((["--hugetlbfs", "/tmp"], "no hugetlbfs"), (["--hugetlbfs", "hugepages"], "absolute"),
                            (["--hugetlbfs", "/dev/hugepages", "--page-size", "1G"], "pages of 2 MiB, not of 1 GiB"),
                            (["-a", CARDS[0]], "twice"), (["-o", "/no/such/folder/spec.json"], "/no/such/folder"),
                            (["-o", "/dev/null"], "not a regular file")):
        done = run(*generate, CARDS[0], *arguments)
        check(done.returncode and part in done.stderr and len(done.stderr.splitlines()) == 1, f"{part}: {done.stderr}")
    # A file that is there stays, whole, when a new one cannot be made.
    with open(f"{WORK}/spec.json", "w", encoding="ascii") as file:
        file.write("mine")
    equal(run(*generate, "dead:beef", "-o", f"{WORK}/spec.json").returncode, 1, "no such device")
    with open(f"{WORK}/spec.json", encoding="ascii") as file:
        equal(file.read(), "mine", "the file that was there")


def test_hook(way):
    """A runtime that is root sets the limit by the hook alone: what it has is far less."""
    command = ["/usr/bin/prlimit", f"--memlock={PAGE}:{PAGE}",
               *podman("crun", shell("cdi-hook", CARD=CARDS[0], BACKEND=way.name, MEM="4M", APP=app(way)), uid=0)]
    with started(command) as program:
        forwards(0, program)
        pid = program.found()
        with open(f"/proc/{pid}/limits", encoding="ascii") as file:
            limit, = [line.split()[3:5] for line in file if line.startswith("Max locked memory")]
        equal(limit, [str(need_of(way))] * 2, "the limit")
        program.stop()
    shutil.rmtree("/etc/cdi")


# (f) by themselves, with a limit of hugepages

def bundle(way, hugepages=None):
    """A runtime's directory: what runc writes, with what pinion prints in it, for user 1000 without capabilities."""
    folder = f"{WORK}/bundle"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    must(*shell("oci", CARD=CARDS[0], BACKEND=way.name, MEM="4M"), cwd=folder)
    must("runc", "spec", cwd=folder)
    with open(f"{folder}/config.json", encoding="utf-8") as file:
        config = json.load(file)
    with open(f"{folder}/pinion-oci.json", encoding="utf-8") as file:
        ours = json.load(file)
    equal(ours["process"]["rlimits"], [{"type": "RLIMIT_MEMLOCK", "soft": need_of(way), "hard": need_of(way)}], "limits")
    equal(ours["linux"]["resources"]["hugepageLimits"], [{"pageSize": "2MB", "limit": MEM}], "hugepages")
    config["root"] = {"path": ROOTFS, "readonly": True}
    config["process"].update(terminal=False, user={"uid": UID, "gid": UID}, noNewPrivileges=True, capabilities={},
                             args=["/usr/bin/pinion-testpmd", *app(way, "2M").split()],
                             env=config["process"]["env"] + ours["process"]["env"],
                             rlimits=config["process"]["rlimits"] + ours["process"]["rlimits"])
    config["linux"]["devices"] = ours["linux"]["devices"]
    resources = config["linux"].setdefault("resources", {})
    resources["devices"] = resources.get("devices", []) + ours["linux"]["resources"]["devices"]
    resources["hugepageLimits"] = ours["linux"]["resources"]["hugepageLimits"]
    if hugepages is not None:
        resources["hugepageLimits"][0]["limit"] = hugepages
    config["linux"]["cgroupsPath"] = "/pinion-oci"
    config["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]})
    schema("opencontainers/runtime-spec/schema", "config-schema.json").validate(config)
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    return ["runc", "run", "--bundle", folder, "pinion-oci"]


def test_oci(way, runtime):
    command = [runtime, *bundle(way)[1:]]
    with started(command) as program:
        forwards(0, program)
        pid = program.found()
        unprivileged(pid, seccomp="0")
        program.stop()


def test_hugepages_short(way, runtime):
    """The machine has them, the control group does not let them be taken: one page is missing, by name and number."""
    command = [runtime, *bundle(way, MEM - 2 * MIB)[1:]]
    done = run(*command, timeout=600)
    said = done.stdout + done.stderr
    equal(done.returncode, 1, said)
    check("hugetlb.2MB" in said and f"short by {2 * MIB}" in said and f"is {MEM - 2 * MIB} bytes" in said, said)


def main():
    suite = Suite()
    prepare()
    suite.run("containers: the kernel offers the backends it should", test_backends_expected)
    found = ways()
    # What the other kernel adds is iommufd behind /dev/vfio/vfio.
    if any(way.name == "iommufd-as-vfio" for way in found):
        found = [way for way in found if way.name == "iommufd-as-vfio"]
    for way in found:
        suite.run(f"containers: {way.name}: an ordinary user under the profile", test_plain, way)
        suite.run(f"containers: {way.name}: the profile has every system call", test_profile, way)
        suite.run(f"containers: {way.name}: a service of systemd", test_service, way)
        suite.run(f"containers: {way.name}: bubblewrap", test_bubblewrap, way)
        for runtime in ("crun", "runc"):
            suite.run(f"containers: {way.name}: podman without root, {runtime}", test_podman, way, runtime)
        if way.name in ("type1", "iommufd"):
            suite.run(f"containers: {way.name}: podman without a node, by the broker", test_broker, way)
            suite.run(f"containers: {way.name}: the broker and a control group", test_broker_group, way)
        suite.run(f"containers: {way.name}: two containers of one user", test_two, way)
        suite.run(f"containers: {way.name}: CDI", test_cdi, way)
    suite.run(f"containers: {found[0].name}: a hook sets the limit", test_hook, found[0])
    for runtime, way in zip(("crun", "runc"), found):
        suite.run(f"containers: {way.name}: an OCI bundle, {runtime}", test_oci, way, runtime)
        suite.run(f"containers: {way.name}: hugepages of the control group, one short, {runtime}", test_hugepages_short,
                  way, runtime)
    suite.run("containers: what is not given to containers", test_refusals)
    must(PINION, "revoke", "--all")
    must(PINION, "unbind", "--all")
    suite.end()


def put(source, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.lexists(target):
        os.symlink(source, target)


def prepare():
    """As after an installation, with a user who may log in; the other ends of the wires are the kernel's."""
    os.makedirs(WORK, mode=0o755)
    # Copies: a service sees no /home, and a /tmp of its own.
    for program in (TESTPMD, PINION):
        shutil.copy(program, "/usr/local/bin")
    shutil.copy(os.path.join(BUILD, "libpinion.so.0"), f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}")
    put(os.path.join(TREE, "deploy/seccomp/pinion.json"), PROFILE)
    put(os.path.join(TREE, "deploy/image/make-rootfs"), f"{SHARE}/image/make-rootfs")
    shutil.copy(os.path.join(BUILD, "deploy/pinion-testpmd@.service"), "/etc/systemd/system/pinion-testpmd@.service")
    with open("/etc/passwd", encoding="utf-8") as file:
        name = next((line.split(":")[0] for line in file if line.split(":")[2] == str(UID)), None)
    if not name:
        name = "pinion"
        for path, line in (("/etc/passwd", f"{name}:x:{UID}:{UID}::/tmp:/bin/sh"), ("/etc/group", f"{name}:x:{UID}:")):
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")
    for path in ("/etc/subuid", "/etc/subgid"):
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{name}:100000:65536\n")
    for card in CARDS:
        must(*shell("card", CARD=card))
    for peer in PEERS:
        must("ip", "link", "set", interface(peer), "up")
    must("chown", f"{UID}:{UID}", WORK)
    said = must(*as_user([f"{SHARE}/image/make-rootfs", "-n", ROOTFS]), timeout=600)
    beyond = int(re.search(r"(\d+) beyond the C library", said).group(1))
    check(beyond < 20 << 20, f"the image is too large: {said}")
    with open(FILTER, "wb") as file:
        subprocess.run([SECCOMP_RUN, "--bpf", PROFILE], stdout=file, check=True)
    # A pinion-testpmd that has the profile on.
    os.makedirs(f"{WORK}/under-profile")
    with open(f"{WORK}/under-profile/pinion-testpmd", "w", encoding="ascii") as file:
        file.write(f'#!/bin/sh\nexec {SECCOMP_RUN} {PROFILE} {TESTPMD} "$@"\n')
    os.chmod(f"{WORK}/under-profile/pinion-testpmd", 0o755)


if __name__ == "__main__":
    main()
