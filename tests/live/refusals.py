#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What cannot be saved is refused by name, all of it at once; what passes by itself is waited for, with the tree running.

usage: refusals.py [SCENARIO...]        Environment: that of tests/live/run
"""
import os
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
import frame  # noqa: E402
import observe  # noqa: E402
from frame import say, wait_until  # noqa: E402
from operations import check  # noqa: E402

# Every program counts in a file, so that it can be seen to run.
HEAD = '''
import fcntl, os, socket, struct, sys, threading, time
def run(turn=lambda n: None):
    n = 0
    while True:
        turn(n)
        n += 1
        with open("count.new", "w") as out:
            out.write(str(n))
        os.rename("count.new", "count")
        time.sleep(0.01)
'''

MANY = '''
import ctypes
def userfaultfd():
    return ctypes.CDLL(None).syscall(323, 1)  # UFFD_USER_MODE_ONLY
a, b = userfaultfd(), userfaultfd()
if os.fork() == 0:
    c = userfaultfd()
    while True:
        time.sleep(1)
run()
'''

# A dump of all links is asked for, and read after so many turns.
NETLINK = '''
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
s.bind((0, 0))
s.sendto(struct.pack("=IHHIIB3x", 20, 18, 0x301, 1, 0, 0), (0, 0))
s.setblocking(False)
def turn(n):
    if n == TURNS:
        try:
            while s.recv(65536):
                pass
        except BlockingIOError:
            pass
run(turn)
'''

MORE = '''
to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
to.bind(("127.0.0.1", 0))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect(to.getsockname())
s.send(b"part1", socket.MSG_MORE)
def turn(n):
    if n == TURNS:
        s.send(b"part2")
        if to.recv(99) != b"part1part2":
            os._exit(3)
run(turn)
'''


URGENT = '''
a, b = socket.socketpair()
a.send(b"X", socket.MSG_OOB)
def turn(n):
    if n == TURNS and b.recv(1, socket.MSG_OOB) != b"X":
        os._exit(3)
run(turn)
'''

ACCEPT = '''
listener = socket.socket(socket.AF_UNIX)
listener.bind("listener")
listener.listen(1)
s = socket.socket(socket.AF_UNIX)
s.connect("listener")
s.send(b"early")
def turn(n):
    global other
    if n == TURNS:
        other = listener.accept()[0]
        if other.recv(9) != b"early":
            os._exit(3)
run(turn)
'''


class Program:
    def __init__(self, stage, text):
        top, self.engine = stage
        self.home = os.path.join(top, 'home')
        self.sets = 0
        os.makedirs(self.home)
        process = subprocess.Popen([sys.executable, '-c', HEAD + text], stdin=subprocess.DEVNULL, cwd=self.home,
                                   start_new_session=True)
        process.returncode = 0
        self.pid = process.pid
        wait_until('it runs', lambda: os.path.exists(os.path.join(self.home, 'count')))

    def count(self):
        with open(os.path.join(self.home, 'count'), encoding='ascii') as file:
            return int(file.read())

    def runs_on(self):
        before = self.count()
        wait_until('it runs on', lambda: self.count() > before, 5)
        check(not observe.traced(frame.others()), 'it is traced')

    def dump(self, *options, action='dump'):
        self.sets += 1
        images = os.path.join(self.home, f'set-{self.sets}')
        os.makedirs(images)
        done = subprocess.run([self.engine.path, action, '-t', str(self.pid), '-D', images, '-o', 'log', '-v4', *options],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        with open(os.path.join(images, 'log'), encoding='utf-8') as file:
            self.log = file.read()
        self.images = images
        return done.returncode, done.stdout.decode(errors='replace')

    def comes_back(self):
        code, said = self.dump()
        check(code == 0, f'dump: {said}')
        frame.reap()
        self.engine.run('restore', self.images, '-d')
        self.runs_on()

    def end(self):
        os.kill(self.pid, signal.SIGKILL)


def all_obstacles_are_told_at_once(stage):
    program = Program(stage, MANY)
    child = next(pid for pid in frame.others() if pid != program.pid)
    wait_until('the child has its socket', lambda: len(os.listdir(f'/proc/{child}/fd')) > 5)
    code, said = program.dump('-R')
    check(code != 0, 'it was dumped')
    for part in (f'task {program.pid}: fd 3: ', f'task {program.pid}: fd 4: ', f'task {child}: fd 5: '):
        check(part in said and part in program.log, f'{part!r} is not in {said!r}')
    program.runs_on()


def what_is_read_soon_is_waited_for(stage):
    for text in (NETLINK, MORE, URGENT, ACCEPT):
        program = Program((os.path.join(stage[0], str(len(text))), stage[1]), text.replace('TURNS', '60'))
        program.comes_back()
        check('trying again' in program.log, 'it was saved at once')
        program.end()
        frame.kill_everything()


def what_is_not_read_is_refused(stage):
    for text, words in ((NETLINK, 'netlink: messages'), (MORE, 'begun with MSG_MORE'), (URGENT, 'urgent byte'),
                        (ACCEPT, 'nobody has accepted')):
        program = Program((os.path.join(stage[0], str(len(text))), stage[1]), text.replace('TURNS', '-1'))
        code, said = program.dump('-R')
        check(code != 0 and words in said and 'looking again' in said, f'{code} {said!r}')
        check(os.listdir(program.images) == ['log'] or 'inventory.img' not in os.listdir(program.images), 'a set is left')
        program.runs_on()
        program.end()
        frame.kill_everything()


def a_chain_goes_on_after_a_wait(stage):
    """The tracker of the set before is not lost by a try that failed."""
    if not frame.can_track(stage[1]):
        say('      this kernel cannot track memory')
        return
    program = Program(stage, NETLINK.replace('s.sendto(', 'ask = lambda: s.sendto(').replace('n == TURNS', 'asked and n - asked == 60')
                      .replace('def turn(n):', """asked = 0
def turn(n):
    global asked
    if not asked and os.path.exists("ask"):
        ask()
        asked = n
        open("asked", "w").close()"""))
    code, said = program.dump('-R', '--track-mem')
    check(code == 0, said)
    open(os.path.join(program.home, 'ask'), 'w', encoding='ascii').close()
    wait_until('it has asked', lambda: os.path.exists(os.path.join(program.home, 'asked')))
    code, said = program.dump('-R', '--track-mem', '--prev-images-dir', os.path.join('..', os.path.basename(program.images)))
    check(code == 0 and 'trying again' in program.log, f'{said} {program.log[-300:]}')
    check('this one is full' not in program.log, 'the set is full')
    program.end()


SCENARIOS = [all_obstacles_are_told_at_once, what_is_read_soon_is_waited_for, what_is_not_read_is_refused,
             a_chain_goes_on_after_a_wait]


if __name__ == '__main__':
    sys.exit(frame.run_scenarios(SCENARIOS, lambda top, engine, _scenario: (top, engine), tracks=False))
