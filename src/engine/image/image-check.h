/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* image-check - is an image of the form that its kind has, from its first byte to its last? */

#include "engine/image/image.h"

/*
 * image_check() - read an image through
 *
 * Pagemaps and pages are not looked at: memory/pagewalk.h does. What records mean is for those who restore them.
 *
 * Return: 0, or -errno with fail() (-EBADMSG: damaged).
 */
int image_check(const struct image_set *set, enum image_id id, uint64_t key, struct failure *f) _must_check_;
