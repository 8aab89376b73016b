# SPDX-License-Identifier: BSD-3-Clause
"""pinion-broker without a device: its command line, and the systemd units that start it."""

import contextlib
import fcntl
import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
import unittest

BROKER = os.environ["BROKER"]
UNITS = os.environ["UNITS"].split(":")
ELSEWHERE = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc")
RULE = "allow uid 1000 device 0000:03:00.0 memory 4K\n"


def run(*command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=60, **more)


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name, text=None):
        path = os.path.join(self.folder.name, name)
        if text is not None:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        return path

    def test_check(self):
        done = run(BROKER, "--check", self.path("good", RULE))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        done = run(BROKER, "--check", self.path("bad", "\n" + RULE.replace("uid", "uuid")))
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{self.path('bad')}:2:7: ", done.stderr)
        self.assertEqual(run(BROKER, "--check", self.path("none")).returncode, 1)
        self.assertEqual(run(BROKER, "--check", self.folder.name).returncode, 1)

    def test_usage(self):
        for words in (["--nonsense"], ["word"], ["--check"]):
            self.assertEqual(run(BROKER, *words).returncode, 2, words)
        for words in (["--help"], ["--version"]):
            done = run(BROKER, *words)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
        self.assertLessEqual(max(map(len, run(BROKER, "--help").stdout.splitlines())), 100)

    def test_status(self):
        self.assertEqual(run(BROKER, "--status", "--ledger", self.path("none")).returncode, 1)
        for text in ("", "{}", "[]", '{"version": 2}', '{"version": 1, "version": 1}', "\0", '{"version": "1"}'):
            done = run(BROKER, "--status", "--ledger", self.path("bad", text))
            self.assertEqual((done.returncode, done.stdout), (1, ""), text)
        # Entries without sense are left out, and said.
        lease = ('{"device": "0000:03:00.0", "state": "held", "backend": "iommufd", "charge": "process", "uid": 1, '
                 '"pid": 4194304, "start": 1, "since": 0, "memory": 4096, "soft_before": 1, "hard_before": null}')
        bad = [lease.replace("0000:03:00.0", "/dev/mem"), lease.replace('"uid": 1', '"uid": -1'), "7",
               lease.replace("4194304", "0"), lease.replace('"memory": 4096', '"memory": "x"'),
               lease.replace('"soft_before": 1', '"soft_before": -1'), lease]
        done = run(BROKER, "--status", "--ledger",
                   self.path("odd", '{"version": 1, "boot": "x", "pid": 1, "start": 0, "leases": [%s]}' % ", ".join([lease] + bad)))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(re.findall(r"entry \d makes no sense", done.stderr)), len(bad), done.stderr)
        self.assertEqual(len(done.stdout.splitlines()), 2, done.stdout)
        self.assertIn("0000:03:00.0  iommufd  uid 1  pid 4194304  4 KiB per process", done.stdout)
        self.assertIn("does not run", done.stdout)

    def test_start(self):
        """Without root, a policy of its own user's, or a socket: one line, nothing left."""
        policy = self.path("policy", RULE)
        if os.geteuid():
            done = run(BROKER, "--policy", policy, "--socket", self.path("socket"))
            self.assertIn("a policy must be root's", done.stderr)
        else:
            done = run(BROKER, "--policy", policy, "--ledger", self.path("ledger"))
            self.assertIn("no socket", done.stderr)
            # One that is in use by another is left alone.
            with open(self.path("ledger.lock"), "w", encoding="ascii") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                done = run(BROKER, "--policy", policy, "--ledger", self.path("ledger"), "--socket", self.path("socket"))
            self.assertIn("in use by another pinion-broker", done.stderr)
        self.assertEqual(done.returncode, 1)
        self.assertFalse(os.path.exists(self.path("socket")))


def start_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return int(file.read().rsplit(")", 1)[1].split()[19])


# A broker as others see it: it has the lock, has written the ledger, and does what SIGUSR1 says.
STAND_IN = """
import fcntl, json, os, signal, sys
path = sys.argv[1]
lock = open(path + ".lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
with open("/proc/self/stat") as file:
    start = int(file.read().rsplit(")", 1)[1].split()[19])
with open(path) as file:
    ledger = json.load(file)
ledger.update(pid=os.getpid(), start=start)
def write():
    with open(path + ".new", "w") as file:
        json.dump(ledger, file)
    os.rename(path + ".new", path)
def told(*_):
    ledger["taken_back"] = ledger.get("taken_back", 0) + 1
    ledger["leases"] = [dict(lease, state="lingering") for lease in ledger["leases"] if lease["device"] != "0000:03:00.0"]
    write()
signal.signal(signal.SIGUSR1, told)
write()
print("ready", flush=True)
sys.stdin.read()
"""


class HandedOut(unittest.TestCase):
    """What pinion status shows of the broker's ledger, and what pinion revoke --all makes of it."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name
        for name in ("sys/bus/pci/devices", "dev", "proc", "etc", "run/pinion-broker", "var/lib", "lib"):
            os.makedirs(os.path.join(self.root, name))
        self.ledger = os.path.join(self.root, "run/pinion-broker/ledger.json")
        # A client that lives, with a limit that a broker has lowered.
        self.client = subprocess.Popen(["/bin/sleep", "600"])
        self.addCleanup(self.client.wait)
        self.addCleanup(self.client.kill)
        self.before = resource.prlimit(self.client.pid, resource.RLIMIT_MEMLOCK)
        resource.prlimit(self.client.pid, resource.RLIMIT_MEMLOCK, (4096, self.before[1]))

    def pinion(self, *words, **more):
        return run(os.environ["PINION"], *words, env={**os.environ, "PINION_ROOT": self.root}, **more)

    def lease(self, device, pid, start, state="held"):
        soft, hard = (None if limit == resource.RLIM_INFINITY else limit for limit in self.before)
        return {"device": device, "state": state, "backend": "iommufd", "charge": "user", "uid": os.getuid(), "pid": pid,
                "start": start, "since": 86400, "memory": 4096, "soft_before": soft, "hard_before": hard}

    def write(self, *leases, **more):
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
        with open(self.ledger, "w", encoding="ascii") as file:
            json.dump({"version": 1, "boot": boot, "pid": self.client.pid, "start": 1, "leases": leases, **more}, file)

    def status(self):
        document = json.loads(self.pinion("status", "--json").stdout)
        return document, {device["device"]: device for device in document["devices"]}

    @contextlib.contextmanager
    def broker(self):
        with subprocess.Popen(["/usr/bin/python3", "-c", STAND_IN, self.ledger], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as process:
            self.assertEqual(process.stdout.readline(), "ready\n")
            yield process.pid
            process.communicate()

    def test_none(self):
        document, devices = self.status()
        self.assertEqual((document["broker"], devices), (None, {}))
        done = self.pinion("revoke", "--all")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(os.listdir(os.path.dirname(self.ledger)), [])

    def test_dead(self):
        """It has left a client that lives, one whose number is another's by now, and one that has ended."""
        pid, ended = self.client.pid, subprocess.Popen(["/bin/true"])
        ended.wait()
        self.write(self.lease("0000:03:00.0", pid, start_of(pid)), self.lease("0000:03:00.1", pid, start_of(pid) - 1),
                   self.lease("0000:03:00.2", ended.pid, 1))
        document, devices = self.status()
        self.assertEqual(document["broker"], {"pid": pid, "runs": False})
        self.assertEqual(devices["0000:03:00.0"]["handed_out"],
                         {"state": "held", "pid": pid, "uid": os.getuid(), "backend": "iommufd", "charge": "user",
                          "memory": 4096, "since": 86400})
        self.assertEqual([devices[f"0000:03:00.{i}"]["handed_out"]["state"] for i in (1, 2)], ["lingering"] * 2)
        for i, what in enumerate(("the next one goes on with it", "has ended or given it back", "has ended or given it back")):
            problem, = devices[f"0000:03:00.{i}"]["problems"]
            self.assertIn(what, problem)
            self.assertIn("'pinion revoke --all'", problem)
        text = self.pinion("status").stdout
        self.assertRegex(text, rf"  handed out pid {pid} \(uid {os.getuid()}\), by pinion-broker: iommufd, 4 KiB per user, since 19")
        # A lock that nobody holds any more is not in the way.
        done = self.pinion("revoke", "--all")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(re.findall(rf"^0000:03:00.\d: is no more handed out to process \d+ of uid {os.getuid()}$",
                                        done.stdout, re.M)), 3, done.stdout)
        self.assertEqual(self.status()[1], {})
        self.assertEqual(resource.prlimit(pid, resource.RLIMIT_MEMLOCK), self.before)

    def elsewhere(self, *command):
        """Run in a PID namespace of its own, as in a container that has the broker's folder."""
        if run(*ELSEWHERE, "/bin/true").returncode:
            self.skipTest("no namespaces can be made here")
        return run(*ELSEWHERE, *command, env={**os.environ, "PINION_ROOT": self.root})

    @contextlib.contextmanager
    def running_elsewhere(self, *command, **more):
        """The process there, and the file of what it says; it is killed at the end."""
        self.elsewhere("/bin/true")
        with subprocess.Popen([*ELSEWHERE, *command], text=True, **more) as outside:
            try:
                yield outside
            finally:
                outside.kill()

    def test_elsewhere(self):
        """Numbers of processes mean nothing there: the ledger is shown as it is, and nothing taken back or signalled."""
        pid, space = self.client.pid, os.stat("/proc/self/ns/pid").st_ino
        self.write(self.lease("0000:03:00.0", pid, start_of(pid)), pid_namespace=space)
        self.assertEqual(self.status()[0]["broker"], {"pid": pid, "runs": False})
        limit = resource.prlimit(pid, resource.RLIMIT_MEMLOCK)
        with self.broker() as broker:
            document = json.loads(self.elsewhere(os.environ["PINION"], "status", "--json").stdout)
            self.assertEqual(document["broker"], {"pid": broker, "runs": None})
            device, = document["devices"]
            self.assertEqual((device["handed_out"]["state"], device["handed_out"]["pid"], device["problems"]),
                             ("held", pid, []))
            text = self.elsewhere(os.environ["PINION"], "status").stdout
            self.assertIn(f"handed out pid {pid} of the broker's PID namespace (uid {os.getuid()})", text)
            done = self.elsewhere(BROKER, "--status", "--ledger", self.ledger)
            self.assertIn(f"pid {broker} of another PID namespace", done.stdout)
            done = self.elsewhere(os.environ["PINION"], "revoke", "--all")
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"the ledger is that of process {broker} of another PID namespace", done.stderr)
        # Nobody has the lock any more: that is known everywhere.
        document = json.loads(self.elsewhere(os.environ["PINION"], "status", "--json").stdout)
        self.assertEqual(document["broker"], {"pid": broker, "runs": False})
        self.assertIn("of another PID namespace does not run any more", document["devices"][0]["problems"][0])
        done = self.elsewhere(os.environ["PINION"], "revoke", "--all")
        self.assertEqual(done.returncode, 1)
        self.assertIn("of another PID namespace, which does not run any more", done.stderr)
        self.assertEqual(resource.prlimit(pid, resource.RLIMIT_MEMLOCK), limit)
        done = self.pinion("revoke", "--all")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.status()[1], {})
        self.assertEqual(resource.prlimit(pid, resource.RLIMIT_MEMLOCK), self.before)

    def test_proc_of_another_namespace(self):
        """Where /proc is not that of the caller's namespace, as after nsenter --mount, its numbers mean nothing either."""
        if os.getuid():
            self.skipTest("nsenter --mount takes root")
        with self.running_elsewhere("/bin/sh", "-c", "readlink /proc/self/ns/pid; exec sleep 600",
                                    stdout=subprocess.PIPE) as outside:
            space = int(re.search(r"\d+", outside.stdout.readline()).group())
            with open(f"/proc/{outside.pid}/task/{outside.pid}/children", encoding="ascii") as file:
                inside = file.read().split()[0]
            for more in ({"pid_namespace": space}, {}):
                self.write(self.lease("0000:03:00.0", 1, start_of(inside)), pid=1, start=start_of(inside), **more)
                done = run("nsenter", "--mount", "--target", inside, BROKER, "--status", "--ledger", self.ledger)
                self.assertIn("pinion-broker is pid 1 of another PID namespace", done.stdout, done.stderr)

    def test_broker_of_another_namespace(self):
        """A broker that goes on with the ledger of one in another namespace says what it cannot put back."""
        pid, space = self.client.pid, os.stat("/proc/self/ns/pid").st_ino
        self.write(self.lease("0000:03:00.0", pid, start_of(pid)), pid_namespace=space)
        policy = os.path.join(self.root, "policy")
        with open(policy, "w", encoding="ascii") as file:
            file.write(RULE)
        with self.running_elsewhere(BROKER, "--policy", policy, "--ledger", self.ledger, "--socket",
                                    os.path.join(self.root, "socket"), stderr=subprocess.PIPE) as broker:
            said = broker.stderr.readline()
            self.assertIn(f"0000:03:00.0 was handed out to process {pid} of another PID namespace", said)
            deadline, document = time.monotonic() + 20, {"pid": self.client.pid}
            while document["pid"] == self.client.pid and time.monotonic() < deadline:
                time.sleep(0.02)
                with open(self.ledger, encoding="ascii") as file:
                    document = json.load(file)
            self.assertNotIn(document["pid_namespace"], (0, space))
            self.assertEqual(self.status()[0]["broker"], {"pid": document["pid"], "runs": None})

    def test_ledger_without_sense(self):
        pid = self.client.pid
        for more in ({"pid_namespace": "1"}, {"start": []}):
            self.write(self.lease("0000:03:00.0", pid, start_of(pid)), **more)
            document, devices = self.status()
            self.assertEqual(document["broker"], None, more)
            self.assertIn("does not run any more", devices["0000:03:00.0"]["problems"][0])
        # Whoever wrote that, the numbers of processes are not known to be ours.
        for space in (-1, 0, 5):
            self.write(self.lease("0000:03:00.0", pid, start_of(pid)), pid=-3, pid_namespace=space)
            document, devices = self.status()
            self.assertEqual((document["broker"], devices["0000:03:00.0"]["handed_out"]["state"]), (None, "held"))
            done = self.pinion("revoke", "--all")
            self.assertEqual(done.returncode, 1)
            self.assertIn("of another PID namespace", done.stderr)

    def test_nothing_held_elsewhere(self):
        """What is held by nobody in another namespace either is taken back anywhere: there is no limit to put back."""
        for leases in ((), (self.lease("0000:03:00.0", 1, 1, "lingering"),)):
            self.write(*leases, pid_namespace=5)
            done = self.pinion("revoke", "--all")
            self.assertEqual((done.returncode, self.status()[1]), (0, {}), done.stderr)

    def test_broker_without_proc(self):
        """It would take its clients for others."""
        self.elsewhere("/bin/true")
        policy = os.path.join(self.root, "policy")
        with open(policy, "w", encoding="ascii") as file:
            file.write(RULE)
        done = run(*(word for word in ELSEWHERE if word != "--mount-proc"), BROKER, "--policy", policy, "--ledger",
                   self.ledger, "--socket", os.path.join(self.root, "socket"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("/proc is not that of this PID namespace", done.stderr)
        self.assertFalse(os.path.exists(self.ledger))

    def test_umask(self):
        """The ledger stays what all may read and only root may write, whatever the umask of who revokes."""
        for mask in (0o077, 0):
            self.write(self.lease("0000:03:00.0", self.client.pid, start_of(self.client.pid)))
            done = self.pinion("revoke", "--all", preexec_fn=lambda mask=mask: os.umask(mask))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(os.stat(self.ledger).st_mode & 0o777, 0o644)

    def test_alive(self):
        """It is told; what somebody has open still is said, and stays."""
        pid = self.client.pid
        self.write(*(self.lease(f"0000:03:00.{i}", pid, start_of(pid)) for i in (0, 1)))
        with self.broker() as broker:
            document, devices = self.status()
            self.assertEqual(document["broker"], {"pid": broker, "runs": True})
            self.assertEqual([device["problems"] for device in devices.values()], [[], []])
            # A user's grants are not what a policy grants.
            self.assertEqual(self.pinion("revoke", "--all", "--user", "0").returncode, 0)
            self.assertEqual({device["handed_out"]["state"] for device in self.status()[1].values()}, {"held"})
            done = self.pinion("revoke", "--all")
            self.assertEqual(done.returncode, 1, done.stdout)
            line, = done.stderr.splitlines()
            self.assertIn("0000:03:00.1", line)
            self.assertEqual({name: device["handed_out"]["state"] for name, device in self.status()[1].items()},
                             {"0000:03:00.1": "lingering"})
            # Ours is the broker that was told, and no limit was touched from here.
            self.assertEqual(resource.prlimit(pid, resource.RLIMIT_MEMLOCK)[0], 4096)

    def test_strange(self):
        """Who has the lock but has not written the ledger is not told anything; a ledger without sense is said."""
        self.write(self.lease("0000:03:00.0", self.client.pid, start_of(self.client.pid)))
        with open(f"{self.ledger}.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = self.pinion("revoke", "--all")
        self.assertEqual(done.returncode, 1)
        self.assertIn("is not the broker that wrote the ledger", done.stderr)
        self.assertIsNone(self.client.poll())
        for text in ("", "[]", '{"version": 7}', "\0"):
            with open(self.ledger, "w", encoding="ascii") as file:
                file.write(text)
            problem, = self.status()[0]["problems"]
            self.assertIn("makes no sense", problem)
            done = self.pinion("revoke", "--all")
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertIn(self.ledger, done.stderr)


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not there")
class Units(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        for unit in UNITS:
            with open(unit, encoding="utf-8") as file:
                text = re.sub(r"^ExecStart=\S*", f"ExecStart={BROKER}", file.read(), flags=re.M)
            with open(os.path.join(self.folder.name, os.path.basename(unit)), "w", encoding="utf-8") as file:
                file.write(text)

    def test_verify(self):
        done = run("systemd-analyze", "verify", *(os.path.join(self.folder.name, os.path.basename(u)) for u in UNITS))
        ours = [line for line in done.stderr.splitlines() if "pinion" in line]
        self.assertEqual((done.returncode, ours), (0, []), done.stderr)

    def test_security(self):
        service = os.path.join(self.folder.name, "pinion-broker.service")
        done = run("systemd-analyze", "security", "--offline=true", "--threshold=30", "--no-pager", service)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
