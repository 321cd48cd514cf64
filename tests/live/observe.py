# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be seen of a process tree from outside, in a form that must not change by a dump or a restore.

tasks(pids) -> {"pid 12 status Threads": "3", ...}; compare() lists what differs. Numbers that name kernel objects
anew at each restore (inode numbers of sockets and pipes, mount ids) are not part of it.
"""
import os
import re

STATUS = ('Name Umask Tgid Pid PPid Uid Gid Groups NStgid NSpid NSpgid NSsid Threads SigPnd ShdPnd SigBlk '
          'SigIgn SigCgt CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp Seccomp_filters THP_enabled '
          'Cpus_allowed').split()
# How a file was opened matters no more once it is: O_LARGEFILE, O_DIRECTORY, O_TMPFILE.
FLAGS_OF_OPENING = 0o100000 | 0o200000 | 0o20000000


def read(path):
    try:
        with open(path, 'rb') as file:
            return file.read()
    except OSError as error:
        return f'<{error.strerror}>'.encode()


def text(path):
    return read(path).decode('utf-8', 'replace')


def link(path):
    try:
        name = os.readlink(path)
    except OSError as error:
        return f'<{error.strerror}>'
    name = re.sub(r'^(socket|pipe):\[\d+\]$', r'\1', name)
    return re.sub(r'/\d+ \(deleted\)$', ' (deleted)', name)


def state(pid):
    """Stopped is stopped; what else a task does is its own business."""
    for line in text(f'/proc/{pid}/status').splitlines():
        if line.startswith('State:'):
            letter = line.split()[1]
            return letter if letter in 'TtZX' else 'alive'
    return 'gone'


def maps(pid):
    """Merged runs of [start, end) with permissions and the name, which are all that the owner can notice."""
    runs = []
    for line in text(f'/proc/{pid}/maps').splitlines():
        fields = line.split(None, 5)
        if len(fields) < 5 or line.startswith('<'):
            continue
        start, end = (int(part, 16) for part in fields[0].split('-'))
        name = fields[5].strip() if len(fields) > 5 else ''
        if name == '[vsyscall]':
            continue
        if not name.startswith('/') or name.startswith(('/dev/zero', '/SYSV', '/memfd:', '/anon_hugepage')):
            name = name if name in ('[vdso]', '[heap]') else ''
        name = name.replace(' (deleted)', '')
        if runs and runs[-1][1] == start and runs[-1][2:] == [fields[1], name]:
            runs[-1][1] = end
        else:
            runs.append([start, end, fields[1], name])
    return '\n'.join(f'{start:x}-{end:x} {perms} {name}' for start, end, perms, name in runs)


def stat_fields(task):
    """nice, rt priority, policy and exit signal of a task."""
    fields = text(f'{task}/stat').rpartition(')')[2].split()
    if len(fields) < 40:
        return '<gone>'
    return f'nice {fields[16]} rtprio {fields[37]} policy {fields[38]} exit-signal {fields[35]}'


def memory_fields(pid):
    """start and end of code, data, stack, brk, arguments and environment."""
    fields = text(f'/proc/{pid}/stat').rpartition(')')[2].split()
    wanted = {23: 'startcode', 24: 'endcode', 25: 'startstack', 42: 'start_data', 43: 'end_data', 44: 'start_brk',
              45: 'arg_start', 46: 'arg_end', 47: 'env_start', 48: 'env_end'}
    return ' '.join(f'{name} {fields[index]}' for index, name in wanted.items() if index < len(fields))


def one(pid):
    seen = {'state': state(pid)}
    top = f'/proc/{pid}'
    if seen['state'] in 'ZX':
        match = re.search(r'^PPid:\s*(\d+)', text(f'{top}/status'), re.M)
        seen['ppid'] = match.group(1) if match else 'gone'
        return seen
    for task in sorted(os.listdir(f'{top}/task'), key=int):
        where = '' if task == str(pid) else f'thread {task} '
        for line in text(f'{top}/task/{task}/status').splitlines():
            key, _, value = line.partition(':')
            if key in STATUS:
                seen[f'{where}status {key}'] = ' '.join(value.split())
        seen[f'{where}sched'] = stat_fields(f'{top}/task/{task}')
        seen[f'{where}comm'] = text(f'{top}/task/{task}/comm')
    for fd in sorted(os.listdir(f'{top}/fd'), key=int):
        seen[f'fd {fd} link'] = link(f'{top}/fd/{fd}')
        for line in text(f'{top}/fdinfo/{fd}').splitlines():
            key, _, value = line.partition(':')
            if key == 'pos':
                seen[f'fd {fd} pos'] = value.strip()
            elif key == 'flags':
                seen[f'fd {fd} flags'] = oct(int(value, 8) & ~FLAGS_OF_OPENING)
    for name in ('exe', 'cwd', 'root'):
        seen[name] = link(f'{top}/{name}')
    for name in ('cmdline', 'environ', 'auxv', 'limits', 'oom_score_adj', 'personality', 'loginuid', 'timerslack_ns'):
        seen[name] = repr(read(f'{top}/{name}'))
    seen['maps'] = maps(pid)
    seen['memory'] = memory_fields(pid)
    return seen


def tasks(pids):
    seen = {'pids': ' '.join(str(pid) for pid in sorted(pids))}
    for pid in sorted(pids):
        try:
            for key, value in one(pid).items():
                seen[f'pid {pid} {key}'] = value
        except (FileNotFoundError, ProcessLookupError):
            seen[f'pid {pid} state'] = 'gone'
    return seen


def differences_of_lines(before, after):
    old, new = before.splitlines(), after.splitlines()
    gone = [line for line in old if line not in new]
    came = [line for line in new if line not in old]
    return [f'- {line}' for line in gone] + [f'+ {line}' for line in came]


def compare(before, after, volatile=()):
    """Sentences about what differs; `volatile` are ends of keys that may change, such as "maps"."""
    found = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key, '<nothing>'), after.get(key, '<nothing>')
        if old == new or any(re.search(pattern + '$', key) for pattern in volatile):
            continue
        if '\n' in old + new:
            found += [f'{key}: {line}' for line in differences_of_lines(old, new)]
        else:
            found.append(f'{key}: was {old}, is {new}')
    return found


def keeps_waits(pid):
    """Is it the process that an engine leaves behind for calls with a time limit? It stops a thread for a moment."""
    try:
        return text(f'/proc/{pid}/comm') == 'snapmgr-waits\n'
    except OSError:  # it has ended
        return True


def traced(pids):
    """Sentences about threads that have a tracer."""
    found = []
    for pid in pids:
        try:
            names = os.listdir(f'/proc/{pid}/task')
        except OSError:
            continue
        for task in names:
            match = re.search(r'^TracerPid:\s*(\d+)', text(f'/proc/{pid}/task/{task}/status'), re.M)
            if match and match.group(1) != '0' and not keeps_waits(match.group(1)):
                found.append(f'thread {task} is traced by {match.group(1)}')
    return found
