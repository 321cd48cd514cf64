#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Interpreters that wait for work at a FIFO: perl, tclsh, sqlite3. Each adds up what it is told."""
import os
import sys

import interop
from interop import check, frame, need, wait_until

SCRIPTS = {
    'perl': ['-e', 'open F, "+<", "in"; $| = 1; while (<F>) { chomp; $sum += $_; push @all, $_; '
                   'open O, ">", "out.new"; print O "$sum\n"; close O; rename "out.new", "out" }'],
    'tclsh': ['script'],
    'sqlite3': [':memory:'],
}
TCL = '''
set in [open in r+]
set sum 0
while {[gets $in line] >= 0} {
	incr sum $line
	set out [open out.new w]
	puts $out $sum
	close $out
	file rename -force out.new out
}
'''


class Script(interop.Program):
    def __init__(self, scratch, program):
        super().__init__(scratch)
        self.name = program
        self.sum = 0

    def prepare(self):
        os.mkfifo(self.file('in'))
        self.write('script', TCL)

    def command(self):
        words = [need(self.name), *SCRIPTS[self.name]]
        # The shell opens the FIFO for both directions, so that there is no end of file.
        return ['/bin/sh', '-c', 'exec "$@" <>in', 'sh', *words] if self.name == 'sqlite3' else words

    def tell(self, number):
        """The sum that the program answers with."""
        try:
            os.unlink(self.file('out'))
        except FileNotFoundError:
            pass
        text = f'{number}\n'
        if self.name == 'sqlite3':
            text = (f'create table if not exists t(n);\ninsert into t values({number});\n.once out.new\n'
                    'select sum(n) from t;\n.shell mv out.new out\n')
        with open(self.file('in'), 'w', encoding='ascii') as file:
            file.write(text)
        wait_until(f'{self.name} answers', lambda: os.path.exists(self.file('out')))
        with open(self.file('out'), encoding='ascii') as file:
            return int(file.read())

    def is_ready(self, pid):
        for number in range(1, 50):
            self.sum = self.tell(number)
        return self.sum == 1225

    def remember(self, pid):
        self.sum = self.tell(1000)

    def poke(self, pid):
        check(self.tell(7) == self.sum + 7, f'{self.name} goes on from {self.sum}')

    def poke_again(self, pid):
        check(self.tell(11) == self.sum + 18, f'{self.name} goes on from {self.sum}')


def main():
    worst, passed = 0, 0
    for program in SCRIPTS:
        frame.say(f'=== {program}')
        try:
            need(program)
        except frame.Skipped as why:
            frame.say(f'SKIP: {why}')
            continue
        status = frame.run_target(lambda scratch: Script(scratch, program))
        passed += status == 0
        worst |= status == 1
    return 1 if worst else 0 if passed else frame.SKIP


if __name__ == '__main__':
    sys.exit(main())
