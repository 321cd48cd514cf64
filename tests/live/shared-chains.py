#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Chains of image sets in which contents decide: of a tree whose shared memory does not hold still (shared-churn.c), and of
a program that writes pages without changing them (rewritten.c).

Every set, restored in turn by us and, across, by a CRIU, must have exactly the memory of its instant.
"""
import glob
import os
import random
import shutil
import signal
import sys
import time

sys.dont_write_bytecode = True
import chains  # noqa: E402
import frame  # noqa: E402
import observe  # noqa: E402
from frame import others, wait_until  # noqa: E402
from operations import check  # noqa: E402

GENERATIONS = int(os.environ.get('LIVE_GENERATIONS', '8'))
PAGE = 4096


def stop_all():
    for pid in others():
        os.kill(pid, signal.SIGSTOP)
    wait_until('all are stopped', lambda: all(observe.state(pid) == 'T' for pid in others()))


def go_on():
    for pid in others():
        os.kill(pid, signal.SIGCONT)


def shared_bytes(directory):
    """Sizes of the pagemaps of shared memory, and of the pages files that belong to no task's pagemap."""
    tasks = len(glob.glob(os.path.join(directory, 'mm-*.img')))
    sizes = {int(path.rsplit('-', 1)[1][:-4]): os.path.getsize(path)
             for path in glob.glob(os.path.join(directory, 'pages-*.img'))}
    objects = len(glob.glob(os.path.join(directory, 'pagemap-shmem-*.img')))
    # Shared memory is written first.
    check(len(sizes) == tasks + objects, f'{len(sizes)} pages files, {tasks} tasks, {objects} shared objects')
    return sum(sizes[number] for number in sorted(sizes)[:objects])


def every_generation_has_the_shared_memory_of_its_instant(chain):
    chain.take(parent=0)
    for _ in range(GENERATIONS - 1):
        time.sleep(0.05)
        chain.take('pre-dump' if random.random() < 0.2 else 'dump',
                   snapshot=random.choice(('stop-copy', 'pre-copy', 'cow')))
    chain.take(snapshot='pre-copy')
    chain.end()
    check(shared_bytes(chain.set(chain.number)) < shared_bytes(chain.set(1)) / 2,
          f'{shared_bytes(chain.set(chain.number))} bytes in the last set, {shared_bytes(chain.set(1))} in the first')
    for number in range(1, chain.number + 1):
        if os.path.exists(os.path.join(chain.set(number), 'pstree.img')):  # a pre-dump is not restored by itself
            chain.restore(number)


def shared_memory_that_rests_is_not_stored_again(chain):
    stop_all()
    chain.take(parent=0)
    chain.take()
    chain.take()
    check(shared_bytes(chain.set(1)) > 100 * PAGE, 'the first set has shared memory')
    check(shared_bytes(chain.set(3)) == 0, f'{shared_bytes(chain.set(3))} bytes of it again')
    go_on()
    chain.end()
    chain.restore(3)


def a_pre_dump_stores_what_the_dump_then_need_not(chain):
    stop_all()
    chain.take('pre-dump', parent=0)
    objects = sorted(name for name in os.listdir(chain.set(1)) if name.startswith('pagemap-shmem-'))
    check(len(objects) == 4, f'of shared memory the pre-dump has only {objects}')
    chain.take()
    check(shared_bytes(chain.set(2)) == 0, f'{shared_bytes(chain.set(2))} bytes of it again')
    go_on()
    time.sleep(0.1)
    chain.take('pre-dump')
    time.sleep(0.1)
    chain.take()
    chain.end()
    chain.restore(2)
    chain.restore(4)


def a_set_without_tracker_is_full_and_needs_no_parent(chain):
    chain.take(parent=0)
    wait_until('there is a holder', lambda: len(chains.holders()) == 1)
    os.kill(chains.holders()[0], signal.SIGKILL)
    wait_until('it is gone', lambda: (frame.reap(), not chains.holders())[1])
    chain.take()
    chain.end()
    shutil.rmtree(chain.set(1))
    chain.restore(2)


def a_damaged_parent_costs_only_room(chain):
    chain.take(parent=0)
    for path in glob.glob(os.path.join(chain.set(1), 'pagemap-shmem-*.img')):
        with open(path, 'r+b') as file:
            file.truncate(os.path.getsize(path) - 1)
    chain.take()
    check(shared_bytes(chain.set(2)) > 100 * PAGE, 'all shared memory is stored')
    chain.end()
    chain.restore(2)


def criu_restores_sets_that_continue_others(chain):
    chain.take(parent=0)
    chain.take()
    time.sleep(0.05)
    chain.take()
    chain.end()
    check(shared_bytes(chain.set(3)) < shared_bytes(chain.set(1)) / 2, 'the third set is an increment')
    for number in (1, 2, 3):
        chain.restore(number, restorer=chains.peer())


# CRIU restores SysV segments in an IPC namespace of the tree only.
criu_restores_sets_that_continue_others.program = 'shared-churn without-segment'
criu_restores_sets_that_continue_others.needs = 'SNAPMGR_PEER_CRIU'


def pages_that_are_written_but_not_changed_are_not_stored_again(chain):
    chain.take(parent=0)
    for mode in ('stop-copy', 'cow', 'pre-copy', 'stop-copy'):
        time.sleep(0.2)
        chain.take(snapshot=mode)
        share = chain.pages(chain.number) / chain.pages(1)
        check(share < 0.5, f'{mode}: {share:.0%} of all pages')
    chain.end()
    for number in range(1, chain.number + 1):
        chain.restore(number)


pages_that_are_written_but_not_changed_are_not_stored_again.program = 'rewritten'
SCENARIOS = [
    every_generation_has_the_shared_memory_of_its_instant,
    shared_memory_that_rests_is_not_stored_again,
    a_pre_dump_stores_what_the_dump_then_need_not,
    a_set_without_tracker_is_full_and_needs_no_parent,
    a_damaged_parent_costs_only_room,
    pages_that_are_written_but_not_changed_are_not_stored_again,
    criu_restores_sets_that_continue_others,
]


if __name__ == '__main__':
    sys.exit(frame.run_scenarios(SCENARIOS, lambda top, engine, scenario:
                                 chains.Chain(top, engine, getattr(scenario, 'program', 'shared-churn'))))
