#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What dump and restore do around the tree: how they leave it, and what they leave when they fail.

Each scenario is a function with one target in namespaces of its own; its first line is what must stay true. The target
is a live program; when a scenario is over, the original checks itself.
"""
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import frame  # noqa: E402
import observe  # noqa: E402
from frame import Failure, libc_call, others, say, settled, wait_until  # noqa: E402

BUILD = os.environ.get('LIVE_BUILD', os.path.abspath('tests/live'))


def check(ok, sentence):
    if not ok:
        raise Failure(sentence)


class Stage:
    """A running target, an engine and directories."""

    def __init__(self, top, engine, program='tree', wrapper=()):
        self.top, self.engine = top, engine
        self.scratch = os.path.join(top, 'scratch')
        self.images = os.path.join(top, 'images')
        os.makedirs(self.scratch, mode=0o777)
        os.makedirs(self.images)
        program, *arguments = program.split()
        process = subprocess.Popen([*wrapper, os.path.join(BUILD, program), *arguments], cwd=self.scratch,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)
        process.returncode = 0
        self.pid = process.pid
        wait_until('the target is ready', lambda: os.path.exists(os.path.join(self.scratch, 'ready')))
        if wrapper:
            # Wrappers of other namespaces stay as the parent, outside of the tree.
            self.pid = children(self.pid)[0]
        self.before = settled()

    def run(self, action, *options, images=None, **more):
        """(exit status, everything that was said) of the engine."""
        images = images or self.images
        command = [self.engine.path, action, '-D', images, '-v4', *options]
        process = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 timeout=60, check=False, **more)
        return process.returncode, process.stdout.decode(errors='replace')

    def dump(self, *options, **more):
        return self.run('dump', '-t', str(self.pid), *options, **more)

    def dump_well(self, *options):
        code, said = self.dump(*options)
        check(code == 0, f'dump fails: {errors(said)}')

    def restore_well(self, *options):
        code, said = self.run('restore', '-d', *options)
        check(code == 0, f'restore fails: {errors(said)}')

    def intact(self, when):
        """Runs on, untraced, as before, and is content with itself."""
        deadline = time.monotonic() + 2
        while True:
            frame.reap()
            found = observe.compare(self.before, observe.tasks(others()), ['SigQ', 'ShdPnd']) + observe.traced(others())
            if not found:
                break
            check(time.monotonic() < deadline, f'{when}: {"; ".join(found[:5])}')
            time.sleep(0.02)

    def content(self):
        """The target checks itself and ends."""
        verdict_file = os.path.join(self.scratch, 'verdict')
        open(verdict_file, 'w', encoding='utf-8').close()
        os.chmod(verdict_file, 0o666)
        os.kill(self.pid, signal.SIGTERM)

        def over():
            frame.reap()
            return not os.path.exists(f'/proc/{self.pid}')
        wait_until('the target checks itself', over)
        with open(verdict_file, encoding='utf-8') as file:
            verdict = file.read()
        check(verdict == 'PASS\n', f'the target is not content: {verdict}')

    def calls_go_on(self, when):
        """The program counts its calls in a file that it maps."""
        def count():
            with open(os.path.join(self.scratch, 'counts'), 'rb') as file:
                return int.from_bytes(file.read(8), 'little')
        start = count()
        wait_until(f'{when}: the calls go on', lambda: count() > start + 1000, timeout=5)

    def no_set(self, when):
        check(not os.path.exists(os.path.join(self.images, 'inventory.img')), f'{when}: no set that looks whole')


def children(pid):
    with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as file:
        return [int(word) for word in file.read().split()]


def errors(said):
    lines = [line for line in said.splitlines() if 'rror' in line] or said.splitlines()[-3:]
    return ' / '.join(line[:200] for line in lines[-6:])


def dump_kills(stage):
    """dump without options ends the tree and leaves no process and no stopped task"""
    stage.dump_well()

    def gone():
        frame.reap()
        return not others()
    wait_until('the dumped tree is gone', gone, timeout=5)
    stage.restore_well()
    stage.intact('after the restore')
    stage.content()


def dump_leaves_stopped(stage):
    """dump --leave-stopped leaves every task stopped and untraced; SIGCONT lets it go on"""
    stage.dump_well('--leave-stopped')
    all_stopped()
    check(not observe.traced(others()), 'a tracer is left')
    for pid in others():
        # The child that was stopped before stays so.
        if stage.before[f'pid {pid} state'] == 'alive':
            os.kill(pid, signal.SIGCONT)
    stage.intact('after SIGCONT')
    stage.content()


def restore_leaves_stopped(stage):
    """restore --leave-stopped leaves every task stopped; SIGCONT lets it go on"""
    stage.dump_well()
    frame.kill_everything()
    stage.restore_well('--leave-stopped')
    all_stopped()
    for pid in others():
        if stage.before[f'pid {pid} state'] == 'alive':
            os.kill(pid, signal.SIGCONT)
    stage.intact('after SIGCONT')
    stage.content()


def restore_waits(stage):
    """restore without -d is there as long as the tree, as its parent"""
    stage.dump_well()
    frame.kill_everything()
    process = subprocess.Popen([stage.engine.path, 'restore', '-D', stage.images], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until('the tree is there', lambda: os.path.exists(f'/proc/{stage.pid}/task') and
               parent(stage.pid) == process.pid and observe.state(stage.pid) == 'alive')
    time.sleep(0.3)
    check(process.poll() is None, 'restore waits')
    os.kill(stage.pid, signal.SIGKILL)
    wait_until('restore ends with the tree', lambda: process.poll() is not None, timeout=5)


def restore_sibling(stage):
    """restore --restore-sibling makes the root a child of the caller"""
    stage.dump_well()
    frame.kill_everything()
    script = (f'{stage.engine.path} restore -D {stage.images} -d --restore-sibling >{stage.top}/out 2>&1; '
              f'echo $? > {stage.top}/code.new; mv {stage.top}/code.new {stage.top}/code; exec sleep 1000')
    process = subprocess.Popen(['/bin/sh', '-c', script], stdin=subprocess.DEVNULL)
    wait_until('restore ends', lambda: os.path.exists(f'{stage.top}/code'), timeout=30)
    with open(f'{stage.top}/code', encoding='ascii') as file:
        code = file.read().strip()
    with open(f'{stage.top}/out', encoding='utf-8') as file:
        check(code == '0', f'restore fails: {errors(file.read())}')
    check(parent(stage.pid) == process.pid, f'the parent is {parent(stage.pid)}, should be {process.pid}')
    process.kill()
    process.wait()


def parent(pid):
    match = re.search(r'^PPid:\s*(\d+)', observe.text(f'/proc/{pid}/status'), re.M)
    return int(match.group(1)) if match else 0


def process_one(stage):
    """a tree whose root is process 1 of a pid namespace comes back as that, twice, and can be dumped again"""
    def pid_inside(pid):
        return re.search(r'^NSpid:.*\s(\d+)$', observe.text(f'/proc/{pid}/status'), re.M).group(1)
    check(pid_inside(stage.pid) == '1', 'the target is process 1')
    stage.dump_well('--leave-running')
    stage.content()
    for again in False, True, False:
        frame.kill_everything()
        stage.restore_well('--pidfile', 'pid')
        with open(os.path.join(stage.images, 'pid'), encoding='ascii') as file:
            stage.pid = int(file.read())
        os.unlink(os.path.join(stage.images, 'pid'))
        check(pid_inside(stage.pid) == '1', 'the restored is process 1')
        if again:
            stage.dump_well()
        else:
            stage.content()


def all_stopped():
    """A stop reaches a task that is on its way out of a call a moment later."""
    wait_until('every task is stopped', lambda: all(observe.state(pid) in ('T', 'Z') for pid in others()), timeout=5)


def pid_taken(stage):
    """restore with the pid in use fails, says so, and leaves what runs alone"""
    stage.dump_well('--leave-running')
    code, said = stage.run('restore', '-d')
    check(code != 0, 'restore fails when the tree still runs')
    check(str(stage.pid) in said, f'the error names the pid {stage.pid}: {errors(said)}')
    stage.intact('after a restore that failed')
    stage.content()


def new_pid_namespace(stage):
    """restore --new-pid-namespace makes the tree beside the one that holds its pids; nobody is left when it ends"""
    stage.dump_well('--leave-running')
    before = set(others())
    code, said = stage.run('restore', '-d', '--new-pid-namespace', '--pidfile', stage.top + '/pid')
    check(code == 0, f'restore succeeds: {errors(said)}')
    with open(stage.top + '/pid', encoding='ascii') as file:
        root = int(file.read())
    made = {pid: inner_pid(pid) for pid in set(others()) - before}
    keepers = [pid for pid, inner in made.items() if inner == 1]
    check(len(keepers) == 1, f'one keeper: {made}')
    check(sorted(inner for inner in made.values() if inner != 1) == sorted(before),
          f'the pids are those of the running tree: {made}, {before}')
    check(made.get(root) == stage.pid, f'the root is {stage.pid} in there: {made}')
    check(not observe.traced(list(made)), 'a tracer is left')

    os.kill(root, signal.SIGKILL)

    def gone():
        frame.reap()
        return not set(made) & set(others())
    for pid in set(made) - {root, *keepers}:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:      # some end with their parent
            pass
    wait_until('nobody is left in the namespace', gone, timeout=5)
    stage.intact('after its copy')
    stage.content()


def inner_pid(pid):
    match = re.search(r'^NSpid:.*\t(\d+)$', observe.text(f'/proc/{pid}/status'), re.M)
    return int(match.group(1)) if match else 0


def no_images_directory(stage):
    """dump into a directory that does not exist fails, and the tree runs on"""
    code, said = stage.dump(images=stage.top + '/nowhere')
    check(code != 0 and 'nowhere' in said, f'the error names the directory: {errors(said)}')
    stage.intact('after the failed dump')
    stage.content()


def disk_full(stage):
    """dump to a full file system fails, says so, and the tree runs on"""
    libc_call('mount', b'none', stage.images.encode(), b'tmpfs', 0, b'size=40k')
    code, said = stage.dump('-o', stage.top + '/dump.log')
    check(code != 0, 'dump fails when the disk is full')
    with open(stage.top + '/dump.log', encoding='utf-8', errors='replace') as file:
        said += file.read()
    check('No space left' in said, f'the error says why: {errors(said)}')
    stage.no_set('disk full')
    stage.intact('after the failed dump')
    stage.content()


def no_such_task(stage):
    """dump of a pid that does not exist fails and names it"""
    code, said = stage.run('dump', '-t', '31234')
    check(code != 0 and '31234' in said, f'the error names the pid: {errors(said)}')
    stage.content()


def shared_pages_stay_shared(stage):
    """a tree that runs on still has once what its processes share copy-on-write"""
    for number, snapshot in enumerate(('stop-copy', 'cow', 'pre-copy')):
        images = os.path.join(stage.images, str(number))
        os.mkdir(images)
        code, said = stage.run('dump', '-t', str(stage.pid), '--leave-running', '--snapshot', snapshot, images=images)
        check(code == 0, f'dump fails: {errors(said)}')
    stage.intact('left running')
    stage.content()


def established_refused(stage):
    """dump of an established connection without --tcp-close is refused by name, and the connection lives"""
    code, said = stage.dump()
    check(code != 0, 'dump refuses')
    check(re.search('tcp', said, re.I) and re.search(r'connect|establish', said, re.I),
          f'the error names the connection: {errors(said)}')
    stage.no_set('refused')
    stage.intact('after the refusal')
    stage.content()


def check_predicts(stage):
    """check -t says what a dump with the same options would refuse, writes nothing, and the tree runs on"""
    code, said = stage.run('check', '-t', str(stage.pid), '--tcp-close')
    check(code == 0, f'nothing is refused: {errors(said)}')
    code, said = stage.run('check', '-t', str(stage.pid))
    check(code != 0 and 'established connection' in said, f'the connection is named: {errors(said)}')
    check(not os.listdir(stage.images), f'it wrote {os.listdir(stage.images)}')
    stage.intact('after the checks')
    stage.content()


def foreign_socket_refused(stage):
    """dump of a unix socket whose peer is outside the tree is refused, and the tree runs on"""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(['sleep', '1000'], stdin=theirs.fileno(), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)
    stage.content()
    code, said = stage.run('dump', '-t', str(process.pid))
    check(code != 0, 'dump refuses')
    check('unix' in said.lower(), f'the error names the socket: {errors(said)}')
    check(observe.state(process.pid) == 'alive' and not observe.traced([process.pid]), 'the task runs on')
    theirs.close()
    ours.sendall(b'still open')
    process.kill()
    process.wait()


def no_session_leader_refused(stage):
    """dump of a task that does not lead its session is refused without --shell-job"""
    child = min(pid for pid in others() if parent(pid) == stage.pid and
                stage.before.get(f'pid {pid} status NSsid') == str(stage.pid))
    code, said = stage.run('dump', '-t', str(child))
    check(code != 0 and 'shell-job' in said, f'the error names --shell-job: {errors(said)}')
    stage.intact('after the refusal')
    stage.content()


class Terminal:
    """A pseudo terminal of ours with a shell in it."""

    def __init__(self):
        self.shell, self.master = pty.fork()
        if self.shell == 0:
            os.execvp('sh', ['sh'])
        self.hear('PS1=; echo outer-$((1 + 1))', r'outer-2\r\n')

    def hear(self, line, wanted, seconds=20):
        """Types a line, waits for what the pattern says, returns the match."""
        os.write(self.master, line.encode() + b'\n')
        heard, end = '', time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.master], [], [], 0.1)[0]:
                heard += os.read(self.master, 4096).decode(errors='replace')
            match = re.search(wanted, heard)
            if match:
                return match
        raise Failure(f'{line!r} was answered by {heard!r}, not {wanted!r}')

    def close(self):
        os.close(self.master)
        os.waitpid(self.shell, 0)


def shell_with_terminal(stage):
    """a shell comes back into the terminal of whoever restores it, with its variables and in the foreground"""
    terminal = Terminal()
    terminal.hear('sh', '')
    inner = int(terminal.hear('PS1=; X=kept; echo inner-$((2 + 2))-$$', r'inner-4-(\d+)\r\n')[1])
    stage.content()
    code, said = stage.run('dump', '-t', str(inner))
    check(code != 0 and 'shell-job' in said, f'without --shell-job it is refused: {errors(said)}')
    code, said = stage.run('dump', '-t', str(inner), '--shell-job')
    check(code == 0, f'dump: {errors(said)}')
    terminal.hear('echo outer-$((3 + 3))', r'outer-6\r\n')
    terminal.hear(f'{stage.engine.path} restore -D {stage.images} --shell-job', '')
    wait_until('the shell is there again', lambda: os.path.exists(f'/proc/{inner}'))
    terminal.hear('echo back-$X-$$', rf'back-kept-{inner}\r\n')
    terminal.hear('sleep 0.1; exit', '')
    terminal.hear('echo outer-$((4 + 4))', r'outer-8\r\n')
    terminal.close()


def terminal_that_is_gone(stage):
    """a job of a shell comes back without any terminal: its own is hung up"""
    terminal = Terminal()
    job = int(terminal.hear('sleep 1000 & echo job-$((5 + 5))-$!', r'job-10-(\d+)\r\n')[1])
    stage.content()
    code, said = stage.run('dump', '-t', str(job), '--shell-job')
    check(code == 0, f'dump: {errors(said)}')
    terminal.hear('wait; echo outer-$((6 + 6))', r'outer-12\r\n')
    terminal.close()
    code, said = stage.run('restore', '--shell-job', '-d')
    check(code == 0, f'restore: {errors(said)}')
    check('hung up' in said, f'it is said: {said}')
    link = os.readlink(f'/proc/{job}/fd/0')
    check(re.fullmatch(r'/dev/pts/\d+ \(deleted\)', link), f'its input is {link}')
    os.kill(job, 9)


def truncated_pages(stage):
    """restore from a set whose pages are cut short fails, in time, and leaves nothing of the tree"""
    stage.dump_well('--leave-running')
    stage.content()
    pages = max((os.path.join(stage.images, name) for name in os.listdir(stage.images) if name.startswith('pages-')),
                key=os.path.getsize)
    os.truncate(pages, os.path.getsize(pages) // 2)
    failed_restore(stage)


def missing_image(stage):
    """restore from a set with a file missing fails, names it, and leaves nothing of the tree"""
    stage.dump_well('--leave-running')
    stage.content()
    os.unlink(os.path.join(stage.images, f'core-{stage.pid}.img'))
    said = failed_restore(stage)
    check('core' in said and str(stage.pid) in said, f'the error names the image: {errors(said)}')


def garbage_in_image(stage):
    """restore from a set with garbage in a file fails, names it, and leaves nothing of the tree"""
    stage.dump_well('--leave-running')
    stage.content()
    with open(os.path.join(stage.images, 'files.img'), 'r+b') as file:
        file.seek(12)
        file.write(b'\xff' * 64)
    said = failed_restore(stage)
    check('files' in said, f'the error names the file: {errors(said)}')


def missing_file(stage):
    """restore of a tree whose open file is gone fails, names the file, and leaves nothing of the tree"""
    stage.dump_well('--leave-running')
    stage.content()
    os.unlink(os.path.join(stage.scratch, 'data'))
    said = failed_restore(stage)
    check('scratch/data' in said, f'the error names the file: {errors(said)}')


def cgroup_namespace_comes_back(stage):
    """a cgroup namespace comes back, with all tasks in it and its root where it was"""
    def views():
        """Which namespaces there are, and where the tasks are in ours."""
        return ({os.readlink(f'/proc/{pid}/ns/cgroup') for pid in others()},
                [re.findall(r'^(?:0:|.*snapmgr-live):.*', observe.text(f'/proc/{pid}/cgroup'), re.M)
                 for pid in sorted(others())])
    namespaces, places = views()
    ours = os.readlink('/proc/self/ns/cgroup')
    check(len(namespaces) == 1 and ours not in namespaces, f'they are in one of their own: {namespaces}, {ours}')

    def look():
        found, now = views()
        check(len(found) == 1 and ours not in found, f'they are in one of their own again: {found}, {ours}')
        check(now == places, f'they are in their places: {now}, {places}')
    cgroups_come_back(stage, look)


def units_are_not_made_up(stage):
    """where systemd runs, a cgroup of one of its units that is not there is not made, but with --manage-cgroups=full"""
    os.makedirs('/run', exist_ok=True)
    libc_call('mount', b'none', b'/run', b'tmpfs', 0, None)
    os.makedirs('/run/systemd/system')
    tops = cgroup_directories(stage)
    try:
        stage.dump_well()
        remove_cgroups(tops)
        code, said = stage.run('restore', '-d')
        check(code == 0, f'restore succeeds: {errors(said)}')
        check('is for systemd to make' in said, 'the log says so')
        check(not any(map(os.path.isdir, tops)), 'nothing is made')
        frame.kill_everything()
        stage.restore_well('--manage-cgroups=full')
        stage.content()
    finally:
        remove_cgroups(tops)
        unmount_cgroups(stage)


def vdso_differs(stage):
    """restore under another kernel's vdso redirects the old one, also a second time"""
    stage.dump_well()
    frame.kill_everything()
    give_other_vdso(stage.images)
    for when in 'first', 'again':
        code, said = stage.run('restore', '-d')
        check(code == 0, f'restore fails: {errors(said)}')
        check('redirected' in said, f'{when}: the log says that the vdso is redirected')
        if when == 'first':
            stage.content()
            frame.kill_everything()
    stage.calls_go_on('after the restore')

    second = stage.top + '/images-2'
    os.mkdir(second)
    code, said = stage.dump(images=second)
    check(code == 0, f'dump of the restored tree fails: {errors(said)}')
    frame.kill_everything()
    code, said = stage.run('restore', '-d', images=second)
    check(code == 0, f'restore of the restored tree fails: {errors(said)}')
    stage.calls_go_on('after the second restore')

    third = stage.top + '/images-3'
    os.mkdir(third)
    code, said = stage.dump(images=third)
    check(code == 0, f'third dump fails: {errors(said)}')
    frame.kill_everything()
    give_other_vdso(third)
    code, said = stage.run('restore', '-d', images=third)
    check(code == 0 and 'redirected' in said, f'restore under a third vdso fails: {errors(said)}')
    stage.content()


def give_other_vdso(images):
    """A byte of padding in its ELF header makes it another kernel's, with code that still runs."""
    changed = 0
    for name in os.listdir(images):
        if not re.fullmatch(r'pages-\d+\.img', name):
            continue
        with open(os.path.join(images, name), 'r+b') as file:
            data = file.read()
            for at in range(0, len(data), 4096):
                if data[at:at + 4] == b'\x7fELF' and b'linux-vdso.so.1' in data[at:at + 8192]:
                    file.seek(at + 9)
                    file.write(bytes([data[at + 9] ^ 0x5a]))
                    changed += 1
    check(changed > 0, 'the vdso is in the images')


def cgroups_come_back(stage, look=lambda: None):
    """tasks and threads return to their cgroups, which are made with their properties where they are gone"""
    tops = cgroup_directories(stage)
    place = os.path.basename(tops[0])

    def made():
        return [top for top in tops if os.path.isdir(top)]

    def remove():
        remove_cgroups(tops)
    try:
        stage.dump_well()
        before = made()
        remove()
        stage.restore_well()
        check(made() == before, f'the cgroups are made: {made()}, {before}')
        look()
        stage.content()
        frame.kill_everything()
        stage.restore_well()
        stage.content()
        frame.kill_everything()
        code, said = stage.run('restore', '-d', '--manage-cgroups=strict')
        check(code != 0 and 'is there already' in said and place in said, f'strict names it: {errors(said)}')
        check(made() == before, 'what was there already stays')

        remove()
        code, said = stage.run('restore', '-d', '--manage-cgroups=none')
        check(code != 0 and place in said, f'none names the one that is missing: {errors(said)}')
        check(not made(), 'none makes nothing')
        frame.kill_everything()
        os.unlink(os.path.join(stage.scratch, 'place'))
        failed_restore(stage)
        check(not made(), 'what was made for a restore that fails goes again')
        with open(os.path.join(stage.scratch, 'place'), 'w', encoding='ascii') as file:
            file.write(place)
        stage.restore_well('--manage-cgroups=strict')
        stage.content()
    finally:
        remove()
        unmount_cgroups(stage)


def cgroup_directories(stage):
    """Where live/cgroup.c makes its cgroups."""
    with open(os.path.join(stage.scratch, 'place'), encoding='ascii') as file:
        place = file.read()
    return [os.path.join(stage.scratch, version, place) for version in ('v1', 'v2')]


def remove_cgroups(tops):
    frame.kill_everything()

    def gone():
        for top in tops:
            for path, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(path)
                except OSError:     # the dead are in it for a moment
                    pass
        return not any(map(os.path.isdir, tops))
    wait_until('the cgroups are removed', gone, timeout=5)


def unmount_cgroups(stage):
    for version in 'v1', 'v2':
        subprocess.run(['umount', os.path.join(stage.scratch, version)], check=False, stderr=subprocess.DEVNULL)


def failed_restore(stage):
    frame.kill_everything()
    entries = sorted(os.listdir(stage.scratch))
    code, said = stage.run('restore', '-d')
    check(code != 0, 'restore fails')

    def gone():
        frame.reap()
        return not others()
    wait_until('nothing of the tree is left', gone, timeout=5)
    check(sorted(os.listdir(stage.scratch)) == entries, 'no file is left')
    return said


# (scenario, program, why CRIU 4.2 is not asked or None)
def undo_is_said_to_be_lost(stage):
    """dump says of which task SEM_UNDO adjustments are lost, and of no other"""
    code, said = stage.dump('--leave-running')
    check(code == 0, f'dump fails: {errors(said)}')
    found = re.findall(r'task (\d+): what SEM_UNDO', said)
    check(found == [str(stage.pid)], f'it is said of {found}, should be of {stage.pid}')
    stage.intact('after the dump')
    stage.content()


SCENARIOS = [
    (dump_kills, 'tree', None),
    (dump_leaves_stopped, 'tree', None),
    (restore_leaves_stopped, 'tree', 'CRIU 4.2 forgets which task was stopped before'),
    (restore_waits, 'files', None),
    (restore_sibling, 'files', None),
    (process_one, 'busy', 'CRIU wants a mount namespace with a pid namespace'),
    (pid_taken, 'files', None),
    (new_pid_namespace, 'tree', 'an option of ours'),
    (no_images_directory, 'files', None),
    (disk_full, 'files', None),
    (no_such_task, 'files', None),
    (shared_pages_stay_shared, 'memory-cow', 'an option of ours'),
    (shared_pages_stay_shared, 'memory-cow 20000', 'an option of ours'),
    (established_refused, 'tcp-close', None),
    (check_predicts, 'tcp-close', 'an option of ours'),
    (foreign_socket_refused, 'files', None),
    (no_session_leader_refused, 'tree', None),
    (shell_with_terminal, 'tree', 'CRIU does not find the mount of the descriptors that a shell keeps'),
    (terminal_that_is_gone, 'tree', 'CRIU needs a terminal'),
    (truncated_pages, 'memory-private', 'CRIU 4.2 waits for ever'),
    (missing_image, 'files', None),
    (garbage_in_image, 'files', None),
    (missing_file, 'files', None),
    (cgroups_come_back, 'cgroup', 'CRIU says it in other words'),
    (cgroup_namespace_comes_back, 'cgroup ns', 'CRIU says it in other words'),
    (units_are_not_made_up, 'cgroup scope', 'CRIU makes them'),
    (undo_is_said_to_be_lost, 'sem-undo', 'CRIU does not say it'),
    (vdso_differs, 'vdso-calls', 'CRIU says it in other words'),
]


def main():
    wanted = sys.argv[1:]
    failed = 0
    passed = 0
    for label, engine, _, skip in frame.modes({}):
        if label not in ('ours', 'CRIU alone'):
            continue
        if skip:
            say(f'SKIP: {label}: {skip}')
            continue
        for scenario, program, not_criu in SCENARIOS:
            name = scenario.__name__
            if wanted and name not in wanted:
                continue
            if engine.name == 'criu' and not_criu:
                say(f'SKIP: {name}: {not_criu}')
                continue
            top = frame.make_top()
            wrapper = ('unshare', '-p', '-f', 'setsid') if scenario == process_one else ()
            status = frame.run_apart(lambda: scenario(Stage(top, engine, program, wrapper)), False)
            say(f'{"PASS" if status == 0 else "FAIL"}: {name}: {scenario.__doc__}')
            failed += status != 0
            passed += status == 0
            shutil.rmtree(top, ignore_errors=True)
    if failed:
        return 1
    return 0 if passed else frame.SKIP


if __name__ == '__main__':
    sys.exit(main())
