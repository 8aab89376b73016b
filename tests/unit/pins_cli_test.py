# SPDX-License-Identifier: BSD-3-Clause
"""pinion pins from outside: each format read by an independent reader and compared with the others, and what watches,
serves, records and plots. The ledgers are of real processes that map nothing."""

import csv
import fcntl
import io
import json
import os
import pty
import select
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import tempfile
import termios
import time
import unittest
import urllib.error
import urllib.request
import xml.etree.ElementTree

PINION = os.environ["PINION"]
MAKER = os.environ["LEDGER_MAKER"]
PROCESSES, MAPPINGS, PAGES = 3, 5, 512
COUNTERS = ["mm->locked_vm", "user->locked_vm", "mm->pinned_vm"]


def setUpModule():
    global folder, ledgers, environment, maker
    folder = tempfile.mkdtemp(prefix="pn-cli-")
    ledgers = os.path.join(folder, "ledgers")
    environment = {**os.environ, "PINION_RUNTIME_DIR": ledgers, "TERM": "xterm"}
    maker = subprocess.Popen([MAKER, str(PROCESSES), str(MAPPINGS), "living"], env=environment, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    assert maker.stdout.readline() == "ready\n"


def tearDownModule():
    maker.communicate()
    shutil.rmtree(folder)


def path(name):
    return os.path.join(folder, name)


def command(*arguments):
    return [PINION, "pins", *arguments]


def run(*arguments, status=0):
    done = subprocess.run(command(*arguments), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60, check=False)
    out, errors = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == status, f"{arguments}: exit status {done.returncode}: {errors}"
    return errors if status else out


def pids():
    """The processes made here; other tests may have ledgers in the usual places at the same time."""
    return {int(name.split("-")[0]) for name in os.listdir(ledgers)}


def document():
    whole = json.loads(run("--json"))
    whole["processes"] = [process for process in whole["processes"] if process["pid"] in pids()]
    return whole


class Formats(unittest.TestCase):
    def test_json(self):
        whole = document()
        self.assertEqual(whole["schema"], "pinion.pins/1")
        self.assertEqual(len(whole["processes"]), PROCESSES)
        for process in whole["processes"]:
            self.assertEqual((process["state"], process["alive"], process["stranded"]), ("alive", True, False))
            self.assertEqual(list(process["counters"]), COUNTERS)
            self.assertEqual(process["counters"]["mm->locked_vm"]["predicted"], MAPPINGS * PAGES)
            domain, = process["domains"]
            self.assertEqual(domain["charged_pages"], MAPPINGS * PAGES)
            self.assertEqual(domain["mapped_bytes"], MAPPINGS * PAGES * 4096)
            self.assertEqual([m["charged_pages"] for m in domain["mappings"]], [PAGES] * MAPPINGS)
            self.assertEqual(len({m["iova"] for m in domain["mappings"]}), MAPPINGS)
        # Nothing is pinned in truth, and the report says so.
        missing = [f for f in whole["findings"] if f["pid"] in pids()]
        self.assertEqual({(f["kind"], f["cause"], f["pages"]) for f in missing},
                         {("unexplained", "below", -MAPPINGS * PAGES)})

    def test_csv(self):
        text = run("--csv")
        self.assertEqual(text.count("\n"), text.count("\r\n"))
        rows = [row for row in csv.DictReader(io.StringIO(text)) if int(row["pid"]) in pids()]
        self.assertEqual(len(rows), PROCESSES * len(COUNTERS))
        figures = {(p["pid"], name): c for p in document()["processes"] for name, c in p["counters"].items()}
        for row in rows:
            figure = figures[int(row["pid"]), row["counter"]]
            for field, name in (("predicted_pages", "predicted"), ("before_pages", "before"),
                                ("observed_pages", "observed"), ("unexplained_pages", "unexplained"),
                                ("left_pages", "left"), ("observer", "observer")):
                value = "" if figure[name] is None else str(figure[name])
                self.assertEqual(row[field], value, f"{field} of {row['counter']}")
            self.assertEqual(row["limited"] == "true", figure["limited"])

    def test_csv_of_mappings_and_findings(self):
        rows = [row for row in csv.DictReader(io.StringIO(run("--csv=mappings"))) if int(row["pid"]) in pids()]
        mappings = [(p["pid"], m["vaddr"], m["iova"], m["bytes"], m["region"]) for p in document()["processes"]
                    for d in p["domains"] for m in d["mappings"]]
        self.assertEqual([(int(r["pid"]), r["vaddr"], r["iova"], int(r["bytes"]), r["region"]) for r in rows], mappings)
        found = list(csv.DictReader(io.StringIO(run("--csv=findings"))))
        self.assertIn("unexplained", {row["kind"] for row in found})

    def test_prometheus(self):
        samples = {}
        for line in run("--prometheus").splitlines():
            if line.startswith("#"):
                continue
            name, value = line.rsplit(" ", 1)
            self.assertNotIn(name, samples, "a sample twice")
            samples[name] = float(value)
        for process in document()["processes"]:
            labels = (f'{{pid="{process["pid"]}",start_time="{process["start_time"]}",uid="{process["uid"]}",'
                      f'comm="{process["comm"]}",state="alive",counter="mm->locked_vm",observer=')
            counter = process["counters"]["mm->locked_vm"]
            self.assertEqual(samples[f'pinion_pins_predicted_bytes{labels}"model"}}'], counter["predicted"] * 4096)
            self.assertEqual(samples[f'pinion_pins_observed_bytes{labels}"proc"}}'], counter["observed"] * 4096)
            self.assertEqual(samples[f'pinion_pins_unexplained_bytes{labels}"proc"}}'], counter["unexplained"] * 4096)

    def test_promtool(self):
        promtool = shutil.which("promtool")
        if not promtool:
            self.skipTest("no promtool (Debian's package prometheus, which starts a server)")
        done = subprocess.run([promtool, "check", "metrics"], input=run("--prometheus"), text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_tables(self):
        table, summary = run(), run("--summary")
        for pid in pids():
            self.assertIn(f"process {pid} bench-pins-repo", table)
            self.assertRegex(summary, rf"(?m)^ *{pid} bench-pins-repo ")
        self.assertEqual(table.count("packets"), PROCESSES * MAPPINGS)
        self.assertNotIn("packets", summary)
        quick = run("--summary", "--quick")
        self.assertEqual([line for line in quick.splitlines() if " bench-" in line],
                         [line for line in summary.splitlines() if " bench-" in line])

    def test_output(self):
        to = path("pins.prom")
        with open(to, "w", encoding="ascii") as file:
            file.write("old")
        old = os.stat(to).st_ino
        self.assertEqual(run("--prometheus", "--output", to), "")
        with open(to, encoding="ascii") as file:
            self.assertTrue(file.read().startswith("# HELP"))
        self.assertNotEqual(os.stat(to).st_ino, old, "a file that is replaced is another one")
        self.assertEqual([n for n in os.listdir(folder) if n.startswith(".pins")], [])
        self.assertIn("cannot", run("--json", "--output", path("no/such"), status=1))
        self.assertIn("not a regular file", run("--json", "--output", "/dev/null", status=1))
        self.assertIn("not a regular file", run("--json", "--output", folder, status=1))


class CommandLine(unittest.TestCase):
    def test_what_makes_no_sense(self):
        lines = ["--json --csv", "--json --prometheus", "--csv=x", "--pid 0", "--pid x", "--watch 0", "--watch=x",
                 "--watch --listen localhost", "--watch --record x.db", "--watch --json", "--watch --prune",
                 "--listen localhost --record x.db", "--listen localhost --csv", "--listen", "--listen nowhere",
                 "--listen 127.0.0.1:65536", "--listen 127.0.0.1:", "--listen [::1", "--listen :9101", "--listen 0.0.0.0",
                 "--listen [::]:9101", "--listen 192.0.2.1:9101", "--allow-remote", "--plot x.svg", "--from x.db",
                 "--plot x.svg --from x.db --record y.db", "--plot x.svg --watch", "--plot x.svg --from x.db --json",
                 "--interval 5", "--count 3", "--record x.db --interval 0", "--record x.db --interval x",
                 "--record x.db --count 0", "--record x.db --output y", "--output", "--unknown", "word"]
        for line in lines:
            errors = run(*line.split(), status=2)
            self.assertTrue(errors.startswith("pinion: ") and len(errors.splitlines()) == 1, f"{line}: {errors}")
        self.assertIn("empty", run("--output", "", status=2))
        self.assertFalse(os.path.exists("x.db"))

    def test_kernel_without_the_module(self):
        if os.path.exists("/sys/module/pinion"):
            self.skipTest("it is loaded here; the suites in virtual machines look at that")
        for more in ([], ["--json"]):
            self.assertIn("companion module is not loaded", run("--kernel", *more, status=1))
        for more in (["--summary"], ["--pid", "1"], ["--watch"], ["--record", path("x.db")], ["--measure-user"]):
            self.assertIn("nothing else goes with it", run("--kernel", *more, status=2))

    def test_help(self):
        for option in ("--watch", "--listen", "--allow-remote", "--record", "--plot", "--csv", "--prometheus"):
            self.assertIn(option, run("--help"))


class Listening(unittest.TestCase):
    def setUp(self):
        self.server = subprocess.Popen(command("--listen", "127.0.0.1:0"), env=environment, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
        self.url = self.server.stdout.readline().split()[1]
        self.address = ("127.0.0.1", int(self.url.split(":")[2].split("/")[0]))

    def tearDown(self):
        self.server.kill()
        self.server.communicate()

    def end(self, number):
        start = time.monotonic()
        self.server.send_signal(number)
        self.assertEqual(self.server.wait(20), 0)
        self.assertLess(time.monotonic() - start, 5)

    def answer(self, method="GET", where="/metrics", data=None):
        request = urllib.request.Request(self.url.replace("/metrics", where), method=method, data=data)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    def test_requests(self):
        status, headers, body = self.answer()
        self.assertEqual((status, headers["Content-Type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        self.assertIn("pinion_pins_predicted_bytes{", body)
        self.assertEqual(self.answer("HEAD")[0::2], (200, ""))
        self.assertEqual(self.answer(where="/")[0], 404)
        self.assertEqual(self.answer(where="/metrics/../etc/passwd")[0], 404)
        status, headers, _ = self.answer("POST", data=b"x" * 100000)
        self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"))
        self.assertEqual(self.answer("DELETE")[0], 405)
        self.end(signal.SIGTERM)

    def test_garbage(self):
        texts = [b"\0" * 100, os.urandom(5000), b"GET\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n",
                 b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n", b"GET /metrics HTTP/1.1\r\n" + b"x: y\r\n" * 20000,
                 b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                 b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
        for text in texts:
            with socket.create_connection(self.address, timeout=2) as client:
                try:
                    client.sendall(text)
                    client.shutdown(socket.SHUT_WR)
                    got = client.recv(12)
                except OSError:
                    continue
                self.assertFalse(got.startswith(b"HTTP/1.1 200"), text[:40])
        self.assertEqual(self.answer()[0], 200)
        self.end(signal.SIGINT)

    def test_clients_that_say_nothing(self):
        """More than it takes at once: it goes on, and ends though they are there."""
        idle = [socket.create_connection(self.address, timeout=20) for _ in range(31)]
        self.assertEqual(self.answer()[0], 200)
        more = []
        for _ in range(40):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(self.address)
            more.append(client)
        self.end(signal.SIGTERM)
        for client in idle + more:
            client.close()

    def test_a_port_in_use(self):
        errors = run("--listen", f"127.0.0.1:{self.address[1]}", status=1)
        self.assertIn("Address already in use", errors)
        self.end(signal.SIGHUP)


class Recording(unittest.TestCase):
    def rows(self, name, text):
        with sqlite3.connect(path(name)) as db:
            return db.execute(text).fetchall()

    def test_rows(self):
        self.assertIn("2 samples", run("--record", path("r.db"), "--interval", "0.1", "--count", "2"))
        self.assertEqual(os.stat(path("r.db")).st_mode & 0o777, 0o600)
        for process in document()["processes"]:
            rows = self.rows("r.db", "SELECT counter, predicted_pages, before_pages, observed_pages, observer, "
                             "unexplained_pages, limited, left_pages FROM counters "
                             f"WHERE pid = {process['pid']} AND sample = 1")
            expected = [(name, c["predicted"], c["before"], c["observed"], c["observer"], c["unexplained"],
                         int(c["limited"]), c["left"]) for name, c in process["counters"].items()]
            self.assertEqual(rows, expected)
        self.assertEqual(self.rows("r.db", "SELECT count(*) FROM samples"), [(2,)])
        # Another run adds to it.
        run("--record", path("r.db"), "--count", "1")
        self.assertEqual(self.rows("r.db", "SELECT count(*) FROM samples"), [(3,)])
        (first,), (last,) = self.rows("r.db", "SELECT time_ms FROM samples WHERE sample IN (1, 3)")
        self.assertLess(abs(last / 1000 - time.time()), 100)
        self.assertLess(first, last)

    def test_names_that_mean_something_to_sqlite(self):
        """A file is meant, whatever it is called: not a database in memory that is gone with the program."""
        for name in (":memory:", "file:x.db", "file:y.db?mode=memory", "file:z.db?mode=ro"):
            done = subprocess.run(command("--record", name, "--count", "1"), env=environment, cwd=folder, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            self.assertEqual((done.returncode, done.stdout), (0, f"1 samples recorded in {name}\n"))
            self.assertEqual(self.rows(name, "SELECT count(*) FROM samples"), [(1,)], name)

    def test_a_file_that_is_taken_away(self):
        """Samples that nobody could ever read are not said to be recorded."""
        for take in (os.unlink, lambda name: os.rename(name, f"{name}.old")):
            with subprocess.Popen(command("--record", path("t.db"), "--interval", "0.2"), env=environment, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as recorder:
                while not os.path.exists(path("t.db-wal")) and recorder.poll() is None:
                    time.sleep(0.02)
                take(path("t.db"))
                try:
                    self.assertEqual(recorder.wait(20), 1)
                finally:
                    recorder.kill()
                self.assertIn("was moved or removed", recorder.stderr.read())
            for name in os.listdir(folder):
                if name.startswith("t.db"):
                    os.unlink(path(name))

    def test_killed(self):
        """Each sample is whole or not there, and it goes on where it was."""
        for round_ in range(6):
            with subprocess.Popen(command("--record", path("k.db"), "--interval", "0.1"), env=environment) as recorder:
                time.sleep(0.15 + 0.07 * round_)
                recorder.kill()
        run("--record", path("k.db"), "--count", "1")
        self.assertEqual(self.rows("k.db", "PRAGMA integrity_check"), [("ok",)])
        wrong = self.rows("k.db", "SELECT sample, process_count, count(*) FROM samples JOIN counters USING (sample) "
                          "GROUP BY sample HAVING count(*) <> 3 * process_count")
        self.assertEqual(wrong, [])

    def test_a_signal_ends_it(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with subprocess.Popen(command("--record", path("s.db")), env=environment, stdout=subprocess.PIPE) as recorder:
                while not os.path.exists(path("s.db-wal")) and recorder.poll() is None:
                    time.sleep(0.02)
                time.sleep(0.2)
                recorder.send_signal(number)
                self.assertEqual(recorder.wait(20), 0)
                self.assertIn(b"samples recorded", recorder.stdout.read())
            self.assertFalse(os.path.exists(path("s.db-wal")), "it is put away")

    def test_what_is_no_recording(self):
        with sqlite3.connect(path("foreign.db")) as db:
            db.execute("CREATE TABLE mine (x)")
        with sqlite3.connect(path("other.db")) as db:
            db.execute("PRAGMA application_id = 1346981459")
            db.execute("PRAGMA user_version = 2")
            db.execute("CREATE TABLE samples (x)")
        with open(path("text.db"), "w", encoding="ascii") as file:
            file.write("not a database, but long enough to be taken for one by its length alone, " * 4)
        for name, words in (("foreign.db", "another program"), ("other.db", "another version"),
                            ("text.db", "not a SQLite database"), (".", "not a regular file")):
            before = b"" if name == "." else open(path(name), "rb").read()
            self.assertIn(words, run("--record", path(name), "--count", "1", status=1))
            self.assertIn(words, run("--from", path(name), "--plot", path("x.svg"), status=1))
            if name != ".":
                with open(path(name), "rb") as file:
                    self.assertEqual(file.read(), before, f"{name} is left as it was")
        self.assertIn("No such file", run("--from", path("none.db"), "--plot", path("x.svg"), status=1))
        self.assertFalse(os.path.exists(path("none.db")) or os.path.exists(path("x.svg")))
        # An empty file is as good as none.
        with open(path("empty.db"), "w", encoding="ascii"):
            pass
        self.assertIn("nothing is recorded", run("--from", path("empty.db"), "--plot", path("x.svg"), status=1))
        run("--record", path("empty.db"), "--count", "1")

    @unittest.skipUnless(shutil.which("gnuplot"), "no gnuplot")
    def test_plot(self):
        run("--record", path("p.db"), "--interval", "0.1", "--count", "3", "--plot", path("p.svg"))
        with sqlite3.connect(path("p.db")) as db:
            db.execute("UPDATE counters SET comm = 'a`touch " + path("hacked") + "`''\"\n<b>%s'")
            db.execute("UPDATE counters SET limit_soft_pages = 'unlimited' WHERE sample = 2")
        run("--from", path("p.db"), "--plot", path("p.svg"))
        root = xml.etree.ElementTree.parse(path("p.svg")).getroot()
        text = "".join(root.itertext())
        self.assertIn("mm->locked_vm", text)
        self.assertIn("predicted", text)
        self.assertNotIn("`", text)
        self.assertFalse(os.path.exists(path("hacked")))
        self.assertIn("nothing is recorded", run("--from", path("p.db"), "--plot", path("q.svg"), "--pid", "1", status=1))
        self.assertEqual([n for n in os.listdir(folder) if n.startswith((".p.svg", ".q.svg"))], [])

    @unittest.skipUnless(shutil.which("gnuplot"), "no gnuplot")
    def test_plot_of_many(self):
        """As many lines as a panel has: all their names are in the picture, and within it."""
        run("--record", path("m.db"), "--interval", "0.1", "--count", "2")
        row = "1, ?, 7, ?, 'fifteen-letters', 'alive', ?, ?, 0, ?, 'proc', 0, 1, ?, ?, 0"
        with sqlite3.connect(path("m.db")) as db:
            db.execute("DELETE FROM counters")
            for at in range(8):
                limit = "unlimited" if at == 3 else 4000000 if at == 4 else 100 + at
                for counter in COUNTERS:
                    db.execute(f"INSERT INTO counters VALUES ({row})",
                               (4194300 + at, 100000 + at, counter, 100 + at, 90 + at, limit, limit))
        run("--from", path("m.db"), "--plot", path("m.svg"))
        root = xml.etree.ElementTree.parse(path("m.svg")).getroot()
        width, height = float(root.get("width")), float(root.get("height"))
        names = []
        for group in root.iter("{http://www.w3.org/2000/svg}g"):
            text = "".join("".join(t.itertext()) for t in group.findall("{http://www.w3.org/2000/svg}text"))
            if text and group.get("text-anchor") == "start":
                x, y = map(float, group.get("transform").removeprefix("translate(").rstrip(")").split(","))
                self.assertLess(x + 7 * len(text), width, text)
                self.assertLess(y, height, text)
                names.append(text)
        for name in [f"fifteen-letters {4194307 - at}" for at in range(6)] + [f"user {100007 - at}" for at in range(6)]:
            self.assertTrue({f"{name} (proc)", f"{name}, predicted"} < set(names), f"{name} in {names}")
        self.assertIn("limit of user 100004: 15.2588 GiB", names)
        self.assertIn("limit of user 100003: unlimited", names)

    @unittest.skipUnless(shutil.which("gnuplot"), "no gnuplot")
    def test_plot_on_a_full_disk(self):
        """gnuplot does not say that it could not write: the picture that was there stays all the same."""
        run("--record", path("d.db"), "--interval", "0.1", "--count", "3")
        os.mkdir(path("disk"))
        own_mounts = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
        mount = f"mount -t tmpfs -o size=12k none {path('disk')}"
        if subprocess.run([*own_mounts, "sh", "-c", mount], stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("no file system can be mounted here")
        script = (f"{mount}; cd {path('disk')}; echo old > p.svg; "
                  f"{PINION} pins --from ../d.db --plot p.svg; echo $?; cat p.svg; ls -A")
        done = subprocess.run([*own_mounts, "sh", "-c", script], env=environment, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.stdout, "1\nold\np.svg\n", done.stderr)
        self.assertEqual(done.stderr, "pinion: p.svg: cannot write it: No space left on device\n")

    def test_without_gnuplot(self):
        run("--record", path("g.db"), "--count", "1")
        done = subprocess.run(command("--from", path("g.db"), "--plot", path("g.svg")), stderr=subprocess.PIPE,
                              env={**environment, "PATH": "/nonexistent"}, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("apt install gnuplot-nox", done.stderr)
        self.assertFalse(os.path.exists(path("g.svg")))


class Watching(unittest.TestCase):
    def start(self, *arguments, rows=30, columns=120, term="xterm"):
        self.terminal, other = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(other)
        self.program = subprocess.Popen(command("--watch", *arguments), env={**environment, "TERM": term}, stdin=other,
                                        stdout=other, stderr=subprocess.PIPE, start_new_session=True)
        self.other = other
        self.seen = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def see(self, what, seconds=20):
        """Read what it draws until this is in it; the frame with it."""
        end = time.monotonic() + seconds
        while what not in self.seen and time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.1)[0]:
                self.seen += os.read(self.terminal, 65536)
        self.assertIn(what, self.seen)
        seen, self.seen = self.seen, b""
        return seen

    def end(self):
        end = time.monotonic() + 20
        while self.program.poll() is None and time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.05)[0]:
                self.seen += os.read(self.terminal, 65536)
        self.assertEqual(self.program.poll(), 0)
        while select.select([self.terminal], [], [], 0.2)[0]:
            self.seen += os.read(self.terminal, 65536)
        self.assertTrue(self.seen.endswith(b"\x1b[?25h\x1b[?1049l"), "the screen is given back")
        self.assertEqual(termios.tcgetattr(self.other), self.before, "and so are its settings")

    def tearDown(self):
        if hasattr(self, "program"):
            self.program.kill()
            self.program.communicate()
            os.close(self.terminal)
            os.close(self.other)

    def test_it_draws_again_and_ends(self):
        self.start("0.2")
        for _ in range(3):
            self.see(b"q: end")
        self.assertIn(b"bench-pins-repo", self.see(b"q: end"))
        os.write(self.terminal, b"q")
        self.end()

    def test_signals_end_it(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.start()
            self.see(b"q: end")
            self.program.send_signal(number)
            self.end()
            self.tearDown()
        del self.program

    def test_sizes(self):
        """Never a line too many or too long, however small it is."""
        self.start("60", rows=5, columns=40)
        self.check_frame(self.see(b"\x1b[0m"), 5, 40)
        for rows, columns in ((1, 1), (2, 10), (1, 200), (50, 3), (50, 200)):
            self.resize(rows, columns)
            self.program.send_signal(signal.SIGWINCH)
            time.sleep(0.3)
            self.check_frame(self.see(b"\x1b[7m"), rows, columns)
        for key in (b"j", b"k", b"\x1b[B", b"\x1b[A", b"\x1b[5~", b"\x1b[6~", b"G", b"g", b"x", b"\x1b"):
            os.write(self.terminal, key)
            time.sleep(0.05)
        os.write(self.terminal, b"q")
        self.end()

    def check_frame(self, seen, rows, columns):
        frame = seen.rsplit(b"\x1b[H", 1)[-1]
        lines = frame.replace(b"\r", b"").split(b"\n")  # the terminal's driver adds some
        self.assertEqual(len(lines), rows)
        for line in lines:
            for sequence in (b"\x1b[K", b"\x1b[7m", b"\x1b[0m", b"\x1b[1m"):
                line = line.replace(sequence, b"")
            self.assertLessEqual(len(line), columns, line)

    def test_ctrl_z(self):
        self.start("60")
        self.see(b"q: end")
        self.program.send_signal(signal.SIGTSTP)
        self.see(b"\x1b[?1049l")
        while open(f"/proc/{self.program.pid}/stat", encoding="ascii").read().rsplit(") ")[1][0] != "T":
            time.sleep(0.02)
        self.program.send_signal(signal.SIGCONT)
        self.see(b"\x1b[?1049h")
        self.program.send_signal(signal.SIGTERM)
        self.end()

    def test_no_terminal(self):
        self.assertIn("no terminal", run("--watch", status=1))
        self.start(term="dumb")
        self.assertEqual(self.program.wait(20), 1)
        self.assertIn(b"dumb", self.program.stderr.read())


if __name__ == "__main__":
    unittest.main()
