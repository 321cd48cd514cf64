#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A frozen tree is never waited for: files on a FUSE file system whose server is in the tree, or does not answer.

inside     the server is a task of the tree: the dump is refused by name, at once, and the tree goes on
outside    it is not: what the program has there is saved and comes back
hung       it is not, and has stopped: the dump gives up within --timeout, by name, and the tree goes on
untouched  the same in a pre-dump, which has no need of such files: it goes well
stuck      a thread waits in the file system and cannot be stopped: the same
ended      a dump that waits for a server ends on SIGTERM and on SIGKILL, and the tree goes on
squatted   somebody else listens under the name of a holder of trackers, and takes no connection: nobody waits for it
"""
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'live'))
import frame  # noqa: E402
import observe  # noqa: E402
import operations  # noqa: E402
from frame import Failure, Skipped, libc_call, others, say, wait_until  # noqa: E402

TIMEOUT = 1  # seconds, of the engine
PATIENCE = 30  # seconds, of ours: an engine that waits for the tree never ends
MNT_DETACH = 2


def check(ok, sentence):
    if not ok:
        raise Failure(sentence)


class Program:
    """tests/fault/fuse.c in a directory of its own."""

    def __init__(self, top, engine, server, *what):
        self.engine, self.what = engine, what
        self.top = tempfile.mkdtemp(dir=top)
        self.images = os.path.join(self.top, 'images')
        for name in ('mount', 'there', 'images'):
            os.mkdir(os.path.join(self.top, name))
        program = os.path.join(operations.BUILD, '../fault/fuse')
        with open(os.path.join(self.top, 'said'), 'wb') as said:
            self.process = process = subprocess.Popen([program, server, *what], cwd=self.top, stdin=subprocess.DEVNULL, stdout=said,
                                       stderr=said, start_new_session=True)
        wait_until(f'{self.what}: the program is ready', lambda: self.started(process))
        self.pid, self.server = self.number('ready'), self.number('server')

    def started(self, process):
        if process.poll() == 77:
            raise Skipped('no /dev/fuse here, or it cannot be mounted')
        check(process.poll() is None, f'{self.what}: it cannot start: {observe.text(os.path.join(self.top, "said"))}')
        process.returncode = None
        return all(os.path.exists(os.path.join(self.top, name)) and self.text(name).endswith('\n')
                   for name in ('ready', 'server'))

    def is_gone(self):
        self.process.poll()
        frame.reap()
        return not os.path.exists(f'/proc/{self.pid}')

    def text(self, name):
        return observe.text(os.path.join(self.top, name))

    def number(self, name):
        return int(self.text(name))

    def beat(self):
        with open(os.path.join(self.top, 'beat'), 'rb') as file:
            return struct.unpack('qq', file.read(16))

    def dump_command(self, *options):
        return [self.engine.path, 'dump', '-t', str(self.pid), '-D', self.images, '--timeout', str(TIMEOUT), *options]

    def dump(self, *options):
        """(exit status, what was said, seconds)"""
        started = time.monotonic()
        with subprocess.Popen(self.dump_command(*options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) as run:
            try:
                said = run.communicate(timeout=PATIENCE)[0].decode(errors='replace')
            except subprocess.TimeoutExpired:
                state = observe.text(f'/proc/{run.pid}/wchan')
                self.end()  # lets the engine go
                run.kill()
                raise Failure(f'{self.what}: the engine does not end: it waits in {state}') from None
        return run.returncode, said, time.monotonic() - started

    def goes_on(self, when):
        for pid in {self.pid, self.server}:
            check(observe.state(pid) in ('alive', 'T') and not observe.traced([pid]), f'{self.what}: {when}: task {pid} is free')
        before = self.beat()[0]
        wait_until(f'{self.what}: {when}: the program goes on', lambda: self.beat()[0] > before, timeout=5)
        check(not os.path.exists(os.path.join(self.images, 'inventory.img')), f'{self.what}: no set that looks whole')

    def reads(self, when):
        with open(os.path.join(self.top, 'beat'), 'r+b') as file:
            file.seek(8)
            file.write(struct.pack('q', 0))
        os.kill(self.pid, signal.SIGUSR1)
        wait_until(f'{self.what}: {when}: it reads its file', lambda: self.beat()[1] != 0, timeout=5)
        check(self.beat()[1] == ord('x'), f'{self.what}: {when}: it reads its file')

    def end(self):
        for pid in {self.pid, self.server}:
            if os.path.exists(f'/proc/{pid}'):
                os.kill(pid, signal.SIGKILL)
        try:
            libc_call('umount2', os.path.join(self.top, 'mount').encode(), MNT_DETACH)
        except OSError:
            pass  # detached already


def refused(program, *words, within):
    code, said, seconds = program.dump('--leave-running')
    check(code > 0, f'{program.what}: the dump is refused, not {code}')
    check(seconds < within, f'{program.what}: it takes {seconds:.1f} s')
    check(re.search(rf'task ({program.pid}|{program.server}):', said), f'{program.what}: a task is named: {said[-300:]}')
    for word in words:
        check(re.search(word, said) or '/dev/fuse' in said, f'{program.what}: the sentence has {word!r}: {said[-400:]}')
    program.goes_on('after the refusal')
    say(f'      {" ".join(program.what)}: {seconds:.2f} s: {said.strip().splitlines()[-1][:150]}')
    program.end()


def inside(top, engine):
    for what in (('file',), ('shared',), ('private',), ('cwd',), ('socket',), ('watch',), ('flight',),
                 ('file', 'detached'), ('shared', 'detached'), ('deleted',)):
        refused(Program(top, engine, 'inside', *what), 'FUSE', within=TIMEOUT + 5)


def outside(top, engine):
    for what in (('file',), ('file', 'shared'), ('file', 'private'), ('file', 'cwd'), ('file', 'watch')):
        program = Program(top, engine, 'outside', *what)
        code, said, _ = program.dump()
        check(code == 0, f'{what}: the dump goes well: {said[-400:]}')
        wait_until(f'{what}: the tree ends', program.is_gone)
        for when in ('first restore', 'second restore'):
            run = subprocess.run([engine.path, 'restore', '-D', program.images, '-d'], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
            check(run.returncode == 0, f'{what}: {when}: {run.stdout.decode(errors="replace")[-400:]}')
            program.reads(when)
            os.kill(program.pid, signal.SIGKILL)
            wait_until('it ends', program.is_gone)
        say(f'      {" ".join(what)}: saved and restored')
        program.end()


def hung(top, engine):
    for what, words in ((('file',), 'did not answer'), (('shared',), 'mapping .* did not answer'), (('private',), 'mapping .* did not answer'),
                        (('cwd',), 'its cwd .* did not answer'), (('watch',), 'inotify'), (('deleted',), 'did not answer'),
                        (('link',), 'did not answer'), (('flight',), 'in its queue'), (('socket',), 'is bound on'),
                        (('file', 'detached'), 'detached')):
        program = Program(top, engine, 'outside', *what)
        os.kill(program.server, signal.SIGSTOP)
        refused(program, words, within=TIMEOUT + 5)
    left = [pid for pid in others() if 'snapmgr' in observe.text(f'/proc/{pid}/comm')]
    wait_until('no helper is left', lambda: frame.reap() or not [p for p in left if os.path.exists(f'/proc/{p}')])


def untouched(top, engine):
    program = Program(top, engine, 'outside', 'private')
    os.kill(program.server, signal.SIGSTOP)
    command = program.dump_command('--track-mem')
    command[1] = 'pre-dump'
    run = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         timeout=PATIENCE, check=False)
    check(run.returncode == 0, f'the pre-dump goes well: {run.stdout.decode(errors="replace")[-300:]}')
    check(not observe.traced([program.pid]), 'it is not traced')
    program.end()


def stuck(top, engine):
    program = Program(top, engine, 'outside', 'file')
    os.kill(program.server, signal.SIGSTOP)
    os.kill(program.pid, signal.SIGUSR1)
    wait_until('it waits', lambda: 'request_wait_answer' in observe.text(f'/proc/{program.pid}/wchan'))
    code, said, seconds = program.dump('--leave-running')
    check(code > 0 and TIMEOUT <= seconds < TIMEOUT + 5, f'the dump fails after {seconds:.1f} s')
    check(re.search(rf'thread {program.pid}: does not stop: .*uninterruptible.*\(in ', said), f'it is named: {said[-300:]}')
    check(not observe.traced([program.pid]), 'it is not traced')
    os.kill(program.server, signal.SIGCONT)
    program.goes_on('when it is answered')
    say(f'      {said.strip().splitlines()[-1][:150]}')
    program.end()


def ended(top, engine):
    for sig in (signal.SIGTERM, signal.SIGKILL):
        program = Program(top, engine, 'outside', 'file')
        os.kill(program.server, signal.SIGSTOP)
        with subprocess.Popen([*program.dump_command('--leave-running'), '--timeout', '0'], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            wait_until('the tree is frozen', lambda p=program: observe.traced([p.pid]))
            before = program.beat()
            time.sleep(0.2)
            check(program.beat() == before and run.poll() is None, 'the engine waits')
            run.send_signal(sig)
            check(run.wait(timeout=10) == -sig, f'it ends on {sig.name}')
        program.goes_on(f'after {sig.name}')
        program.end()


def squat(name):
    """An abstract socket of an ordinary user with a full queue."""
    os.seteuid(65534)
    try:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(name)
        listener.listen(0)
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client.connect(name)
    finally:
        os.seteuid(0)
    return listener, client


def squatted(top, engine):
    stage = operations.Stage(top, engine, 'tree')
    start = observe.text(f'/proc/{stage.pid}/stat').rsplit(')', 1)[1].split()[19]
    held = [squat(f'\0snapmgr-tracker-{stage.pid}-{start}-{i:032x}') for i in range(3)]
    with subprocess.Popen([engine.path, 'dump', '-t', str(stage.pid), '-D', stage.images, '--leave-running', '--track-mem'],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        try:
            said = run.communicate(timeout=PATIENCE)[0].decode(errors='replace')
        except subprocess.TimeoutExpired:
            run.kill()
            raise Failure('the engine waits for a connection to a socket of somebody else') from None
    check(run.returncode == 0, f'the dump goes well: {said[-300:]}')
    for listener, client in held:
        listener.close()
        client.close()
    check(observe.state(stage.pid) == 'alive' and not observe.traced([stage.pid]), 'the tree goes on')


SCENARIOS = (inside, outside, hung, untouched, stuck, ended, squatted)


def main():
    def with_program(scenario):
        def run(stage):
            scenario(*stage)
        run.__name__ = scenario.__name__
        return run
    return frame.run_scenarios([with_program(scenario) for scenario in SCENARIOS],
                               lambda top, engine, _: (top, engine), tracks=False)


if __name__ == '__main__':
    sys.exit(main())
