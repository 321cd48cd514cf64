#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A SysV object is known by a number that anybody may have by the time of the restore: root must not use another's for the tree.

The program (sysv-user.c) is an ordinary user's. Between dump and restore its objects go, stay, or are made again by somebody else.
A restore uses an object only if it is the tree's, as far as the kernel can tell; else it is refused by name, and nothing is changed.

SYSV_KILLS  how many restores are killed at some moment (default 15)
"""
import ctypes
import os
import random
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import frame  # noqa: E402
from frame import Failure, wait_until  # noqa: E402

BUILD = os.environ.get('LIVE_BUILD', os.path.abspath('tests/live'))
KILLS = int(os.environ.get('SYSV_KILLS', '15'))
USER = 65534
SIZE, N_SEMS = 8192, 2
IPC_CREAT, IPC_EXCL, IPC_NOWAIT, SHM_RDONLY, IPC_RMID = 0o1000, 0o2000, 0o4000, 0o10000, 0
GETVAL, SETVAL = 12, 16
KINDS = ['segment', 'set', 'queue']
FILES = {'segment': 'shm', 'set': 'sem', 'queue': 'msg'}
IPCRM = {'segment': 'm', 'set': 's', 'queue': 'q'}

libc = frame.libc
libc.shmat.restype = ctypes.c_void_p


def check(ok, sentence):
    if not ok:
        raise Failure(sentence)


def choose_id(kind, number):
    with open(f'/proc/sys/kernel/{FILES[kind]}_next_id', 'w', encoding='ascii') as file:
        file.write(str(number))


def make(kind, key, mode=0o640):
    """Made by whoever calls; returns its id."""
    flags = IPC_CREAT | IPC_EXCL | mode
    number = {'segment': lambda: libc.shmget(key, SIZE, flags), 'set': lambda: libc.semget(key, N_SEMS, flags),
              'queue': lambda: libc.msgget(key, flags)}[kind]()
    check(number >= 0, f'cannot make a {kind}: {os.strerror(ctypes.get_errno())}')
    return number


def remove(kind, number):
    {'segment': lambda: libc.shmctl(number, IPC_RMID, None), 'set': lambda: libc.semctl(number, 0, IPC_RMID),
     'queue': lambda: libc.msgctl(number, IPC_RMID, None)}[kind]()


def listed(kind):
    """{id: its line in /proc/sysvipc as a dict}"""
    with open(f'/proc/sysvipc/{FILES[kind]}', encoding='ascii') as file:
        names, *lines = [line.split() for line in file]
    rows = [dict(zip(names, line)) for line in lines]
    return {int(row[names[1]]): row for row in rows}


def put(kind, number, text):
    """Contents that are not the program's."""
    if kind == 'segment':
        at = libc.shmat(number, None, 0)
        ctypes.memmove(at, text + b'\0', len(text) + 1)
        libc.shmdt(ctypes.c_void_p(at))
    elif kind == 'set':
        libc.semctl(number, 0, SETVAL, len(text))
    else:
        libc.msgsnd(number, ctypes.create_string_buffer(b'\1' + bytes(7) + text), len(text), IPC_NOWAIT)


def state(kind, number):
    """All of an object that a restore could change, contents too."""
    row = listed(kind)[number]
    if kind == 'segment':
        at = libc.shmat(number, None, SHM_RDONLY)
        contents = ctypes.string_at(at, SIZE)
        libc.shmdt(ctypes.c_void_p(at))
        return ({name: row[name] for name in ('key', 'perms', 'size', 'cpid', 'uid', 'gid', 'cuid', 'cgid', 'ctime')}, contents)
    return row, [libc.semctl(number, i, GETVAL) for i in range(N_SEMS)] if kind == 'set' else None


def apart(body, user=0):
    """In a process that ends, so that no use of an object is of a process that runs."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if user:
                os.setgroups([])
                os.setresgid(user, user, user)
                os.setresuid(user, user, user)
            body()
            status = 0
        finally:
            os._exit(status)
    check(os.waitpid(child, 0)[1] == 0, 'the helper of the test failed')


class Place:
    def __init__(self, top, engine):
        self.top, self.engine = top, engine


class Stage:
    """A user's program with its objects."""

    def __init__(self, top, engine, *kinds, key=0):
        self.engine, self.key, self.home, self.images = engine, key, os.path.join(top, 'home'), os.path.join(top, 'images')
        os.mkdir(self.images, 0o700)
        os.mkdir(self.home, 0o700)
        os.chown(self.home, USER, USER)
        process = subprocess.Popen([os.path.join(BUILD, 'sysv-user'), str(USER), self.home, str(key), *map(str, kinds)],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True, cwd='/')
        process.returncode = 0
        self.pid = process.pid
        wait_until('the program is ready', lambda: os.path.exists(os.path.join(self.home, 'ready')), timeout=10)
        with open(os.path.join(self.home, 'ready'), encoding='ascii') as file:
            self.ids = dict(zip(KINDS, map(int, file.read().split())))

    def run(self, action, *options):
        log = ['-o', f'{action}.log', '-v4'] if action != 'preflight' else []
        command = [self.engine.path, action, '-D', self.images, *log, *options]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60, check=False, cwd='/')
        return done.returncode, done.stdout.decode(errors='replace').strip()

    def dump(self):
        code, said = self.run('dump', '-t', str(self.pid))
        check(code == 0, f'dump fails: {said}')
        frame.reap()

    def restore(self, *options):
        code, said = self.run('restore', '-d', *options)
        check(code == 0, f'restore fails: {said}')

    def says(self):
        """What the objects hold, after which it has written to them."""
        path = os.path.join(self.home, 'said')
        if os.path.exists(path):
            os.unlink(path)
        os.kill(self.pid, signal.SIGUSR1)

        def answer():
            text = open(path, encoding='ascii').read() if os.path.exists(path) else ''
            return text if text.endswith('.\n') else None
        return wait_until('the program answers', answer, timeout=10).split('\n')[:-2]

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        wait_until('the program is gone', lambda: frame.reap() is not None and not os.path.exists(f'/proc/{self.pid}'))

    def is_refused(self, kind, *words):
        code, said = self.run('preflight')
        check(code == 1 and '\tipc\t' in f'\t{said}'.replace(':', '\t').replace(' ', '\t'), f'preflight {code}: {said}')
        code, said = self.run('restore', '-d')
        number = self.ids[kind]
        for word in (f'SysV {"semaphore set" if kind == "set" else kind} {number} ', 'ipcrm -', *words):
            check(code == 1 and word in said, f'restore {code}, "{word}" is not in: {said}')
        check(not os.path.exists(f'/proc/{self.pid}'), f'{kind}: something of the tree is left')

    def as_after_a_boot(self):
        """The images are of another boot of the machine."""
        path = os.path.join(self.images, 'inventory.img')
        with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as file:
            boot = file.read().strip().encode()
        with open(path, 'rb') as file:
            data = file.read()
        check(data.count(boot) == 1, 'the inventory names the boot')
        with open(path, 'wb') as file:
            file.write(data.replace(boot, boot[::-1]))


AT_FIRST = ["segment 'mine'", 'set 5 6', "queue 5 3 'mine'"]


def objects_that_are_still_there_are_used(place):
    s = Stage(place.top, place.engine, *KINDS, key=0x5eed)
    before = {kind: listed(kind)[s.ids[kind]] for kind in KINDS}
    s.dump()
    for _ in range(3):
        s.restore()
        check(s.says() == AT_FIRST, 'the objects hold what they held at the dump')
        s.end()
        for kind in KINDS:
            same = ('key', 'perms', 'uid', 'gid', 'cuid', 'cgid') + (('cpid', 'ctime') if kind == 'segment' else ())
            now = listed(kind)[s.ids[kind]]
            check([now[name] for name in same] == [before[kind][name] for name in same], f'{kind}: {now}, was {before[kind]}')


def objects_that_are_gone_are_made_again_as_the_users_own(place):
    s = Stage(place.top, place.engine, *KINDS, key=0x5eed)
    before = {kind: listed(kind)[s.ids[kind]] for kind in KINDS}
    s.dump()
    s.as_after_a_boot()
    for kind in KINDS:
        remove(kind, s.ids[kind])
    for _ in range(3):  # the later ones find what the first has made
        s.restore()
        check(s.says() == AT_FIRST, 'the objects hold what they held at the dump')
        s.end()
        for kind in KINDS:
            same, now = ('key', 'perms', 'uid', 'gid', 'cuid', 'cgid'), listed(kind)[s.ids[kind]]
            check([now[name] for name in same] == [before[kind][name] for name in same], f'{kind}: {now}, was {before[kind]}')


def objects_with_a_key_are_known_from_a_pid_namespace_too(place):
    s = Stage(place.top, place.engine, *KINDS, key=0x5eed)
    s.dump()
    s.as_after_a_boot()
    for kind in KINDS:
        remove(kind, s.ids[kind])
    for _ in range(3):
        s.restore('--new-pid-namespace')
        check([list(listed(kind)) for kind in KINDS] == [[s.ids[kind]] for kind in KINDS], 'the objects are there')
        check(int(listed('segment')[s.ids['segment']]['nattch']) == 1, 'the tree has its segment')
        wait_until('the tree is gone', nobody_is_left)


def an_empty_queue_is_the_trees_after_a_restore_too(place):
    s = Stage(place.top, place.engine, 'queue')
    s.says()
    apart(lambda: libc.msgrcv(s.ids['queue'], ctypes.create_string_buffer(64), 16, 0, IPC_NOWAIT), user=USER)
    s.dump()
    remove('queue', s.ids['queue'])
    s.restore()
    s.images += '-2'
    os.mkdir(s.images, 0o700)
    s.dump()
    remove('queue', s.ids['queue'])
    s.restore()
    check(list(listed('queue')) == [s.ids['queue']] and s.says() == ["queue -1 0 ''"], 'the queue is there')
    s.end()


def an_object_of_roots_under_the_same_id_is_not_used(place):
    for kind in KINDS:
        for key, mode in ((0, 0o600), (0, 0o666), (0x5eed, 0o640)):
            stage = os.path.join(place.top, f'{kind}-{key}-{mode:o}')
            os.mkdir(stage)
            s = Stage(stage, place.engine, kind, key=key)
            s.dump()
            number = s.ids[kind]
            remove(kind, number)
            choose_id(kind, number)
            check(make(kind, key, mode) == number, 'the object of root\'s has the id')
            apart(lambda: put(kind, number, b'secret'))  # noqa: B023
            before = state(kind, number)
            s.is_refused(kind, f'ipcrm -{IPCRM[kind]} {number}', 'another creator', 'user 0')
            check(state(kind, number) == before, f'{kind}: the object of root\'s was changed')
            remove(kind, number)


def an_object_of_the_users_own_that_the_tree_did_not_make_is_not_used_after_a_boot(place):
    for kind in KINDS:
        stage = os.path.join(place.top, kind)
        os.mkdir(stage)
        s = Stage(stage, place.engine, kind)
        s.dump()
        s.as_after_a_boot()
        number = s.ids[kind]
        remove(kind, number)
        choose_id(kind, number)

        def by_the_user():
            check(make(kind, 0) == number, 'the user\'s object has the id')  # noqa: B023
            put(kind, number, b'secret')  # noqa: B023
        apart(by_the_user, user=USER)
        before = state(kind, number)
        s.is_refused(kind, 'not made or used by the tree')
        check(state(kind, number) == before, f'{kind}: it was changed')
        remove(kind, number)


def a_key_that_another_object_has_is_refused_beforehand(place):
    for kind in KINDS:
        stage = os.path.join(place.top, kind)
        os.mkdir(stage)
        s = Stage(stage, place.engine, kind, key=0x5eed)
        s.dump()
        remove(kind, s.ids[kind])
        choose_id(kind, s.ids[kind] + 5)
        other = make(kind, 0x5eed)
        s.is_refused(kind, 'the key 0x5eed', f' {other}. ')
        remove(kind, other)


def what_others_have_attached_is_not_overwritten(place):
    s = Stage(place.top, place.engine, 'segment')
    s.dump()
    at = libc.shmat(s.ids['segment'], None, 0)
    ctypes.memmove(at, b'newer\0', 6)
    s.restore()
    check(s.says() == ["segment 'newer'"], 'the tree sees what is there')
    s.end()


def a_segment_that_the_tree_only_reads_stays_as_it_is(place):
    number = make('segment', 0, 0o644)
    apart(lambda: put('segment', number, b'older'))
    s = Stage(place.top, place.engine, 'read', number)
    check(s.says() == ["reads 'older', Permission denied"], 'it may read only')
    s.dump()
    apart(lambda: put('segment', number, b'newer'))
    before = state('segment', number)
    s.restore()
    check(s.says() == ["reads 'newer', Permission denied"], 'it may still read only, and reads what is there')
    s.end()
    check(state('segment', number) == before, 'the segment of root\'s was changed')
    remove('segment', number)
    s.restore()
    check(s.says() == ["reads 'older', Permission denied"], 'made again, it may be read only')
    s.end()
    row = listed('segment')[number]
    check(row['uid'] == row['cuid'] == '0', f'made again it is root\'s: {row}')


def a_set_that_the_tree_may_only_read_stays_as_it_is(place):
    """A wait for zero leaves the number of the process in the set, and needs no right to change it."""
    number = make('set', 0, 0o644)
    s = Stage(place.top, place.engine, 'wait', number)
    s.dump()
    apart(lambda: libc.semctl(number, 0, SETVAL, 9))
    s.restore()
    s.end()
    check(libc.semctl(number, 0, GETVAL) == 9, 'the set of root\'s was changed')


def a_restore_that_fails_leaves_nothing_of_its_own(place):
    s = Stage(place.top, place.engine, 'segment', 'set')
    s.dump()
    for kind in ('segment', 'set'):
        remove(kind, s.ids[kind])
    choose_id('set', s.ids['set'] + 32768)  # the same place in the kernel's table
    other = make('set', 0)
    code, said = s.run('restore', '-d')
    check(code == 1 and f'semaphore set {s.ids["set"]}' in said, f'restore {code}: {said}')
    check(not listed('segment') and list(listed('set')) == [other], 'something of the restore is left')


def nobody_is_left():
    for pid in frame.others():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    frame.reap()
    return not frame.others()


def what_a_killed_restore_leaves_is_used_by_the_next_one(place):
    s = Stage(place.top, place.engine, *KINDS)
    s.dump()
    moments, killed = random.Random(1), 0
    for _ in range(KILLS):
        frame.remove_sysv_objects()
        process = subprocess.Popen([s.engine.path, 'restore', '-d', '-D', s.images, '-o', 'killed.log'], cwd='/',
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0, 0.03))
        process.kill()
        killed += process.wait() < 0
        wait_until('the tree is gone, whole or not', nobody_is_left)
        s.restore()
        check(s.says() == AT_FIRST, 'the objects hold what they held at the dump')
        s.end()
    frame.say(f'   {killed} of {KILLS} restores were killed')


def main():
    return frame.run_scenarios([
        objects_that_are_still_there_are_used, objects_with_a_key_are_known_from_a_pid_namespace_too,
        objects_that_are_gone_are_made_again_as_the_users_own,
        an_empty_queue_is_the_trees_after_a_restore_too, an_object_of_roots_under_the_same_id_is_not_used,
        an_object_of_the_users_own_that_the_tree_did_not_make_is_not_used_after_a_boot,
        a_key_that_another_object_has_is_refused_beforehand, what_others_have_attached_is_not_overwritten,
        a_segment_that_the_tree_only_reads_stays_as_it_is, a_set_that_the_tree_may_only_read_stays_as_it_is,
        a_restore_that_fails_leaves_nothing_of_its_own, what_a_killed_restore_leaves_is_used_by_the_next_one], lambda top, engine, scenario: Place(top, engine), tracks=False)


if __name__ == '__main__':
    sys.exit(main())
