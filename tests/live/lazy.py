#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Restores whose memory comes later (--lazy-pages)."""
import os
import random
import signal
import sys
import time

sys.dont_write_bytecode = True
import frame  # noqa: E402
from frame import others, wait_until  # noqa: E402
from operations import Stage, check, errors  # noqa: E402

RESTORES = 6


def named(name):
    found = []
    for pid in others():
        try:
            with open(f'/proc/{pid}/comm', encoding='ascii') as file:
                if file.read().strip() == name:
                    found.append(pid)
        except OSError:
            pass
    return found


def no_helper():
    frame.reap()
    return not named('snapmgr-lazy') and not named('snapmgr-lazy-w')


def restore_lazily(stage):
    frame.kill_everything()
    for name in ('verdict', 'ready'):
        path = os.path.join(stage.scratch, name)
        if name == 'verdict' and os.path.exists(path):
            os.unlink(path)
    stage.restore_well('--lazy-pages')


def memory_comes_while_the_program_changes_it(stage):
    """torture"""
    stage.dump_well()
    for _ in range(RESTORES):
        restore_lazily(stage)
        time.sleep(random.choice((0, 0.01, 0.1, 0.5)))
        stage.content()
        wait_until('the server has ended', no_helper)


def memory_is_what_it_was(stage):
    """memory-large 64"""
    stage.dump_well()
    restore_lazily(stage)
    stage.content()
    wait_until('the server has ended', no_helper)


def a_tree_comes_with_its_children(stage):
    """memory-private"""
    stage.dump_well()
    restore_lazily(stage)
    stage.content()
    wait_until('the server has ended', no_helper)


def a_tree_without_its_server_ends(stage):
    """memory-large 768"""
    stage.dump_well()
    restore_lazily(stage)
    servers = named('snapmgr-lazy')
    check(len(servers) == 1, f'one server is at work: {servers}')
    os.kill(servers[0], signal.SIGKILL)

    def gone():
        frame.reap()
        return not others()
    wait_until('the tree is gone, and the watcher', gone, timeout=10)


def a_tree_does_not_need_the_watcher(stage):
    """memory-large 768"""
    stage.dump_well()
    restore_lazily(stage)
    for pid in named('snapmgr-lazy-w'):
        os.kill(pid, signal.SIGKILL)
    stage.content()
    wait_until('the server has ended', no_helper)


def a_dump_waits_for_the_memory(stage):
    """memory-large 768"""
    stage.dump_well()
    restore_lazily(stage)
    images = os.path.join(stage.top, 'images-2')
    os.makedirs(images)
    code, said = stage.dump('--leave-running', images=images)
    # The engine looks again for a second; the server may need longer.
    check('still to come' in said and ('looking again' in said if code else 'trying again' in said), f'{code}: {errors(said)}')
    wait_until('the server has ended', no_helper)
    code, said = stage.dump(images=images)
    check(code == 0, f'dump fails when all is there: {errors(said)}')
    frame.kill_everything()
    code, said = stage.run('restore', '-d', images=images)
    check(code == 0, f'restore fails: {errors(said)}')
    stage.content()


SCENARIOS = [
    memory_comes_while_the_program_changes_it,
    memory_is_what_it_was,
    a_tree_comes_with_its_children,
    a_tree_without_its_server_ends,
    a_tree_does_not_need_the_watcher,
    a_dump_waits_for_the_memory,
]


if __name__ == '__main__':
    sys.exit(frame.run_scenarios(SCENARIOS, lambda top, engine, scenario: Stage(top, engine, scenario.__doc__),
                                 tracks=False))
