# SPDX-License-Identifier: BSD-3-Clause
"""Two cards of Pinion's on one wire: what one sends the other receives, so that frames go round for ever, and more
come in a burst than a small transmit ring takes."""

from guest import NICS, Suite, backends, bind, check, equal, testpmd_json
from modes import consistent


def test_full_ring(backend, mode):
    """io drops and counts what the ring does not take; bridge waits and drops nothing."""
    code, document, errors = testpmd_json("-a", ",".join(NICS), "--dma", backend, "--forward", mode, "--rxd", "512",
                                          "--txd", "64", "--burst", "256", "--tx-first=2", "--mem", "8M", "--pool",
                                          "3000", "--duration", "2")
    equal(code, 0, errors)
    consistent(document, waiting=512)
    dropped = document["totals"]["flow"]["dropped"]
    check(dropped > 0 if mode == "io" else dropped == 0, f"{mode} dropped {dropped}")
    check(document["totals"]["flow"]["received"] > 1000, "frames went round")


def main():
    suite = Suite()
    bind(*NICS)
    for backend, reason in backends().items():
        for mode in () if reason else ("io", "bridge"):
            suite.run(f"{backend}: {mode} with a full transmit ring", test_full_ring, backend, mode)
    suite.end()


if __name__ == "__main__":
    main()
