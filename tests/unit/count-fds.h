/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <dirent.h>
#include <stddef.h>

/* Of a directory, with "." and "..": to be compared with each other. Behind cmocka.h. */
static inline size_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}

static inline size_t count_fds(void)
{
	return count_entries("/proc/self/fd");
}
