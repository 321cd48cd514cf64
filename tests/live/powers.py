#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors by which an ordinary user would get power, if a restore opened them as root.

Some files ask at every use who opened them (cgroup.procs), or show the program that a process was running at that time and no
later one (/proc/PID/mem). Their paths do not tell. The program is powers.c.
"""
import os
import shutil
import signal
import socket
import subprocess
import sys

sys.dont_write_bytecode = True
import frame  # noqa: E402
from frame import Failure, Skipped, wait_until  # noqa: E402

BUILD = os.environ.get('LIVE_BUILD', os.path.abspath('tests/live'))
USER = 65534


def check(ok, sentence):
    if not ok:
        raise Failure(sentence)


class Stage:
    def __init__(self, top, engine, _):
        self.engine = engine
        self.home, self.images = os.path.join(top, 'home'), os.path.join(top, 'images')
        self.set_user_id = os.path.join(top, 'set-user-id')
        os.umask(0o022)
        os.mkdir(self.images, 0o700)
        for path in (self.home, os.path.join(self.home, 'd')):
            os.mkdir(path, 0o755)
            os.chown(path, USER, USER)
        shutil.copy(os.path.join(BUILD, 'powers'), self.set_user_id)
        os.chmod(self.set_user_id, 0o4755)
        if os.statvfs(top).f_flag & os.ST_NOSUID:
            raise Skipped(f'{top}: set-user-ID programs have no effect there')
        self.pid = 0

    def start(self, kind, *arguments, user=USER):
        command = [os.path.join(BUILD, 'powers'), kind, str(user), self.home, *arguments]
        process = subprocess.Popen(command, cwd='/', stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        process.returncode = 0
        self.pid = process.pid
        wait_until('the program is ready', lambda: os.path.exists(os.path.join(self.home, 'ready')), timeout=10)

    def run(self, action, *options):
        command = [self.engine.path, action, '-D', self.images, '-o', f'{action}.log', '-v4', *options]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60, check=False, cwd='/')
        return done.returncode, done.stdout.decode(errors='replace').strip()

    def dump(self):
        code, said = self.run('dump', '-t', str(self.pid))
        check(code == 0, f'dump fails: {said}')
        frame.reap()

    def restore(self):
        code, said = self.run('restore', '-d')
        check(code == 0, f'restore fails: {said}')

    def report(self):
        path = os.path.join(self.home, 'report')
        if os.path.exists(path):
            os.unlink(path)
        os.kill(self.pid, signal.SIGUSR1)
        wait_until('the report', lambda: os.path.exists(path), timeout=10)
        with open(path, encoding='ascii') as file:
            return file.read()

    def end(self):
        for pid in frame.others():
            os.kill(pid, signal.SIGKILL)
        wait_until('all are gone', lambda: frame.reap() is not None and not frame.others())

    def command_of(self, pid):
        """The second word: the program in front of it changes users. Empty while a process executes."""
        with open(f'/proc/{pid}/cmdline', encoding='ascii') as file:
            return (file.read().split('\0') + [''])[1]


def refused(stage, sentence):
    code, said = stage.run('dump', '-t', str(stage.pid))
    check(code != 0, f'{sentence}: it is dumped')
    check('before it executed the present one' in said, f'{sentence}: fails, but not by name: {said}')
    check(os.path.exists(f'/proc/{stage.pid}'), f'{sentence}: the program is gone')


def a_file_of_an_earlier_program_is_refused(stage):
    """The process has executed a set-user-ID program since: what was open shows nothing, and would show all if opened again."""
    for name in ('mem', 'environ', 'auxv', 'maps', 'smaps', 'smaps_rollup', 'pagemap', 'numa_maps'):
        if not os.path.exists(f'/proc/self/{name}'):
            continue
        stage.start('earlier-program', name, stage.set_user_id)
        wait_until('the child executes', lambda: [pid for pid in frame.others() if stage.command_of(pid) == 'sleep'])
        refused(stage, name)
        stage.end()
        os.unlink(os.path.join(stage.home, 'ready'))


def own_memory_of_an_earlier_program_is_refused(stage):
    stage.start('own-memory', stage.home)
    wait_until('it executes', lambda: stage.command_of(stage.pid) == 'sleep')
    refused(stage, 'own memory')


def files_of_a_child_are_there_again(stage):
    """The child has no dumpable flag: its files are root's, and the user could not open them now."""
    stage.start('child')
    wait_until('the child has no dumpable flag', lambda: all(
        os.stat(f'/proc/{pid}/environ').st_uid == (USER if pid == stage.pid else 0) for pid in frame.others()))
    before = stage.report()
    check('shows' in before and 'frame hidden' in before, f'the test is wrong: {before}')
    stage.dump()
    stage.restore()
    after = stage.report()
    check(after == before, f'was:\n{before}is:\n{after}')


def cgroup_2():
    with open('/proc/self/mounts', encoding='utf-8') as file:
        for line in file:
            fields = line.split()
            if fields[2] == 'cgroup2':
                return fields[1]
    raise Skipped('no cgroup of version 2 is mounted')


def a_delegated_cgroup_takes_no_process_of_roots(stage):
    """The file is the user's and so is a cgroup; a process of root's may not be moved, by who was not root when it was opened."""
    top = os.path.join(cgroup_2(), f'snapmgr-powers-{os.getpid()}-{os.path.basename(os.path.dirname(stage.home))}')
    mine = os.path.join(top, 'mine')
    os.makedirs(mine)
    try:
        for name in (top, mine):
            for path in (name, os.path.join(name, 'cgroup.procs')):
                os.chown(path, USER, USER)
        victim = subprocess.Popen(['sleep', '1000'], stdin=subprocess.DEVNULL)
        stage.start('cgroup', os.path.join(mine, 'cgroup.procs'), str(victim.pid))
        check('denied' in stage.report(), 'the test is wrong: the process could be moved before')
        stage.dump()
        stage.restore()
        check('denied' in stage.report(), 'a process of root\'s can be moved')
        victim.returncode = 0
        stage.end()
    finally:
        stage.end()
        os.rmdir(mine)
        os.rmdir(top)


def what_travels_in_a_queue_is_not_opened_for_root_alone(stage):
    """A set-user-ID program has the descriptor; the user can take it out of the queue as well."""
    stage.start('queue', stage.set_user_id)
    wait_until('the child executes', lambda: [pid for pid in frame.others() if stage.command_of(pid) == 'sleep'])
    stage.dump()
    here, secret = os.path.join(stage.home, 'd', 'thing'), os.path.join(stage.home, 'secret')
    with open(secret, 'w', encoding='ascii') as file:
        file.write('secret')
    os.chmod(secret, 0o600)
    os.unlink(here)
    os.symlink(secret, here)
    os.chown(here, USER, USER, follow_symlinks=False)
    code, said = stage.run('restore', '-d')
    check(code != 0 and f'user {USER}' in said, f'restore ends with {code}: {said}')


def what_is_for_root_alone_stays_so(stage):
    """The kernel alone gives the value 2, by a setting of the whole machine: the images get it by hand."""
    stage.start('dumpable', user=0)
    check(stage.report() == 'dumpable 0\n', 'the test is wrong: it is dumpable')
    stage.dump()
    path = os.path.join(stage.images, f'mm-{stage.pid}.img')
    with open(path, 'rb') as file:
        image = file.read()
    field, two = b'\x78\x00', b'\x78\x02'  # number 15, a varint
    check(image.count(field) == 1, 'the test is wrong: the field is not found')
    with open(path, 'wb') as file:
        file.write(image.replace(field, two))
    stage.restore()
    check(stage.report() in ('dumpable 0\n', 'dumpable 2\n'), 'it is dumpable now')


def what_images_of_others_say_of_root_is_not_believed(stage):
    """The kernel noted root as the maker of a unix socket, the owner of another, and who set an owner of SIGIO; the tree is a user's."""
    stage.start('notes')
    before = stage.report()
    check(before == 'maker 0 signals 0 0 socket 0\n', f'the test is wrong: {before}')
    stage.dump()
    stage.restore()
    after = stage.report()
    check(after == before, f'by images of root: was {before}is {after}')
    stage.end()
    for name in os.listdir(stage.images):
        os.chown(os.path.join(stage.images, name), USER, USER)
    stage.restore()
    after = stage.report()
    check(after == f'maker {USER} signals {USER} {USER} socket {USER}\n', f'by images of the user: {after}')


def a_port_is_not_shared_with_root(stage):
    """Sockets share a port only with others of their user; the port is one of root's meanwhile."""
    for kind, name, port in ((socket.SOCK_DGRAM, 'udp', 23801), (socket.SOCK_STREAM, 'tcp', 23802)):
        stage.start('port', name, str(port))
        stage.dump()
        with socket.socket(socket.AF_INET, kind) as roots:
            roots.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            roots.bind(('0.0.0.0', port))
            if kind == socket.SOCK_STREAM:
                roots.listen(1)
            code, said = stage.run('restore', '-d')
            check(code != 0 and 'in use' in said, f'{name}: restore ends with {code}: {said}')
        stage.restore()
        stage.end()
        os.unlink(os.path.join(stage.home, 'ready'))
        shutil.rmtree(stage.images)
        os.mkdir(stage.images, 0o700)


SCENARIOS = [a_file_of_an_earlier_program_is_refused, own_memory_of_an_earlier_program_is_refused,
             files_of_a_child_are_there_again, a_delegated_cgroup_takes_no_process_of_roots,
             what_travels_in_a_queue_is_not_opened_for_root_alone, what_is_for_root_alone_stays_so,
             what_images_of_others_say_of_root_is_not_believed, a_port_is_not_shared_with_root]

if __name__ == '__main__':
    sys.exit(frame.run_scenarios(SCENARIOS, Stage, tracks=False))
