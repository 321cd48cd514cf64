# SPDX-License-Identifier: GPL-2.0-or-later
"""The frame of live and interop tests.

A test runs in namespaces of its own (pid, mount, ipc, net, uts): its pids are always free at a restore, what it
leaves behind goes with it, and its network is a loopback of its own. Inside, this process is the init: it starts
the target, runs the engines, reaps.

The life of a target (class Life):

    start - ready - dump --leave-running - intact? - the original checks itself
    restore - as before? - checks itself
    restore again - dump of the restored - kill - restore - as before? - checks itself

"As before" is seen from outside (observe.py): status, maps, descriptors, limits of every task.
"""
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
import observe  # noqa: E402

SKIP = 77
ENGINE_TIMEOUT = 60
LIFE_TIMEOUT = 300
CLONE_NEWTIME, CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = (
    0x00000080, 0x00020000, 0x04000000, 0x08000000, 0x20000000, 0x40000000)
MS_REC, MS_PRIVATE = 0x4000, 0x40000
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """The test failed; the text says what and where."""


class Skipped(Exception):
    """The machine lacks something; the text names it."""


def say(text):
    print(text, flush=True)


def libc_call(name, *args):
    if getattr(libc, name)(*args) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f'{name}: {os.strerror(error)}')


def in_namespaces(body, time_namespace):
    """Runs body() as init of fresh namespaces; returns 0, 1 or SKIP."""
    if os.geteuid() != 0:
        say('SKIP: needs root')
        return SKIP
    try:
        libc_call('unshare', CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS)
        if time_namespace:
            # As on a machine that has run for long: another than the boot that everybody else sees.
            libc_call('unshare', CLONE_NEWTIME)
            with open('/proc/self/timens_offsets', 'w', encoding='ascii') as file:
                file.write('monotonic 9504000 0\nboottime 3456000 0\n')
    except OSError as error:
        say(f'SKIP: no namespaces here: {error}')
        return SKIP
    libc_call('mount', b'none', b'/', None, MS_REC | MS_PRIVATE, None)
    child = os.fork()
    if child == 0:
        libc_call('prctl', PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        status = 1
        try:
            libc_call('mount', b'proc', b'/proc', b'proc', 0, None)
            subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
            body()
            status = 0
        except Skipped as why:
            say(f'SKIP: {why}')
            status = SKIP
        except Failure as why:
            say(f'FAIL: {why}')
        except BaseException as error:  # pylint: disable=broad-except
            import traceback
            traceback.print_exc()
            say(f'FAIL: {error!r}')
        sys.stdout.flush()
        os._exit(status)
    deadline = time.monotonic() + LIFE_TIMEOUT
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    say(f'FAIL: not finished after {LIFE_TIMEOUT} s')
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return 1


def wait_until(what, predicate, timeout=60.0):
    """Polls, and reaps meanwhile."""
    deadline = time.monotonic() + timeout
    while True:
        result = predicate()
        if result:
            return result
        if time.monotonic() > deadline:
            raise Failure(f'{what}: not within {timeout:g} s')
        time.sleep(0.01)


def reap():
    """Collects whatever has been left to init; returns {pid: wait status}."""
    ended = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def settled():
    """How the tree looks when nothing moves any more, as far as can be seen."""
    seen, times = observe.tasks(others()), 0

    def same():
        nonlocal seen, times
        last, seen = seen, observe.tasks(others())
        times = times + 1 if last == seen else 0
        time.sleep(0.02)
        return times == 3
    try:
        wait_until('the tree settles', same, timeout=3)
    except Failure:
        pass
    return seen


class Engine:
    """An engine by path, and its common options."""

    def __init__(self, name, path):
        self.name = name
        self.path = path

    def run(self, action, images, *options):
        log = f'{action}.log'
        try:
            os.unlink(os.path.join(images, log))
        except FileNotFoundError:
            pass
        command = [self.path, action, '-D', images, '-o', log, '-v4', *options]
        started = time.monotonic()
        with open(os.path.join(images, f'{action}.out'), 'w', encoding='utf-8') as out:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd='/')
            timer = threading.Timer(ENGINE_TIMEOUT, process.kill)
            timer.start()
            process.wait()
            timer.cancel()
        took = time.monotonic() - started
        if took >= ENGINE_TIMEOUT:
            raise Failure(f'{self.name}: {action} did not end within {ENGINE_TIMEOUT} s{self.tail(images, action)}')
        if process.returncode != 0:
            raise Failure(f'{self.name}: {action} failed with {process.returncode}{self.tail(images, action)}')
        say(f'      {self.name} {action}: {took * 1000:.0f} ms')

    @staticmethod
    def tail(images, action, lines=12):
        text = ''
        for name in (f'{action}.out', f'{action}.log'):
            try:
                with open(os.path.join(images, name), encoding='utf-8', errors='replace') as file:
                    content = file.read().splitlines()
            except OSError:
                continue
            errors = [line for line in content if 'rror' in line][-lines:]
            for line in errors or content[-4:]:
                text += f'\n        {name}: {line[:300]}'
        return text


def everybody():
    """Pids of this namespace except init."""
    return [int(name) for name in os.listdir('/proc') if name.isdigit() and name != '1']


def others():
    """Pids of this namespace but init and what keeps waits, which comes and goes."""
    return [pid for pid in everybody() if not observe.keeps_waits(pid)]


def remove_sysv_objects():
    """What a reboot would have done; the namespace is ours."""
    for kind in 'shm', 'sem', 'msg':
        with open(f'/proc/sysvipc/{kind}', encoding='ascii') as file:
            ids = [int(line.split()[1]) for line in file.readlines()[1:]]
        for number in ids:
            (libc.semctl(number, 0, 0) if kind == 'sem' else getattr(libc, f'{kind}ctl')(number, 0, None))


def kill_everything():
    """Kills all but us, as a crash of the whole tree would, and reaps."""
    def gone():
        reap()
        left = everybody()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return not left
    wait_until('the killed tree is gone', gone)
    remove_sysv_objects()


class Target:
    """What is dumped: how to start it, see that it is ready, and let it check itself. Made for overriding."""

    name = '?'
    dump_options = ()
    restore_options = ()
    volatile = ()  # patterns of keys of observe.py
    volatile_peer = ()  # the same, where CRIU has a hand in it

    def __init__(self, scratch):
        self.scratch = scratch

    def command(self):
        raise NotImplementedError

    def start(self):
        """Starts it in a session of its own and returns the pid of the root task."""
        def session():
            os.setsid()
        os.makedirs(self.scratch, exist_ok=True)
        os.chmod(self.scratch, 0o777)
        process = subprocess.Popen(self.command(), cwd=self.scratch, stdin=subprocess.DEVNULL,  # noqa: S603
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=session,
                                   close_fds=True)
        process.returncode = 0  # ours to reap
        return process.pid

    def is_ready(self, pid):
        raise NotImplementedError

    def check(self, pid):
        """Lets it verify itself and end; raises Failure."""
        raise NotImplementedError

    def remember(self, pid):
        """Before each dump: what poke() has to find afterwards."""

    def poke(self, pid):
        """After each dump and restore: is it as remembered, and does it work? The target lives on."""

    def died_early(self, status):
        raise Failure(f'{self.name} ended while starting, wait status {status:#x}')


class Life:
    """One target through all of it, with one engine to dump and one to restore."""

    def __init__(self, target, dumper, restorer):
        self.target = target
        self.dumper = dumper
        self.restorer = restorer
        self.volatile = [*target.volatile, *(target.volatile_peer if 'criu' in (dumper.name, restorer.name) else ())]
        self.top = os.path.dirname(target.scratch)

    def images(self, name):
        path = os.path.join(self.top, name)
        os.makedirs(path, mode=0o700)
        return path

    def compare(self, when, before):
        """What is in motion (a thread on its way back into a call) may settle for a moment."""
        deadline = time.monotonic() + 2
        while True:
            reap()
            differences = observe.compare(before, observe.tasks(others()), self.volatile) + observe.traced(others())
            if not differences or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        if differences:
            text = ''.join(f'\n        {line}' for line in differences[:20])
            raise Failure(f'{when}: not as before:{text}')

    def restore(self, images, pid):
        pidfile = os.path.join(images, 'pid')
        try:
            os.unlink(pidfile)
        except FileNotFoundError:
            pass
        self.restorer.run('restore', images, '-d', '--pidfile', 'pid', *self.target.restore_options)
        if not os.path.exists(pidfile):
            raise Failure('restore has written no --pidfile')
        with open(pidfile, encoding='ascii') as file:
            restored = int(file.read())
        if restored != pid:
            raise Failure(f'restored as pid {restored}, was {pid}')
        return restored

    def run(self):
        target = self.target
        pid = target.start()

        def ready():
            ended = reap()
            if pid in ended:
                target.died_early(ended[pid])
            return target.is_ready(pid)
        wait_until('the target is ready', ready)
        target.remember(pid)
        before = settled()

        say('   dump --leave-running')
        first = self.images('images-1')
        self.dumper.run('dump', first, '-t', str(pid), '--leave-running', *target.dump_options)
        if self.restorer.name == 'snapmgr-engine':
            self.restorer.run('verify', first, '-W', first)
        self.compare('the original after the dump', before)
        target.poke(pid)
        target.check(pid)
        kill_everything()

        say('   restore')
        self.restore(first, pid)
        self.compare('the restored tree', before)
        target.poke(pid)
        target.check(pid)
        kill_everything()

        say('   restore from the same images again')
        self.restore(first, pid)
        self.compare('the tree restored again', before)
        target.poke(pid)

        say('   dump of the restored tree')
        target.remember(pid)
        before = settled()
        second = self.images('images-2')
        self.dumper.run('dump', second, '-t', str(pid), *target.dump_options)
        kill_everything()
        self.restore(second, pid)
        self.compare('the tree restored from the dump of a restored one', before)
        target.poke(pid)
        target.check(pid)
        kill_everything()


def modes(not_across):
    """(label, dumper, restorer, reason to skip) of all that this run is asked for."""
    path = os.environ.get('SNAPMGR_ENGINE', './snapmgr-engine')
    peer = os.environ.get('SNAPMGR_PEER_CRIU')
    wanted = os.environ.get('LIVE_MODES', 'ours to-criu from-criu').split()
    ours = Engine('snapmgr-engine', os.path.abspath(path))
    criu = Engine('criu', os.path.abspath(peer)) if peer else None
    no_peer = None if peer else 'SNAPMGR_PEER_CRIU does not name a CRIU'
    table = {
        'ours': ('ours', ours, ours, None if os.access(ours.path, os.X_OK) else f'no engine at {path}'),
        'to-criu': ('our dump, CRIU restores', ours, criu, not_across.get('to-criu', no_peer)),
        'from-criu': ('CRIU dumps, our restore', criu, ours, not_across.get('from-criu', no_peer)),
        'criu': ('CRIU alone', criu, criu, not_across.get('criu', no_peer)),
    }
    return [table[name] for name in wanted]


def run_target(make_target, not_across=None, time_namespace=False):
    """Runs one target in all modes; returns the exit status for automake."""
    def life(top, dumper, restorer):
        Life(make_target(os.path.join(top, 'scratch')), dumper, restorer).run()
    return run_modes(life, not_across, time_namespace)


def run_modes(life, not_across=None, time_namespace=False):
    """Calls life(top, dumper, restorer) in namespaces of its own for each mode; `top` is a directory to work in."""
    worst, passed = SKIP, 0
    for label, dumper, restorer, skip in modes(not_across or {}):
        if skip:
            say(f'SKIP: {label}: {skip}')
            continue
        say(f'{label}:')
        top = make_top()
        status = run_apart(lambda: life(top, dumper, restorer), time_namespace)
        if status == 0:
            passed += 1
            say(f'PASS: {label}')
        elif status != SKIP:
            worst = 1
        if os.environ.get('LIVE_KEEP'):
            say(f'   kept: {top}')
        else:
            shutil.rmtree(top, ignore_errors=True)
    if worst == 1:
        return 1
    return 0 if passed else SKIP


def make_top():
    """A directory for one life, which others may look into."""
    top = tempfile.mkdtemp(prefix='snapmgr-live.')
    os.chmod(top, 0o755)
    return top


def run_apart(body, time_namespace):
    """in_namespaces() from a child, because unshare() changes the caller for good."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = in_namespaces(body, time_namespace)
        finally:
            sys.stdout.flush()
            os._exit(status if status >= 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


NO_HOOKS = 'this build has no test hooks: ./configure --enable-test-hooks'


def has_test_hooks(engine):
    """Is it built with --enable-test-hooks? Without them SNAPMGR_FAULT and SNAPMGR_TRACKER mean nothing."""
    said = subprocess.run([engine.path, '--version'], check=False, stdout=subprocess.PIPE, text=True).stdout
    return 'with test hooks' in said


def can_track(engine, tracker=None):
    """In any way, or in that one."""
    environment = dict(os.environ, SNAPMGR_TRACKER=tracker) if tracker else None
    return subprocess.run([engine.path, 'check', '--feature', 'mem_dirty_track'], check=False, env=environment,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def run_scenarios(scenarios, make_stage, tracks=True):
    """Functions with a stage each, make_stage(top, engine, scenario): those that the command line names, or all. For exit().

    Attributes of a scenario: needs, a variable that has to be set for it; tracker, one that the kernel must be able to be.
    """
    engines = [engine for label, engine, _, skip in modes({}) if label == 'ours' and not skip]
    wanted = sys.argv[1:]
    if not engines:
        say('SKIP: there is no engine')
        return SKIP
    if tracks and not can_track(engines[0]):
        say('SKIP: this kernel cannot track memory (Linux 6.7, or soft-dirty bits)')
        return SKIP
    failed = 0
    for scenario in scenarios:
        name = scenario.__name__.replace('_', ' ')
        if wanted and scenario.__name__ not in wanted:
            continue
        if hasattr(scenario, 'needs') and not os.environ.get(scenario.needs):
            say(f'SKIP: {name}: {scenario.needs} is not set')
            continue
        if hasattr(scenario, 'tracker') and not has_test_hooks(engines[0]):
            say(f'SKIP: {name}: {NO_HOOKS}')
            continue
        if hasattr(scenario, 'tracker') and not can_track(engines[0], scenario.tracker):
            say(f'SKIP: {name}: no {scenario.tracker} here')
            continue
        top = make_top()
        status = run_apart(lambda: scenario(make_stage(top, engines[0], scenario)), False)
        say(f'{"PASS" if status == 0 else "FAIL"}: {name}')
        failed += status != 0
        if os.environ.get('LIVE_KEEP') and status != 0:
            say(f'   kept: {top}')
        else:
            shutil.rmtree(top, ignore_errors=True)
    return 1 if failed else 0
