/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * glob - patterns over paths
 *
 * Component by component: *, ? and [...] as in fnmatch(3), none of which matches a slash; a component that is ** matches any number
 * of components, none among them. Pure; takes time in proportion to the product of both lengths at most.
 */

#include <stdbool.h>

#include "basic/cleanup.h"

bool glob_match_path(const char *pattern, const char *path) _pure_;
