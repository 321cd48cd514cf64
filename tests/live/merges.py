#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Work on chains of image sets of a program whose memory does not hold still (torture.c): merge and verify.

Whatever is merged out of the middle, every set that remains is whole and has exactly the memory of its instant; to a
CRIU too, where SNAPMGR_PEER_CRIU names one. LIVE_GENERATIONS (default 12) says how many sets there are.
"""
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import frame  # noqa: E402
from chains import GENERATIONS, Chain  # noqa: E402
from frame import say  # noqa: E402
from operations import check, errors  # noqa: E402


SNAPSHOTS = ['stop-copy', 'pre-copy', 'cow', 'auto']


class Sets(Chain):
    """A chain whose sets can be merged; `left` are those that are there."""
    def generations(self, pre_dumps=0.2):
        """Of every kind; those of pre-copy have sets inside them."""
        self.take(parent=0, snapshot=random.choice(SNAPSHOTS))
        for _ in range(GENERATIONS - 1):
            time.sleep(0.03)
            self.take('pre-dump' if random.random() < pre_dumps else 'dump', snapshot=random.choice(SNAPSHOTS))
        self.end()
        self.left = list(range(1, self.number + 1))

    def full(self, number):
        return os.path.exists(os.path.join(self.set(number), 'pstree.img'))

    def merge_command(self, number):
        into = f'{self.set(number)}.new'
        shutil.rmtree(into, ignore_errors=True)
        os.makedirs(into)
        return [self.engine.path, 'merge', '-D', self.set(number), '--into', into], into

    def merge(self, number):
        command, into = self.merge_command(number)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60, check=False)
        check(done.returncode == 0, f'merge of {number}: {done.stdout}')
        self.exchange(number, into)

    def exchange(self, number, into):
        """The merged set takes the place of the old one."""
        os.rename(self.set(number), f'{self.set(number)}.old')
        os.rename(into, self.set(number))
        shutil.rmtree(f'{self.set(number)}.old')

    def remove(self, number):
        """Deletes a set of the middle, after the one behind it has what it needs of it."""
        at = self.left.index(number)
        if at + 1 < len(self.left):
            self.merge(self.left[at + 1])
        shutil.rmtree(self.set(number))
        self.left.remove(number)

    def verify(self, number, needle=None):
        code, said = self.run('verify', images=self.set(number))
        if needle is None:
            check(code == 0, f'set {number} is not whole: {errors(said)}')
            check('holes' not in said, f'set {number} has holes: {said}')
        else:
            check(code == 1 and needle in said, f'verify of set {number} says: {said}')

    def restore_left(self):
        for number in self.left:
            if self.full(number):
                self.restore(number)

    def tasks(self, number):
        return sum(name.startswith('ids-') for name in os.listdir(self.set(number)))

    def restore_by(self, engine, number):
        """By another engine, whose restored tree may keep what it inherits: nothing of ours is waited for."""
        engine.run('restore', self.set(number), '-d')
        self.content()
        frame.kill_everything()


def content_of(top):
    out = {}
    for where, folders, names in os.walk(top):
        for name in folders + names:
            path = os.path.join(where, name)
            if os.path.islink(path):
                out[os.path.relpath(path, top)] = os.readlink(path)
            elif name in names:
                with open(path, 'rb') as file:
                    out[os.path.relpath(path, top)] = hashlib.sha256(file.read()).hexdigest()
    return out


def sets_merged_out_of_the_middle_are_not_missed(chain):
    chain.generations()
    for _ in range(GENERATIONS // 2):
        chain.remove(random.choice(chain.left[:-1]))
        for number in chain.left:
            chain.verify(number)
    chain.restore_left()


def the_newest_set_can_be_merged_and_continued(chain):
    chain.take(parent=0)
    for _ in range(GENERATIONS // 2):
        chain.take()
        chain.merge(chain.number)
        shutil.rmtree(chain.set(chain.number - 1))
        check(not os.path.lexists(os.path.join(chain.set(chain.number), 'parent')), 'it has no parent any more')
        time.sleep(0.03)
    last = chain.number
    chain.rest()
    resting = chain.take()
    chain.merge(resting)
    chain.take()
    check(chain.pages(chain.number) < chain.pages(resting) * 0.75, 'the tracker is found in the merged set')
    chain.end()
    for number in (last, resting, chain.number):
        chain.verify(number)
        chain.restore(number)


def a_merge_that_is_killed_does_no_harm(chain):
    chain.generations(pre_dumps=0)
    for number in chain.left[1:]:
        before = [content_of(chain.set(n)) for n in (number - 1, number)]
        command, into = chain.merge_command(number)
        began = time.monotonic()
        subprocess.run(command, check=True, timeout=60)
        took = time.monotonic() - began
        whole = content_of(into)
        shutil.rmtree(into)
        for _ in range(8):
            os.makedirs(into, exist_ok=True)
            with subprocess.Popen(command) as process:
                time.sleep(random.random() * took)
                os.kill(process.pid, signal.SIGKILL)
            check([content_of(chain.set(n)) for n in (number - 1, number)] == before, 'the sets are as they were')
            found = content_of(into)
            check('inventory.img' not in found or found == whole, 'a set that looks whole is whole')
            shutil.rmtree(into)
    chain.restore_left()


def damage_is_found_and_named(chain):
    chain.rest()  # all that the second set has of this task is in the first
    chain.take(parent=0)
    chain.take()
    chain.end()
    chain.verify(2)
    name = f'pagemap-{chain.pid}.img'
    with open(os.path.join(chain.set(1), name), 'rb') as file:
        head = file.read(16)
    check(head[12] == 8 and head[13] < 128, 'the head of a pagemap has a small number')
    pages = f'pages-{head[13]}.img'
    for victim, action, needle in [
            (f'1/{name}', os.unlink, f"set '../1': there is no {name}"),
            (f'1/{name}', lambda path: os.truncate(path, os.path.getsize(path) // 2), f"{name}"),
            (f'1/{pages}', lambda path: os.truncate(path, os.path.getsize(path) - 4096), "set '../1'"),
            (f'1/{pages}', lambda path: os.truncate(path, os.path.getsize(path) + 4096), 'bytes, not'),
            ('1/inventory.img', os.unlink, "set '../1' has no inventory.img"),
            (f'2/core-{chain.pid}.img', os.unlink, 'it has no core image'),
            (f'2/mm-{chain.pid}.img', lambda path: os.truncate(path, os.path.getsize(path) - 1), f'mm-{chain.pid}.img'),
            ('2/files.img', os.unlink, 'files.img'),
            ('2/pstree.img', lambda path: os.truncate(path, 8), 'root task'),
            (f'2/{name}', os.unlink, f'there is no {name}')]:
        path = os.path.join(chain.images, victim)
        shutil.copy(path, f'{path}.good')
        action(path)
        say(f'   {victim}: {needle}')
        chain.verify(2, needle)
        os.rename(f'{path}.good', path)
    chain.verify(2)


def a_criu_restores_what_was_merged(chain):
    peer = os.environ.get('SNAPMGR_PEER_CRIU')
    if not peer:
        say('   no CRIU to ask, only ours')
    chain.generations(pre_dumps=0)
    for _ in range(GENERATIONS // 3):
        chain.remove(random.choice(chain.left[:-1]))
    for number in chain.left if peer else []:
        # CRIU 4.2 waits for ever where two tasks have two shared mappings in a different order, merged or not.
        if chain.tasks(number) == 1:
            chain.restore_by(frame.Engine('criu', os.path.abspath(peer)), number)
    chain.restore_left()


SCENARIOS = [
    sets_merged_out_of_the_middle_are_not_missed,
    the_newest_set_can_be_merged_and_continued,
    a_merge_that_is_killed_does_no_harm,
    damage_is_found_and_named,
    a_criu_restores_what_was_merged,
]


if __name__ == '__main__':
    sys.exit(frame.run_scenarios(SCENARIOS, lambda top, engine, _: Sets(top, engine)))
