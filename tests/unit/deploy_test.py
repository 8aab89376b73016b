# SPDX-License-Identifier: BSD-3-Clause
"""What an administrator gets beside the programs: container descriptions, the seccomp profile, the systemd unit, the
image, manifests, man pages and completion. What needs a device is in the VM suite containers."""

import glob
import json
import os
import re
import resource
import shutil
import subprocess
import tempfile
import tomllib
import unittest

import yaml

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ["PINION_BUILD"]
PINION, TESTPMD = os.environ["PINION"], os.environ["TESTPMD"]
SECCOMP_RUN = os.environ["SECCOMP_RUN"]
DEPLOY = os.path.join(TREE, "deploy")
PROFILE = os.path.join(DEPLOY, "seccomp/pinion.json")
MIB = 1 << 20
# Programs of the suite that call the library, and what they call themselves.
CALLERS = {"dma": "", "dma_handover": "", "dma_threads": "", "dma_memory": "", "preflight": "", "pkt": "", "heap": "",
           "mem_fd": "socketpair mount umount2 unshare memfd_secret", "mem_range": "mount umount2 unshare memfd_secret",
           "meter": "unshare", "pins": "symlink chmod chown mknodat", "port": "", "port_irq": "", "ring": "", "pool": "",
           "explain": "", "report": "alarm chmod", "pci": "symlink", "module": "chmod"}


def run(*command, status=0, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=300,
                          check=False, **more)
    assert done.returncode == status, f"{command}: exit status {done.returncode}: {done.stdout}{done.stderr}"
    return done.stderr if status else done.stdout


def commands():
    listed = run(PINION, "--help").split("Commands:\n")[1].split("\n\n")[0]
    return re.findall(r"^  (\S+)", listed, re.M)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Descriptions(unittest.TestCase):
    def refused(self, *arguments, status=2, part=""):
        said = run(PINION, *arguments, status=status)
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertIn(part, said)

    def test_bad_command_lines(self):
        for command in (["cdi", "generate"], ["oci", "--mem", "2M"]):
            self.refused(*command, part="name them with -a")
            self.refused(*command, "-a", "", part="--allow")
            self.refused(*command, "-a", "00:03.0,", part="commas")
            self.refused(*command, "-a", ",".join(["00:03.0"] * 65), part="64")
            self.refused(*command, "-a", "00:03.0", "--backend", "magic", part="iommufd-as-vfio")
            self.refused(*command, "-a", "banana", part="vendor:device")
            self.refused(*command, "-a", "00:03.0", "--mem", "0x", part="--mem")
            self.refused(*command, "-a", "00:03.0", "--page-size", "3M", part="--page-size")
            self.refused(*command, "-a", "00:03.0", "surplus", part="surplus")
            self.refused(*command, "-a", "dead:beef", status=1, part="dead:beef")
        self.refused("cdi", part="generate")
        self.refused("cdi", "destroy", part="generate")
        for kind in ("x", "x/", "/x", "1x/y", "x/y/z", "a b/c", "x_/y", "x/" + "y" * 200):
            self.refused("cdi", "generate", "-a", "00:03.0", "--kind", kind, part="VENDOR/CLASS")
        self.refused("oci", "-a", "00:03.0", part="--mem")

    def test_a_device_of_the_kernel_is_not_given_away(self):
        found = [d["address"] for d in json.loads(run(PINION, "devices", "--json", "--all"))["devices"]
                 if d["driver"] and "vfio" not in d["driver"]]
        if not found:
            self.skipTest("no PCI device with a driver here")
        self.refused("cdi", "generate", "-a", found[0], status=1, part="vfio-pci")

    def machine(self, folder, groups):
        """A /sys with devices on vfio-pci, as {address: group}, and a /dev/vfio; a command that sees them."""
        for address, group in groups.items():
            device = f"{folder}/sys/bus/pci/devices/{address}"
            os.makedirs(device)
            for name, text in (("vendor", "0x8086"), ("device", "0x10d3"), ("class", "0x020000")):
                with open(f"{device}/{name}", "w", encoding="ascii") as file:
                    file.write(text + "\n")
            with open(f"{device}/config", "wb") as file:
                file.write(bytes.fromhex("8680d310") + bytes(252))
            os.symlink("../../drivers/vfio-pci", f"{device}/driver")
            os.symlink(f"../../../../kernel/iommu_groups/{group}", f"{device}/iommu_group")
        os.makedirs(f"{folder}/vfio")
        for node in ["vfio", *groups.values()]:
            with open(f"{folder}/vfio/{node}", "w", encoding="ascii"):
                pass
        script = f"""set -e
            for node in {folder}/vfio/*; do mount --bind /dev/null $node; done
            mount --rbind {folder}/sys /sys
            mount -t tmpfs none /dev && mkdir /dev/vfio && mount --rbind {folder}/vfio /dev/vfio
            exec "$@" """
        enter = ["unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", "sh", "-c", script, "sh"]
        if subprocess.run([*enter, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("no mount namespace here")
        return [*enter, PINION]

    def test_no_device_comes_with_another_of_its_group(self):
        """The node of a group is the way to all of it: a name in a specification gives no more than it says."""
        both = ["0000:03:00.0", "0000:03:00.1"]
        alone = "0000:04:00.0"
        with tempfile.TemporaryDirectory() as folder:
            pinion = self.machine(folder, {both[0]: 7, both[1]: 7, alone: 8})
            generate = [*pinion, "cdi", "generate", "--backend", "type1", "-a"]
            self.assertIn("same IOMMU group", run(*generate, both[0], status=1))
            for named, names in ((both, ["all"]), ([*both, alone], [alone, "all"])):
                done = subprocess.run([*generate, ",".join(named)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      text=True, timeout=60, check=True)
                spec = json.loads(done.stdout)
                self.assertEqual([device["name"] for device in spec["devices"]], names)
                nodes = [node["path"] for node in spec["devices"][-1]["containerEdits"]["deviceNodes"]]
                self.assertEqual(sorted(nodes), ["/dev/vfio/7", "/dev/vfio/8"][:len(named) - 1])
                self.assertIn(f"{both[0]} has no name of its own", done.stderr)
                self.assertNotIn(f"{alone} has no name", done.stderr)

    def hook(self, state, *arguments):
        return subprocess.run([PINION, "oci", "hook", *arguments], input=state, stderr=subprocess.PIPE, text=True,
                              timeout=60, check=False)

    def test_the_hook_sets_the_limit_of_the_process_in_the_state(self):
        with subprocess.Popen(["sleep", "60"]) as child:
            try:
                done = self.hook(json.dumps({"ociVersion": "1.0.2", "id": "x", "pid": child.pid}), "--memlock", "1M")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertEqual(resource.prlimit(child.pid, resource.RLIMIT_MEMLOCK), (MIB, MIB))
            finally:
                child.kill()

    def test_the_hook_refuses_what_is_no_state(self):
        for state in ("", "{}", "[]", "nonsense", '{"pid": "1"}', '{"pid": -1}', '{"pid": 0}', '{"pid": 1e3}',
                      '{"pid": 4294967297}', '{"pid": 1, "pid": 2}', '{"x": "' + "y" * (1 << 20) + '", "pid": 1}'):
            done = self.hook(state, "--memlock", "1M")
            self.assertEqual(done.returncode, 1, state[:40])
            self.assertIn("hook", done.stderr)
        for arguments in ([], ["--memlock", "0"], ["--memlock", "much"], ["--memlock"], ["--memory", "1"]):
            self.assertEqual(self.hook("{}", *arguments).returncode, 2, arguments)

    def test_the_environment_names_devices(self):
        environment = {**os.environ, "PINION_DEVICE_B": "dead:beef", "PINION_DEVICE_A": "0000:ff:1f.7"}
        said = run(TESTPMD, status=1, env=environment)
        self.assertIn("0000:ff:1f.7", said)
        # It does not add to what is named.
        run(TESTPMD, "--port", "null", "--duration", "0.1", env=environment)


class Profile(unittest.TestCase):
    def rules(self):
        return json.loads(read(PROFILE))["syscalls"]

    def test_programs_of_the_suite_call_nothing_else(self):
        for name, own in CALLERS.items():
            program = os.path.join(BUILD, f"tests/unit/test-{name}")
            with self.subTest(name), tempfile.NamedTemporaryFile() as report:
                run(SECCOMP_RUN, "--measure", report.name, PROFILE, program)
                self.assertLessEqual(set(read(report.name).split()), set(own.split()))

    def test_what_measures_sees_what_is_not_allowed(self):
        with tempfile.NamedTemporaryFile() as report:
            run(SECCOMP_RUN, "--measure", report.name, PROFILE, "/bin/sync")
            self.assertEqual(read(report.name).split(), ["sync"])
        done = subprocess.run([SECCOMP_RUN, PROFILE, "/usr/sbin/chroot", "/"], stderr=subprocess.PIPE, text=True, check=False)
        self.assertIn("Operation not permitted", done.stderr)

    def test_nothing_dangerous_is_in_it(self):
        names = {name for rule in self.rules() for name in rule["names"]}
        for name in ("mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "bpf", "perf_event_open", "ptrace",
                     "process_vm_writev", "init_module", "finit_module", "kexec_load", "keyctl", "mknod", "mknodat",
                     "open_by_handle_at", "reboot", "swapon", "settimeofday", "userfaultfd", "bind", "listen"):
            self.assertNotIn(name, names)
        # Only pinion-broker's socket needs it, by a rule of its own, so that it can be left out.
        self.assertEqual([rule["names"] for rule in self.rules() if "connect" in rule["names"]], [["connect"]])

    def test_no_namespaces_are_made(self):
        """A namespace of users is the way to much of the kernel that takes privilege elsewhere."""
        program = """import ctypes, os, threading
libc = ctypes.CDLL(None, use_errno=True)
def clone(flags):
    pid = libc.syscall(56, flags | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    if pid > 0:
        os.waitpid(pid, 0)
    return 0 if pid > 0 else ctypes.get_errno()
print(clone(0), *[clone(1 << bit) for bit in (17, 25, 26, 27, 28, 29, 30)])
libc.syscall(435, 0, 0)
print(ctypes.get_errno())
thread = threading.Thread(target=print, args=("thread",))
thread.start()
thread.join()"""
        said = run(SECCOMP_RUN, PROFILE, "/usr/bin/python3", "-c", program)
        self.assertEqual(said.split("\n"), ["0" + " 1" * 7, "38", "thread", ""])

    def test_the_unit_has_the_same_list(self):
        unit = read(os.path.join(BUILD, "deploy/pinion-testpmd@.service"))
        listed = {name for line in re.findall(r"^SystemCallFilter=(.*)", unit, re.M) for name in line.split()}
        self.assertEqual(listed, {name for rule in self.rules() for name in rule["names"]})
        # What the profile looks into arguments for, the unit has another word for.
        self.assertIn("\nRestrictNamespaces=yes\n", unit)


class Unit(unittest.TestCase):
    def setUp(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("no systemd-analyze here")
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "pinion-testpmd@0000:00:03.0.service")
        text = read(os.path.join(BUILD, "deploy/pinion-testpmd@.service"))
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text))

    def test_systemd_understands_it(self):
        done = subprocess.run(["systemd-analyze", "verify", self.path], stderr=subprocess.PIPE, text=True, check=False)
        self.assertNotIn("pinion-testpmd", done.stderr)

    def test_its_exposure(self):
        said = run("systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", self.path)
        self.assertIn("Overall exposure level", said)

    def test_its_limit_is_that_of_the_plan(self):
        text = read(self.path)
        memory, = re.findall(r"^Environment=MEM=(\S+)", text, re.M)
        limit, = re.findall(r"^LimitMEMLOCK=(\d+)", text, re.M)
        plan = json.loads(run(PINION, "plan", "--json", "--mem", memory, "--headroom", "4K"))
        self.assertEqual({way["memlock_set_bytes"] for way in plan["ways"] if way["default"]}, {int(limit)})


class Image(unittest.TestCase):
    def test_it_is_small_and_runs(self):
        page = read(os.path.join(TREE, "doc/deploy.md"))
        recipe, = re.findall(r"^```sh recipe=rootfs\n(.*?)^```", page, re.M | re.S)
        with tempfile.TemporaryDirectory() as folder:
            os.makedirs(f"{folder}/share")
            os.makedirs(f"{folder}/bin")
            os.symlink(os.path.join(DEPLOY, "image"), f"{folder}/share/image")
            for program in (PINION, TESTPMD):
                os.symlink(program, os.path.join(folder, "bin", os.path.basename(program)))
            root = f"{folder}/root"
            environment = {**os.environ, "SHARE": f"{folder}/share", "ROOTFS": root,
                           "PATH": f"{folder}/bin:{os.environ['PATH']}"}
            said = run("/bin/sh", "-euc", recipe, env=environment)
            beyond = int(re.search(r"(\d+) beyond the C library", said).group(1))
            self.assertLess(beyond, 20 * MIB)
            self.assertGreater(beyond, MIB)
            packages = read(f"{root}/usr/share/pinion/packages")
            for name in ("libc6", "libpciaccess0", "libnuma1", "libjansson4"):
                self.assertRegex(packages, rf"(?m)^{name} \d")
                self.assertTrue(os.path.exists(f"{root}/usr/share/pinion/licences/{name}/copyright"), name)
            self.assertFalse(os.path.exists(f"{root}/bin/sh"))
            if os.geteuid() == 0:
                self.assertRegex(run("/usr/sbin/chroot", root, "/usr/bin/pinion-testpmd", "--version"), "^pinion-testpmd ")
            self.assertIn("not empty", run("/bin/sh", "-euc", recipe, env=environment, status=1))


class Kubernetes(unittest.TestCase):
    def pods(self):
        for path in sorted(glob.glob(os.path.join(DEPLOY, "kubernetes/*.yaml"))):
            for document in yaml.safe_load_all(read(path)):
                if document["kind"] == "Pod":
                    yield os.path.basename(path), document

    def test_there_is_one_of_each_way(self):
        self.assertEqual([name for name, _ in self.pods()],
                         ["pod-broker.yaml", "pod-cdi.yaml", "pod-device-plugin.yaml", "pod-nri.yaml"])

    def test_no_privilege(self):
        for name, pod in self.pods():
            with self.subTest(name):
                self.assertEqual(pod["apiVersion"], "v1")
                self.assertTrue(pod["spec"]["securityContext"]["runAsNonRoot"])
                self.assertLessEqual(set(pod["spec"]), {"restartPolicy", "securityContext", "containers", "volumes"})
                for container in pod["spec"]["containers"]:
                    context = container["securityContext"]
                    self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                    self.assertFalse(context["allowPrivilegeEscalation"])
                    self.assertNotIn("privileged", context)

    def test_hugepages_are_a_resource(self):
        """Requests and limits are equal, memory or CPU is asked for beside them, and they hold the program's memory."""
        for name, pod in self.pods():
            with self.subTest(name):
                container, = pod["spec"]["containers"]
                resources = container["resources"]
                self.assertEqual(resources["requests"], resources["limits"])
                self.assertIn("memory", resources["limits"])
                arguments = container["args"]
                self.assertEqual(arguments[arguments.index("--page-size") + 1], "2M")
                self.assertEqual(resources["limits"]["hugepages-2Mi"], arguments[arguments.index("--mem") + 1] + "i")
                mounted = {mount["name"] for mount in container["volumeMounts"]}
                self.assertEqual(mounted, {volume["name"] for volume in pod["spec"]["volumes"]})

    def test_limits_are_those_of_the_plan(self):
        plan = json.loads(run(PINION, "plan", "--json", "--mem", "64M", "--headroom", "4K"))
        limit, = {way["memlock_set_bytes"] for way in plan["ways"] if way["default"]}
        pod = dict(self.pods())["pod-nri.yaml"]
        ulimits = yaml.safe_load(pod["metadata"]["annotations"]["ulimits.nri.containerd.io/container.testpmd"])
        self.assertEqual(ulimits, [{"type": "RLIMIT_MEMLOCK", "soft": limit, "hard": limit}])
        self.assertIn(f"\nLimitMEMLOCK={limit}\n", read(os.path.join(DEPLOY, "kubernetes/node-containerd.conf")))
        crio = tomllib.loads(read(os.path.join(DEPLOY, "kubernetes/node-crio.conf")))
        self.assertEqual(crio["crio"]["runtime"]["default_ulimits"], [f"memlock={limit}:{limit}"])

    def test_the_broker_may_grant_it(self):
        """The rule in the file is for this pod's user and card, and not below what its control group may have."""
        path = os.path.join(DEPLOY, "kubernetes/pod-broker.yaml")
        rule, = re.findall(r"^#   (allow .*)$", read(path), re.M)
        user, card, size = re.fullmatch(r"allow uid (\d+) device (\S+) memory (\d+)M per group", rule).groups()
        pod = dict(self.pods())["pod-broker.yaml"]
        container, = pod["spec"]["containers"]
        limits = container["resources"]["limits"]
        self.assertEqual(int(user), pod["spec"]["securityContext"]["runAsUser"])
        self.assertEqual(card, container["args"][container["args"].index("-a") + 1])
        self.assertEqual(int(size), sum(int(limits[name].removesuffix("Mi")) for name in ("memory", "hugepages-2Mi")))

    def test_the_device_plugin_is_configured(self):
        documents = list(yaml.safe_load_all(read(os.path.join(DEPLOY, "kubernetes/pod-device-plugin.yaml"))))
        entry, = json.loads(documents[0]["data"]["config.json"])["resourceList"]
        name = f"{entry['resourcePrefix']}/{entry['resourceName']}"
        self.assertEqual(documents[1]["spec"]["containers"][0]["resources"]["limits"][name], "1")
        variable = "PCIDEVICE_" + re.sub(r"[^A-Z0-9]", "_", name.upper())
        self.assertIn(f"$({variable})", documents[1]["spec"]["containers"][0]["args"])


class Pages(unittest.TestCase):
    def pages(self):
        return sorted(glob.glob(os.path.join(BUILD, "doc/*.1")))

    def setUp(self):
        if not self.pages():
            self.skipTest("built without man pages")

    def test_each_command_has_one(self):
        names = {os.path.basename(page) for page in self.pages()}
        self.assertLessEqual({f"pinion-{name}.1" for name in commands()} | {"pinion.1", "pinion-testpmd.1"}, names)

    def test_man_has_nothing_to_complain_of(self):
        for page in self.pages():
            with self.subTest(os.path.basename(page)):
                done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page], check=False,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                      env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
                self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_they_say_what_it_is(self):
        for page in self.pages():
            with self.subTest(os.path.basename(page)):
                name = os.path.basename(page)[:-2].replace("-", "\\-")
                text = read(page)
                self.assertRegex(text, rf"(?m)^{re.escape(name)} \\- \w")
                self.assertNotIn("unknown", text.split(".SH DESCRIPTION", 1)[1].split("\n", 2)[1])
                self.assertNotRegex(text, r"(?m)^\.IP\n +pinion")

    def test_help_fits_a_terminal(self):
        for command in commands():
            for line in run(PINION, command, "--help").splitlines():
                self.assertLessEqual(len(line), 100, command)


class Completion(unittest.TestCase):
    SCRIPT = os.path.join(TREE, "doc/completion/pinion")

    def complete(self, program, *words):
        """What is offered for the last of the words."""
        line = " ".join(f'"{word}"' for word in (program, *words))
        before = words[-2] if len(words) > 1 else program
        script = (f'source "{self.SCRIPT}"; COMP_WORDS=({line}); COMP_CWORD={len(words)}; '
                  f'_pinion "{program}" "{words[-1]}" "{before}"; printf "%s\\n" "${{COMPREPLY[@]}}"')
        path = f"{os.path.dirname(PINION)}:{os.environ['PATH']}"
        return set(run("/bin/bash", "--norc", "-c", script, env={**os.environ, "PATH": path}).split())

    def options(self, *help_command):
        """An independent reading of the help: everything in it that begins with two dashes, at the start of a line."""
        found = set()
        for line in run(*help_command).splitlines():
            stripped = line.strip()
            if line.startswith("  ") and stripped.startswith("-"):
                found |= set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", re.split(r"  +", stripped)[0]))
        self.assertTrue(found or help_command[-1] == "help", help_command)
        return found

    def test_commands(self):
        self.assertEqual(self.complete(PINION, ""), set(commands()) | {"--help", "--version"})
        self.assertEqual(self.complete(PINION, "help", ""), set(commands()))
        self.assertEqual(self.complete(PINION, "pla"), {"plan"})

    def test_each_option_of_each_command(self):
        for command in commands():
            with self.subTest(command):
                wanted = self.options(PINION, "help", command)
                self.assertLessEqual(wanted, self.complete(PINION, command, "--"))
        self.assertLessEqual(self.options(TESTPMD, "--help"), self.complete(TESTPMD, "--"))
        self.assertEqual(self.complete(TESTPMD, "--dur"), {"--duration"})

    def test_commands_of_commands(self):
        self.assertEqual(self.complete(PINION, "vf", ""), {"create", "remove"})
        self.assertEqual(self.complete(PINION, "cdi", "g"), {"generate"})
        self.assertEqual(self.complete(PINION, "oci", ""), {"hook"})

    def test_values(self):
        devices = set(re.findall(r"(?m)^[0-9a-f:]{10}\.[0-7]", run(PINION, "devices", "--all")))
        if devices:
            for words in (["bind", ""], ["vf", "create", ""], ["doctor", "-a", ""]):
                self.assertEqual(self.complete(PINION, *words), devices)
        self.assertEqual(self.complete(PINION, "grant", "x", "--mode", ""), {"acl", "owner"})
        self.assertIn("root", self.complete(PINION, "revoke", "--user", "ro"))
        modes = {"io", "macswap", "rxonly", "txonly", "bridge"}
        self.assertLessEqual(modes, self.complete(TESTPMD, "--forward", ""))
        self.assertEqual(self.complete(PINION, "plan", "--page", "2"), {"2M"})
        self.assertIn("iommufd-as-vfio", self.complete(PINION, "plan", "--backend", ""))
        self.assertLessEqual({"type1", "iommufd", "none"}, self.complete(TESTPMD, "--dma", ""))


class Page(unittest.TestCase):
    def test_each_recipe_is_run_by_a_suite(self):
        recipes = set(re.findall(r"^```sh recipe=(\S+)", read(os.path.join(TREE, "doc/deploy.md")), re.M))
        suites = read(os.path.join(TREE, "tests/vm/suites/containers.py")) + read(os.path.abspath(__file__))
        unused = {name for name in recipes if f'"{name}"' not in suites and f"recipe={name}\\n" not in suites}
        self.assertEqual(unused, set())


if __name__ == "__main__":
    unittest.main()
