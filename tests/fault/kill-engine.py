#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""SIGKILL to the engine in dumps and restores, at random moments and at chosen system calls.

dump     of `steady`, which checks itself all the time, running or stopped by SIGSTOP, and of a tree that does not hold
         still (`busy`): after each kill every task is as before, untraced, and goes on; signal mask and mappings are the
         same. A set that looks whole (it has inventory.img) restores, in a pid namespace beside the living tree.
confined of threads with seccomp filters that punish nearly every call, differently in each thread: after each kill every
         thread goes on, with its signal mask, and the mappings and descriptors are the same.
chains   incremental dumps in every mode, of `steady` and of `torture`, whose memory does not hold still: the same, no
         descriptor of ours in the target, no process of ours but the holder; the chain goes on from the last good set, and
         every good set, restored, has the memory of its instant.
restore  of trees with files that have no name: after each kill nothing of the tree is there, and no file, or all of it
         and running.

usage: kill-engine.py [SCENARIO...]
Environment: FAULT_KILLS  how many of each, default 20
             FAULT_SEED   of the moments; printed
and those of tests/live/run.
"""
import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'live'))
import frame  # noqa: E402
import observe  # noqa: E402
import operations  # noqa: E402
from faults import EPOLL_EINTR, SETTLE, Confined, Steady, describe, expect_restores, files_below, fresh  # noqa: E402
from frame import Failure, others, say  # noqa: E402

KILLS = int(os.environ.get('FAULT_KILLS', '20'))
SEED = int(os.environ.get('FAULT_SEED', '0')) or random.SystemRandom().randrange(1 << 30)
MEASURES = 5  # of an undisturbed operation: the shortest is what to aim into
REPORT_EVERY = 100


def engine_start(stage, images, words, fault=None):
    environment = dict(os.environ)
    if fault:
        environment['SNAPMGR_FAULT'] = fault
    with open(os.path.join(stage.top, 'out'), 'wb') as out:
        return subprocess.Popen([stage.engine.path, words[0], '-D', images, '-o', 'log', '-v4', *words[1:]],
                                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment)


def engine_killed(stage, images, seconds, *words):
    """Runs the engine and kills it after that time; returns its exit status, or None when it was killed."""
    process = engine_start(stage, images, words)
    time.sleep(seconds)
    process.kill()
    code = process.wait()
    return None if code == -signal.SIGKILL else code


def engine_killed_at(stage, images, call, *words):
    """The same, but it kills itself in place of that system call."""
    code = engine_start(stage, images, words, f'{call}:KILL').wait()
    return None if code == -signal.SIGKILL else code


def said(stage, images):
    """The reasons the engine has given, wherever it said them."""
    text = frame.Engine.tail(images, 'log')
    with open(os.path.join(stage.top, 'out'), encoding='utf-8', errors='replace') as file:
        return text + ''.join(f'\n        {line}' for line in file.read().splitlines()[-4:])


def measure(stage, after, *words):
    """Seconds that the undisturbed operation takes."""
    best = None
    for _ in range(MEASURES):
        images = stage.images if words[0] == 'restore' else fresh(stage.images)
        started = time.monotonic()
        code = engine_start(stage, images, words).wait()
        took = time.monotonic() - started
        if code != 0:
            raise Failure(f'undisturbed {words[0]} fails{said(stage, stage.images)}')
        best = took if best is None else min(best, took)
        after()
    return best


def moments(stage, took, rng):
    """KILLS ways to kill: (description, function like engine_killed without moment)."""
    for i in range(KILLS):
        if i % 3 == 0:
            call = int(rng.uniform(1, CALLS_MAX) ** 2 / CALLS_MAX) + 1
            yield (f'kill {i} of {KILLS}, at system call {call}',
                   lambda images, *words, n=call: engine_killed_at(stage, images, n, *words))
        else:
            moment = rng.uniform(0, took * 1.1)
            yield (f'kill {i} of {KILLS}, after {moment * 1000:.1f} ms of {took * 1000:.0f}',
                   lambda images, *words, n=moment: engine_killed(stage, images, n, *words))
        if (i + 1) % REPORT_EVERY == 0:
            say(f'      {i + 1} kills')


CALLS_MAX = 2500  # an undisturbed dump or restore of these targets makes about as many


def kill_dumps_of_steady(stage, stopped):
    rng = random.Random(SEED)
    steady = Steady(stage, stopped)
    words = ('dump', '-t', str(stage.pid), '--leave-running')
    took = measure(stage, lambda: steady.expect_good_running('undisturbed dump'), *words)
    eintr = steady.counters()[EPOLL_EINTR]
    if eintr and not stopped:
        raise Failure(f'{eintr} times EINTR from epoll_wait in undisturbed dumps')
    killed = whole = 0
    for when, kill in moments(stage, took, rng):
        code = kill(fresh(stage.images), *words)
        killed += code is None
        if code not in (None, 0):
            raise Failure(f'{when}: the next dump fails{said(stage, stage.images)}')
        if killed % 2 and engine_start(stage, fresh(stage.top + '/next'), words).wait() != 0:
            # At once: threads are on their way home, or in a handler that they met there.
            raise Failure(f'{when}: the next dump fails{said(stage, stage.top + "/next")}')
        steady.expect_good_running(when)
        if os.path.exists(os.path.join(stage.images, 'inventory.img')):
            whole += 1
            expect_restores(stage, stage.images, when, stopped)
    eintr = steady.counters()[EPOLL_EINTR] - eintr
    say(f'      {KILLS} kills, {killed} in time, all intact; {whole} whole sets, all restore; '
        f'{eintr} EINTR from epoll_wait')
    measure(stage, lambda: steady.expect_good_running('the dump at the end'), *words)
    if stopped:
        os.kill(stage.pid, signal.SIGCONT)
    stage.content()


def kill_dumps(stage):
    """a dump that is killed leaves a running process running, untraced and right"""
    kill_dumps_of_steady(stage, False)


def kill_dumps_stopped(stage):
    """a dump that is killed leaves a stopped process stopped, untraced and right"""
    kill_dumps_of_steady(stage, True)


CONFINED_WORDS = (
    (),
    ('--track-mem', '--snapshot', 'cow'),
    ('--track-mem', '--snapshot', 'stop-copy'),
)


def kill_dumps_of_confined(stage):
    """a dump that is killed leaves threads with seccomp filters alive and as they were"""
    rng = random.Random(SEED)
    confined = Confined(stage)
    ways = []
    for more in CONFINED_WORDS:
        words = ('dump', '-t', str(stage.pid), '--leave-running', *more)
        took = measure(stage, lambda: confined.expect_good('undisturbed dump'), *words)
        ways.append((words, moments(stage, took, rng)))
    killed, kills_here = 0, -(-KILLS // len(ways))
    for i in range(kills_here):
        words, kills = ways[i % len(ways)]
        when, kill = next(kills)
        code = kill(fresh(stage.images), *words)
        killed += code is None
        if code not in (None, 0):
            raise Failure(f'{when}: the dump fails{said(stage, stage.images)}')
        confined.expect_good(f'{" ".join(words[4:]) or "plain"}: {when}')
        if i % 4 == 0:
            if engine_start(stage, fresh(stage.top + '/next'), words).wait() != 0:
                raise Failure(f'{when}: the next dump fails{said(stage, stage.top + "/next")}')
            confined.expect_good(f'the dump after {when}')
    say(f'      {kills_here} kills, {killed} in time, none harmed')


STOP_CALLS = 60  # of the engine, for the threads of `confined`


def kill_while_confined_are_stopped(stage):
    """threads that may not call restart_syscall sleep on when the engine is killed at a call between their stop and the next"""
    confined = Confined(stage)
    words = ('check', '-t', str(stage.pid))

    def has_begun(call):
        engine_killed_at(stage, fresh(stage.images), call, *words)
        confined.expect_good(f'kill at system call {call}')
        return 'stopping the tree' in observe.text(os.path.join(stage.images, 'log'))
    before, first = 1, CALLS_MAX
    while first - before > 1:
        middle = (before + first) // 2
        before, first = (before, middle) if has_begun(middle) else (middle, first)
    for call in range(first, first + STOP_CALLS):
        if not has_begun(call):
            raise Failure(f'the test is wrong: at system call {call} no thread is stopped yet, but at {first}')
    say(f'      {STOP_CALLS} kills from system call {first} on, none harmed')


def engine_traced(stage, words):
    """Runs the engine under a tracer that does nothing else; returns its exit status and what it said."""
    with open(os.path.join(stage.top, 'out'), 'wb') as out:
        process = subprocess.Popen([stage.engine.path, words[0], '-D', fresh(stage.images), '-o', 'log', *words[1:]],
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                   preexec_fn=lambda: frame.libc.ptrace(PTRACE_TRACEME, 0, None, None))
    while True:
        _, status = os.waitpid(process.pid, 0)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, said(stage, stage.images)
        sent = os.WSTOPSIG(status)
        frame.libc.ptrace(PTRACE_CONT, process.pid, None, ctypes.c_void_p(0 if sent == signal.SIGTRAP else sent))


PTRACE_TRACEME, PTRACE_CONT = 0, 7


def refuse_without_a_vigil(stage):
    """threads that nobody could take home are refused by name when somebody traces the engine"""
    confined = Confined(stage)
    code, text = engine_traced(stage, ('dump', '-t', str(stage.pid), '--leave-running'))
    if code == 0 or 'its seccomp filter would' not in text:
        raise Failure(f'the dump is not refused by name, {code}:{text}')
    confined.expect_good('a refused dump')


def allow_without_a_vigil(stage):
    """threads whose filters allow everything are dumped also when somebody traces the engine"""
    confined = Confined(stage)
    code, text = engine_traced(stage, ('dump', '-t', str(stage.pid), '--leave-running'))
    if code != 0:
        raise Failure(f'the dump fails, {code}:{text}')
    confined.expect_good('a dump')


def refuse_dispatch(stage):
    """a thread that handles its own system calls is refused by name"""
    if tuple(int(n) for n in re.findall(r'\d+', os.uname().release)[:2]) < (6, 4):
        raise frame.Skipped('this kernel does not tell')
    confined = Confined(stage)
    code = engine_start(stage, fresh(stage.images), ('dump', '-t', str(stage.pid), '--leave-running')).wait()
    if code == 0 or 'PR_SET_SYSCALL_USER_DISPATCH' not in said(stage, stage.images):
        raise Failure(f'the dump is not refused by name, {code}:{said(stage, stage.images)}')
    confined.expect_good('a refused dump')


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
    deadline = time.monotonic() + SETTLE
    while True:
        wrong = runs_on(pids)
        if not wrong:
            return
        if time.monotonic() > deadline:
            raise Failure(f'{when}: {wrong}')
        time.sleep(0.01)


def kill_dumps_of_a_tree(stage):
    """a dump that is killed leaves a tree that does not hold still running, untraced and right"""
    rng = random.Random(SEED)
    echo = [pid for pid in others() if pid != stage.pid and observe.state(pid) == 'alive'][:1]
    words = ('dump', '-t', str(stage.pid), '--leave-running')
    took = measure(stage, lambda: None, *words)
    killed = whole = 0
    for when, kill in moments(stage, took, rng):
        code = kill(fresh(stage.images), *words)
        killed += code is None
        if code not in (None, 0):
            raise Failure(f'{when}: the next dump fails{said(stage, stage.images)}')
        expect_runs_on([stage.pid, *echo[:1]], when)
        if os.path.exists(os.path.join(stage.images, 'inventory.img')):
            whole += 1
            expect_restores(stage, stage.images, when)
    stage.content()
    say(f'      {KILLS} kills, {killed} in time, all intact; {whole} whole sets, all restore')


MODES = ('stop-copy', 'pre-copy', 'cow', 'auto')
OURS = ('snapmgr-engine', 'snapmgr-holder')
TARGETS = ('steady', 'torture')


def command_of(pid):
    try:
        return observe.text(f'/proc/{pid}/comm').strip()
    except OSError:
        return ''


def left_behind(stage, fds):
    """None, or what an engine that is dead has left. @fds: descriptors of a target that opens none, or None."""
    frame.reap()
    running = [(pid, command_of(pid)) for pid in others() if observe.state(pid) not in ('Z', 'X', 'gone')]
    ours = [name for _, name in running if name not in TARGETS]
    # The guard of a dead engine may still be at it.
    if [name for name in ours if name != 'snapmgr-holder'] or len(ours) > 1:
        return f'processes {ours} are left'
    if fds is None:
        return None
    more = [pid for pid, name in running if name in TARGETS and pid != stage.pid]
    if more:
        return f'a second process of the target is left{"".join(map(describe, more))}'
    if os.listdir(f'/proc/{stage.pid}/fd') != fds:
        return f'the target has other descriptors: {os.listdir(f"/proc/{stage.pid}/fd")}, had {fds}'
    return None


def expect_nothing_left(stage, fds, when):
    deadline = time.monotonic() + SETTLE
    while True:
        wrong = left_behind(stage, fds)
        if not wrong:
            return
        if time.monotonic() > deadline:
            raise Failure(f'{when}: {wrong}')
        time.sleep(0.01)


class KilledChain:
    """Sets of one target, each on the last that is whole."""

    def __init__(self, stage):
        self.stage, self.number, self.whole = stage, 0, []

    def next(self):
        self.number += 1
        return fresh(os.path.join(self.stage.images, str(self.number)))

    def words(self, mode):
        parent = ('--prev-images-dir', f'../{self.whole[-1]}') if self.whole else ()
        return ('dump', '-t', str(self.stage.pid), '--leave-running', '--track-mem', '--snapshot', mode, *parent)

    def look(self):
        """Is the newest set whole? Then it is the parent of the next."""
        if os.path.exists(os.path.join(self.stage.images, str(self.number), 'inventory.img')):
            self.whole.append(self.number)

    def take(self, mode, when):
        images = self.next()
        if engine_start(self.stage, images, self.words(mode)).wait() != 0:
            raise Failure(f'{when}: the next dump fails{said(self.stage, images)}')
        self.look()

    def times(self):
        """Seconds that a dump takes in each mode."""
        took = {}
        for mode in MODES * 2:
            started = time.monotonic()
            self.take(mode, f'undisturbed, {mode}')
            took[mode] = min(time.monotonic() - started, took.get(mode, 60))
        return took


def kill_chain(stage, fds, good):
    """Kills dumps of all modes; returns the sets that are whole."""
    rng = random.Random(SEED)
    chain = KilledChain(stage)
    took = chain.times()
    kills = {mode: moments(stage, took[mode], rng) for mode in MODES}
    killed = 0
    for i in range(KILLS):
        mode = MODES[i % len(MODES)]
        when, kill = next(kills[mode])
        when = f'{mode}: {when}'
        images = chain.next()
        code = kill(images, *chain.words(mode))
        killed += code is None
        if code not in (None, 0):
            raise Failure(f'{when}: the next dump fails{said(stage, images)}')
        good(when)
        expect_nothing_left(stage, fds, when)
        chain.look()
        if i % 3 == 0:
            chain.take(rng.choice(MODES), f'after {when}')
            good(f'the dump after {when}')
    say(f'      {KILLS} kills, {killed} in time, all intact; {len(chain.whole)} whole sets')
    return chain.whole


def kill_chains(stage):
    """an incremental dump that is killed leaves its target as it was, and the chain goes on"""
    steady = Steady(stage)
    # It opens a file now and then for a moment.
    fds = min((os.listdir(f'/proc/{stage.pid}/fd') for _ in range(20)), key=len)
    whole = kill_chain(stage, fds, steady.expect_good_running)
    for number in whole[-3:]:
        expect_restores(stage, os.path.join(stage.images, str(number)), f'set {number}')
    stage.content()


def kill_chains_of_torture(stage):
    """after incremental dumps that were killed each good set has the memory of its instant"""
    verdict = os.path.join(stage.scratch, 'verdict')

    def good(when):
        expect_runs_on([stage.pid], when)
        if os.path.exists(verdict):
            raise Failure(f'{when}: the target complains: {observe.text(verdict)}')
    whole = kill_chain(stage, None, good)
    frame.kill_everything()
    for number in whole:
        code, text = stage.run('restore', '-d', images=os.path.join(stage.images, str(number)))
        if code != 0:
            raise Failure(f'set {number} is not restored: {operations.errors(text)}')
        try:
            stage.content()
        except Failure as why:
            raise Failure(f'set {number}: {why}') from None
        frame.kill_everything()


def kill_restores(stage):
    """a restore that is killed leaves nothing of the tree and no file of it"""
    rng = random.Random(SEED + 1)
    stage.dump_well()
    frame.kill_everything()
    there = files_below(stage.scratch)
    took = measure(stage, frame.kill_everything, 'restore', '-d')
    killed = whole = 0
    for when, kill in moments(stage, took, rng):
        code = kill(stage.images, 'restore', '-d')
        killed += code is None
        if code not in (None, 0):
            raise Failure(f'{when}: the next restore fails{said(stage, stage.images)}')
        deadline = time.monotonic() + SETTLE
        while True:
            frame.reap()
            left = others()
            more = [path for path in files_below(stage.scratch) if path not in there]
            complete = observe.compare(stage.before, observe.tasks(left), ['SigQ', 'fd.*link']) + \
                observe.traced(left) + more
            if (not left and not more and code is None) or not complete:
                break
            if time.monotonic() > deadline:
                raise Failure(f'{when}: tasks {left} are left, not as they were: {complete[:3]}'
                              f'{"".join(map(describe, left))}')
            time.sleep(0.005)
        whole += bool(left)
        frame.kill_everything()
    stage.restore_well()
    stage.content()
    say(f'      {KILLS} kills, {killed} in time; {whole} complete trees, else nothing left')


def kill_restores_of_ghosts(stage):
    """a restore that is killed leaves no file that had no name"""
    kill_restores(stage)


SCENARIOS = (
    (kill_dumps, '../fault/steady'),
    (kill_dumps_stopped, '../fault/steady'),
    (kill_dumps_of_a_tree, 'busy'),
    *((kill_dumps_of_confined, f'../fault/confined {kind}')
      for kind in ('kill', 'kill-thread', 'trap', 'errno', 'log', 'mixed', 'strict')),
    (kill_while_confined_are_stopped, '../fault/confined kill'),
    (refuse_without_a_vigil, '../fault/confined kill'),
    (refuse_without_a_vigil, '../fault/confined strict'),
    (allow_without_a_vigil, '../fault/confined log'),
    (refuse_dispatch, '../fault/confined dispatch'),
    (kill_chains, '../fault/steady'),
    (kill_chains_of_torture, f'torture {SEED}'),
    (kill_restores, 'tree'),
    (kill_restores_of_ghosts, 'files-ghost'),
)


def main():
    worst, passed = 0, 0
    say(f'seed {SEED}')
    for label, engine, _, skip in frame.modes({}):
        if label not in ('ours', 'CRIU alone'):
            continue
        if skip:
            say(f'SKIP: {label}: {skip}')
            continue
        if label == 'ours' and not frame.has_test_hooks(engine):
            say(f'SKIP: {label}: {frame.NO_HOOKS}')
            continue
        for scenario, program in SCENARIOS:
            if sys.argv[1:] and scenario.__name__ not in sys.argv[1:]:
                continue
            top = frame.make_top()
            frame.LIFE_TIMEOUT = 300 + 5 * KILLS
            status = frame.run_apart(lambda: scenario(operations.Stage(top, engine, program)), False)
            say(f'{"PASS" if status == 0 else "FAIL"}: {scenario.__name__}: {scenario.__doc__}')
            worst |= status != 0
            passed += status == 0
            if os.environ.get('LIVE_KEEP'):
                say(f'   kept: {top}')
            else:
                shutil.rmtree(top, ignore_errors=True)
    return 1 if worst else 0 if passed else frame.SKIP


if __name__ == '__main__':
    sys.exit(main())
