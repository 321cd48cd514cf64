/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Transparent huge pages switched off for a process (PR_SET_THP_DISABLE), in the parent but not in
 * the child.
 */
#include <sys/prctl.h>

#include "live.h"

static void child_body(void *arg)
{
	(void)arg;
	live_need(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0, "PR_SET_THP_DISABLE off");
	live_child_ready();
	live_wait_term();
	live_same("THP disabled in the child", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 0);
}

int main(void)
{
	pid_t child;

	live_start();
	live_need(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0, "PR_SET_THP_DISABLE");
	child = live_fork(child_body, NULL);
	live_wait();
	live_same("THP disabled", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
	live_join(child);
	return live_end();
}
