#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""redis-server with some data: every key is as it was at the dump, and it takes new ones."""
import sys

import interop
from interop import answers, check, need

PORT = 42379


def command(*words):
    request = b'*%d\r\n' % len(words)
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        request += b'$%d\r\n%s\r\n' % (len(data), data)
    return interop.talk(('127.0.0.1', PORT), request, until=b'\r\n')


class Redis(interop.Program):
    name = 'redis-server'
    programs = ('redis-server',)

    def command(self):
        return [need('redis-server'), '--port', str(PORT), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no',
                '--dir', self.scratch]

    def is_ready(self, pid):
        if answers(lambda: command('PING'))() != b'+PONG\r\n':
            return False
        for i in range(2000):
            command('SET', f'key {i}', b'value %d ' % i + b'x' * (i % 700))
        command('RPUSH', 'list', *range(300))
        return True

    def remember(self, pid):
        self.counter = command('INCR', 'counter')
        self.size = command('DBSIZE')

    def poke(self, pid):
        check(command('GET', 'counter').split(b'\r\n')[1] == self.counter[1:-2], 'the counter is the one at the dump')
        check(command('DBSIZE') == self.size, 'as many keys as at the dump')
        for i in range(0, 2000, 97):
            check(command('GET', f'key {i}').split(b'\r\n')[1] == b'value %d ' % i + b'x' * (i % 700),
                  f'key {i} has its value')
        check(command('LLEN', 'list') == b':300\r\n', 'the list has its length')
        command('INCR', 'counter')
        command('SET', 'new key', 'new value')

    def poke_again(self, pid):
        check(command('GET', 'new key') == b'$9\r\nnew value\r\n', 'a new key was taken')
        # The engine of lazy freeing and the event loop's timers still run.
        check(b'uptime_in_seconds' in interop.talk(('127.0.0.1', PORT), b'INFO server\r\n', until=b'\r\n\r\n'),
              'INFO answers')


if __name__ == '__main__':
    sys.exit(interop.run(Redis))
