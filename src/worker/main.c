/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr-engine, also under the name criu: one process for one operation. */
#include <stdio.h>

#include "basic/sys.h"
#include "engine/engine.h"

int main(int argc, char *argv[])
{
	int status;

	sys_fault_arm_from_env();
	status = engine_cli_main(argc, argv);
	if (sys_fault_disarm())
		(void)fputs("the armed fault was met\n", stderr); /* a test counts up until it no more is */
	return status;
}
