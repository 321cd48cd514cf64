# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs that are measured, and how they are started, looked at and ended."""
import collections
import mmap
import os
import signal
import struct
import subprocess
import time

SETUP_LIMIT_SEC = 180
PAGE = 4096
MIB = 1 << 20

Rates = collections.namedtuple("Rates", "work work_cpu dirtied")


class Refused(Exception):
    """Somebody did not do what he was asked; the text says who and what he said."""


def wait_for(condition, what, limit=SETUP_LIMIT_SEC):
    end = time.monotonic() + limit
    while not condition():
        if time.monotonic() > end:
            raise Refused(f"{what}: not within {limit} s")
        time.sleep(0.005)


def start(command, cwd, **options):
    """A session of its own, so that it can be dumped and ended as a whole."""
    return subprocess.Popen(command, cwd=cwd, start_new_session=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)


def end(child):
    """Ends the group of a session leader, which all its processes are in, and reaps what falls to us."""
    pid = child.pid
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass

    def gone():
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        try:
            os.killpg(pid, 0)
            return False
        except ProcessLookupError:
            return True
    wait_for(gone, f"the end of {pid}")
    child.returncode = -signal.SIGKILL      # reaped above, behind subprocess's back


class State:
    """The page of u64 fields that a program maps."""

    def __init__(self, path, fields):
        self.path = path
        self.fields = fields
        with open(path, "wb") as f:
            f.truncate(PAGE)
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), PAGE)

    def get(self, field):
        return struct.unpack_from("<Q", self.map, 8 * self.fields.index(field))[0]

    def set(self, field, value):
        struct.pack_into("<Q", self.map, 8 * self.fields.index(field), value)

    def wait_for_ticks(self, what):
        then = self.get("ticks")
        wait_for(lambda: self.get("ticks") > then + 10, what, 20)


class Load:
    """load.c: many objects of one kind."""

    def __init__(self, tools, work, kind, size):
        self.state = State(os.path.join(work, "state"), ("ready", "ticks", "gap_nsec"))
        self.child = start([os.path.join(tools, "load"), kind, str(size), self.state.path], work)
        wait_for(lambda: self.state.get("ready"), "the load")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        end(self.child)


class Writer:
    """writer.c: works, and dirties memory."""

    FIELDS = ("ready", "ticks", "gap_nsec", "work", "written", "stall_nsec", "order", "obeyed", "question",
              "answer", "damaged")

    def __init__(self, tools, work, mib, pages, rate, span=100):
        self.state = State(os.path.join(work, "state"), self.FIELDS)
        self.tools = tools
        self.n_pages = mib * MIB // PAGE
        self.child = start([os.path.join(tools, "writer"), str(mib), pages, str(rate), str(span), self.state.path],
                           work)
        self.pid = self.child.pid
        wait_for(lambda: self.state.get("ready") or self.child.poll() is not None, "the writer")
        if not self.state.get("ready"):
            raise Refused(f"the writer ended with {self.child.returncode}")

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        end(self.child)

    def worker_cpu_sec(self):
        """Processor time of the working thread, the second one."""
        worker = max(map(int, os.listdir(f"/proc/{self.pid}/task")))
        with open(f"/proc/{self.pid}/task/{worker}/schedstat", encoding="ascii") as f:
            return int(f.read().split()[0]) / 1e9

    def sample(self):
        return time.monotonic(), self.worker_cpu_sec(), self.state.get("work"), self.state.get("written")

    @staticmethod
    def rates(before, after):
        """Units of work a second, the same a second of processor time, MiB of pages written a second."""
        seconds, cpu, work, written = (b - a for a, b in zip(before, after))
        return Rates(work / seconds, work / cpu if cpu > 0 else 0, written * PAGE / MIB / seconds)

    def rates_for(self, seconds):
        before = self.sample()
        time.sleep(seconds)
        return self.rates(before, self.sample())

    def write(self, n_pages):
        if self.state.get("obeyed") == n_pages:
            n_pages += 1
        self.state.set("order", n_pages)
        wait_for(lambda: self.state.get("obeyed") == n_pages, "writing pages")

    def damaged(self):
        question = self.state.get("question") + 1
        self.state.set("question", question)
        wait_for(lambda: self.state.get("answer") == question, "looking at all memory")
        return self.state.get("damaged")

    def huge_share(self):
        """How much of its memory huge pages hold, in percent."""
        with open(f"/proc/{self.pid}/smaps_rollup", encoding="ascii") as f:
            sizes = {line.split(":")[0]: int(line.split()[1]) for line in f if line.endswith(" kB\n")}
        return 100 * sizes["AnonHugePages"] / sizes["Rss"]


class Watch:
    """watch.c: stops of a writer as seen from outside, while the block runs. Times in milliseconds."""

    def __init__(self, writer):
        self.writer = writer
        self.longest = self.total = self.stops = 0

    def __enter__(self):
        state = self.writer.state
        state.set("gap_nsec", 0)
        state.set("stall_nsec", 0)
        self.child = subprocess.Popen([os.path.join(self.writer.tools, "watch"), str(self.writer.pid), state.path],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.child.stdout.readline() != "ready\n":
            raise Refused("the watch did not start")
        state.set("gap_nsec", 0)
        state.set("stall_nsec", 0)
        return self

    def __exit__(self, kind, *unused):
        if kind:
            self.child.kill()
            self.child.wait()
            return
        self.writer.state.wait_for_ticks("the writer after the snapshot")
        words = self.child.communicate("\n")[0].split()
        if len(words) != 3:
            raise Refused("the watch did not tell what it saw")
        self.longest, self.total, self.stops = int(words[0]) / 1e6, int(words[1]) / 1e6, int(words[2])

    def inside_ms(self):
        return self.writer.state.get("gap_nsec") / 1e6

    def stall_ms(self):
        return self.writer.state.get("stall_nsec") / 1e6
