# SPDX-License-Identifier: GPL-2.0-or-later
"""The cases. Each yields what it measures (a label) and can make one run of it with one engine."""
import os
import shutil
import socket
import subprocess
import time

from application import Load, Refused, Watch, Writer, end, start, wait_for
from engines import MODES, PEER, Scratch, images_mib, rounds, settle

NOBODY = "none"             # a run without snapshots
SETTLE_SEC = 0.3
BEFORE_SEC = 1.5            # of work, to compare with
REDIS_PORT = 42380


class Case:
    """Medians of `columns` are shown, and those of `ratios` divided by what the row of `against` has."""
    ratios = ()
    extra_whos = ()
    all_whos = (*MODES, PEER)
    against = PEER

    def __init__(self, args):
        self.args = args

    def whos(self):
        wanted = self.args.who or self.all_whos
        return [*self.extra_whos, *(who for who in self.all_whos if who in wanted)]


class Basic(Case):
    name = "basic"
    title = "dump, restore and the longest time the load did not run, in milliseconds"
    columns = ("dump", "frozen", "restore")
    ratios = ("dump", "frozen", "restore")
    all_whos = ("stop-copy", PEER)
    loads = {"16 MiB": ("memory", 16), "256 MiB": ("memory", 256), "1 GiB": ("memory", 1024),
             "100 processes": ("processes", 100), "100 threads": ("threads", 100), "1,000 files": ("files", 1000)}

    def whats(self):
        return self.loads.items()

    def run(self, engine, parameters):
        kind, size = parameters
        with Scratch(self.args.dir, size if kind == "memory" else 16) as scratch:
            images = scratch.images()
            with Load(self.args.tools, scratch.path, kind, size) as load:
                time.sleep(SETTLE_SEC)
                load.state.set("gap_nsec", 0)
                took = engine.dump(load.child.pid, images)
                load.state.wait_for_ticks("the load after the dump")
                frozen = load.state.get("gap_nsec") / 1e6
                end(load.child)
                restore = engine.restore(images)
                # The counter is in a shared file mapping: it is not rolled back, it just goes on.
                load.state.wait_for_ticks("the load after the restore")
        return {"dump": took, "frozen": frozen, "restore": restore}


class Frozen(Case):
    name = "frozen"
    title = ("one snapshot of a running application: longest stop in ms, seen from outside and from inside; stops;\n"
             "longest time its working thread made no progress; total ms; MiB; rounds of pre-copy; what it dirtied before\n"
             "and meanwhile in MiB/s; work meanwhile / before, the same per processor time; huge pages in %")
    columns = ("outside", "inside", "stops", "stall", "total", "MiB", "rounds", "rate", "rate-in", "work",
               "work-cpu", "huge")
    ratios = ("outside", "inside", "total")

    def whats(self):
        for size in self.args.size:
            for pages in self.args.pages:
                for rate in self.args.rate:
                    yield f"{size >> 10}G {pages} {rate} MiB/s", (size, pages, rate)

    def run(self, engine, parameters):
        size, pages, rate = parameters
        if pages == "huge":
            make_room_for_huge_pages()
        with Scratch(self.args.dir, 2 * size) as scratch:
            images = scratch.images()
            with Writer(self.args.tools, scratch.path, size, pages, rate) as writer:
                settle(scratch.path)
                time.sleep(SETTLE_SEC)
                huge = writer.huge_share()
                alone = writer.rates_for(BEFORE_SEC)
                with Watch(writer) as watch:
                    before = writer.sample()
                    took = engine.dump(writer.pid, images)
                    meanwhile = writer.rates(before, writer.sample())
                values = {"outside": watch.longest, "inside": watch.inside_ms(), "stops": watch.stops,
                          "stall": watch.stall_ms(), "total": took, "MiB": images_mib(images), "rounds": rounds(images),
                          "rate": alone.dirtied,
                          "rate-in": meanwhile.dirtied, "work": meanwhile.work / alone.work,
                          "work-cpu": meanwhile.work_cpu / alone.work_cpu, "huge": huge}
        return values


class Second(Case):
    name = "second"
    title = "the generation after a full one with 1 % of pages written: ms and MiB of both, and the ratio of the two"
    columns = ("full-ms", "full-MiB", "next-ms", "next-MiB", "next-inside", "ms-ratio", "MiB-ratio")

    def whats(self):
        for size in self.args.size:
            for pages in self.args.pages:
                yield f"{size >> 10}G {pages}", (size, pages)

    def run(self, engine, parameters):
        size, pages = parameters
        if pages == "huge":
            make_room_for_huge_pages()
        with Scratch(self.args.dir, size + size // 10) as scratch, \
                Writer(self.args.tools, scratch.path, size, pages, 0) as writer:
            tracking = [] if engine.ours else ["--track-mem"]
            full, following = scratch.images(), scratch.images()
            settle(scratch.path)
            full_ms = engine.dump(writer.pid, full, *tracking)
            settle(scratch.path)
            writer.write(writer.n_pages // 100)
            with Watch(writer) as watch:
                next_ms = engine.dump(writer.pid, following, "--prev-images-dir", "../1", *tracking)
            return {"full-ms": full_ms, "full-MiB": images_mib(full), "next-ms": next_ms,
                    "next-MiB": images_mib(following), "next-inside": watch.inside_ms(),
                    "ms-ratio": next_ms / full_ms, "MiB-ratio": images_mib(following) / images_mib(full)}


class Copy(Case):
    name = "copy"
    title = ("a still application to disk and back: dump in ms and MiB/s, dump with the file system synced after,\n"
             "restore, in ms")
    columns = ("dump", "MiB/s", "synced", "restore")
    ratios = ("MiB/s", "synced", "restore")
    all_whos = ("stop-copy", PEER)

    def whats(self):
        for size in self.args.size:
            yield f"{size >> 10}G 4k", size

    def run(self, engine, size):
        with Scratch(self.args.dir, size) as scratch:
            images = scratch.images()
            with Writer(self.args.tools, scratch.path, size, "4k", 0) as writer:
                settle(scratch.path)
                time.sleep(SETTLE_SEC)
                started = time.monotonic()
                took = engine.dump(writer.pid, images, chained=False)
                settle(scratch.path)
                synced = (time.monotonic() - started) * 1000
                end(writer.child)
                restore = engine.restore(images)
                writer.state.wait_for_ticks("the writer after the restore")
                if writer.damaged():
                    raise Refused(f"{engine.who}: {writer.damaged()} words of memory came back wrong")
        return {"dump": took, "MiB/s": size / took * 1000, "synced": synced, "restore": restore}


class Between(Case):
    name = "between"
    title = ("an application that writes 10 % of 1 GiB a second, a snapshot each 10 s (chained; full ones by the\n"
             "peer): units of work a second, a second of processor time, and MiB/s written over the whole time; share\n"
             "of the time spent in snapshots; longest stop in ms")
    columns = ("work", "work-cpu", "written", "in-snapshots", "longest-stop")
    ratios = ("work", "work-cpu", "written")
    extra_whos = (NOBODY,)
    all_whos = ("stop-copy", "auto", PEER)
    against = NOBODY
    size, rate, interval = 1024, 102, 10

    def whats(self):
        yield "all over", 100
        yield "the same 10 %", 10

    def run(self, engine, span):
        n = max(1, self.args.seconds // self.interval)
        increment = self.size * min(span, 10 * self.interval) // 100
        with Scratch(self.args.dir, self.size + n * increment) as scratch, \
                Writer(self.args.tools, scratch.path, self.size, "4k", self.rate, span) as writer:
            chain = Chain(engine, scratch, writer.pid)
            settle(scratch.path)
            chain.snapshot()
            time.sleep(1)
            writer.state.set("gap_nsec", 0)
            before, in_snapshots = writer.sample(), 0
            for i in range(n):
                sleep_until(before[0] + self.interval * (i + 0.5))
                in_snapshots += chain.snapshot()
            sleep_until(before[0] + self.interval * n)
            rates = writer.rates(before, after := writer.sample())
            return {"work": rates.work, "work-cpu": rates.work_cpu, "written": rates.dirtied,
                    "in-snapshots": in_snapshots / 1000 / (after[0] - before[0]),
                    "longest-stop": writer.state.get("gap_nsec") / 1e6}


class Redis(Case):
    name = "redis"
    title = ("redis-server with 1 GiB of data, a client that sets keys, a snapshot each 5 s (chained; full ones by\n"
             "the peer): latency in ms, counted from when a request was due")
    columns = ("p50", "p99", "p99.9", "longest", "snapshots", "snapshot-ms", "snapshot-MiB")
    ratios = ("p99", "longest")
    extra_whos = (NOBODY,)
    all_whos = ("stop-copy", "auto", PEER)
    against = NOBODY
    interval = 5
    keys, value_bytes = 900000, 1024

    def whats(self):
        yield f"{self.args.requests} requests/s", self.args.requests

    def run(self, engine, rate):
        if not shutil.which("redis-server"):
            raise Refused("there is no redis-server")
        with Scratch(self.args.dir, 4096) as scratch:
            child = start(["redis-server", "--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--save", "",
                           "--appendonly", "no", "--enable-debug-command", "local",
                           "--dir", scratch.path], scratch.path)
            try:
                return self.run_with(engine, rate, scratch, child)
            finally:
                end(child)

    def run_with(self, engine, rate, scratch, child):
        wait_for(lambda: redis_says("PING") == b"+PONG\r\n", "redis-server")
        if redis_says(f"DEBUG POPULATE {self.keys} key {self.value_bytes}") != b"+OK\r\n":
            raise Refused("redis-server does not fill itself")
        chain = Chain(engine, scratch, child.pid, "--tcp-close" if engine and engine.ours else "--tcp-established")
        settle(scratch.path)
        chain.snapshot()
        client = subprocess.Popen([os.path.join(self.args.tools, "client"), str(REDIS_PORT), str(rate),
                                   str(self.args.seconds), str(self.keys), str(self.value_bytes)],
                                  stdout=subprocess.PIPE, text=True)
        try:
            began, times, sizes = time.monotonic(), [], []
            for i in range(max(1, self.args.seconds // self.interval)):
                sleep_until(began + self.interval * (i + 0.5))
                times.append(chain.snapshot())
                sizes.append(chain.mib)
            words = client.communicate(timeout=self.args.seconds + 60)[0].split()
        finally:
            client.kill()
            client.wait()
        if len(words) != 5:
            raise Refused("the client was not answered")
        return {"p50": int(words[1]) / 1000, "p99": int(words[2]) / 1000, "p99.9": int(words[3]) / 1000,
                "longest": int(words[4]) / 1000, "snapshots": len(times) if engine else 0,
                "snapshot-ms": sorted(times)[len(times) // 2], "snapshot-MiB": sorted(sizes)[len(sizes) // 2]}


class Chain:
    """Generations of one process, each on the one before where the engine can."""

    def __init__(self, engine, scratch, pid, *options):
        self.engine, self.scratch, self.pid, self.options = engine, scratch, pid, options
        self.mib = 0

    def snapshot(self):
        """Milliseconds; 0 when nobody takes any."""
        if not self.engine:
            return 0
        options = list(self.options)
        images = self.scratch.images()
        if self.engine.ours and self.scratch.n > 1:
            options += ["--prev-images-dir", f"../{self.scratch.n - 1}"]
        took = self.engine.dump(self.pid, images, *options)
        self.mib = images_mib(images)
        if not self.engine.ours:
            self.scratch.drop(images)
        return took


def redis_says(command):
    try:
        with socket.create_connection(("127.0.0.1", REDIS_PORT), timeout=60) as s:
            s.sendall(command.encode() + b"\r\n")
            return s.recv(4096)
    except OSError:
        return b""


def sleep_until(moment):
    time.sleep(max(0, moment - time.monotonic()))


def make_room_for_huge_pages():
    """Without it there are few to be had on a machine that has run for a while: what files left is in the way."""
    os.sync()
    for name, value in (("drop_caches", "3"), ("compact_memory", "1")):
        try:
            with open(f"/proc/sys/vm/{name}", "w", encoding="ascii") as f:
                f.write(value)
        except OSError:
            pass        # the column "huge" tells


CASES = (Basic, Frozen, Second, Copy, Between, Redis)
