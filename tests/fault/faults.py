# SPDX-License-Identifier: GPL-2.0-or-later
"""What the fault tests of the engine share: the target that checks itself, sets that must restore."""
import os
import re
import shutil
import signal
import struct
import time

import frame
import observe
import operations
from frame import Failure, wait_until

SETTLE = 10  # seconds
WORKERS = 11  # of steady.c
EPOLL_EINTR = 11  # its counter behind them


def fresh(path):
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def describe(pid):
    lines = [line for line in observe.text(f'/proc/{pid}/status').splitlines()
             if line.split(':')[0] in ('Name', 'State', 'PPid', 'TracerPid', 'SigPnd', 'ShdPnd')]
    fds = [observe.link(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')]
    return f'\n        task {pid}: {" ".join(lines)}; {observe.text(f"/proc/{pid}/syscall").strip()}; {fds[:20]}'


def files_below(path):
    return sorted(os.path.join(where, name) for where, dirs, files in os.walk(path) for name in dirs + files)


class Steady:
    """What can be asked of `steady` from outside."""

    def __init__(self, stage, stopped=False):
        self.stage, self.stopped = stage, stopped
        self.n_eintr = 0
        if stopped:
            self.stop()

    def stop(self):
        os.kill(self.stage.pid, signal.SIGSTOP)
        wait_until('all threads have stopped', lambda: self.states() == {'T'})

    def states(self):
        found = set()
        for task in os.listdir(f'/proc/{self.stage.pid}/task'):
            match = re.search(r'^State:\s*(\S)', observe.text(f'/proc/{self.stage.pid}/task/{task}/status'), re.M)
            found.add(match.group(1) if match else '?')
        return found

    def counters(self):
        with open(os.path.join(self.stage.scratch, 'counters'), 'rb') as file:
            return struct.unpack(f'{WORKERS + 1}Q', file.read(8 * (WORKERS + 1)))

    def verdict(self):
        return observe.text(os.path.join(self.stage.scratch, 'verdict')) if \
            os.path.exists(os.path.join(self.stage.scratch, 'verdict')) else ''

    def wrong(self, start):
        """None when it is as it should be, or what is not."""
        pid = self.stage.pid
        frame.reap()
        if 'FAIL' in self.verdict():
            return self.verdict()
        if observe.state(pid) != ('T' if self.stopped else 'alive'):
            return f'task {pid} is {observe.state(pid)}'
        traced = observe.traced([pid])
        if traced:
            return traced[0]
        if self.stopped:
            return None if self.states() == {'T'} else f'threads are in the states {self.states()}'
        now = self.counters()
        still = [i for i in range(WORKERS) if now[i] < start[i] + 2]
        return f'workers {still} do not go on' if still else None

    def expect_good(self, when):
        start, deadline = self.counters(), time.monotonic() + SETTLE
        while True:
            wrong = self.wrong(start)
            if not wrong:
                return
            if 'FAIL' in wrong or time.monotonic() > deadline:
                raise Failure(f'{when}: {wrong}')
            time.sleep(0.005)

    def expect_good_running(self, when):
        """Also one that is stopped has to go on when it is let."""
        if self.stopped:
            self.expect_good(when)
            self.stopped = False
            os.kill(self.stage.pid, signal.SIGCONT)
            self.expect_good(f'{when}, SIGCONT')
            self.stopped = True
            self.stop()
        else:
            self.expect_good(when)


class Confined:
    """What can be asked of `confined` from outside: its threads cannot speak for themselves."""

    THREADS = 5  # of confined.c; behind their counters those of handled signals and of calls that went wrong

    def __init__(self, stage):
        self.stage = stage
        wait_until('all threads go on', lambda: min(self.counters()[:self.THREADS]) > 2)
        self.before = self.looks()

    def counters(self):
        with open(os.path.join(self.stage.scratch, 'counters'), 'rb') as file:
            return struct.unpack(f'{self.THREADS + 2}Q', file.read(8 * (self.THREADS + 2)))

    def looks(self):
        """Signal masks and filters of the threads, mappings, descriptors, children."""
        pid, seen = self.stage.pid, {}
        for tid in sorted(os.listdir(f'/proc/{pid}/task')):
            status = observe.text(f'/proc/{pid}/task/{tid}/status')
            seen[f'thread {tid}'] = re.findall(r'^(?:SigBlk|Seccomp|Seccomp_filters):.*', status, re.M)
            seen[f'children of {tid}'] = observe.text(f'/proc/{pid}/task/{tid}/children')
        # What /proc/PID/maps says of an address: sizes of the heap and stacks may grow.
        seen['maps'] = [line.split()[:2] for line in observe.text(f'/proc/{pid}/maps').splitlines()]
        seen['fd'] = sorted(os.listdir(f'/proc/{pid}/fd'))
        return seen

    def wrong(self, start):
        pid = self.stage.pid
        frame.reap()
        if observe.state(pid) != 'alive':
            return f'task {pid} is {observe.state(pid)}'
        traced = observe.traced([pid])
        if traced:
            return traced[0]
        looks = self.looks()
        differs = []
        for key in sorted({*looks, *self.before}):
            now, then = looks.get(key) or [], self.before.get(key) or []
            # A zombie of a shadow is reaped by the next dump.
            if now != then and not key.startswith('children'):
                differs.append(f'{key}: {[x for x in now if x not in then]}, was {[x for x in then if x not in now]}')
        if differs:
            return '; '.join(differs[:3])
        now = self.counters()
        if now[-1]:
            return f'{now[-1]} calls went wrong'
        still = [i for i in range(self.THREADS) if now[i] < start[i] + 2]
        return f'threads {still} do not go on' if still else None

    def expect_good(self, when):
        start, deadline = self.counters(), time.monotonic() + SETTLE
        while True:
            try:
                wrong = self.wrong(start)
            except (FileNotFoundError, ProcessLookupError):  # a thread on its way out
                wrong = 'it has ended, or a thread of it'
            if not wrong:
                return
            if time.monotonic() > deadline or observe.state(self.stage.pid) in ('gone', 'Z'):
                raise Failure(f'{when}: {wrong}')
            time.sleep(0.005)


def expect_restores(stage, images, when, stopped=False):
    """Restores the set in a pid namespace beside the living tree."""
    def body():
        with open('/proc/sys/kernel/ns_last_pid', 'w', encoding='ascii') as file:
            file.write('1000')  # the engine must not take a number of the tree
        code, text = stage.run('restore', '-d', images=images)
        if code != 0:
            raise Failure(f'a set that looks whole does not restore: {operations.errors(text)}')
        time.sleep(0.02)
        wanted = 'T' if stopped else 'alive'
        if observe.state(stage.pid) != wanted or observe.traced([stage.pid]):
            raise Failure(f'the restored task {stage.pid} is {observe.state(stage.pid)}')
    if frame.run_apart(body, False) != 0:
        raise Failure(f'{when}: a set that looks whole does not restore')
