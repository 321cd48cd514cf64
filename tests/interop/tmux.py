#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A tmux server with a shell on one of its terminals: what is typed arrives, the screen and the shell's state stay."""
import os
import subprocess
import sys

import interop
from interop import check, need, wait_until


class Tmux(interop.Program):
    name = 'tmux'
    programs = ('tmux', 'bash')
    volatile = ('maps', 'SigCgt', 'SigIgn', 'SigBlk')  # a shell at its prompt

    def tmux(self, *words):
        return subprocess.run([need('tmux'), '-S', self.file('socket'), '-f', '/dev/null', *words], check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=20, env={**os.environ, 'TERM': 'screen'}).stdout.decode()

    def start(self):
        os.makedirs(self.scratch)
        os.chmod(self.scratch, 0o755)
        self.tmux('new-session', '-d', '-x', '90', '-y', '25', 'exec bash --norc --noprofile')
        return int(self.tmux('display-message', '-p', '#{pid}'))

    def shell(self, words):
        """Types a line and returns what the command says."""
        out = self.file('out')
        if os.path.exists(out):
            os.unlink(out)
        self.tmux('send-keys', f'{{ {words}; }} > {out}.new 2>&1; mv {out}.new {out}', 'Enter')
        wait_until(f'the shell answers to {words!r}', lambda: os.path.exists(out))
        with open(out, encoding='utf-8') as file:
            return file.read().strip()

    def is_ready(self, pid):
        self.shell('count=10; stty -echoctl')
        self.tmux('send-keys', 'echo a mark on the screen', 'Enter')
        wait_until('the mark is on the screen', lambda: 'a mark on' in self.tmux('capture-pane', '-p'))
        return True

    def remember(self, pid):
        self.size = self.shell('stty size')
        self.count = int(self.shell('count=$((count + 1)); echo $count'))

    def poke(self, pid):
        check(self.shell('echo $count') == str(self.count), 'the shell has its variable')
        check(self.shell('stty size') == self.size, f'the terminal has its size, {self.size}')
        check('-echoctl' in self.shell('stty -a'), 'the terminal has its settings')
        check('a mark on the screen' in self.tmux('capture-pane', '-p', '-S', '-100'), 'the screen is kept')

    def poke_again(self, pid):
        self.tmux('split-window', '-d')
        check(len(self.tmux('list-panes').splitlines()) == 2, 'a second terminal can be made')


if __name__ == '__main__':
    sys.exit(interop.run(Tmux))
