/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Its old name, for branches that have it still. */
#include "basic/dir.h"
