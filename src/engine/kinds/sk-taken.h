/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * sk-taken - is what a socket is to be bound to free? The preflight hooks of inet and unix sockets
 *
 * Asks sock_diag(7) and the file system; binds and connects nothing, so that no other program can notice. Sockets of the tree
 * that will have ended count as free (preflight.h). Where only the other socket's options could tell (SO_REUSEPORT), the
 * answer is yes, and the restore has the last word.
 */

#include "engine/kinds/kind.h"

int inet_preflight(struct restore *rs, struct file *file) _must_check_;
int unix_preflight(struct restore *rs, struct file *file) _must_check_;
