/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/region-hashes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "basic/sys.h"

enum { BIG = 2 * HASH_REGION_BYTES + 100 };

struct made {
	uint8_t big[BIG];
	void *data;
	size_t size;
};

/* A file of two regions and a bit, an empty one, and a small one; added in no order. */
static int make(void **state)
{
	_cleanup_(region_hashes_done) struct region_hashes h = {};
	struct made *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	for (size_t i = 0; i < sizeof(m->big); i++)
		m->big[i] = (uint8_t)(i * 7 + i / 4096);
	assert_int_equal(region_hashes_add(&h, "pages-1.img"), 0);
	for (size_t at = 0; at < BIG; at += HASH_REGION_BYTES)
		assert_int_equal(region_hashes_append(&h, m->big + at, MIN(BIG - at, (size_t)HASH_REGION_BYTES)), 0);
	assert_int_equal(region_hashes_add(&h, "pages-2.img"), 0);
	assert_int_equal(region_hashes_add(&h, "core-1.img"), 0);
	assert_int_equal(region_hashes_append(&h, "core", 4), 0);
	assert_int_equal(region_hashes_add(&h, "a/b"), -EINVAL);
	assert_int_equal(region_hashes_add(&h, ""), -EINVAL);
	assert_int_equal(region_hashes_format(&h, NULL, &m->data, &m->size), 0);
	*state = m;
	return 0;
}

static int unmake(void **state)
{
	struct made *m = *state;

	free(m->data);
	free(m);
	return 0;
}

static void what_was_listed_is_found_and_holds(void **state)
{
	struct made *m = *state;
	_cleanup_(region_hashes_done) struct region_hashes h = {};
	const struct hashed_file *hf;

	assert_int_equal(region_hashes_parse(m->data, m->size, NULL, &h), 0);
	assert_int_equal(h.n, 3);
	hf = region_hashes_find(&h, "pages-1.img");
	assert_true(hf && hf->size == BIG && region_count(hf->size) == 3);
	assert_int_equal(hashed_file_region_bytes(hf, 2), 100);
	assert_int_equal(hashed_file_region_bytes(hf, 3), 0);
	for (size_t i = 0; i < 3; i++)
		assert_true(hashed_file_holds(hf, i, m->big + i * HASH_REGION_BYTES, hashed_file_region_bytes(hf, i)));
	assert_false(hashed_file_holds(hf, 1, m->big, HASH_REGION_BYTES));
	assert_false(hashed_file_holds(hf, 2, m->big + 2 * HASH_REGION_BYTES, 99));
	assert_false(hashed_file_holds(hf, 3, m->big, 0));
	hf = region_hashes_find(&h, "pages-2.img");
	assert_true(hf && hf->size == 0);
	assert_false(hashed_file_holds(hf, 0, "", 0));
	assert_null(region_hashes_find(&h, "core-2.img"));
}

static void a_flipped_bit_of_a_region_is_found(void **state)
{
	struct made *m = *state;
	_cleanup_(region_hashes_done) struct region_hashes h = {};
	const struct hashed_file *hf;

	assert_int_equal(region_hashes_parse(m->data, m->size, NULL, &h), 0);
	hf = region_hashes_find(&h, "pages-1.img");
	assert_non_null(hf);
	for (size_t bit = 0; bit < 8 * (size_t)HASH_REGION_BYTES; bit += 32771) {
		m->big[bit / 8] ^= 1 << bit % 8;
		assert_false(hashed_file_holds(hf, 0, m->big, HASH_REGION_BYTES));
		m->big[bit / 8] ^= 1 << bit % 8;
	}
}

static void a_list_has_one_form(void **state)
{
	struct made *m = *state;
	_cleanup_(region_hashes_done) struct region_hashes h = {};
	_cleanup_free_ void *again = NULL;
	size_t size;

	assert_int_equal(region_hashes_parse(m->data, m->size, NULL, &h), 0);
	assert_int_equal(region_hashes_format(&h, NULL, &again, &size), 0);
	assert_int_equal(size, m->size);
	assert_memory_equal(again, m->data, size);
}

static void a_list_cut_anywhere_or_with_a_flipped_bit_is_refused(void **state)
{
	struct made *m = *state;
	uint8_t *data = m->data;

	for (size_t cut = 0; cut < m->size; cut++) {
		_cleanup_(region_hashes_done) struct region_hashes h = {};
		struct failure f = {};

		assert_int_equal(region_hashes_parse(data, cut, &f, &h), -EBADMSG);
		assert_true(f.text[0]);
	}
	for (size_t bit = 0; bit < m->size * 8; bit++) {
		_cleanup_(region_hashes_done) struct region_hashes h = {};

		data[bit / 8] ^= 1 << bit % 8;
		assert_int_equal(region_hashes_parse(data, m->size, NULL, &h), -EBADMSG);
		data[bit / 8] ^= 1 << bit % 8;
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_listed_is_found_and_holds),
		TEST(a_flipped_bit_of_a_region_is_found),
		TEST(a_list_has_one_form),
		TEST(a_list_cut_anywhere_or_with_a_flipped_bit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
