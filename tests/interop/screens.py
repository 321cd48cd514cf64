#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that live on a terminal, in windows of a tmux: vim with an unsaved text, top, less, a Python prompt."""
import os
import sys
import time

import interop
import tmux
from interop import wait_until


class Screens(tmux.Tmux):
    programs = ('tmux', 'bash', 'vim', 'top', 'less', 'python3')
    volatile = ('.*',)  # top starts nothing, but tmux asks about its windows all the time

    def shows(self, window, text):
        return text in self.tmux('capture-pane', '-p', '-t', window)

    def is_ready(self, pid):
        self.write('long', ''.join(f'line {i}\n' for i in range(1000)))
        for name, words in (('edit', f'vim -n -u NONE {self.file("text")}'), ('watch', 'top -d 0.3'),
                            ('page', f'less {self.file("long")}'), ('prompt', 'python3 -q')):
            self.tmux('new-window', '-d', '-n', name, words)
        wait_until('top is there', lambda: self.shows('watch', 'load average'))
        wait_until('less is there', lambda: self.shows('page', 'line 5'))
        wait_until('the prompt is there', lambda: self.shows('prompt', '>>>'))
        wait_until('vim is there', lambda: self.shows('edit', '~'))
        self.tmux('send-keys', '-t', 'prompt', 'x = 41', 'Enter')
        self.tmux('send-keys', '-t', 'edit', 'ihello world', 'Escape')
        wait_until('vim has the text', lambda: self.shows('edit', 'hello world'))
        time.sleep(1)  # for what follows an Escape vim waits
        return True

    def remember(self, pid):
        pass

    def poke(self, pid):
        self.tmux('send-keys', '-t', 'prompt', 'x + 1', 'Enter')
        wait_until('the prompt answers', lambda: self.shows('prompt', '42'))
        self.tmux('send-keys', '-t', 'edit', f':w! {self.file("saved")}', 'Enter')
        wait_until('vim writes the text', lambda: self.content('saved') == 'hello world\n')
        os.unlink(self.file('saved'))
        before = self.tmux('capture-pane', '-p', '-t', 'watch')
        wait_until('top moves', lambda: self.tmux('capture-pane', '-p', '-t', 'watch') != before)
        self.tmux('send-keys', '-t', 'page', 'G')
        wait_until('less shows the end', lambda: self.shows('page', 'line 999'))
        self.tmux('send-keys', '-t', 'page', 'g')
        wait_until('less shows the beginning', lambda: not self.shows('page', 'line 999'))

    def content(self, name):
        try:
            with open(self.file(name), encoding='ascii') as file:
                return file.read()
        except FileNotFoundError:
            return None

    def poke_again(self, pid):
        self.poke(pid)


if __name__ == '__main__':
    sys.exit(interop.run(Screens))
