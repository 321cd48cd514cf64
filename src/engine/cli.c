/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/engine.h"

int engine_cli_main(int argc, char *argv[])
{
	(void)argc;
	(void)argv;
	return 1;
}
