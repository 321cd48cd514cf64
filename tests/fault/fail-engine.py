#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine under failures: each of its system calls in turn, and what a machine may refuse.

calls      the k-th system call of a dump fails, for k = 1, 2, ... until a run ends without meeting it: the target is as
           before, untraced, with the same mappings and signal mask; when the dump says that it failed it says why, and
           there is no set that looks whole; when it says that it did not, the set restores. The same of a restore:
           nothing is left, or all of it.
machine    a full disk, a directory that cannot be written or is none, a task that cannot be stopped in time, objects
           that cannot be saved: the same, and the sentence names the object.

usage: fail-engine.py [SCENARIO...]
Environment: FAULT_STRIDE  every how many calls, default 23; 1: all
             FAULT_SEED    where to begin below the stride
             FAULT_ERRORS  names of errno values that calls fail with in turn, default EIO
and those of tests/live/run.
"""
import ctypes
import errno
import mmap
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'live'))
import frame  # noqa: E402
import observe  # noqa: E402
import operations  # noqa: E402
from faults import Steady, describe, expect_restores, files_below, fresh  # noqa: E402
from frame import Failure, libc, libc_call, others, say, wait_until  # noqa: E402

STRIDE = int(os.environ.get('FAULT_STRIDE', '23'))
SEED = int(os.environ.get('FAULT_SEED', '0')) or random.SystemRandom().randrange(1 << 30)
ERRORS = os.environ.get('FAULT_ERRORS', 'EIO').split()
CALLS_MAX = 100000
SETTLE = 10  # seconds
MET = 'the armed fault was met'


def check(ok, sentence):
    if not ok:
        raise Failure(sentence)


def with_fault(stage, call, name, *words):
    """(exit status, what was said, whether the call was met)"""
    environment = dict(os.environ, SNAPMGR_FAULT=f'{call}:{getattr(errno, name)}')
    code, said = stage.run(*words, env=environment)
    if code < 0:
        raise Failure(f'call {call} fails with {name}: the engine dies of signal {-code}: {said[-300:]}')
    return code, said, MET in said


def each_call():
    """(k, errno name) with the stride, from a random beginning; the caller ends it."""
    call = 1 + SEED % STRIDE
    while call < CALLS_MAX:
        yield call, ERRORS[call // STRIDE % len(ERRORS)]
        call += STRIDE


def expect_reason(said, when):
    """A sentence of the engine's, not only that it failed."""
    lines = [line for line in said.splitlines() if line.startswith('snapmgr-engine: ')]
    check(lines and len(lines[0]) > len('snapmgr-engine: cannot dump: '), f'{when}: no reason is given: {said[-300:]}')


def dump_calls_of(stage, stopped, options):
    steady = Steady(stage, stopped)
    failed = bad = 0
    for call, name in each_call():
        when = f'call {call} of a dump fails with {name}'
        fresh(stage.images)
        code, said, met = with_fault(stage, call, name, 'dump', '-t', str(stage.pid), *options)
        steady.expect_good_running(when)
        whole = os.path.exists(os.path.join(stage.images, 'inventory.img'))
        if code == 0:
            check(whole, f'{when}: no set, but no failure')
            expect_restores(stage, stage.images, when, stopped)
        else:
            failed += 1
            expect_reason(said, when)
            check(not whole, f'{when}: the dump failed and left a set that looks whole')
        if not met:
            check(code == 0, f'{when}: the dump fails without a fault: {operations.errors(said)}')
            break
    say(f'      up to call {call}: {failed} failures, all intact')
    fresh(stage.images)
    stage.dump_well('--leave-running')
    steady.expect_good_running('the dump at the end')
    if stopped:
        os.kill(stage.pid, signal.SIGCONT)
    stage.content()


def dump_calls(stage):
    """a dump of which any system call fails leaves a running process running, untraced and right"""
    dump_calls_of(stage, False, ['--leave-running'])


def dump_calls_stopped(stage):
    """a dump of which any system call fails leaves a stopped process stopped, untraced and right"""
    dump_calls_of(stage, True, ['--leave-running'])


MODES = ('stop-copy', 'pre-copy', 'cow', 'auto')
RESTORED = 8  # of the good sets of a chain
SPARSE = 4  # one call of so many strides: these dumps are long


def chain_calls(stage):
    """an incremental dump of which any system call fails leaves a tree right, and each good set has the memory of its instant"""
    verdict = os.path.join(stage.scratch, 'verdict')
    good, number, failed = [], 0, 0

    def good_running(when):
        deadline = time.monotonic() + SETTLE
        while True:
            frame.reap()
            wrong = observe.traced(others()) + \
                [f'task {pid} is stopped' for pid in others() if observe.state(pid) in ('T', 't')]
            if not wrong:
                break
            check(time.monotonic() < deadline, f'{when}: {wrong[0]}')
            time.sleep(0.01)
        check(not os.path.exists(verdict), f'{when}: the target complains: {observe.text(verdict)}')

    for mode in MODES:
        for i, (call, name) in enumerate(each_call()):
            if i % (SPARSE * len(MODES)) != MODES.index(mode):
                continue
            number += 1
            images = fresh(os.path.join(stage.images, str(number)))
            parent = ['--prev-images-dir', f'../{good[-1]}'] if good else []
            when = f'set {number}, {mode}: call {call} fails with {name}'
            code, said, met = with_fault(stage, call, name, 'dump', '-t', str(stage.pid), '--leave-running', '--track-mem',
                                         '--snapshot', mode, *parent, '-D', images)
            good_running(when)
            whole = os.path.exists(os.path.join(images, 'inventory.img'))
            check(whole == (code == 0), f'{when}: exit status {code}, a set that {"looks" if whole else "does not look"} whole')
            if code == 0:
                good.append(number)
            else:
                failed += 1
                expect_reason(said, when)
                shutil.rmtree(images)
            if not met:
                check(code == 0, f'{when}: the dump fails without a fault: {operations.errors(said)}')
                break
    frame.kill_everything()
    for number in sorted(random.Random(SEED).sample(good, min(RESTORED, len(good)))):
        stage.run('restore', '-d', images=os.path.join(stage.images, str(number)))
        try:
            stage.content()
        except Failure as why:
            raise Failure(f'set {number}: {why}') from None
        frame.kill_everything()
    say(f'      {number} dumps, {failed} failures, all intact; {len(good)} good sets')


def restore_calls(stage):
    """a restore of which any system call fails leaves nothing of the tree and no file of it, or all"""
    stage.dump_well()
    frame.kill_everything()
    there = [*files_below(stage.scratch), *files_below(stage.images), stage.images + '/stats-restore']
    failed = whole = 0
    for call, name in each_call():
        when = f'call {call} of a restore fails with {name}'
        code, said, met = with_fault(stage, call, name, 'restore', '-d', '--pidfile', stage.top + '/pid')
        deadline = time.monotonic() + SETTLE
        while True:
            frame.reap()
            left = others()
            more = [path for path in [*files_below(stage.scratch), *files_below(stage.images)] if path not in there]
            if code == 0:
                wrong = observe.compare(stage.before, observe.tasks(left), ['SigQ', 'fd.*link']) + \
                    observe.traced(left)
            else:
                wrong = [describe(pid) for pid in left]
                more += [stage.top + '/pid'] if os.path.exists(stage.top + '/pid') else []
            if not wrong and not more:
                break
            if time.monotonic() > deadline:
                raise Failure(f'{when}: {"; ".join([*wrong[:5], *more])}; {operations.errors(said)}')
            time.sleep(0.005)
        if code == 0:
            whole += 1
            os.unlink(stage.top + '/pid')
        else:
            failed += 1
            expect_reason(said, when)
        frame.kill_everything()
        if not met:
            check(code == 0, f'{when}: the restore fails without a fault: {operations.errors(said)}')
            break
    say(f'      up to call {call}: {failed} failures without a trace, {whole} complete trees')
    stage.restore_well()
    stage.content()


def restore_calls_of_ghosts(stage):
    """a restore of which any system call fails leaves no file that had no name"""
    restore_calls(stage)


# ---- the machine ----

def refused(stage, steady, what, *words, images=None, **more):
    """The dump fails, says `what`, and the target is good."""
    code, said = stage.run('dump', '-t', str(stage.pid), '--leave-running', *words, images=images, **more)
    check(code != 0, f'the dump fails ({what})')
    for word in [what] if isinstance(what, str) else what:
        check(word in said, f'the sentence has "{word}": {operations.errors(said)}')
    check(not os.path.exists(os.path.join(images or stage.images, 'inventory.img')), 'no set that looks whole')
    steady.expect_good_running(what)
    return said


def disk_full(stage):
    """a disk that is full at any point of the dump: the dump fails, names the image, and the target runs on"""
    steady = Steady(stage)
    full = 0
    for size in (4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 4096, 16384):
        libc_call('mount', b'none', stage.images.encode(), b'tmpfs', 0, f'size={size}k'.encode())
        code, said = stage.run('dump', '-t', str(stage.pid), '--leave-running', '-o', stage.top + '/log')
        steady.expect_good_running(f'a disk of {size} KiB')
        whole = os.path.exists(os.path.join(stage.images, 'inventory.img'))
        if code == 0:
            expect_restores(stage, stage.images, f'a disk of {size} KiB')
        else:
            full += 1
            check('No space left' in said and '.img' in said, f'{size} KiB: the image is named: {said[-300:]}')
            check(not whole, f'{size} KiB: no set that looks whole')
        libc_call('umount', stage.images.encode())
        if code == 0:
            break
    check(full > 0 and code == 0, 'it is full at some sizes and not at others')
    stage.content()


def unwritable(stage):
    """an image directory that cannot be written, read, or is none: the dump fails, names it, and the target runs on"""
    steady = Steady(stage)
    nowhere = os.path.join(stage.top, 'nowhere')
    refused(stage, steady, 'nowhere', images=nowhere)
    with open(nowhere, 'w', encoding='ascii'):
        pass
    refused(stage, steady, 'nowhere', images=nowhere)
    libc_call('mount', b'none', stage.images.encode(), b'tmpfs', 1, None)  # MS_RDONLY
    refused(stage, steady, ('Read-only', '.img'), '-o', stage.top + '/log')
    libc_call('umount', stage.images.encode())
    # A name that an image needs is taken by a directory, or by a link to somewhere else.
    os.mkdir(os.path.join(fresh(stage.images), 'files.img'))
    refused(stage, steady, 'files.img')
    victim = os.path.join(stage.top, 'victim')
    with open(victim, 'w', encoding='ascii') as file:
        file.write('not yours')
    os.symlink(victim, os.path.join(fresh(stage.images), f'core-{stage.pid}.img'))
    refused(stage, steady, f'core-{stage.pid}.img')
    with open(victim, encoding='ascii') as file:
        check(file.read() == 'not yours', 'a link in the image directory is not followed')
    # Without rights: as somebody who may not even look.
    fresh(stage.images)
    os.chmod(stage.top, 0o777)
    os.chmod(stage.images, 0o700)
    refused(stage, steady, 'images', '-o', '/dev/null', user=65534, group=65534, extra_groups=[])
    stage.content()


def hook_fails(stage):
    """a hook that fails ends the dump, is named, and the target runs on"""
    steady = Steady(stage)
    for hook in ('pre-dump', 'post-dump'):
        script = os.path.join(stage.top, 'hook')
        with open(script, 'w', encoding='ascii') as file:
            file.write(f'#!/bin/sh\n[ "$CRTOOLS_SCRIPT_ACTION" != {hook} ]\n')
        os.chmod(script, 0o755)
        refused(stage, steady, hook, '--action-script', script, images=fresh(stage.images))
    stage.content()


def interrupted(stage):
    """SIGTERM, SIGINT and SIGHUP to the engine leave the target as SIGKILL does"""
    steady = Steady(stage)
    rng = random.Random(SEED)
    for i in range(24):
        number = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[i % 3]
        process = subprocess.Popen([stage.engine.path, 'dump', '-t', str(stage.pid), '--leave-running', '-D',
                                    fresh(stage.images)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, 0.012))
        process.send_signal(number)
        process.wait()
        steady.expect_good_running(f'signal {number}')
    stage.content()


# What cannot be saved: makes it in a child of its own. Each returns words that the sentence has to have.

def io_uring():
    """an io_uring"""
    params = ctypes.create_string_buffer(120)
    if libc.syscall(425, 4, params) < 0:
        raise frame.Skipped(f'no io_uring here: {os.strerror(ctypes.get_errno())}')
    return 'io_uring'


def userfaultfd():
    """a userfaultfd"""
    if libc.syscall(323, 1) < 0:
        raise frame.Skipped(f'no userfaultfd here: {os.strerror(ctypes.get_errno())}')
    return 'userfaultfd'


def foreign_unix():
    """a connected unix socket whose peer is elsewhere"""
    os.dup2(PAIR[0].fileno(), 9)
    return 'unix'


def perf_event():
    """a perf event"""
    attr = ctypes.create_string_buffer(128)
    ctypes.memmove(attr, (1).to_bytes(4, 'little') + (112).to_bytes(4, 'little') + (0).to_bytes(8, 'little'), 16)
    if libc.syscall(298, attr, 0, -1, -1, 0) < 0:
        raise frame.Skipped('no perf events here')
    return 'perf_event'


def bpf_map():
    """a bpf map"""
    attr = (ctypes.c_uint32 * 32)(2, 4, 8, 1)  # an array
    if libc.syscall(321, 0, attr, 128) < 0:
        raise frame.Skipped('no bpf here')
    return 'bpf'


def landlock():
    """a Landlock rule set"""
    attr = (ctypes.c_uint64 * 1)(1)
    if libc.syscall(444, attr, 8, 0) < 0:
        raise frame.Skipped('no landlock here')
    return 'landlock'


def own_uts():
    """a UTS namespace of its own"""
    libc_call('unshare', 0x04000000)
    return 'uts namespace'


def own_network():
    """a network namespace of its own"""
    libc_call('unshare', 0x40000000)
    return 'net namespace'


PAIR = []
OBJECTS = (io_uring, userfaultfd, perf_event, bpf_map, landlock, own_uts, own_network, foreign_unix)


def refused_object(make, engine):
    """Runs as init of namespaces: a child that has the object and counts; the dump is refused by name."""
    top = frame.make_top()
    counter = mmap.mmap(-1, 4096)
    ends = os.pipe()
    PAIR[:] = socket.socketpair()
    child = os.fork()
    if child == 0:
        os.setsid()
        words, code = '', 0
        for number in range(3):
            os.dup2(os.open('/dev/null', os.O_RDWR), number)
        try:
            words = make()
        except frame.Skipped as why:
            words, code = str(why), frame.SKIP
        except OSError as why:
            words, code = str(why), frame.SKIP
        os.write(ends[1], words.encode())
        os.close(ends[0])
        os.close(ends[1])
        for pair in PAIR[1:]:
            pair.close()
        if code:
            os._exit(code)
        while True:
            counter[0] = (counter[0] + 1) & 0xff
            time.sleep(0.001)
    os.close(ends[1])
    words = os.read(ends[0], 1000).decode()
    time.sleep(0.05)
    if observe.state(child) != 'alive':
        raise frame.Skipped(f'{make.__doc__}: {words}')
    for _ in range(2):
        images = fresh(os.path.join(top, 'images'))
        process = subprocess.run([engine.path, 'dump', '-t', str(child), '--leave-running', '-D', images],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 timeout=60, check=False)
        said = process.stdout.decode(errors='replace')
        check(process.returncode != 0, f'{make.__doc__}: the dump is refused')
        check(words in said and f'task {child}' in said,
              f'{make.__doc__}: the sentence names "{words}" and the task: {said[-300:]}')
        check(not os.path.exists(os.path.join(images, 'inventory.img')), f'{make.__doc__}: no set that looks whole')
        check(observe.state(child) == 'alive' and not observe.traced([child]), f'{make.__doc__}: the task runs on')
        before = counter[0]
        wait_until(f'{make.__doc__}: the task goes on', lambda b=before: counter[0] != b, timeout=5)
    say(f'      {make.__doc__}: {said.strip().splitlines()[-1][:120]}')
    os.kill(child, signal.SIGKILL)
    shutil.rmtree(top, ignore_errors=True)


def timeout(engine):
    """a task that cannot be stopped (it waits for its vfork child): the dump fails in time and names it; it goes on"""
    top = frame.make_top()
    program = os.path.join(operations.BUILD, '../fault/vforker')
    process = subprocess.Popen([program], cwd=top, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    wait_until('the target is ready', lambda: os.path.exists(os.path.join(top, 'ready')))
    time.sleep(0.1)
    images = fresh(os.path.join(top, 'images'))
    started = time.monotonic()
    run = subprocess.run([engine.path, 'dump', '-t', str(process.pid), '--leave-running', '-D', images,
                          '--timeout', '1'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=60, check=False)
    took = time.monotonic() - started
    said = run.stdout.decode(errors='replace')
    check(run.returncode != 0 and 1 <= took < 5, f'the dump fails after {took:.1f} s, should be 1')
    check(str(process.pid) in said and 'imed out' in said, f'the sentence names the task: {said[-300:]}')
    check(not os.path.exists(os.path.join(images, 'inventory.img')), 'no set that looks whole')
    check(not observe.traced(others()), 'nothing is traced')
    with open(os.path.join(top, 'go'), 'w', encoding='ascii'):
        pass
    check(process.wait(timeout=10) == 0, 'the target goes on and ends well')
    shutil.rmtree(top, ignore_errors=True)


SCENARIOS = (
    (dump_calls, '../fault/steady'),
    (dump_calls_stopped, '../fault/steady'),
    (chain_calls, f'torture {SEED}'),
    (restore_calls, 'tree'),
    (restore_calls_of_ghosts, 'files-ghost'),
    (disk_full, '../fault/steady'),
    (unwritable, '../fault/steady'),
    (hook_fails, '../fault/steady'),
    (interrupted, '../fault/steady'),
)


def run_all(engine, wanted):
    """(failed, passed) numbers of scenarios."""
    jobs = [(scenario.__name__, scenario.__doc__,
             lambda s=scenario, p=program: s(operations.Stage(frame.make_top(), engine, p)))
            for scenario, program in SCENARIOS]
    jobs.append(('timeout', timeout.__doc__, lambda: timeout(engine)))
    jobs += [(f'refused_{make.__name__}', f'{make.__doc__} is refused by name, and the task runs on',
              lambda m=make: refused_object(m, engine)) for make in OBJECTS]
    failed = passed = 0
    for name, sentence, body in jobs:
        if wanted and name not in wanted:
            continue
        status = frame.run_apart(body, False)
        word = {0: 'PASS', frame.SKIP: 'SKIP'}.get(status, 'FAIL')
        say(f'{word}: {name}: {sentence}')
        failed += word == 'FAIL'
        passed += word == 'PASS'
    return failed, passed


def main():
    say(f'seed {SEED}, stride {STRIDE}')
    frame.LIFE_TIMEOUT = 3000 // STRIDE + 300
    for label, engine, _, skip in frame.modes({}):
        if label != 'ours':
            continue
        if skip:
            say(f'SKIP: {label}: {skip}')
            continue
        if not frame.has_test_hooks(engine):
            say(f'SKIP: {label}: {frame.NO_HOOKS}')
            continue
        failed, passed = run_all(engine, sys.argv[1:])
        return 1 if failed else 0 if passed else frame.SKIP
    return frame.SKIP


if __name__ == '__main__':
    sys.exit(main())
