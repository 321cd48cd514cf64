# SPDX-License-Identifier: GPL-2.0-or-later
"""The engines: ours in each of its modes, and the peer, by CRIU's command line."""
import os
import select
import shutil
import subprocess
import tempfile
import time

from application import MIB, Refused

COMMAND_LIMIT_SEC = 300
PEER = "criu"
MODES = ("stop-copy", "pre-copy", "cow", "auto")
KEEP_FREE_BYTES = 2 << 30


def wait_for_exit(process):
    """Popen.wait() with a timeout looks every 50 ms only, which would be in every figure."""
    pidfd = os.pidfd_open(process.pid)
    try:
        if not select.select([pidfd], [], [], COMMAND_LIMIT_SEC)[0]:
            process.kill()
    finally:
        os.close(pidfd)
        process.wait()


class Engine:
    """One row of a table: the peer, or ours with --snapshot MODE."""

    def __init__(self, who, path):
        self.who = who
        self.path = path
        self.ours = who != PEER

    def run(self, action, images, *options):
        """Runs one command of the engine. Returns milliseconds."""
        log = f"{action}.log"
        command = [self.path, action, "-D", images, "-o", log, "-v1", *options]
        environment = dict(os.environ, SNAPMGR_TRACK_MEM="1") if self.ours else None
        with open(os.path.join(images, "output"), "w+", encoding="utf-8") as output:
            start = time.monotonic()
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                  env=environment) as process:
                wait_for_exit(process)
                took = time.monotonic() - start
                status = process.returncode
            output.seek(0)
            words = output.read() if status != 0 else ""
        if status != 0:
            path = os.path.join(images, log)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    words = "".join(f.readlines()[-2:]).strip() or words
            raise Refused(f"{self.who}: {action} ended with {status}: {' '.join(words.split())}")
        return took * 1000

    def dump(self, pid, images, *options, chained=True):
        """A snapshot that leaves the tree running; ours is the parent of another unless not @chained. Returns
        milliseconds."""
        options = ["-t", str(pid), "--leave-running", *options]
        if self.ours:
            options += [*(["--track-mem"] if chained else []), "--snapshot", self.who]
        return self.run("dump", images, *options)

    def restore(self, images):
        return self.run("restore", images, "-d")


class Scratch:
    """A directory for one run; gone afterwards."""

    def __init__(self, parent, need_mib):
        free = os.statvfs(parent).f_bavail * os.statvfs(parent).f_frsize
        if free < need_mib * MIB + KEEP_FREE_BYTES:
            raise Refused(f"{free >> 20} MiB free in {parent}, {need_mib} and {KEEP_FREE_BYTES >> 20} wanted")
        self.path = tempfile.mkdtemp(dir=parent)
        self.n = 0

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        shutil.rmtree(self.path, ignore_errors=True)

    def images(self):
        """A new directory beside the last one."""
        self.n += 1
        path = os.path.join(self.path, str(self.n))
        os.mkdir(path)
        return path

    @staticmethod
    def drop(images):
        shutil.rmtree(images, ignore_errors=True)


def images_mib(images):
    """What the image files occupy, those of rounds of pre-copy too."""
    return sum(os.lstat(os.path.join(directory, name)).st_blocks * 512
               for directory, _, names in os.walk(images) for name in names if name.endswith(".img")) / MIB


def rounds(images):
    """How many sets a dump made before its own while the tree ran: pre-copy."""
    return sum(entry.is_dir(follow_symlinks=False) for entry in os.scandir(images))


def settle(directory):
    """What was written before must not be written during the next measurement."""
    subprocess.run(["sync", "-f", directory], check=False)
