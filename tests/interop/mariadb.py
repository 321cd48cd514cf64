#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""MariaDB with kernel AIO (io_setup, not io_uring): tables are whole, transactions work."""
import os
import subprocess
import sys

import interop
from interop import Skipped, check, need


class MariaDB(interop.Program):
    name = 'mariadbd'
    programs = ('mariadbd', 'mariadb', 'mariadb-install-db', 'setpriv')
    dump_options = ('--file-locks',)
    restore_options = ('--file-locks',)
    # It starts and ends workers at will.
    volatile = ('maps', 'memory', r'fd.\d+.*', r'thread \d+.*', r'status Threads', 'SigBlk')
    not_across = dict.fromkeys(('to-criu', 'from-criu', 'criu'), 'takes long, and rings go across in live/aio.c')

    @staticmethod
    def as_user(*words):
        return [need('setpriv'), '--reuid=65534', '--regid=65534', '--clear-groups', *words]

    def prepare(self):
        os.chmod(self.scratch, 0o777)
        for name in 'data', 'run', 'tmp':
            os.makedirs(self.file(name))
            os.chmod(self.file(name), 0o777)
        subprocess.run(self.as_user(need('mariadb-install-db'), '--no-defaults', f'--datadir={self.file("data")}',
                                    '--auth-root-authentication-method=normal', '--skip-test-db', '--skip-name-resolve'),
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def command(self):
        return self.as_user(need('mariadbd'), '--no-defaults', f'--datadir={self.file("data")}',
                            f'--socket={self.file("run/sock")}', f'--pid-file={self.file("run/pid")}',
                            f'--tmpdir={self.file("tmp")}', f'--log-error={self.file("run/log")}', '--skip-networking',
                            '--innodb-linux-aio=aio', '--innodb-use-native-aio=1', '--innodb-flush-method=O_DIRECT',
                            '--innodb-buffer-pool-size=16M', '--innodb-log-file-size=8M', '--skip-log-bin')

    def sql(self, words):
        done = subprocess.run([need('mariadb'), '--no-defaults', '-S', self.file('run/sock'), '-u', 'root', '-BN', '-e',
                               words], check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=30)
        return done.returncode, done.stdout.decode().strip()

    def is_ready(self, pid):
        if self.sql('select 1') != (0, '1'):
            return False
        with open(f'/proc/{pid}/maps', encoding='utf-8') as file:
            if '/[aio]' not in file.read():
                raise Skipped('this mariadbd does not use kernel AIO')
        code, said = self.sql('create database d; use d; create table t (n int primary key, square bigint) engine=innodb; '
                              'insert into t select seq, seq * seq from seq_1_to_20000')
        check(code == 0, f'a table is made: {said}')
        return True

    def poke(self, pid):
        code, said = self.sql('select count(*), sum(square) from d.t')
        check((code, said) == (0, '20000\t2666866670000'), f'the table is whole: {said}')

    def poke_again(self, pid):
        code, said = self.sql('use d; begin; insert into t values (0, 0); select count(*) from t; rollback')
        check((code, said) == (0, '20001'), f'a transaction works: {said}')
        self.poke(pid)


if __name__ == '__main__':
    sys.exit(interop.run(MariaDB))
