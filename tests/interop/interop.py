# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of real programs share: the frame of tests/live, and small clients."""
import os
import shutil
import socket
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'live'))
import frame  # noqa: E402
from frame import Failure, Skipped, wait_until  # noqa: E402,F401


# Where programs are looked for.
SEARCH = ['/usr/sbin:/usr/bin:/sbin:/bin']


def need(program):
    """The path of a program, or the test is skipped by its name."""
    path = shutil.which(program, path=':'.join(SEARCH))
    if not path:
        raise Skipped(f'{program} is not installed')
    return path


def check(ok, sentence):
    if not ok:
        raise Failure(sentence)


class Program(frame.Target):
    """A program that does not know that it is tested: working means that poke() is content."""

    not_across = {}  # mode: why

    def check(self, pid):
        """Once more: the first answer may have come from something that only lived a moment."""
        time.sleep(0.2)
        self.poke_again(pid)

    def poke_again(self, pid):
        raise NotImplementedError

    def file(self, name):
        return os.path.join(self.scratch, name)

    def write(self, name, text):
        with open(self.file(name), 'w', encoding='utf-8') as file:
            file.write(text)
        return self.file(name)

    def start(self):
        os.makedirs(self.scratch, exist_ok=True)
        self.prepare()
        return super().start()

    def prepare(self):
        """Files that the program needs."""


def talk(address, request, family=socket.AF_INET, timeout=5.0, until=None):
    """One connection, one request, the whole answer (until the end, or until `until` has come)."""
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(timeout)
        client.connect(address)
        if request:
            client.sendall(request)
        answer = b''
        while until is None or not answer.endswith(until):
            part = client.recv(65536)
            if not part:
                break
            answer += part
    return answer


def answers(function):
    """Predicate: a call that does not fail for want of a listener."""
    def ask():
        try:
            return function()
        except OSError:
            return None
    return ask


def children(pid):
    with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as file:
        return [int(word) for word in file.read().split()]


def run(make):
    """Runs the program of class `make` through its life."""
    try:
        for name in make.programs:
            need(name)
    except Skipped as why:
        frame.say(f'SKIP: {why}')
        return frame.SKIP
    return frame.run_target(make, make.not_across)
