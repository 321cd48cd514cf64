#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""node with a HTTP server, timers and a worker thread: counters go on, compiled code still runs."""
import json
import sys

import interop
from interop import answers, check, need, wait_until

PORT = 42382
PROGRAM = '''
const http = require('http'), { Worker } = require('worker_threads');
let ticks = 0, requests = 0, worked = 0;
const table = Array.from({ length: 20000 }, (_, i) => 'item ' + i);
setInterval(() => { ticks++; }, 5);
const worker = new Worker(`
	const { parentPort } = require('worker_threads');
	parentPort.on('message', n => { let s = 0; for (let i = 0; i < n; i++) s += i; parentPort.postMessage(s); });
`, { eval: true });
worker.on('message', sum => { if (sum === 499500) worked++; worker.postMessage(1000); });
worker.postMessage(1000);
http.createServer((request, response) => {
	requests++;
	response.setHeader('Connection', 'close');
	response.end(JSON.stringify({ ticks, requests, worked, last: table[19999] }));
}).listen(%d, '127.0.0.1');
''' % PORT


class Node(interop.Program):
    name = 'node'
    programs = ('node',)
    volatile = ('maps', 'SigBlk', 'memory')

    def command(self):
        return [need('node'), '-e', PROGRAM]

    def ask(self):
        answer = interop.talk(('127.0.0.1', PORT), b'GET / HTTP/1.0\r\n\r\n')
        return json.loads(answer.partition(b'\r\n\r\n')[2])

    def is_ready(self, pid):
        now = answers(self.ask)()
        return now and now['worked'] > 10

    def remember(self, pid):
        self.seen = self.ask()

    def poke(self, pid):
        now = self.ask()
        check(now['requests'] == self.seen['requests'] + 1, 'the requests are counted on')
        check(now['ticks'] >= self.seen['ticks'] and now['worked'] >= self.seen['worked'], 'no counter went back')
        check(now['last'] == 'item 19999', 'the table has its content')

    def poke_again(self, pid):
        first = self.ask()
        wait_until('timer and worker go on', lambda: (lambda now: now['ticks'] > first['ticks'] + 5 and
                                                      now['worked'] > first['worked'] + 5)(self.ask()))


if __name__ == '__main__':
    sys.exit(interop.run(Node))
