#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Between dump and restore a user makes the paths of his program lead elsewhere: root must not follow.

The program (swapped.c) has one thing below DIR/d, which is the user's. Then DIR/d becomes a symbolic link to a directory of
root's. A restore must not open, make, change or remove anything there for the program: it fails by name, or
comes back with what the program had. Where nothing was swapped, every kind comes back.

PLACES_RESTORES  how many restores run beside a loop of renames (default 12 for each kind)
"""
import os
import shutil
import signal
import stat
import subprocess
import sys

sys.dont_write_bytecode = True
import frame  # noqa: E402
from frame import Failure, wait_until  # noqa: E402

BUILD = os.environ.get('LIVE_BUILD', os.path.abspath('tests/live'))
RESTORES = int(os.environ.get('PLACES_RESTORES', '12'))
USER = 65534
KINDS = ['file', 'directory', 'cwd', 'socket', 'relative-socket', 'ghost', 'lost-directory', 'fifo', 'mapping', 'watch',
         'another-name']


def check(ok, sentence):
    if not ok:
        raise Failure(sentence)


def tree_state(top):
    """All that could be changed below a directory."""
    def one(path):
        s = os.lstat(path)
        with open(path, 'rb') if stat.S_ISREG(s.st_mode) else open(os.devnull, 'rb') as file:
            return (path, s.st_ino, s.st_mode, s.st_uid, s.st_gid, s.st_size, s.st_mtime_ns, s.st_ctime_ns, file.read())
    found = [one(top)]
    for directory, names, files in os.walk(top):
        found += [one(os.path.join(directory, name)) for name in sorted(names + files)]
    return found


class Stage:
    """A user's directory, a program of his, and a directory of root's that is not for him."""

    def __init__(self, top, engine, kind):
        self.engine, self.kind = engine, kind
        self.home, self.victim = os.path.join(top, 'home'), os.path.join(top, 'victim')
        self.images = os.path.join(top, 'images')
        os.umask(0o022)
        for path in (self.home, self.victim, self.images):
            os.mkdir(path, 0o700)
        os.mkdir(os.path.join(self.home, 'd'), 0o700)
        for path in (self.home, os.path.join(self.home, 'd')):
            os.chown(path, USER, USER)
        for name in ('thing', 'other'):
            with open(os.path.join(self.victim, name), 'w', encoding='ascii') as file:
                file.write('secret')
            os.chmod(os.path.join(self.victim, name), 0o640)
        if kind == 'fifo':
            os.unlink(os.path.join(self.victim, 'thing'))
            os.mkfifo(os.path.join(self.victim, 'thing'), 0o644)
        elif kind in ('socket', 'relative-socket', 'ghost'):
            os.unlink(os.path.join(self.victim, 'thing'))
        self.state = None
        process = subprocess.Popen([os.path.join(BUILD, 'swapped'), kind, str(USER), self.home], cwd='/',
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        process.returncode = 0
        self.pid = process.pid
        wait_until('the program is ready', lambda: os.path.exists(os.path.join(self.home, 'ready')), timeout=10)

    def run(self, action, *options):
        log = [] if action == 'preflight' else ['-o', f'{action}.log', '-v4']
        command = [self.engine.path, action, '-D', self.images, *log, *options]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60, check=False, cwd='/')
        return done.returncode, done.stdout.decode(errors='replace').strip()

    def options(self):
        return ['--link-remap'] if self.kind == 'another-name' else []

    def dump(self):
        code, said = self.run('dump', '-t', str(self.pid), *self.options())
        check(code == 0, f'{self.kind}: dump fails: {said}')
        frame.reap()

    def swap(self):
        """As the user would; he cannot look into the victim's directory."""
        here = os.path.join(self.home, 'd')
        os.rename(here, here + '.old')
        os.symlink(self.victim, here)
        os.chown(here, USER, USER, follow_symlinks=False)
        for name in os.listdir(here + '.old'):
            if name.startswith('link_remap.'):
                with open(os.path.join(self.victim, name), 'w', encoding='ascii') as file:
                    file.write('secret')
        self.state = tree_state(self.victim)

    def untouched(self):
        check(tree_state(self.victim) == self.state, f'{self.kind}: the directory of root\'s was changed')

    def has_nothing_of_the_victim(self):
        """No descriptor, mapping or directory of the restored program leads there."""
        forbidden = {(s.st_dev, s.st_ino) for s in [os.lstat(entry[0]) for entry in self.state]}
        places = [f'/proc/{self.pid}/{name}' for name in ('cwd', 'root', 'exe')]
        places += [f'/proc/{self.pid}/fd/{n}' for n in os.listdir(f'/proc/{self.pid}/fd')]
        places += [f'/proc/{self.pid}/map_files/{n}' for n in os.listdir(f'/proc/{self.pid}/map_files')]
        for place in places:
            s = os.stat(place)
            check((s.st_dev, s.st_ino) not in forbidden, f'{self.kind}: {place} is {os.readlink(place)}')
        inodes = {ino for _, ino in forbidden}
        for n in os.listdir(f'/proc/{self.pid}/fdinfo'):
            with open(f'/proc/{self.pid}/fdinfo/{n}', encoding='ascii') as file:
                for line in file:
                    if line.startswith('inotify'):
                        watched = int(line.split('ino:')[1].split()[0], 16)
                        check(watched not in inodes, f'{self.kind}: fd {n} watches a directory of root\'s')

    def end(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        wait_until('the program is gone', lambda: frame.reap() is not None and not os.path.exists(f'/proc/{self.pid}'))


def comes_back_where_nothing_changed(stage):
    stage.dump()
    for _ in range(2 if stage.kind != 'another-name' else 1):
        code, said = stage.run('restore', '-d', *stage.options())
        check(code == 0, f'{stage.kind}: restore fails: {said}')
        check(os.path.exists(f'/proc/{stage.pid}'), f'{stage.kind}: it is not there')
        stage.end()


def a_swapped_directory_is_not_followed(stage):
    stage.dump()
    stage.swap()
    foreseen, obstacles = stage.run('preflight', *stage.options())
    code, said = stage.run('restore', '-d', *stage.options())
    check((foreseen == 0) == (code == 0),
          f'{stage.kind}: a preflight says {obstacles or "yes"}, the restore {said or "yes"}')
    if code == 0:
        stage.has_nothing_of_the_victim()
        stage.end()
    else:
        check(f'user {USER}' in said or 'another kind of file' in said, f'{stage.kind}: fails, but not by name: {said}')
        check(not os.path.exists(f'/proc/{stage.pid}'), f'{stage.kind}: something is left')
    stage.untouched()
    left = [name for name in os.listdir(stage.home) + os.listdir(stage.home + '/d.old') if 'snapmgr' in name]
    check(not left, f'{stage.kind}: left behind: {left}')


def names_that_change_all_the_time_lead_nowhere(stage):
    stage.dump()
    link = os.path.join(stage.home, 'link')
    os.symlink(stage.victim, link)
    os.chown(link, USER, USER, follow_symlinks=False)
    stage.state = tree_state(stage.victim)
    here = os.path.join(stage.home, 'd')
    swapper = subprocess.Popen([os.path.join(BUILD, 'swapped'), 'exchange', str(USER), here, link, '0'])
    back = 0
    try:
        for _ in range(RESTORES):
            code, said = stage.run('restore', '-d', *stage.options())
            if code == 0:
                back += 1
                stage.has_nothing_of_the_victim()
                stage.end()
            else:
                check(not os.path.exists(f'/proc/{stage.pid}'), f'{stage.kind}: something is left after: {said}')
            stage.untouched()
        check(swapper.poll() is None, 'the names change no more')
    finally:
        swapper.kill()
        swapper.wait()
    frame.say(f'   {stage.kind}: {back} of {RESTORES} came back')


def a_file_of_roots_is_not_taken_for_a_ghost(stage):
    """The user puts a file that he may move, but not read, under the name that the ghost has for a moment."""
    bait, name = (os.path.join(stage.home, 'd', name) for name in ('bait', 'thing'))

    def lay_bait():
        with open(bait, 'w', encoding='ascii') as file:
            file.write('secret')
        os.chmod(bait, 0o600)
        return os.stat(bait)

    secret = lay_bait()
    stage.dump()
    swapper = subprocess.Popen([os.path.join(BUILD, 'swapped'), 'exchange', str(USER), bait, name, '0'])
    try:
        for _ in range(RESTORES * 8):
            code, said = stage.run('restore', '-d')
            if code == 0:
                # By its contents: while names change, this loop may remove the file itself, and its number be the next ghost's.
                taken = [os.readlink(path) for path in (f'/proc/{stage.pid}/fd/{n}' for n in os.listdir(f'/proc/{stage.pid}/fd'))
                         if os.path.isfile(path) and open(path, 'rb').read(6) == b'secret']
                stage.end()
                check(not taken, f'a descriptor is of the file of root\'s: {taken} {said}')
            here = {entry.inode(): entry.path for entry in os.scandir(os.path.join(stage.home, 'd'))}
            for path in (path for other, path in here.items() if other != secret.st_ino):
                os.unlink(path)  # of the ghost, under the name that the user gave it
            if secret.st_ino not in here:  # lost for the ghost's name, as the user could have done himself: the directory is his
                secret = lay_bait()
            elif here[secret.st_ino] != bait:
                os.rename(here[secret.st_ino], bait)
        check(swapper.poll() is None, 'the names change no more')
    finally:
        swapper.kill()
        swapper.wait()


def a_user_who_stops_all_his_processes_does_not_stop_a_restore(stage):
    """SIGSTOP comes to the child that opens the file with his rights, and to the program while it is made."""
    stage.dump()
    thing = os.path.join(stage.home, 'd', 'thing')
    os.rename(thing, thing + '.1')
    shutil.copy(thing + '.1', thing)
    os.chown(thing, USER, USER)
    stopper = subprocess.Popen([os.path.join(BUILD, 'swapped'), 'stop', str(USER)])
    try:
        for _ in range(RESTORES * 2):
            code, said = stage.run('restore', '-d')
            check(code == 0, f'restore fails: {said}')
            stage.end()
        check(stopper.poll() is None, 'nobody stops the processes any more')
    finally:
        stopper.kill()
        stopper.wait()


def a_restore_that_fails_leaves_none_of_many_names(stage):
    stage.dump()
    here, script = os.path.join(stage.home, 'd'), os.path.join(stage.images, 'no')
    check(len(os.listdir(here)) == 100, 'the test is wrong: the sockets are not there')
    with open(script, 'w', encoding='ascii') as file:
        file.write('#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != post-restore ]\n')
    os.chmod(script, 0o700)
    code, said = stage.run('restore', '-d', '--action-script', script)
    check(code != 0 and 'post-restore' in said, f'the restore does not fail as it should: {said}')
    left = os.listdir(here)
    check(not left, f'{len(left)} names are left')
    code, said = stage.run('restore', '-d')
    check(code == 0 and len(os.listdir(here)) == 100, f'they do not come back: {said}')
    stage.end()


# Only of interest for one kind.
ALONE = {a_file_of_roots_is_not_taken_for_a_ghost: 'ghost',
         a_user_who_stops_all_his_processes_does_not_stop_a_restore: 'file',
         a_restore_that_fails_leaves_none_of_many_names: 'sockets'}


def main():
    engines = [engine for label, engine, _, skip in frame.modes({}) if label == 'ours' and not skip]
    wanted, failed = sys.argv[1:], 0
    if not engines:
        frame.say('SKIP: there is no engine')
        return frame.SKIP
    for scenario in (comes_back_where_nothing_changed, a_swapped_directory_is_not_followed,
                     names_that_change_all_the_time_lead_nowhere, *ALONE):
        for kind in [*KINDS, 'sockets']:
            if scenario not in ALONE and kind == 'sockets':
                continue
            if ALONE.get(scenario, kind) != kind:
                continue
            if wanted and scenario.__name__ not in wanted and kind not in wanted:
                continue
            top = frame.make_top()
            status = frame.run_apart(lambda: scenario(Stage(top, engines[0], kind)), False)  # noqa: B023
            frame.say(f'{"PASS" if status == 0 else "FAIL"}: {scenario.__name__}: {kind}')
            failed += status != 0
            if os.environ.get('LIVE_KEEP') and status:
                frame.say(f'   kept: {top}')
            else:
                shutil.rmtree(top, ignore_errors=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
