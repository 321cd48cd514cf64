/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * catalog-fixture - a store in a temporary directory, for tests of the catalog
 *
 * Everything here asserts: a fixture that fails fails the test.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog/catalog.h"
#include "catalog/generations.h"
#include "catalog/reconcile.h"

/* Behind our headers: it has a macro fail(). */
#include <cmocka.h>

#define FIXTURE_BOOT "3f2a0000-0000-4000-8000-000000000001"
#define FIXTURE_NOW  UINT64_C(1700000000000000)

struct fixture {
	char dir[64];  /* holds the store */
	char path[96]; /* the store */
	struct catalog *c;
	struct failure failure;
};

/* As setup and teardown of a cmocka test; *state is the fixture. The store is open. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

void fixture_open(struct fixture *fx);
void fixture_close(struct fixture *fx);
void fixture_reconcile(struct fixture *fx);

/* Asserts r == 0 and shows the failure when it is not. */
#define assert_ok(fx, expr)                                                                        \
	do {                                                                                       \
		int ok_r_ = (expr);                                                                \
		if (ok_r_ < 0)                                                                     \
			fail_msg("%s: %d: %s", #expr, ok_r_, (fx)->failure.text);                  \
	} while (0)
/* Asserts the errno and a word of the sentence, and clears the failure. */
#define assert_fails(fx, expr, error, word)                                                        \
	do {                                                                                       \
		int fails_r_ = (expr);                                                             \
		if (fails_r_ != (error) || !strstr((fx)->failure.text, (word)))                    \
			fail_msg("%s: %d: '%s'", #expr, fails_r_, (fx)->failure.text);             \
		failure_clear(&(fx)->failure);                                                     \
	} while (0)

/* Paths are below the store. */
void fixture_write(struct fixture *fx, const char *path, const char *text);
bool fixture_exists(struct fixture *fx, const char *path);
void fixture_rename(struct fixture *fx, const char *from, const char *to);

/* What a caller knows before and after a dump. The caller calls generation_done(). */
void fixture_describe(struct generation *g, const char *policy);
/* An image set of a few files, as an engine would leave it. With a link to @parent unless 0. */
int fixture_write_images(int dir_fd, int64_t parent, const char *content);
/* Makes a generation from begin to commit. Return: its number. */
int64_t fixture_generation(struct fixture *fx, const char *policy, int64_t parent);

/* Deletes what is listed. Return: how many of them were good. */
int fixture_delete_all(struct fixture *fx);

enum generation_state fixture_state(struct fixture *fx, int64_t gen);

/*
 * What must hold after reconcile_run(): no partial directory, no row writing or deleting, no run
 * open; every listed row verifies (full) unless damaged; every directory has its row. Return: how
 * many generations are listed.
 */
size_t fixture_check_invariants(struct fixture *fx);
