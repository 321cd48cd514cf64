#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""python3 with threads and a subprocess: the threads go on counting, locks and queues work, the subprocess answers."""
import json
import os
import socket
import sys

import interop
from interop import answers, check, need, wait_until

PROGRAM = '''
import json, os, queue, socket, subprocess, sys, threading, time

counts = [0] * 4
lock = threading.Lock()
jobs, results = queue.Queue(), queue.Queue()
table = {i: str(i) * 10 for i in range(50000)}


def count(n):
    while True:
        with lock:
            counts[n] += 1
        time.sleep(0.001)


def work():
    while True:
        results.put(sum(table_part for table_part in range(jobs.get())))


for n in range(4):
    threading.Thread(target=count, args=(n,), daemon=True).start()
threading.Thread(target=work, daemon=True).start()
child = subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
server = socket.socket(socket.AF_UNIX)
server.bind('socket')
server.listen(5)
while True:
    client, _ = server.accept()
    word = client.recv(100)
    child.stdin.write(word)
    echo = child.stdout.read(len(word))
    jobs.put(1000)
    answer = {'counts': counts, 'echo': echo.decode(), 'sum': results.get(), 'threads': threading.active_count(),
              'child': child.pid, 'child alive': child.poll() is None, 'table': table[49999]}
    client.sendall(json.dumps(answer).encode())
    client.close()
'''


class Python(interop.Program):
    name = 'python3'
    programs = ('python3', 'cat')
    # Threads allocate, take and release all the time.
    volatile = ('maps', 'SigBlk')

    def command(self):
        return [need('python3'), '-c', PROGRAM]

    def ask(self):
        return json.loads(interop.talk(os.path.join(self.scratch, 'socket'), b'hello subprocess', socket.AF_UNIX))

    def is_ready(self, pid):
        return answers(self.ask)()

    def remember(self, pid):
        self.seen = self.ask()

    def poke(self, pid):
        now = self.ask()
        check(now['echo'] == 'hello subprocess', 'the subprocess answers')
        check(now['child'] == self.seen['child'] and now['child alive'], 'it is the one of the dump')
        check(now['sum'] == 499500, 'the worker thread works')
        check(now['threads'] == self.seen['threads'], 'all threads are there')
        check(now['table'] == '49999' * 10, 'the table has its content')
        check(all(new >= old for new, old in zip(now['counts'], self.seen['counts'])), 'no count went back')

    def poke_again(self, pid):
        first = self.ask()['counts']
        wait_until('every thread counts on', lambda: all(new > old for new, old in zip(self.ask()['counts'], first)))


if __name__ == '__main__':
    sys.exit(interop.run(Python))
