# SPDX-License-Identifier: BSD-3-Clause
"""pinion-testpmd on software ports, which need no machine: TESTPMD in the environment is the program."""

import json
import os
import subprocess
import unittest

TESTPMD = os.environ["TESTPMD"]


def run(*arguments):
    return subprocess.run([TESTPMD, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          check=False)


def run_json(*arguments):
    done = run("--json", "--page-size", "4K", *arguments)
    if done.returncode:
        raise AssertionError(done.stderr)
    return json.loads(done.stdout)


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

    def test_ring(self):
        flow = self.check_flow(run_json("--port", "ring", "--port", "ring:size=256", "--tx-first=4", "--count", "100000"))
        self.assertEqual((flow["generated"], flow["dropped"]), (256, 0))
        self.assertEqual(flow["received"], 100000)

    def test_ring_over_filled(self):
        """Ten bursts into room for one: what does not fit is dropped and counted, and the rest goes round."""
        flow = self.check_flow(run_json("--port", "ring:size=32", "--tx-first=10", "--count", "10000"))
        self.assertEqual((flow["generated"], flow["dropped"], flow["received"]), (320, 288, 10000))

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
