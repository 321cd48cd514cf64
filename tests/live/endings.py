#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A dump that ends the tree leaves a set that restores, or is refused with the tree intact.

Executables that were replaced, deleted, or lost their x bit; names made by --link-remap.
"""
import os
import shutil
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
import frame  # noqa: E402
from frame import Failure, wait_until  # noqa: E402


def check(ok, sentence):
    if not ok:
        raise Failure(sentence)


class Program:
    """A program from a directory of its own, and a set."""

    def __init__(self, top, engine, name, command=None):
        self.engine, self.home = engine, os.path.join(top, name)
        self.images = os.path.join(self.home, 'images')
        os.makedirs(self.images)
        self.exe = os.path.join(self.home, 'program')
        shutil.copy('/bin/sleep', self.exe)
        process = subprocess.Popen(command or [self.exe, '1000'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL, start_new_session=True, cwd=self.home)
        process.returncode = 0
        self.pid = process.pid

    def run(self, action, *options):
        log = [] if action == 'verify' else ['-o', f'{action}.log']
        done = subprocess.run([self.engine.path, action, '-D', self.images, *log, *options],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
        return done.returncode, done.stdout.decode(errors='replace').strip()

    def run_well(self, action, *options):
        code, said = self.run(action, *options)
        check(code == 0, f'{action}: {said}')
        frame.reap()

    def alive(self):
        frame.reap()
        return os.path.exists(f'/proc/{self.pid}')

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        wait_until('it is gone', lambda: not self.alive())


def comes_back_twice(program, *options):
    program.run_well('dump', '-t', str(program.pid), *options)
    program.run_well('verify')
    for _ in range(2):
        program.run_well('restore', '-d', *options)
        check(program.alive(), 'it is not there')
        program.end()


def an_executable_that_was_replaced(stage):
    top, engine = stage
    program = Program(top, engine, 'p')
    wait_until('it runs', lambda: os.readlink(f'/proc/{program.pid}/exe') == program.exe)
    shutil.copy('/bin/cat', program.exe + '.new')
    os.rename(program.exe + '.new', program.exe)
    comes_back_twice(program)
    with open(program.exe, 'rb') as new, open('/bin/cat', 'rb') as old:
        check(new.read() == old.read(), 'the new executable was changed')


def an_executable_that_was_deleted(stage):
    top, engine = stage
    program = Program(top, engine, 'p')
    wait_until('it runs', lambda: os.readlink(f'/proc/{program.pid}/exe') == program.exe)
    os.unlink(program.exe)
    comes_back_twice(program)
    check(not os.path.exists(program.exe), 'a name is left')


def an_executable_that_was_moved_by_its_other_name(stage):
    top, engine = stage
    program = Program(top, engine, 'p')
    wait_until('it runs', lambda: os.readlink(f'/proc/{program.pid}/exe') == program.exe)
    os.link(program.exe, program.exe + '.kept')
    os.unlink(program.exe)
    comes_back_twice(program)
    check(sorted(os.listdir(program.home)) == ['images', 'program.kept'], f'names are left: {os.listdir(program.home)}')


def an_executable_without_its_x_bit_is_refused(stage):
    top, engine = stage
    program = Program(top, engine, 'p')
    wait_until('it runs', lambda: os.readlink(f'/proc/{program.pid}/exe') == program.exe)
    os.chmod(program.exe, 0o644)
    code, said = program.run('dump', '-t', str(program.pid))
    check(code != 0 and 'chmod a+x' in said, f'not refused by name: {code} {said}')
    check(program.alive(), 'it is gone')
    os.chmod(program.exe, 0o755)
    comes_back_twice(program)


SCRIPT = '''
import os, sys, time
name = sys.argv[1]
fd = os.open(name + '.a', os.O_RDWR | os.O_CREAT)
os.write(fd, name.encode())
os.link(name + '.a', name + '.b')
os.unlink(name + '.a')
while True:
    if not os.path.exists(name + '.out'):  # else a dump could meet it with name + '.t' open
        with open(name + '.t', 'wb') as out:
            out.write(os.pread(fd, 99, 0))
        os.rename(name + '.t', name + '.out')
    time.sleep(0.01)
'''


# Behind the file in the order of descriptors; refused without --tcp-established.
CONNECTION = '''
import socket
listener = socket.create_server(('127.0.0.1', 0))
connection = socket.create_connection(listener.getsockname())
'''


def names_of_two_programs_do_not_meet(stage):
    top, engine = stage
    place = os.path.join(top, 'place')
    os.makedirs(place)
    programs = {}
    for name in ('ONE', 'TWO'):
        programs[name] = Program(top, engine, name, [sys.executable, '-c', SCRIPT, os.path.join(place, name)])
        wait_until('it writes', lambda: os.path.exists(os.path.join(place, name + '.out')))  # noqa: B023
    for name, program in programs.items():
        program.run_well('dump', '-t', str(program.pid), '--link-remap')
        os.unlink(os.path.join(place, name + '.out'))
    made = [name for name in os.listdir(place) if name.startswith('link_remap.')]
    check(len(made) == 2, f'names: {made}')
    for _ in range(2):
        for name, program in programs.items():
            program.run_well('restore', '-d', '--link-remap')
            out = os.path.join(place, name + '.out')
            wait_until('it writes', lambda: os.path.exists(out))  # noqa: B023
            with open(out, encoding='ascii') as file:
                read = file.read()
            check(read == os.path.join(place, name), f'{name} reads {read}')
            program.end()
            os.unlink(out)
    # Somebody puts another file in the place of one of them.
    for name in made:
        os.unlink(os.path.join(place, name))
        with open(os.path.join(place, name), 'w', encoding='ascii') as file:
            file.write('x' * 99)
    code, said = programs['ONE'].run('restore', '-d', '--link-remap')
    check(code != 0 and 'another file' in said, f'not refused by name: {code} {said}')


def a_dump_that_fails_leaves_no_names(stage):
    top, engine = stage
    place = os.path.join(top, 'place')
    os.makedirs(place)
    script = SCRIPT.replace('while True:', CONNECTION + 'while True:', 1)
    program = Program(top, engine, 'p', [sys.executable, '-c', script, os.path.join(place, 'ONE')])
    wait_until('it writes', lambda: os.path.exists(os.path.join(place, 'ONE.out')))
    code, said = program.run('dump', '-t', str(program.pid), '--link-remap')
    check(code != 0, f'the connection is not refused: {said}')
    check(program.alive(), 'it is gone')
    check(not [name for name in os.listdir(place) if name.startswith('link_remap.')], f'left behind: {os.listdir(place)}')
    program.end()


# An orphan in a process group, or in the session, of the tree: its pid goes to the file "orphan".
ORPHAN = '''
import os, sys, time
child = os.fork()
if child == 0:
    if sys.argv[1] == 'group':
        os.setpgid(0, 0)
    if os.fork() == 0:
        os.close(os.open('orphan.part', os.O_CREAT))
        with open('orphan.part', 'w') as out:
            out.write(str(os.getpid()))
        os.rename('orphan.part', 'orphan')
        time.sleep(1000)
    os._exit(0)
time.sleep(1000)
'''


def orphan_holds(stage, what):
    top, engine = stage
    program = Program(top, engine, 'p', [sys.executable, '-c', ORPHAN, what])
    orphan_file = os.path.join(program.home, 'orphan')
    wait_until('there is an orphan', lambda: os.path.exists(orphan_file))
    with open(orphan_file, encoding='ascii') as file:
        orphan = int(file.read())
    code, said = program.run('dump', '-t', str(program.pid))
    check(code != 0 and f'process {orphan} ' in said and 'End it first' in said, f'not refused by name: {code} {said}')
    check(program.alive(), 'it is gone')
    program.run_well('dump', '-t', str(program.pid), '--leave-running')
    check(program.alive(), 'it is gone')
    program.run_well('dump', '-t', str(program.pid), '--new-pid-namespace')
    program.run_well('restore', '-d', '--new-pid-namespace', '--pidfile', os.path.join(program.home, 'pid'))
    with open(os.path.join(program.home, 'pid'), encoding='ascii') as file:
        os.kill(int(file.read()), signal.SIGKILL)
    os.kill(orphan, signal.SIGKILL)
    wait_until('the orphan is gone', lambda: frame.reap() is not None and not os.path.exists(f'/proc/{orphan}'))
    program.run_well('restore', '-d')
    check(program.alive(), 'it is not there')
    program.end()


# Says what it asked for when its parent dies, to the file of a name that it reads from "ask".
DEPENDENT = '''
import ctypes, os, signal, time
libc = ctypes.CDLL(None)
libc.prctl(1, signal.SIGTERM, 0, 0, 0)
while True:
    time.sleep(0.01)
    if os.path.exists('ask'):
        value = ctypes.c_int()
        libc.prctl(2, ctypes.byref(value), 0, 0, 0)
        with open('answer.part', 'w') as out:
            out.write(str(value.value))
        os.unlink('ask')
        os.rename('answer.part', 'answer')
'''


def ask(program):
    answer = os.path.join(program.home, 'answer')
    with open(os.path.join(program.home, 'ask'), 'w', encoding='ascii'):
        pass
    wait_until('it answers', lambda: os.path.exists(answer))
    with open(answer, encoding='ascii') as file:
        value = int(file.read())
    os.unlink(answer)
    return value


def a_root_that_is_to_die_with_its_parent_outlives_the_engine(stage):
    top, engine = stage
    program = Program(top, engine, 'p', [sys.executable, '-c', DEPENDENT])
    check(ask(program) == signal.SIGTERM, 'it has no parent death signal')
    program.run_well('dump', '-t', str(program.pid))
    pidfile = os.path.join(program.home, 'pid')
    for options in ((), ('--new-pid-namespace', '--pidfile', pidfile), ()):
        program.run_well('restore', '-d', *options)
        check(ask(program) == signal.SIGTERM, 'its parent death signal is lost')
        if options:
            with open(pidfile, encoding='ascii') as file:
                os.kill(int(file.read()), signal.SIGKILL)
        else:
            program.end()


PR_SET_THP_DISABLE, PR_SET_MEMORY_MERGE, ADDR_NO_RANDOMIZE = 41, 67, 0x0040000


def become_strange():
    frame.libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    frame.libc.prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0)
    frame.libc.personality(ADDR_NO_RANDOMIZE)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    os.nice(3)
    frame.libc.syscall(251, 1, 0, 3 << 13)  # ioprio_set: idle
    frame.libc.syscall(238, 3, (frame.ctypes.c_ulong * 1)(1), 64)  # set_mempolicy: interleave


def what_is_inherited(pid):
    found = {}
    for name in ('personality', 'status', 'ksm_stat', 'stat', 'numa_maps'):
        try:
            with open(f'/proc/{pid}/{name}', encoding='ascii') as file:
                found[name] = file.read()
        except FileNotFoundError:
            pass
    found['status'] = [line for line in found['status'].splitlines() if line.startswith(('Cpus_allowed:', 'THP_enabled:'))]
    found['ksm_stat'] = [line for line in found.get('ksm_stat', '').splitlines() if 'merge_any' in line]
    found['stat'] = found['stat'].rsplit(')', 1)[1].split()[16]
    found['numa_maps'] = 'interleave' in found.get('numa_maps', '')
    found['ioprio'] = frame.libc.syscall(252, 1, pid)
    return found


def nothing_of_the_engine_is_inherited(stage):
    top, engine = stage
    program = Program(top, engine, 'p')
    wait_until('it runs', lambda: os.readlink(f'/proc/{program.pid}/exe') == program.exe)
    before = what_is_inherited(program.pid)
    program.run_well('dump', '-t', str(program.pid))
    done = subprocess.run([engine.path, 'restore', '-d', '-D', program.images], preexec_fn=become_strange, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    check(done.returncode == 0, f'restore: {done.stdout}')
    after = what_is_inherited(program.pid)
    check(after == before, f'was {before}, is {after}')
    program.end()


def an_orphan_in_a_process_group_is_named(stage):
    orphan_holds(stage, 'group')


def an_orphan_in_the_session_is_named(stage):
    orphan_holds(stage, 'session')


SCENARIOS = (an_executable_that_was_replaced, an_executable_that_was_deleted, an_executable_that_was_moved_by_its_other_name,
             an_executable_without_its_x_bit_is_refused, names_of_two_programs_do_not_meet, a_dump_that_fails_leaves_no_names,
             an_orphan_in_a_process_group_is_named, an_orphan_in_the_session_is_named,
             a_root_that_is_to_die_with_its_parent_outlives_the_engine, nothing_of_the_engine_is_inherited)


if __name__ == '__main__':
    sys.exit(frame.run_scenarios(SCENARIOS, lambda top, engine, _: (top, engine), tracks=False))
