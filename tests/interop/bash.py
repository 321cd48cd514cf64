#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A bash pipeline of three: numbers go through it without a gap or a repetition, on and on."""
import os
import signal
import sys
import time

import interop
from interop import check, children, need, wait_until

# The first paces itself by a read with a limit on a FIFO that nobody writes to. The third answers on SIGUSR1.
SCRIPT = '''
mkfifo pace
(
	exec 3<>pace
	n=0
	while :; do echo $n; n=$((n + 1)); read -t 0.005 -u 3; done
) | (
	while read -r n; do echo $((n * 2)); done
) | (
	bad=0 last=-2
	trap 'echo "$last $bad" > answer.new; mv answer.new answer' USR1
	while read -r n; do
		[ "$n" -eq $((last + 2)) ] || bad=$((bad + 1))
		last=$n
	done
)
'''


class Pipeline(interop.Program):
    name = 'bash'
    programs = ('bash',)
    # The tree moves on all the time: what is open for a moment differs.
    volatile = (r'fd.\d+.*', 'SigBlk', 'SigCgt', 'SigPnd', 'ShdPnd', 'maps')

    def command(self):
        return [need('bash'), '-c', SCRIPT]

    def answer(self, pid):
        """(last number, number of faults) of the third process."""
        try:
            os.unlink(self.file('answer'))
        except FileNotFoundError:
            pass
        os.kill(sorted(children(pid))[2], signal.SIGUSR1)
        wait_until('the pipeline answers', lambda: os.path.exists(self.file('answer')))
        with open(self.file('answer'), encoding='ascii') as file:
            last, bad = file.read().split()
        return int(last), int(bad)

    def is_ready(self, pid):
        if len(children(pid)) != 3:
            return False
        time.sleep(0.3)
        return self.answer(pid)[0] > 0

    def remember(self, pid):
        self.last = self.answer(pid)[0]
        # mv has gone when its answer is there, its parent may not have noticed yet.
        time.sleep(0.1)

    def poke(self, pid):
        last, bad = self.answer(pid)
        check(bad == 0, f'{bad} numbers were lost or repeated')
        check(last >= self.last, f'the count goes on from {self.last}, not {last}')

    def poke_again(self, pid):
        first = self.answer(pid)
        wait_until('the count goes on', lambda: self.answer(pid)[0] > first[0] + 20)
        check(self.answer(pid)[1] == 0, 'no number is lost or repeated')


if __name__ == '__main__':
    sys.exit(interop.run(Pipeline))
