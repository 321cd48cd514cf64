/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapmgr-engine, also under the name criu: one process for one operation. */
#include "basic/sys.h"
#include "engine/engine.h"

int main(int argc, char *argv[])
{
	sys_fault_arm_from_env();
	return engine_cli_main(argc, argv);
}
