#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""nginx with two workers: a client gets pages before and after, from both; a worker that dies is replaced."""
import os
import signal
import sys

import interop
from interop import answers, check, children, need, wait_until

PORT = 42380
CONFIGURATION = '''
daemon off;
worker_processes 2;
pid {0}/nginx.pid;
error_log {0}/error.log;
events {{ worker_connections 64; }}
http {{
	access_log off;
	client_body_temp_path {0}/body;
	proxy_temp_path {0}/proxy;
	fastcgi_temp_path {0}/fastcgi;
	uwsgi_temp_path {0}/uwsgi;
	scgi_temp_path {0}/scgi;
	server {{
		listen 127.0.0.1:{1};
		root {0}/pages;
		location /worker {{ return 200 "$pid\\n"; }}
	}}
}}
'''
PAGE = '<p>' + 'a page of some length ' * 500 + '</p>\n'


def get(path):
    request = f'GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n'.encode()
    head, _, body = interop.talk(('127.0.0.1', PORT), request).partition(b'\r\n\r\n')
    return body if b' 200 ' in head.split(b'\r\n')[0] else b''


def is_set_up(worker):
    """A worker gives up root last."""
    return os.stat(f'/proc/{worker}').st_uid != 0


class Nginx(interop.Program):
    name = 'nginx'
    programs = ('nginx',)

    def prepare(self):
        os.makedirs(self.file('pages'), exist_ok=True)
        self.write('pages/index.html', PAGE)
        self.write('nginx.conf', CONFIGURATION.format(self.scratch, PORT))

    def command(self):
        return [need('nginx'), '-c', self.file('nginx.conf'), '-e', self.file('error.log')]

    def is_ready(self, pid):
        return (answers(lambda: get('/index.html'))() == PAGE.encode() and len(children(pid)) == 2 and
                all(is_set_up(worker) for worker in children(pid)))

    def remember(self, pid):
        self.workers = sorted(children(pid))

    def poke(self, pid):
        check(sorted(children(pid)) == self.workers, 'the workers are those of the dump')
        seen = set()
        for _ in range(100):
            seen.add(int(get('/worker')))
            check(get('/index.html') == PAGE.encode(), 'the page is whole')
        check(seen <= set(self.workers), f'pages come from the workers {self.workers}, not {seen}')

    def poke_again(self, pid):
        victim = self.workers[0]
        os.kill(victim, signal.SIGKILL)
        wait_until('a new worker is there',
                   lambda: victim not in children(pid) and len(children(pid)) == 2 and children(pid))
        check(get('/index.html') == PAGE.encode(), 'the page is whole with a new worker')


if __name__ == '__main__':
    sys.exit(interop.run(Nginx))
