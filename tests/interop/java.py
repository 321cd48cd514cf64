#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A Java virtual machine with a server and a scheduled executor: compiled code, garbage and timers go on."""
import subprocess
import sys

import interop
from interop import answers, check, need, wait_until

PORT = 42383
PROGRAM = '''
import java.net.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class Live {
	static volatile long ticks;

	public static void main(String[] args) throws Exception {
		AtomicLong requests = new AtomicLong();
		ScheduledExecutorService executor = Executors.newScheduledThreadPool(3);
		executor.scheduleAtFixedRate(() -> ticks++, 1, 1, TimeUnit.MILLISECONDS);
		ServerSocket server = new ServerSocket(%d, 50, InetAddress.getByName("127.0.0.1"));
		while (true) {
			try (Socket client = server.accept()) {
				client.setSoLinger(true, 0);
				StringBuilder garbage = new StringBuilder();
				for (int i = 0; i < 100000; i++)
					garbage.append(i %% 10);
				String answer = requests.incrementAndGet() + " " + ticks + " " + garbage.length();
				client.getOutputStream().write(answer.getBytes());
				client.shutdownOutput();
				client.getInputStream().read();
			}
		}
	}
}
''' % PORT


class Java(interop.Program):
    name = 'java'
    programs = ('java', 'javac')
    # It loads, compiles and frees as it likes.
    volatile = ('maps', 'memory', 'SigBlk', 'SigCgt', r'fd.\d+.*')

    def prepare(self):
        self.write('Live.java', PROGRAM)
        subprocess.run([need('javac'), 'Live.java'], cwd=self.scratch, check=True)

    def command(self):
        return [need('java'), '-cp', '.', 'Live']

    def ask(self):
        return [int(word) for word in interop.talk(('127.0.0.1', PORT), b'').split()]

    def is_ready(self, pid):
        answer = answers(self.ask)()
        return answer and answer[1] > 20

    def remember(self, pid):
        self.requests = self.ask()[0]

    def poke(self, pid):
        requests, _, length = self.ask()
        check(requests == self.requests + 1, f'the requests are counted on from {self.requests}, not {requests}')
        check(length == 100000, 'compiled code does the same')

    def poke_again(self, pid):
        first = self.ask()[1]
        wait_until('the timer goes on', lambda: self.ask()[1] > first + 5)


if __name__ == '__main__':
    sys.exit(interop.run(Java))
