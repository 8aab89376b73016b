# SPDX-License-Identifier: BSD-3-Clause
"""pinion-testpmd on software ports, which need no machine: TESTPMD in the environment is the program."""

import json
import os
import signal
import struct
import subprocess
import tempfile
import unittest

TESTPMD = os.environ["TESTPMD"]


def run(*arguments):
    return subprocess.run([TESTPMD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          check=False)


def run_json(*arguments):
    return parse(run("--json", "--page-size", "4K", *arguments))


def parse(done):
    if done.returncode:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


# A wire in a network namespace of its own, without what hosts say on their own.
WIRE = """echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6 2>/dev/null
ip link add pnA type veth peer name pnB && ip link set pnA up && ip link set pnB up || exit 77
exec "$@" """


def run_on_wire(*arguments):
    namespace = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    done = subprocess.run([*namespace, "sh", "-c", WIRE, "sh", TESTPMD, "--json", "--page-size", "4K", *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        raise unittest.SkipTest(f"no network namespace with a veth pair can be had: {done.stderr.strip()}")
    return done


class Ports(unittest.TestCase):
    def check_flow(self, document):
        """What came in went out, and the ports' own counters say the same."""
        flow, counters = document["totals"]["flow"], document["totals"]["counters"]
        self.assertEqual(flow["received"] + flow["generated"], flow["sent"] + flow["dropped"] + flow["consumed"])
        self.assertEqual(counters["rx_packets"], flow["received"])
        self.assertEqual(counters["tx_packets"], flow["sent"])
        return flow

    def test_null(self):
        for mode in ("io", "macswap", "bridge"):
            document = run_json("--port", "null", "--port", "null:size=100", "--forward", mode, "--count", "100000")
            flow = self.check_flow(document)
            self.assertEqual((flow["received"], flow["sent"]), (100000, 100000), mode)
            self.assertEqual([port["driver"] for port in document["ports"]], ["null", "null"])
            self.assertEqual(document["ports"][1]["counters"]["rx_bytes"],
                             100 * document["ports"][1]["counters"]["rx_packets"])
            self.assertEqual(document["domain"]["backend"], "none")
            self.assertGreater(document["cpu_s"], 0)

    def test_sizes_of_bursts(self):
        for burst in (1, 7, 33, 512):
            self.check_flow(run_json("--port", "null", "--burst", str(burst), "--count", "20000"))

    def test_rxonly_and_txonly(self):
        flow = self.check_flow(run_json("--port", "null", "--forward", "rxonly", "--count", "5000"))
        self.assertEqual(flow["consumed"], 5000)
        flow = self.check_flow(run_json("--port", "null", "--forward", "txonly", "--count", "5000"))
        self.assertEqual(flow["sent"], 5000)

    def test_cores(self):
        """Each processor has its share of the ports, and together they stop at the count exactly."""
        allowed = sorted(os.sched_getaffinity(0))
        for cores in {str(allowed[0]), ",".join(map(str, allowed[:2]))}:
            names = [int(word) for word in cores.split(",")]
            for mode, ports in (("io", 2), ("macswap", 3), ("bridge", 4), ("rxonly", 2), ("txonly", 2)):
                document = run_json(*["--port", "null"] * ports, "--forward", mode, "--cores", cores, "--count", "100000",
                                    "--burst", "7")
                flow = self.check_flow(document)
                self.assertEqual(flow["received"] + flow["generated"], 100000, (cores, mode))
                self.assertEqual([core["cpu"] for core in document["cores"]], names)
                self.assertEqual(sum(core["ports"] for core in document["cores"]), ports)
                self.assertGreater(document["cpu_s"], 0)

    def test_cores_for_a_time(self):
        """Ended by the clock, or by a signal: what was received is sent, dropped, or given back."""
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
        count = str(2 * len(cores.split(",")))
        document = run_json(*["--port", "ring"] * int(count), "--tx-first=2", "--cores", cores, "--duration", "0.2",
                            "--stats-period", "0.05")
        self.assertGreater(self.check_flow(document)["received"], 0)
        self.assertEqual(document["ended_by"], "duration")
        self.assertGreaterEqual(len(document["samples"]), 2)
        with subprocess.Popen([TESTPMD, "--json", "--page-size", "4K", *["--port", "null"] * 2, "--cores", cores,
                               "--stats-period", "0.01"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                process.communicate(timeout=0.3)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGTERM)
            out, _ = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0)
        document = json.loads(out)
        self.assertEqual(document["ended_by"], "SIGTERM")
        self.check_flow(document)

    def test_vf_token_refused(self):
        token = "2ab74924-c335-45f4-9b16-8569e5b08258"
        for words, text in ((["-a", f"vf-token={token}"], "behind the device"),
                            (["-a", "00:03.0", "-a", f"vf-token={token}"], "behind the device"),
                            (["-a", "00:03.0,vf-token=secret"], "'secret' is not a VF token"),
                            (["-a", f"00:03.0,vf-token={token}{token}"], "is not a VF token"),
                            (["-a", f"00:03.0,vf-token={token},vf-token={token}"], "one token a device"),
                            (["-a", f"00:03.0,vf-token={token}", "--broker"], "takes no vf-token")):
            done = run(*words)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn(text, done.stderr)

    def test_cores_refused(self):
        for cores, status, text in (("0-", 2, "not a list"), ("", 2, "at least one"), ("65000", 2, "no processor 65000"),
                                    ("0,0", 2, "twice")):
            done = run("--port", "null", "--port", "null", "--cores", cores, "--count", "1")
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(text, done.stderr)
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) > 1:
            done = run("--port", "null", "--cores", f"{allowed[0]},{allowed[1]}", "--count", "1")
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("1 port", done.stderr)

    def test_ring(self):
        flow = self.check_flow(run_json("--port", "ring", "--port", "ring:size=256", "--tx-first=4", "--count", "100000"))
        self.assertEqual((flow["generated"], flow["dropped"]), (256, 0))
        self.assertEqual(flow["received"], 100000)

    def test_ring_over_filled(self):
        """Ten bursts into room for one: what does not fit is dropped and counted, and the rest goes round."""
        flow = self.check_flow(run_json("--port", "ring:size=32", "--tx-first=10", "--count", "10000"))
        self.assertEqual((flow["generated"], flow["dropped"], flow["received"]), (320, 288, 10000))

    def test_wire(self):
        """A burst that goes round and round between the ends of a wire; each port says how it does it."""
        for ports, drivers in ((("afpacket:iface=pnA", "afpacket:iface=pnB"), ["afpacket", "afpacket"]),
                               (("afpacket:iface=pnA,wait=2", "afpacket:iface=pnB,fanout=lb"), ["afpacket"] * 2),
                               (("afxdp:iface=pnA", "afxdp:iface=pnB"), ["afxdp", "afxdp"]),
                               (("afxdp:iface=pnA", "afpacket:iface=pnB"), ["afxdp", "afpacket"])):
            if "afxdp" in drivers and os.geteuid():
                continue
            with self.subTest(ports=ports):
                document = parse(run_on_wire("--port", ports[0], "--port", ports[1], "--tx-first=2", "--count", "5000"))
                self.assertEqual(self.check_flow(document)["received"], 5000)
                self.assertEqual([port["driver"] for port in document["ports"]], drivers)
                for port in document["ports"]:
                    self.assertTrue(port["note"])
                    self.assertEqual(port["xstats"]["rx_packets"], port["counters"]["rx_packets"])
                    self.assertEqual(port["xstats"]["rx_q0_packets"], port["counters"]["rx_packets"])

    def test_queues(self):
        """Every queue has what the kernel gave it, on the processor that has its stream."""
        allowed = sorted(os.sched_getaffinity(0))
        wire = ("--port", "afpacket:iface=pnA,fanout=lb", "--port", "afpacket:iface=pnB,fanout=lb", "--rxq", "3", "--txq", "3",
                "--tx-first=2", "--count", "6000")
        for more in ([], ["--wait"], ["--cores", ",".join(map(str, allowed[:2]))]):
            document = parse(run_on_wire(*wire, *more))
            self.assertGreaterEqual(self.check_flow(document)["received"], 6000)
            self.assertEqual((document["config"]["rxq"], document["config"]["txq"]), (3, 3))
            self.assertEqual(sum(core["queues"] for core in document["cores"]), 6)
            for port in document["ports"]:
                for way in ("rx", "tx"):
                    queues = [port["xstats"][f"{way}_q{queue}_packets"] for queue in range(3)]
                    self.assertTrue(all(queues), (port["address"], way, queues))
                    self.assertEqual(sum(queues), port["xstats"][f"{way}_packets"])
        document = parse(run_on_wire("--port", "afpacket:iface=pnA", "--forward", "txonly", "--txq", "2", "--count", "4000"))
        self.assertEqual(self.check_flow(document)["sent"], 4000)
        self.assertTrue(document["ports"][0]["xstats"]["tx_q1_packets"])

    def test_queues_refused(self):
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:2]))
        for words, text in ((("--rxq", "2"), "--txq 1"), (("--rxq", "2", "--txq", "2"), "must be 1 to 1"), (("--rxq", "0"), "from 1 to 16"),
                            (("--txq", "17"), "txq"), (("--rxq", "1099511627776"), "rxq")):
            done = run("--port", "null", "--count", "1", *words)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(text, done.stderr)
        if "," in cores:
            done = run("--port", "null", "--wait", "--rxq", "2", "--txq", "2", "--cores", cores, "--count", "1")
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("one processor", done.stderr)

    def test_vdev(self):
        """The names that dpdk-testpmd has."""
        document = run_json("--vdev", "net_null0,size=128", "--vdev", "net_ring0,size=64", "--count", "1000")
        self.assertEqual([port["address"] for port in document["ports"]], ["null:size=128", "ring:size=64"])
        document = parse(run_on_wire("--vdev", "net_af_packet0,iface=pnA,blocksz=4096,qdisc_bypass=1",
                                     "--vdev", "net_af_packet1,iface=pnB", "--tx-first", "--count", "500"))
        self.assertEqual(document["ports"][0]["address"], "afpacket:iface=pnA,block=4096,bypass=1")
        for word, text in (("net_none0", "net_af_xdp"), ("net_null0,copy=1", "copy"), ("net_null0,size=0", "size"),
                           ("net_af_packet0", "iface"), ("", "net_null"), ("net_null0," + "size=1," * 80, "longer")):
            done = run("--vdev", word, "--count", "1")
            self.assertNotEqual(done.returncode, 0, word)
            self.assertIn(text, done.stderr, word)

    def test_tap(self):
        done = run_on_wire("--vdev", "net_tap0,iface=pntap9", "--forward", "rxonly", "--duration", "0.2")
        if "/dev/net/tun" in done.stderr:
            raise unittest.SkipTest(done.stderr.strip())
        self.assertEqual(parse(done)["ports"][0]["note"], "interface pntap9")

    def test_wait(self):
        """Idle it sleeps; with packets it forwards all the same."""
        for port in ("ring", "pcap:tx=/dev/null", "afpacket:iface=pnA"):
            for more in ([], ["--cores", str(min(os.sched_getaffinity(0)))]):
                document = parse(run_on_wire("--port", port, "--wait", "--duration", "1", *more))
                self.assertLess(document["cpu_s"], 0.7 * document["duration_s"], (port, more))
        document = run_json("--port", "ring", "--wait", "--tx-first=1", "--count", "5000")
        self.assertEqual(self.check_flow(document)["received"], 5000)

    def test_macswap(self):
        """Frames of all lengths around those that are turned in another way: the addresses change places, and nothing else."""
        frames = [bytes(range(1, length + 1)) for length in [1, *range(10, 20), 60, 200]]
        with tempfile.TemporaryDirectory() as folder:
            given, got = os.path.join(folder, "given"), os.path.join(folder, "got")
            with open(given, "wb") as file:
                file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
                for frame in frames:
                    file.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
            document = run_json("--port", f"pcap:rx={given},tx={got}", "--forward", "macswap", "--count", str(len(frames)))
            self.assertEqual(self.check_flow(document)["sent"], len(frames))
            with open(got, "rb") as file:
                content = file.read()
        at, seen = 24, []
        while at < len(content):
            length = struct.unpack_from("<I", content, at + 8)[0]
            seen.append(content[at + 16:at + 16 + length])
            at += 16 + length
        self.assertEqual(seen, [frame if len(frame) < 12 else frame[6:12] + frame[:6] + frame[12:] for frame in frames])

    def test_two_processes(self):
        """What one sends the other receives, and sends back."""
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "PINION_RUNTIME_DIR": folder}
            command = [TESTPMD, "--json", "--page-size", "4K", "--rxd", "64", "--txd", "64"]
            one = subprocess.Popen([*command, "--port", "ring:listen=pair", "--forward", "macswap", "--wait", "--duration", "30"],
                                   env=environment, stdout=subprocess.PIPE, text=True)
            done = subprocess.run([*command, "--port", "ring:connect=pair", "--tx-first=2", "--count", "20000"],
                                  env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                                  check=False)
            one.send_signal(signal.SIGINT)
            out = one.communicate(timeout=60)[0]
            self.assertEqual(self.check_flow(parse(done))["received"], 20000)
            self.assertGreaterEqual(json.loads(out)["totals"]["flow"]["received"], 20000 - 64)

    def test_refusals(self):
        for word, text in (("nonsense", "software port"), ("0000:00:02.0", "software port"), ("null:size=0", "size"),
                           ("null:size=1099511627776", "size"), ("ring:size=100", "power of two"), ("ring:x=1", "size=")):
            done = run("--port", word, "--count", "1")
            self.assertNotEqual(done.returncode, 0, word)
            self.assertIn(text, done.stderr, word)
        done = run("--count", "1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--port", done.stderr)


if __name__ == "__main__":
    unittest.main()
