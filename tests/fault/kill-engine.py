#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""SIGKILL to the engine at random moments of dumps and restores.

dump     of a tree that does not hold still (tests/live/busy): after each kill every task runs on, untraced; at the end
         the tree is content with itself. A set that looks whole (it has inventory.img) restores.
restore  of a tree (tests/live/tree): after each kill nothing of it is there, or all of it and running.

Environment: FAULT_KILLS  how many of each, default 40
             FAULT_SEED   of the moments; printed
and those of tests/live/run.
"""
import os
import random
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'live'))
import frame  # noqa: E402
import observe  # noqa: E402
import operations  # noqa: E402
from frame import Failure, others, say, wait_until  # noqa: E402

KILLS = int(os.environ.get('FAULT_KILLS', '40'))
SEED = int(os.environ.get('FAULT_SEED', '0')) or random.SystemRandom().randrange(1 << 30)


def engine_killed(stage, images, seconds, *words):
    """Runs the engine and kills it after that time; returns its exit status, or None when it was killed."""
    with open(os.path.join(stage.top, 'out'), 'wb') as out:
        process = subprocess.Popen([stage.engine.path, words[0], '-D', images, '-o', 'log', '-v4', *words[1:]],
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def said(stage):
    with open(os.path.join(stage.top, 'out'), encoding='utf-8', errors='replace') as file:
        return ': ' + ' / '.join(file.read().splitlines()[-5:])


def fresh(path):
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def how_long(stage, *words):
    """Seconds that the undisturbed operation takes, on a good day."""
    best = 60
    for _ in range(3):
        started = time.monotonic()
        code = engine_killed(stage, fresh(stage.images), 60, *words)
        if code != 0:
            raise Failure(f'undisturbed {words[0]} fails{said(stage)}')
        best = min(best, time.monotonic() - started)
    return best


def runs_on(pids):
    """None when these all run untraced, else what is wrong."""
    frame.reap()
    for pid in pids:
        if observe.state(pid) != 'alive':
            return f'task {pid} is {observe.state(pid)}'
    found = observe.traced(others())
    if found:
        return found[0]
    stopped = [pid for pid in others() if observe.state(pid) in ('T', 't')]
    return f'task {stopped[0]} is stopped' if stopped else None


def expect_runs_on(pids, when):
    """Allows a moment: the stub runs out, the kernel detaches."""
    deadline = time.monotonic() + 3
    while True:
        wrong = runs_on(pids)
        if not wrong:
            return
        if time.monotonic() > deadline:
            raise Failure(f'{when}: {wrong}')
        time.sleep(0.01)


def kill_dumps(stage):
    """a dump that is killed leaves the target running, untraced and right"""
    rng = random.Random(SEED)
    echo = [pid for pid in others() if pid != stage.pid and observe.state(pid) == 'alive'][:1]
    took = how_long(stage, 'dump', '-t', str(stage.pid), '--leave-running')
    killed = whole = 0
    for i in range(KILLS):
        moment = rng.uniform(0, took * 1.1)
        code = engine_killed(stage, fresh(stage.images), moment, 'dump', '-t', str(stage.pid), '--leave-running')
        killed += code is None
        when = f'kill {i} of {KILLS}, after {moment * 1000:.1f} ms of {took * 1000:.0f}'
        if code not in (None, 0):
            raise Failure(f'{when}: the next dump fails{said(stage)}')
        expect_runs_on([stage.pid, *echo[:1]], when)
        if os.path.exists(os.path.join(stage.images, 'inventory.img')):
            whole += 1
            last = os.path.join(stage.top, 'whole')
            shutil.rmtree(last, ignore_errors=True)
            shutil.copytree(stage.images, last)
    stage.content()
    say(f'      {killed} of {KILLS} killed in time, {whole} whole sets')
    if whole:
        frame.kill_everything()
        stage.images = os.path.join(stage.top, 'whole')
        os.unlink(os.path.join(stage.scratch, 'verdict'))
        stage.restore_well()
        stage.content()


def kill_restores(stage):
    """a restore that is killed leaves nothing of the tree"""
    rng = random.Random(SEED + 1)
    stage.dump_well()
    frame.kill_everything()
    images = os.path.join(stage.top, 'set')
    shutil.copytree(stage.images, images)
    started = time.monotonic()
    stage.restore_well()
    took = time.monotonic() - started
    frame.kill_everything()
    killed = whole = 0
    for i in range(KILLS):
        moment = rng.uniform(0, took * 1.1)
        code = engine_killed(stage, images, moment, 'restore', '-d')
        killed += code is None
        when = f'kill {i} of {KILLS}, after {moment * 1000:.1f} ms of {took * 1000:.0f}'
        if code not in (None, 0):
            raise Failure(f'{when}: the next restore fails{said(stage)}')
        deadline = time.monotonic() + 3
        while True:
            frame.reap()
            left = others()
            complete = observe.compare(stage.before, observe.tasks(left)) + observe.traced(left)
            if (not left and code is None) or not complete:
                break
            if time.monotonic() > deadline:
                raise Failure(f'{when}: tasks {left} are left, not as they were: {complete[0]}')
            time.sleep(0.01)
        whole += bool(left)
        frame.kill_everything()
    stage.restore_well()
    stage.content()
    say(f'      {killed} of {KILLS} killed in time, {whole} complete trees')


def main():
    worst, passed = 0, 0
    say(f'seed {SEED}')
    for label, engine, _, skip in frame.modes({}):
        if label not in ('ours', 'CRIU alone'):
            continue
        if skip:
            say(f'SKIP: {label}: {skip}')
            continue
        for scenario, program in ((kill_dumps, 'busy'), (kill_restores, 'tree')):
            top = frame.make_top()
            status = frame.run_apart(lambda: scenario(operations.Stage(top, engine, program)), False)
            say(f'{"PASS" if status == 0 else "FAIL"}: {scenario.__doc__}')
            worst |= status != 0
            passed += status == 0
            shutil.rmtree(top, ignore_errors=True)
    return 1 if worst else 0 if passed else frame.SKIP


if __name__ == '__main__':
    sys.exit(main())
