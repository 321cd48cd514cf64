#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A call that waits for a time is over when its time is over: beside snapshots, after a restore, and it never ends with EINTR.

waits.c makes each call once, for two seconds, in which nothing happens.

usage: waits.py [SCENARIO...]        Environment: that of tests/live/run
"""
import os
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import frame  # noqa: E402
from frame import say, wait_until  # noqa: E402
from operations import check  # noqa: E402

BUILD = os.environ.get('LIVE_BUILD', os.path.abspath('tests/live'))

LIMIT_MSEC = 2000
INTERVAL = 0.2
MARGIN_MSEC = 600  # two intervals and what a busy machine takes
N = 21


class Waits:
    """The program, and what it has said."""

    def __init__(self, top, engine):
        self.engine, self.top, self.said = engine, top, os.path.join(top, 'said')
        self.sets = 0
        self.process = subprocess.Popen([os.path.join(BUILD, 'waits'), self.said], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.process.returncode = 0
        self.pid = self.process.pid
        wait_until('it waits', lambda: os.path.exists(self.said) and 'ready\n' in self.text())

    def text(self):
        with open(self.said, encoding='ascii') as file:
            return file.read()

    def lines(self):
        return {line.split()[0]: line.split()[1:] for line in self.text().splitlines() if line != 'ready'}

    def images(self):
        self.sets += 1
        path = os.path.join(self.top, f'set-{self.sets}')
        os.makedirs(path)
        return path

    def dump(self, *options):
        images = self.images()
        self.engine.run('dump', images, '-t', str(self.pid), *options)
        frame.reap()
        return images

    def end(self):
        wait_until('every call has returned', lambda: len(self.lines()) == N, 10)
        os.kill(self.pid, signal.SIGTERM)
        wait_until('it is gone', lambda: (frame.reap(), not os.path.exists(f'/proc/{self.pid}'))[1])


def look(said, at_most, restored=False):
    """Every call: its result, its time, and nothing else changed."""
    bad = []
    for name, (result, msec, wanted, intact) in said.items():
        if restored and name == 'send' and int(result) > 0:
            continue  # a queue that comes back may have room
        if result != wanted or intact != '1':
            bad.append(f'{name} returned {result}, not {wanted}{"" if intact == "1" else ", and changed something"}')
        elif not LIMIT_MSEC - 2 <= int(msec) <= at_most:
            bad.append(f'{name} took {msec} ms, not {LIMIT_MSEC} to {at_most}')
    check(len(said) == N, f'only {len(said)} of {N} calls returned')
    check(not bad, '; '.join(bad))


def beside_many_snapshots(stage):
    top, engine = stage
    program = Waits(top, engine)
    start = time.monotonic()
    while len(program.lines()) < N and time.monotonic() < start + 8:
        program.dump('-R')
        time.sleep(INTERVAL)
    look(program.lines(), LIMIT_MSEC + MARGIN_MSEC)
    program.end()


def beside_one_snapshot(stage):
    """The next one would come too late to see that the time is over."""
    top, engine = stage
    program = Waits(top, engine)
    program.dump('-R')
    time.sleep(LIMIT_MSEC / 1000 / 2)
    program.dump('-R')
    program.end()
    look(program.lines(), LIMIT_MSEC + MARGIN_MSEC)


def beside_snapshots_in_every_way(stage):
    top, engine = stage
    program = Waits(top, engine)
    start = time.monotonic()
    ways = [('--snapshot', way) for way in ('cow', 'pre-copy', 'auto')]
    while len(program.lines()) < N and time.monotonic() < start + 8:
        program.dump('-R', '--track-mem', *ways[program.sets % len(ways)])
        time.sleep(INTERVAL)
    look(program.lines(), LIMIT_MSEC + MARGIN_MSEC)
    program.end()


def what_was_left_is_left_after_a_restore(stage):
    """A first snapshot sees the calls, the second, half of their time later, ends the tree."""
    top, engine = stage
    program = Waits(top, engine)
    program.dump('-R')
    time.sleep(LIMIT_MSEC / 1000 / 2)
    images = program.dump()
    engine.run('restore', images, '-d')
    program.end()
    look(program.lines(), LIMIT_MSEC + MARGIN_MSEC, restored=True)


def nothing_is_cut_short_by_a_restore(stage):
    """Nobody knows what was left: the whole time begins again."""
    top, engine = stage
    program = Waits(top, engine)
    time.sleep(LIMIT_MSEC / 1000 / 2)
    images = program.dump()
    engine.run('restore', images, '-d')
    program.end()
    look(program.lines(), 2 * LIMIT_MSEC, restored=True)


def a_new_wait_is_not_the_old_one(stage):
    """A loop whose calls look all the same and end by events: none of them ends by the time of an earlier one."""
    top, engine = stage
    count = os.path.join(top, 'count')
    loop = f'''
import os, select, time
r, w = os.pipe()
e = select.epoll()
e.register(r, select.EPOLLIN)
if os.fork() == 0:
    for i in range(30):
        time.sleep(0.1)
        os.write(w, b"x")
    os._exit(0)
n = early = 0
while n < 30:
    start = time.monotonic()
    if e.poll(1.0):
        os.read(r, 1)
        n += 1
    else:
        early += time.monotonic() - start < 0.99
open({count!r}, "w").write(f"{{n}} {{early}}")
time.sleep(100)
'''
    process = subprocess.Popen([sys.executable, '-c', loop], stdin=subprocess.DEVNULL, start_new_session=True)
    process.returncode = 0
    time.sleep(0.3)
    for n in range(12):
        images = os.path.join(top, f'set-{n}')
        os.makedirs(images)
        engine.run('dump', images, '-t', str(process.pid), '-R')
        frame.reap()
        time.sleep(INTERVAL)
    wait_until('all events came', lambda: os.path.exists(count) and os.path.getsize(count) > 0, 20)
    with open(count, encoding='ascii') as file:
        said = file.read()
    check(said == '30 0', f'events, and waits that ended early: {said}')


SCENARIOS = [beside_many_snapshots, beside_one_snapshot, beside_snapshots_in_every_way, what_was_left_is_left_after_a_restore,
             nothing_is_cut_short_by_a_restore, a_new_wait_is_not_the_old_one]


if __name__ == '__main__':
    say('the calls of tests/live/waits.c')
    sys.exit(frame.run_scenarios(SCENARIOS, lambda top, engine, _scenario: (top, engine), tracks=False))
