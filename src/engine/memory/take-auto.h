/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* take-auto - facts for a forecast, from a tree that runs */

#include "engine/dump.h"
#include "engine/memory/forecast.h"

/* @tracker: of the set that would be the parent; NULL: every page would be stored. copy_rate and can_cow are left 0. 0 or -errno. */
int take_gather(const struct dump_run *run, const struct tracker *tracker, struct forecast_facts *ret) _must_check_;
