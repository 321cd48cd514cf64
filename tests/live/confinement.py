#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Trees that are confined in a way that cannot be saved: refused by name, or dumped where the loss is allowed.

Each scenario has one target, in namespaces of its own; its first line is what must stay true.
"""
import os
import subprocess
import sys

sys.dont_write_bytecode = True
import frame  # noqa: E402
from operations import Stage, check, errors  # noqa: E402

LANDLOCK_CREATE_RULESET, LANDLOCK_VERSION = 444, 1


def has_landlock():
    return frame.libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_VERSION) > 0


def need_landlock():
    if not has_landlock():
        raise frame.Skipped('this kernel has no Landlock')


def no_peer_is_left():
    found = subprocess.run(['pgrep', 'snapmgr-peer'], stdout=subprocess.PIPE, check=False).stdout
    check(not found, f'a process of the dump is left: {found.decode()}')


def refused(stage, *words, options=()):
    code, said = stage.dump('--leave-running', *options)
    check(code != 0, 'the dump is not refused')
    for word in words:
        check(word in said, f'the refusal does not say "{word}": {errors(said)}')
    stage.no_set('refused')
    stage.intact('after the refusal')
    no_peer_is_left()


def landlock_is_refused(stage):
    """a tree with a thread in a Landlock domain is not dumped, and goes on in it"""
    need_landlock()
    refused(stage, 'Landlock domain', '--allow landlock')
    stage.content()


def landlock_is_lost_knowingly(stage):
    """with --allow landlock the tree is dumped, and both sides say what is lost"""
    need_landlock()
    code, said = stage.dump('--allow', 'landlock')
    check(code == 0, f'the dump fails: {errors(said)}')
    check('Landlock domain' in said, 'the dump does not say what is lost')
    no_peer_is_left()
    frame.kill_everything()
    with open(os.path.join(stage.scratch, 'lost'), 'w', encoding='ascii') as file:
        file.write('yes')
    code, said = stage.run('restore', '-d')
    check(code == 0, f'the restore fails: {errors(said)}')
    check('Landlock domain' in said, 'the restore does not say what is lost')
    stage.content()


def not_confined(stage):
    """a tree without a domain is dumped, whatever else forbids it to look at processes"""
    code, said = stage.dump()
    check(code == 0, f'the dump fails: {errors(said)}')
    check('Landlock domain' not in said, 'a domain is seen where there is none')
    frame.kill_everything()
    stage.restore_well()
    stage.content()


def unshared_is_refused(stage):
    """what unshare(2) gave one thread, or children to come, is refused by name, and the tree goes on with it"""
    refused(stage, *UNSHARED[open(f'/proc/{stage.pid}/cmdline', encoding='ascii').read().split('\0')[1]])
    stage.content()


UNSHARED = {
    'children-pid': ('pid namespace', 'children'),
    'children-time': ('time namespace', 'children'),
    'thread-net': ('thread', 'unshare', 'net namespace'),
    'thread-uts': ('thread', 'unshare', 'uts namespace'),
    'thread-pid': ('thread', 'unshare', 'pid namespace', 'children'),
    'thread-fs': ('thread', 'unshare', 'working directory'),
    'thread-files': ('thread', 'unshare', 'descriptor table'),
}


def segments_are_refused(stage):
    """a local descriptor table is refused by name, and stays"""
    refused(stage, 'modify_ldt')
    stage.content()


def keys_are_refused(stage):
    """a key that is not systemd's invocation id is refused by name, and stays"""
    refused(stage, "'secret'", 'keyring')
    stage.content()


def session_comes_back(stage):
    """a session keyring with the invocation id alone is made again, also a second time"""
    for _ in range(2):
        stage.dump_well()
        frame.kill_everything()
        stage.restore_well()
        frame.shutil.rmtree(stage.images)
        os.makedirs(stage.images)
    stage.content()


def varint(n):
    out = b''
    while n > 0x7f:
        out, n = out + bytes([n & 0x7f | 0x80]), n >> 7
    return out + bytes([n])


def read_varint(data, at):
    n = shift = 0
    while True:
        n |= (data[at] & 0x7f) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 0x80:
            return n, at


def with_field(message, path, field):
    """A message with @field (its encoding) in the message that @path leads to, instead of another of its number."""
    out, at = b'', 0
    while at < len(message):
        start = at
        key, at = read_varint(message, at)
        size = {0: 0, 1: 8, 5: 4}.get(key & 7, 0)
        if key & 7 != 1 and key & 7 != 5:
            size, at = read_varint(message, at)
        body = message[at:at + size] if key & 7 == 2 else b''
        at += size if key & 7 != 0 else 0
        if not path and key == field[0]:
            continue
        if path and key == path[0] << 3 | 2:
            body = with_field(body, path[1:], field)
            out += varint(key) + varint(len(body)) + body
        else:
            out += message[start:at]
    return out if path else out + field


def change_image(stage, name, path, field):
    """Sets a field of the first message of an image: magic numbers (the inventory has one), its size, the message."""
    start = 4 if name == 'inventory.img' else 8
    name = os.path.join(stage.images, name)
    with open(name, 'rb') as file:
        data = file.read()
    size = int.from_bytes(data[start:start + 4], 'little')
    message = with_field(data[start + 4:start + 4 + size], path, field)
    with open(name, 'wb') as file:
        file.write(data[:start] + len(message).to_bytes(4, 'little') + message + data[start + 4 + size:])


def refused_restore(stage, *words, options=()):
    code, said = stage.run('restore', '-d', *options)
    check(code != 0, f'the restore is not refused: {words}, {options}')
    for word in words:
        check(word in said, f'the refusal does not say "{word}": {errors(said)}')
    check(not os.path.exists(f'/proc/{stage.pid}'), 'a task was made')


def label_of_another_machine(stage):
    """a label whose module is not in force here is refused before a task is made; --lsm-profile chooses"""
    try:
        with open('/proc/self/attr/current', 'rb') as file:
            file.read()
        raise frame.Skipped('this kernel has a security module in force')
    except OSError:
        pass
    label = b'system_u:system_r:some_t:s0'
    selinux, apparmor = 1, 2
    stage.dump_well()
    frame.kill_everything()
    refused_restore(stage, '--lsm-profile', 'AppArmor', 'no security module',
                    options=('--lsm-profile', 'apparmor:some-profile'))
    refused_restore(stage, '--lsm-profile', "'some-profile'", options=('--lsm-profile', 'some-profile'))
    change_image(stage, 'inventory.img', [], bytes([6 << 3, apparmor]))
    stage.restore_well()  # unconfined: as here
    frame.kill_everything()
    change_image(stage, f'core-{stage.pid}.img', [5, 10], bytes([15 << 3 | 2, len(label)]) + label)
    refused_restore(stage, 'AppArmor', f"'{label.decode()}'", '--lsm-profile none:')
    change_image(stage, 'inventory.img', [], bytes([6 << 3, selinux]))
    refused_restore(stage, 'SELinux', f"'{label.decode()}'", '--lsm-profile none:')
    change_image(stage, f'core-{stage.pid}.img', [5, 10], bytes([15 << 3 | 2, 3]) + b'a\nb')
    refused_restore(stage, 'a label that is not sane')
    stage.restore_well('--lsm-profile', 'none:')
    stage.content()


SCENARIOS = [
    (label_of_another_machine, 'confined plain', ()),
    (landlock_is_refused, 'confined landlock', ()),
    (landlock_is_refused, 'confined landlock-thread', ()),
    (landlock_is_refused, 'confined landlock-child', ()),
    (landlock_is_refused, 'confined landlock', ('unshare', '-p', '-f', 'setsid')),
    (landlock_is_lost_knowingly, 'confined landlock', ()),
    (landlock_is_lost_knowingly, 'confined landlock-thread', ()),
    *((unshared_is_refused, f'confined {how}', ()) for how in UNSHARED),
    (segments_are_refused, 'confined segments', ()),
    (keys_are_refused, 'confined keys-session', ()),
    (keys_are_refused, 'confined keys-thread', ()),
    (keys_are_refused, 'confined keys-process', ()),
    (session_comes_back, 'confined keys', ()),
    (not_confined, 'confined kcmp', ()),
    (not_confined, 'confined nobody', ()),
]


def main():
    engine = next((engine for label, engine, _, skip in frame.modes({}) if label == 'ours' and not skip), None)
    if not engine:
        frame.say('SKIP: there is no engine')
        return frame.SKIP
    worst = frame.SKIP
    for scenario, program, wrapper in SCENARIOS:
        if sys.argv[1:] and scenario.__name__ not in sys.argv[1:]:
            continue
        top = frame.make_top()
        status = frame.run_apart(lambda: scenario(Stage(top, engine, program, wrapper)), False)
        word = {0: 'PASS', frame.SKIP: 'SKIP'}.get(status, 'FAIL')
        frame.say(f'{word}: {program}: {scenario.__doc__}')
        worst = 1 if word == 'FAIL' or worst == 1 else 0 if word == 'PASS' else worst
        frame.shutil.rmtree(top, ignore_errors=True)
    return worst


if __name__ == '__main__':
    sys.exit(main())
