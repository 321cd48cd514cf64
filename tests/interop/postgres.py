#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""PostgreSQL with some rows: a crash of the whole server, and the one of the dump answers as if nothing had been."""
import glob
import os
import subprocess
import sys

import interop
from interop import check, need

PORT = '42381'


class Postgres(interop.Program):
    name = 'postgres'
    programs = ('postgres', 'initdb', 'psql', 'setpriv')
    volatile = ('maps', r'fd.\d+.*')
    uid = 65534
    not_across = dict.fromkeys(('to-criu', 'from-criu', 'criu'), 'CRIU wants an IPC namespace of its own')

    def as_user(self, *words):
        return [need('setpriv'), f'--reuid={self.uid}', '--regid=65534', '--clear-groups', *words]

    def prepare(self):
        os.chmod(self.scratch, 0o777)
        self.sql_files()
        subprocess.run(self.as_user(need('initdb'), '-D', self.file('data'), '-A', 'trust', '-U', 'live', '-N'), check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def sql_files(self):
        os.makedirs(self.file('run'))
        os.chmod(self.file('run'), 0o777)

    def command(self):
        return self.as_user(need('postgres'), '-D', self.file('data'), '-k', self.file('run'), '-p', PORT, '-F',
                            '-c', 'listen_addresses=127.0.0.1', '-c', 'shared_buffers=16MB', '-c', 'autovacuum=off',
                            '-c', 'logging_collector=off')

    def sql(self, words):
        done = subprocess.run([need('psql'), '-h', '127.0.0.1', '-p', PORT, '-U', 'live', '-d', 'postgres', '-qAt',
                               '-c', words], check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=20)
        return done.returncode, done.stdout.decode().strip()

    def is_ready(self, pid):
        if self.sql('select 1')[0] != 0:
            return False
        return self.sql('create table t as select n, n * n as square from generate_series(1, 5000) n')[0] == 0

    def remember(self, pid):
        check(self.sql('checkpoint')[0] == 0, 'a checkpoint is made')

    def poke(self, pid):
        code, sum_of = self.sql('select sum(square) from t')
        check(code == 0 and sum_of == '41679167500', f'the table is whole: {sum_of}')

    def poke_again(self, pid):
        code, said = self.sql('begin; insert into t values (0, 0); select count(*) from t; rollback')
        check(code == 0 and said == '5001', f'a transaction works: {said}')


def main():
    # Debian keeps its programs out of the way.
    interop.SEARCH += sorted(glob.glob('/usr/lib/postgresql/*/bin')) + ['/usr/local/bin']
    return interop.run(Postgres)


if __name__ == '__main__':
    sys.exit(main())
