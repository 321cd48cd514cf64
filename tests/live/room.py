#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots of a program that has hardly any memory left in its cgroup: the kernel never has to kill.

The program writes all of its memory again and again; its limit is 1.1 of what it has. SNAPMGR_ROOM_SNAPSHOTS says how
many generations are taken by each way (6), SNAPMGR_ROOM_MIB and SNAPMGR_ROOM_RATE (MiB a second) how large it is and
how fast it writes.
"""
import os
import shutil
import signal
import subprocess
import sys

sys.dont_write_bytecode = True
import frame  # noqa: E402
from operations import Stage, check, errors  # noqa: E402

SNAPSHOTS = int(os.environ.get('SNAPMGR_ROOM_SNAPSHOTS', '6'))
MIB = int(os.environ.get('SNAPMGR_ROOM_MIB', '48'))
RATE = int(os.environ.get('SNAPMGR_ROOM_RATE', '100'))
WAYS = 'auto', 'cow', 'pre-copy', 'stop-copy'


class MemoryCgroup:
    """A new memory cgroup below the one that we are in."""

    def __init__(self):
        for line in open('/proc/self/cgroup', encoding='utf-8').read().splitlines():
            _, names, path = line.split(':', 2)
            if 'memory' in names.split(','):
                self.top, self.v1 = '/sys/fs/cgroup/memory' + path.rstrip('/'), True
                break
            if not names and os.path.exists('/sys/fs/cgroup/cgroup.controllers'):
                self.top, self.v1 = '/sys/fs/cgroup' + path.rstrip('/'), False
        else:
            if not hasattr(self, 'top'):
                raise frame.Skipped('no memory cgroups here')
        self.path = f'{self.top}/snapmgr-room-{os.getpid()}-{os.urandom(4).hex()}'
        try:
            os.mkdir(self.path)
        except OSError as error:
            raise frame.Skipped(f'no cgroup can be made: {error}') from None
        if not os.path.exists(self.file('memory.limit_in_bytes', 'memory.max')):
            os.rmdir(self.path)
            raise frame.Skipped('no memory controller for new cgroups')
        if not self.v1:
            with open(os.path.join(self.path, 'memory.oom.group'), 'w', encoding='ascii') as file:
                file.write('1')

    def file(self, v1, v2):
        return os.path.join(self.path, v1 if self.v1 else v2)

    def used(self):
        return int(open(self.file('memory.usage_in_bytes', 'memory.current'), encoding='ascii').read())

    def limit(self, size):
        with open(self.file('memory.limit_in_bytes', 'memory.max'), 'w', encoding='ascii') as file:
            file.write(str(size))

    def kills(self):
        for line in open(self.file('memory.oom_control', 'memory.events'), encoding='ascii'):
            if line.startswith('oom_kill '):
                return int(line.split()[1])
        raise frame.Skipped('this kernel does not count its kills')

    def remove(self):
        frame.kill_everything()
        frame.wait_until('the cgroup is empty', lambda: self.try_remove())

    def try_remove(self):
        try:
            os.rmdir(self.path)
        except OSError:
            return False
        return True


def start(stage_args, mib=MIB):
    cgroup = MemoryCgroup()
    wrapper = ('sh', '-c', f'echo $$ >{cgroup.path}/cgroup.procs; exec "$@"', 'sh')
    stage = Stage.__new__(Stage)
    top, engine = stage_args
    stage.top, stage.engine = top, engine
    stage.scratch, stage.images = os.path.join(top, 'scratch'), os.path.join(top, 'images')
    os.makedirs(stage.scratch, mode=0o777)
    os.makedirs(stage.images)
    program = os.path.join(os.environ.get('LIVE_BUILD', os.path.abspath('tests/live')), 'dirty')
    process = subprocess.Popen([*wrapper, program, str(mib), str(RATE)], cwd=stage.scratch, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    process.returncode = 0
    stage.pid = process.pid
    frame.wait_until('the target is ready', lambda: os.path.exists(os.path.join(stage.scratch, 'ready')))
    return cgroup, stage


def take(stage, cgroup, way, number):
    """One generation; each second one continues the one before."""
    images = os.path.join(stage.top, f'{way}-{number}')
    os.makedirs(images)
    options = ['--leave-running', '--track-mem', '--snapshot', way]
    if number % 2:
        options += ['--prev-images-dir', f'../{way}-{number - 1}']
    code, said = stage.dump(*options, images=images)
    check(os.path.exists(f'/proc/{stage.pid}'), f'{way}: the program is gone: {errors(said)}')
    check(cgroup.kills() == 0, f'{way}: the kernel has killed {cgroup.kills()} times: {errors(said)}')
    check(code == 0, f'{way}: {errors(said)}')
    if number % 2:
        shutil.rmtree(os.path.join(stage.top, f'{way}-{number - 1}'))
        shutil.rmtree(images)
    return said


def nobody_is_killed(stage_args):
    """at 1.1 of its memory a program that writes all of it lives through snapshots by every way"""
    cgroup, stage = start(stage_args)
    try:
        cgroup.limit(cgroup.used() * 11 // 10)
        for way in WAYS:
            for number in range(SNAPSHOTS):
                said = take(stage, cgroup, way, number)
                if way == 'cow' and number == 0:
                    check('KiB left' in said, f'the limit is not named: {errors(said)}')
        stage.content()
    finally:
        cgroup.remove()


def a_full_cgroup_is_left_alone(stage_args):
    """where nothing is left no snapshot is taken, and the limit is named"""
    cgroup, stage = start(stage_args)
    try:
        cgroup.limit(cgroup.used() + 64 * 1024)
        code, said = stage.dump('--leave-running')
        check(code != 0 and os.path.basename(cgroup.path) in said, f'it is not refused: {errors(said)}')
        stage.no_set('refused')
        check(cgroup.kills() == 0, 'the kernel has killed')
        cgroup.limit(cgroup.used() * 4)
        stage.dump_well('--leave-running', '--snapshot', 'cow')
        stage.content()
    finally:
        cgroup.remove()


def children(pid):
    with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as file:
        return [int(word) for word in file.read().split()]


def is_traced(pid):
    with open(f'/proc/{pid}/status', encoding='ascii') as file:
        return 'TracerPid:\t0\n' not in file.read()


def is_zombie(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii') as file:
        return file.read().rpartition(')')[2].split()[0] == 'Z'


def kill_while_copying(stage, with_children):
    """Kills a dump that reads a shadow while the tree runs; with all that it has forked, or alone."""
    images = os.path.join(stage.top, f'killed-{os.urandom(4).hex()}')
    os.makedirs(images)
    engine = subprocess.Popen([stage.engine.path, 'dump', '-t', str(stage.pid), '-D', images, '--leave-running',
                               '--snapshot', 'cow'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    frame.wait_until('a shadow', lambda: children(stage.pid) or engine.poll() is not None)
    frame.wait_until('the tree runs', lambda: not is_traced(stage.pid))
    victims = [*(children(engine.pid) if with_children else []), engine.pid]
    if not children(stage.pid):
        engine.wait()
        return False
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    engine.wait()
    return True


def a_killed_dump_leaves_no_zombie(stage_args):
    """the shadow of a killed dump is reaped at once, or by whatever of ours freezes the tree next"""
    cgroup, stage = start(stage_args, mib=256)
    try:
        frame.wait_until('a dump is killed in time', lambda: kill_while_copying(stage, with_children=False))
        frame.wait_until('the shadow is reaped', lambda: not children(stage.pid), timeout=10)
        frame.wait_until('a dump is killed in time', lambda: kill_while_copying(stage, with_children=True))
        frame.wait_until('the shadow is dead', lambda: all(is_zombie(child) for child in children(stage.pid)))
        check(children(stage.pid), 'the shadow was reaped by nobody')
        code, said = stage.run('check', '-t', str(stage.pid))
        check(code == 0, f'the tree cannot be checked: {errors(said)}')
        check(not children(stage.pid), 'the shadow is still there after a check of the tree')
        stage.content()
    finally:
        cgroup.remove()


def main():
    engine = next((engine for label, engine, _, skip in frame.modes({}) if label == 'ours' and not skip), None)
    if not engine or not frame.can_track(engine):
        frame.say('SKIP: there is no engine, or it cannot track memory here')
        return frame.SKIP
    worst = frame.SKIP
    for scenario in nobody_is_killed, a_full_cgroup_is_left_alone, a_killed_dump_leaves_no_zombie:
        if sys.argv[1:] and scenario.__name__ not in sys.argv[1:]:
            continue
        top = frame.make_top()
        status = frame.run_apart(lambda: scenario((top, engine)), False)
        word = {0: 'PASS', frame.SKIP: 'SKIP'}.get(status, 'FAIL')
        frame.say(f'{word}: {scenario.__name__}: {scenario.__doc__}')
        worst = 1 if word == 'FAIL' or worst == 1 else 0 if word == 'PASS' else worst
        shutil.rmtree(top, ignore_errors=True)
    return worst


if __name__ == '__main__':
    sys.exit(main())
