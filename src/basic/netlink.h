/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * netlink - ask the kernel one question by netlink
 *
 * Errors     0 or -errno; what the kernel answered is passed on as it is.
 */

#include <stddef.h>
#include <stdint.h>

#include "basic/cleanup.h"

/* One answer: the payload behind its header. A negative return ends the query and is returned from it. */
typedef int netlink_row_fn(void *userdata, const void *payload, size_t size);

/*
 * netlink_query() - send one request and hand out all answers
 * @protocol:	NETLINK_SOCK_DIAG, ...
 * @flags:	NLM_F_DUMP for a list, 0 for one object; NLM_F_REQUEST is added
 * @request:	what goes behind the header
 */
int netlink_query(int protocol, int type, int flags, const void *request, size_t size,
		  netlink_row_fn *row, void *userdata) _must_check_;
