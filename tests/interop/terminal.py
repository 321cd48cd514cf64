#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A job on a terminal (--shell-job): it comes back on the terminal where the restore is run, with its settings."""
import os
import pty
import re
import select
import shlex
import sys
import termios
import time

import interop
from interop import frame  # noqa: E402
from interop import Failure, check, children, need, wait_until

JOB = 'stty -echo; echo ready; while read -r line; do n=$((n + 1)); echo "$n: $line"; done'


class Terminal:
    """A new terminal with a session whose leader, sh, runs a script."""

    def __init__(self, script):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.closerange(3, 1024)
            os.execv('/bin/sh', ['sh', '-c', script])
        self.seen = ''

    def read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            try:
                self.seen += os.read(self.master, 4096).decode()
            except OSError:
                time.sleep(seconds)

    def expect(self, text, timeout=20):
        deadline = time.monotonic() + timeout
        while text not in self.seen:
            if time.monotonic() > deadline:
                raise Failure(f'the terminal shows {self.seen!r}, should show {text!r}')
            self.read(0.1)
        self.seen = self.seen.partition(text)[2]

    def type(self, text):
        os.write(self.master, text.encode())

    def echoes(self):
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def close(self):
        os.close(self.master)
        frame.kill_everything()


class Job:
    """The life of such a job; like frame.Life, but each restore is run on a terminal of its own."""

    def __init__(self, top, dumper, restorer):
        self.top, self.dumper, self.restorer = top, dumper, restorer
        self.count = 0

    def images(self, name):
        path = os.path.join(self.top, name)
        os.makedirs(path)
        return path

    def works(self, terminal):
        self.count += 1
        terminal.type(f'word {self.count}\n')
        terminal.expect(f'{self.count}: word {self.count}\r\n')
        check(f'word {self.count}' not in terminal.seen, 'what is typed is not echoed')
        check(not terminal.echoes(), 'the terminal has the settings of the job')

    def restore(self, images, pid):
        restore = [self.restorer.path, 'restore', '-D', images, '-o', 'restore.log', '-v4', '-j', '-d']
        status = os.path.join(images, 'status')
        terminal = Terminal(f'{shlex.join(restore)} > {images}/restore.out 2>&1; echo $? > {status}.new; '
                            f'mv {status}.new {status}; exec sleep 1000')
        check(terminal.echoes(), 'a new terminal echoes')
        wait_until('the restore ends', lambda: os.path.exists(status), timeout=60)
        with open(status, encoding='ascii') as file:
            code = file.read().strip()
        os.unlink(status)
        if code != '0':
            raise Failure(f'{self.restorer.name}: restore failed with {code}{frame.Engine.tail(images, "restore")}')
        with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
            session = int(file.read().rpartition(')')[2].split()[3])
        check(session == terminal.pid, f'the job is in the session of its terminal, {terminal.pid}, not {session}')
        return terminal

    def run(self):
        terminal = Terminal(f'bash -c {shlex.quote(JOB)}; true')
        terminal.expect('ready')
        pid = wait_until('the job is there', lambda: children(terminal.pid))[0]
        wait_until('the settings are made', lambda: not children(pid))
        self.works(terminal)
        frame.say('   dump --leave-running')
        first = self.images('images-1')
        self.dumper.run('dump', first, '-t', str(pid), '-j', '--leave-running')
        count = self.count
        self.works(terminal)
        terminal.close()
        for when in 'restore', 'restore from the same images again':
            frame.say(f'   {when}')
            self.count = count
            terminal = self.restore(first, pid)
            self.works(terminal)
            if when == 'restore':
                terminal.close()
        frame.say('   dump of the restored job')
        second = self.images('images-2')
        self.dumper.run('dump', second, '-t', str(pid), '-j')
        terminal.close()
        terminal = self.restore(second, pid)
        self.works(terminal)
        terminal.type('\x04')
        wait_until('the job ends at the end of its input', lambda: re.search(r'^State:\s*Z', state(pid), re.M) or
                   not state(pid))
        terminal.close()


def state(pid):
    frame.reap()
    try:
        with open(f'/proc/{pid}/status', encoding='ascii') as file:
            return file.read()
    except OSError:
        return ''


def main():
    for program in 'bash', 'stty':
        try:
            need(program)
        except frame.Skipped as why:
            frame.say(f'SKIP: {why}')
            return frame.SKIP
    return frame.run_modes(lambda top, dumper, restorer: Job(top, dumper, restorer).run())


if __name__ == '__main__':
    sys.exit(main())
