#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""python3 with an event loop and worker processes: queues, a lock and a number that they share."""
import json
import os
import socket
import sys

import interop
from interop import answers, check, need, wait_until

PROGRAM = '''
import asyncio, json, multiprocessing as mp, os


def work(jobs, results, lock, total):
    while True:
        n = jobs.get()
        with lock:
            total.value += n
        results.put((os.getpid(), n * n))


mp.set_start_method('fork')
jobs, results, lock, total = mp.Queue(), mp.Queue(), mp.Lock(), mp.Value('i', 0)
workers = [mp.Process(target=work, args=(jobs, results, lock, total)) for _ in range(3)]
for worker in workers:
    worker.start()
ticks = 0


async def tick():
    global ticks
    while True:
        await asyncio.sleep(0.01)
        ticks += 1


async def handle(reader, writer):
    for n in range(10):
        jobs.put(n)
    squares = sum([(await asyncio.to_thread(results.get))[1] for _ in range(10)])
    writer.write(json.dumps({'squares': squares, 'total': total.value, 'ticks': ticks,
                             'alive': sum(worker.is_alive() for worker in workers)}).encode())
    await writer.drain()
    writer.close()


async def main():
    ticker = asyncio.create_task(tick())
    await (await asyncio.start_unix_server(handle, 'socket')).serve_forever()


asyncio.run(main())
'''


class Workers(interop.Program):
    name = 'python3'
    programs = ('python3',)
    volatile = ('maps', 'SigBlk')

    def command(self):
        return [need('python3'), '-c', PROGRAM]

    def ask(self):
        return json.loads(interop.talk(os.path.join(self.scratch, 'socket'), b'', socket.AF_UNIX))

    def is_ready(self, pid):
        return answers(self.ask)()

    def remember(self, pid):
        self.seen = self.ask()

    def poke(self, pid):
        now = self.ask()
        check(now['squares'] == 285, 'ten jobs are done')
        check(now['total'] == self.seen['total'] + 45, f'the shared number goes on from {self.seen["total"]}')
        check(now['alive'] == 3, 'the workers are known to live')

    def poke_again(self, pid):
        first = self.ask()['ticks']
        wait_until('the event loop ticks', lambda: self.ask()['ticks'] > first + 5)


if __name__ == '__main__':
    sys.exit(interop.run(Workers))
