#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Chains of image sets: generation on generation of a program whose memory does not hold still (torture.c).

Every set, restored in turn, must have exactly the memory of its instant.

Environment: LIVE_GENERATIONS  how many (default 12)
             LIVE_SEED         of the program and of the order of actions (default: another each time, said)
             LIVE_HUGETLB      anything: with hugetlb memory; the machine must have a huge page free all the time, one is best
             LIVE_SNAPSHOTS    words for --snapshot, one of them at random for each (default: all)
"""
import contextlib
import os
import random
import shutil
import signal
import sys
import time

sys.dont_write_bytecode = True
import frame  # noqa: E402
import observe  # noqa: E402
from frame import others, say, wait_until  # noqa: E402
from operations import Stage, check, errors  # noqa: E402

GENERATIONS = int(os.environ.get('LIVE_GENERATIONS', '12'))
SEED = int(os.environ.get('LIVE_SEED', random.randrange(1 << 30)))
TORTURE = f'torture {SEED}' + (' hugetlb' if os.environ.get('LIVE_HUGETLB') else '')
SNAPSHOTS = (os.environ.get('LIVE_SNAPSHOTS') or 'stop-copy pre-copy cow auto').split()


def command_of(pid):
    try:
        with open(f'/proc/{pid}/comm', encoding='ascii') as file:
            return file.read().strip()
    except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
        return None


def holders():
    return [pid for pid in others() if command_of(pid) == 'snapmgr-holder']


def tree():
    return [pid for pid in others() if command_of(pid) in ('torture', 'tracked')]


class Chain(Stage):
    def __init__(self, top, engine, program=TORTURE):
        super().__init__(top, engine, program)
        self.number = 0
        self.steps = 0

    def set(self, number):
        return os.path.join(self.images, str(number))

    def take(self, action='dump', parent=None, well=True, snapshot='stop-copy'):
        """The next generation; its parent is the one before it, or what is said."""
        self.number += 1
        os.makedirs(self.set(self.number))
        parent = self.number - 1 if parent is None else parent
        options = ['--track-mem'] + (['--prev-images-dir', f'../{parent}'] if parent else [])
        if action == 'dump':
            options += ['--leave-running', '--snapshot', snapshot]
        code, said = self.run(action, '-t', str(self.pid), *options, images=self.set(self.number))
        check((code == 0) == well, f'generation {self.number} ({" ".join(options)}): {errors(said)}')
        return self.number

    def pages(self, number):
        return sum(os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(self.set(number))
                   for name in names if name.startswith('pages-'))

    def step(self):
        """A program that changes its memory when told to: the next time."""
        self.steps += 1
        os.kill(self.pid, signal.SIGUSR1)

        def stepped():
            path = os.path.join(self.scratch, 'stepped')
            return os.path.exists(path) and os.path.getsize(path) == self.steps
        wait_until(f'step {self.steps} is taken', stepped)

    @staticmethod
    def rest():
        """Stops every process of the tree; those that it forks meanwhile too."""
        def stopped():
            frame.reap()
            for pid in tree():
                os.kill(pid, signal.SIGSTOP)
            return all(observe.state(pid) in 'TZ' for pid in tree())
        wait_until('all are stopped', stopped)

    @staticmethod
    def resume():
        for pid in tree():
            os.kill(pid, signal.SIGCONT)

    def end(self):
        self.no_complaint()
        frame.kill_everything()

    def no_complaint(self):
        """Nothing went wrong in the running program so far, whatever we did to it."""
        path = os.path.join(self.scratch, 'verdict')
        if os.path.exists(path):
            with open(path, encoding='utf-8') as file:
                check(False, f'the running program complains: {file.read()}')

    def restore(self, number, restorer=None):
        """Restores a generation; the program compares every page with its books."""
        for name in ('verdict', 'ready'):
            path = os.path.join(self.scratch, name)
            if name == 'verdict' and os.path.exists(path):
                os.unlink(path)
        ours, self.engine = self.engine, restorer or self.engine
        code, said = self.run('restore', '-d', images=self.set(number))
        self.engine = ours
        check(code == 0, f'generation {number} is not restored: {errors(said)}')
        for pid in others():
            with contextlib.suppress(ProcessLookupError):  # a child that has come to its end
                os.kill(pid, signal.SIGCONT)  # it may have been taken in its sleep
        self.content()
        frame.kill_everything()


def every_generation_has_the_memory_of_its_instant(chain):
    chain.take(parent=0)
    for _ in range(GENERATIONS - 1):
        time.sleep(0.05)
        chain.take('pre-dump' if random.random() < 0.2 else 'dump',
                   snapshot=random.choice(SNAPSHOTS))
    chain.end()
    for number in range(1, chain.number + 1):
        if os.path.exists(os.path.join(chain.set(number), 'pstree.img')):  # a pre-dump is not restored by itself
            chain.restore(number)


def a_tree_that_rests_costs_next_to_nothing(chain):
    chain.rest()
    chain.take(parent=0)
    chain.take()
    chain.take()
    check(chain.pages(3) < chain.pages(1) * 0.1, f'{chain.pages(3)} bytes after {chain.pages(1)}')
    chain.resume()
    chain.content()


def a_lost_holder_makes_the_next_set_full(chain):
    chain.rest()
    chain.take(parent=0)
    wait_until('there is a holder', lambda: len(holders()) == 1)
    os.kill(holders()[0], signal.SIGKILL)
    wait_until('it is gone', lambda: (frame.reap(), not holders())[1])
    time.sleep(0.1)
    chain.take()
    check(chain.pages(2) > chain.pages(1) * 0.25, f'the second set has all private memory: {chain.pages(2)} bytes after {chain.pages(1)}')
    chain.take()
    chain.end()
    for number in (1, 2, 3):
        chain.restore(number)


def an_older_parent_makes_the_next_set_full(chain):
    chain.rest()
    chain.take(parent=0)
    chain.take()
    time.sleep(0.1)
    chain.take(parent=1)
    check(chain.pages(3) > chain.pages(1) * 0.25, f'the third set has all private memory: {chain.pages(3)} bytes after {chain.pages(1)}')
    chain.end()
    for number in (1, 2, 3):
        chain.restore(number)


def a_full_set_in_between_goes_on_with_the_tracker(chain):
    """Its holder changes hands, and the next set continues the full one; what was written before and after is in each."""
    chain.take(parent=0)
    for snapshot in ('stop-copy', 'pre-copy'):
        chain.take()
        full = chain.take(parent=0, snapshot=snapshot)
        chain.rest()
        chain.take()
        wait_until('there is one holder', lambda: (frame.reap(), len(holders()) == 1)[1])
        check(chain.pages(full + 1) < chain.pages(full) * 0.75,
              f'{chain.pages(full + 1)} bytes after {chain.pages(full)}')
        chain.resume()
    chain.end()
    for number in range(1, chain.number + 1):
        chain.restore(number)


def soft_dirty_bits_that_somebody_else_cleared_are_not_believed(chain):
    os.environ['SNAPMGR_TRACKER'] = 'softdirty'
    chain.take(parent=0)
    check(observe.text(f'{chain.set(1)}/snapmgr-tracker').startswith('softdirty '), 'the bits are what counts')
    chain.take()
    check(chain.pages(2) < chain.pages(1) * 0.25, f'{chain.pages(2)} bytes after {chain.pages(1)}')
    for _ in range(2):
        chain.step()
        for pid in tree():
            with open(f'/proc/{pid}/clear_refs', 'w', encoding='ascii') as file:
                file.write('4')
        chain.take()
    chain.end()
    for number in range(1, chain.number + 1):
        chain.restore(number)


soft_dirty_bits_that_somebody_else_cleared_are_not_believed.program = 'tracked'
soft_dirty_bits_that_somebody_else_cleared_are_not_believed.tracker = 'softdirty'


def the_holder_ends_with_the_tree(chain):
    chain.take(parent=0)
    wait_until('there is a holder', lambda: len(holders()) == 1)
    check(not any(link.startswith('anon_inode:[userfaultfd]') for link in
                  (os.readlink(f'/proc/{chain.pid}/fd/{fd}') for fd in os.listdir(f'/proc/{chain.pid}/fd'))),
          'the target has no descriptor of ours')
    chain.content()
    wait_until('the holder is gone', lambda: (frame.reap(), not holders())[1])


def a_parent_that_is_not_whole_is_refused(chain):
    chain.take(parent=0)
    os.unlink(os.path.join(chain.set(1), 'inventory.img'))
    chain.take(well=False)
    check(not os.path.exists(os.path.join(chain.set(2), 'inventory.img')), 'no set that looks whole')
    chain.content()


def rounds_of_an_earlier_dump_go_and_other_directories_stay(chain):
    chain.take(parent=0, snapshot='pre-copy')
    rounds = os.path.join(chain.set(1), 'pre-1')
    check(os.path.isdir(rounds), 'there was a round')
    code, said = chain.run('dump', '-t', str(chain.pid), '--leave-running', images=chain.set(1))
    check(code == 0 and not os.path.exists(rounds), f'the rounds are gone: {errors(said)}')
    os.makedirs(os.path.join(rounds, 'mine'))
    code, said = chain.run('dump', '-t', str(chain.pid), '--leave-running', '--snapshot', 'pre-copy', images=chain.set(1))
    check(code != 0 and 'pre-1' in errors(said), 'what is not a round is in the way, and is named')
    check(os.path.isdir(os.path.join(rounds, 'mine')), 'and stays')
    chain.content()


def a_forecast_above_the_limit_leaves_all_as_it_was(chain):
    chain.rest()
    chain.take(parent=0)
    number = chain.number + 1
    for snapshot in ('auto', 'stop-copy', 'cow'):
        os.makedirs(chain.set(number))
        code, said = chain.run('dump', '-t', str(chain.pid), '--leave-running', '--track-mem', '--prev-images-dir', '../1',
                               '--snapshot', snapshot, '--max-frozen', '1', images=chain.set(number))
        check(code == 1 and 'by forecast' in errors(said), f'{snapshot} is skipped and says why: {errors(said)}')
        check(not os.path.exists(os.path.join(chain.set(number), 'inventory.img')), 'nothing looks whole')
        shutil.rmtree(chain.set(number))
    chain.take()
    check(chain.pages(2) < chain.pages(1) * 0.1, 'and the chain goes on')
    chain.resume()
    chain.content()


def a_stale_parent_link_is_removed(chain):
    chain.take(parent=0)
    os.makedirs(chain.set(2))
    os.symlink('../1', os.path.join(chain.set(2), 'parent'))
    code, said = chain.run('dump', '-t', str(chain.pid), '--leave-running', images=chain.set(2))
    check(code == 0, f'dump fails: {errors(said)}')
    check(not os.path.lexists(os.path.join(chain.set(2), 'parent')), 'the stale link is gone')
    shutil.rmtree(chain.set(1))
    chain.end()
    chain.restore(2)


def every_way_in_which_memory_changes_is_seen(chain):
    chain.take(parent=0)
    for _ in range(4):
        chain.step()
        chain.take()
    chain.end()
    for number in range(1, chain.number + 1):
        chain.restore(number)


every_way_in_which_memory_changes_is_seen.program = 'tracked'


def huge_pages_of_a_store_that_is_empty_are_the_programs(chain):
    chain.take(parent=0, snapshot='cow')
    for snapshot in ('cow', 'cow', 'pre-copy', 'stop-copy'):
        chain.step()
        chain.take(snapshot=snapshot)
    chain.end()
    for number in range(1, chain.number + 1):
        chain.restore(number)


huge_pages_of_a_store_that_is_empty_are_the_programs.program = 'tracked hugetlb'
huge_pages_of_a_store_that_is_empty_are_the_programs.needs = 'LIVE_HUGETLB'


def a_process_that_executes_is_full_once(chain):
    chain.take(parent=0)
    chain.step()
    chain.take()
    chain.take()
    check(chain.pages(2) > chain.pages(1) * 0.25, 'the set after exec has all memory')
    check(chain.pages(3) < chain.pages(1) * 0.2, f'the one after it what changed: {chain.pages(3)} of {chain.pages(1)}')
    chain.step()
    chain.take()
    chain.end()
    for number in range(1, chain.number + 1):
        chain.restore(number)


a_process_that_executes_is_full_once.program = 'tracked exec'


def peer():
    return frame.Engine('criu', os.path.abspath(os.environ['SNAPMGR_PEER_CRIU']))


def a_stock_criu_restores_each_generation(chain):
    chain.take(parent=0)
    for snapshot in SNAPSHOTS:
        chain.step()
        chain.take(snapshot=snapshot)
    chain.end()
    for number in range(1, chain.number + 1):
        chain.restore(number, restorer=peer())


a_stock_criu_restores_each_generation.program = 'tracked'
a_stock_criu_restores_each_generation.needs = 'SNAPMGR_PEER_CRIU'


SCENARIOS = [
    a_stock_criu_restores_each_generation,
    every_way_in_which_memory_changes_is_seen,
    huge_pages_of_a_store_that_is_empty_are_the_programs,
    a_process_that_executes_is_full_once,
    every_generation_has_the_memory_of_its_instant,
    a_tree_that_rests_costs_next_to_nothing,
    a_lost_holder_makes_the_next_set_full,
    an_older_parent_makes_the_next_set_full,
    a_full_set_in_between_goes_on_with_the_tracker,
    soft_dirty_bits_that_somebody_else_cleared_are_not_believed,
    the_holder_ends_with_the_tree,
    a_parent_that_is_not_whole_is_refused,
    rounds_of_an_earlier_dump_go_and_other_directories_stay,
    a_forecast_above_the_limit_leaves_all_as_it_was,
    a_stale_parent_link_is_removed,
]


def main():
    random.seed(SEED)
    frame.LIFE_TIMEOUT = max(frame.LIFE_TIMEOUT, 20 * GENERATIONS)
    say(f'LIVE_SEED={SEED}')
    return frame.run_scenarios(SCENARIOS, lambda top, engine, scenario:
                               Chain(top, engine, getattr(scenario, 'program', TORTURE)))


if __name__ == '__main__':
    sys.exit(main())
