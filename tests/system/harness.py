# SPDX-License-Identifier: GPL-2.0-or-later
"""harness - a private daemon in a temporary directory, for end-to-end tests

Runs in the build directory. The tree under test is tests/vm/counter, which can tell what has been done to it.

SNAPMGR_TEST_BACKEND=criu with SNAPMGR_PEER_CRIU=PATH has a stock CRIU do the dumps and restores.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BUILD = os.getcwd()
COUNTER = os.path.join(BUILD, "tests/vm/counter")
BACKEND = os.environ.get("SNAPMGR_TEST_BACKEND", "native")
PEER = os.environ.get("SNAPMGR_PEER_CRIU", "criu")
ENGINE = os.environ.get("SNAPMGR_TEST_ENGINE", os.path.join(BUILD, "snapmgr-engine"))
WAIT_SEC = 20


def program(name):
    return os.path.join(BUILD, name)


def skip(why):
    print(why)
    sys.exit(77)


def wait_until(condition, what, seconds=WAIT_SEC):
    """Until condition() is true; returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not in {seconds} s: {what}")
        time.sleep(0.02)


def stat_fields(pid):
    """The fields of /proc/PID/stat behind the name: [0] is the state, [19] the start time."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        return f.read().rsplit(")", 1)[1].split()


def alive(pid):
    try:
        return stat_fields(pid)[0] not in "ZX"
    except OSError:
        return False


def is_traced(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
        return "TracerPid:\t0\n" not in f.read()


class Counter:
    """What tests/vm/counter says of itself, by its file."""

    def __init__(self, path):
        self.path = path

    def lines(self):
        with open(self.path, encoding="ascii", errors="replace") as f:
            return [line.strip() for line in f if line.strip()]

    def now(self):
        """(nonce, count, pid), or None when it has not begun."""
        try:
            m = re.match(r"now nonce=(\w+) count=0*(\d+) pid=(\d+)", self.lines()[0])
        except (OSError, IndexError):
            return None
        return (m[1], int(m[2]), int(m[3])) if m else None

    def count(self):
        now = self.now()
        return now[1] if now else 0

    def events(self, kind):
        return [line for line in self.lines()[1:] if line.startswith(kind)]


def arguments(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read().split(b"\0")


def is_shadow(pid):
    """A copy of a process that a snapshot is written from: its child, and traced from birth to death."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        return status["TracerPid"] != "0" and arguments(status["PPid"]) == arguments(pid)
    except (OSError, KeyError):
        return False


class Daemon(unittest.TestCase):
    """A daemon of its own for each test. Policies are written before start()."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="snapmgr-system.")
        self.socket = os.path.join(self.dir, "bus")
        self.store = os.path.join(self.dir, "store")
        self.etc = os.path.join(self.dir, "etc")
        self.log_path = os.path.join(self.dir, "daemon.log")
        os.mkdir(self.etc)
        self.counter = Counter(os.path.join(self.dir, "counter"))
        self.daemon = None
        self.others = []

    def tearDown(self):
        pids = self.tree_pids()
        if self.daemon:
            self.stop()
        for pid in pids:
            self.kill(pid)
        for process in self.others:
            process.kill()
            process.wait()
        failed = any(error for _, error in getattr(self._outcome, "errors", [])) or \
            getattr(self._outcome, "result", None) and \
            any(test is self for test, _ in
                self._outcome.result.failures + self._outcome.result.errors)
        if failed and os.path.exists(self.log_path):
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                sys.stderr.write("--- the daemon's log\n" + f.read()[-6000:])
        if os.environ.get("SNAPMGR_TEST_KEEP"):
            sys.stderr.write(f"kept {self.dir}\n")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- the daemon

    def start(self, engine=None, before=(), more=("--no-system-bus",), env=None):
        """@engine: instead of the real ones. @before: a command that executes the daemon."""
        with open(self.log_path, "ab") as log:
            self.daemon = subprocess.Popen(
                [*before, program("snapmgrd"), "--config", self.etc, "--store", self.store,
                 "--socket", self.socket, "--engine", engine or ENGINE,
                 "--criu", engine or PEER, "--debug", *more],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(env or {})})
        wait_until(self.answers, "the daemon answers")

    def answers(self):
        if self.daemon.poll() is not None:
            raise AssertionError(f"the daemon ended with status {self.daemon.returncode}")
        return self.run_cli("status").returncode == 0

    def stop(self):
        self.daemon.terminate()
        status = self.daemon.wait(timeout=30)
        self.daemon = None
        return status

    def kill_daemon(self):
        self.daemon.kill()
        self.daemon.wait()
        self.daemon = None

    def daemon_log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    # ---- the command line

    def run_cli(self, *args, **kwargs):
        return subprocess.run([program("snapmgr"), "--socket", self.socket, *args],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=120, check=False,
                              **kwargs)

    def cli(self, *args, status=0):
        """Runs snapmgr; its status must be that one. Returns what it printed."""
        done = self.run_cli(*args)
        self.assertEqual(done.returncode, status,
                         f"snapmgr {' '.join(args)}: {done.stdout}{done.stderr}")
        return done.stdout if status == 0 else done.stderr

    def json(self, *args):
        document = json.loads(self.cli(*args, "--json"))
        self.assertEqual(document["schema_version"], 1)
        return document

    def generations(self, policy="count"):
        return self.json("list", policy)["generations"]

    def good(self, policy="count"):
        return [g["gen"] for g in self.generations(policy) if g["state"] in ("ok", "proven")]

    def status(self, policy="count"):
        return self.json("status", policy)["policies"][0]

    def runs(self, *args):
        return self.json("log", *args)["runs"]

    def root_pid(self, policy="count"):
        return self.status(policy)["root"]["pid"]

    def wait_running(self, policy="count"):
        return wait_until(lambda: self.status(policy)["state"] in ("running", "dumping") and
                          self.root_pid(policy), f"the tree of {policy} runs")

    def wait_generations(self, n, policy="count"):
        return wait_until(lambda: len(self.good(policy)) >= n and self.good(policy),
                          f"{n} good generations")

    # ---- policies and trees

    def write_policy(self, name, text):
        with open(os.path.join(self.etc, name + ".yaml"), "w", encoding="utf-8") as f:
            f.write("version: 1\n" + text)

    def count_policy(self, name="count", every="300ms", extra="", restore=None, engine="",
                     pages=None):
        restore = restore or "{on-crash: on-failure, backoff: {first: 50ms}}"
        schedule = f"schedule: {{every: {every}}}\n" if every else ""
        size = f', "{pages}"' if pages else ""
        self.write_policy(name, f'command: {{exec: [{COUNTER}, {self.dir}/counter{size}], '
                          f'output: "null"}}\n{schedule}'
                          f"engine: {{backend: {BACKEND}, {engine}}}\nrestore: {restore}\n{self.keep()}{extra}")

    def keep(self):
        """The counter writes on into its file, and is to come back all the same."""
        return f"files: [{{path: '{self.dir}/**', restore: keep}}]\n"

    def tree_pids(self):
        """Every process of ours that runs the counter on this test's file."""
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                args = arguments(name)
            except OSError:
                continue
            if any(a.startswith(self.dir.encode()) for a in args) and \
                    not args[0].endswith((b"snapmgrd", b"snapmgr", b"snapmgr-engine")) and \
                    int(name) != os.getpid() and alive(int(name)) and not is_shadow(name):
                found.append(int(name))
        return found

    def kill(self, pid, sig=signal.SIGKILL):
        """One process that this test knows to be its own."""
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            pass

    def assert_counts(self, what="the counter counts"):
        before = self.counter.count()
        wait_until(lambda: self.counter.count() != before, what)

    def assert_memory_intact(self):
        self.assertEqual(self.counter.events("bad"), [])


def needs_test_hooks():
    said = subprocess.run([ENGINE, "--version"], check=False, stdout=subprocess.PIPE, text=True).stdout
    if "with test hooks" not in said:
        skip("this build has no test hooks: ./configure --enable-test-hooks")


def main():
    if os.geteuid() != 0:
        skip("needs root")
    for name in ("snapmgrd", "snapmgr", "snapmgr-engine", "tests/vm/counter"):
        if not os.path.exists(program(name)):
            skip(f"{name} is not built")
    if BACKEND == "criu" and not shutil.which(PEER):
        skip(f"no stock criu here ({PEER})")
    unittest.main(verbosity=2)
