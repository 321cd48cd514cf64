/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"
#include "catalog-fixture.h"
#include "basic/dir.h"
#include "basic/region-hashes.h"
#include "catalog/manifest.h"

struct place {
	char path[64];
	int fd;
	struct failure failure;
};

static int place_setup(void **state)
{
	struct place *pl = calloc(1, sizeof(*pl));
	const char *tmp = getenv("TMPDIR");

	assert_non_null(pl);
	(void)snprintf(pl->path, sizeof(pl->path), "%.40s/manifest-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(pl->path));
	pl->fd = sys_open(pl->path, O_RDONLY | O_DIRECTORY, 0);
	assert_true(pl->fd >= 0);
	*state = pl;
	return 0;
}

static int place_teardown(void **state)
{
	struct place *pl = *state;

	pl->fd = close_fd(pl->fd);
	assert_int_equal(dir_remove(AT_FDCWD, pl->path), 0);
	free(pl);
	return 0;
}

static void place_write(struct place *pl, const char *name, const char *text)
{
	assert_int_equal(sys_write_file_at(pl->fd, name, text), 0);
}

/* Two files, a link, facts; written. */
static struct manifest *place_seal(struct place *pl)
{
	struct manifest *m = manifest_new(133, "solver");

	assert_non_null(m);
	m->parent = 132;
	strcpy(m->parent_hash.hex, "0123456789abcdef0123456789abcdef");
	assert_int_equal(manifest_add_fact(m, "exe", "/opt/a b/\xc3\xa4%"), 0);
	place_write(pl, "core-1.img", "core");
	place_write(pl, "pages-1.img", "pages");
	place_write(pl, "dump.log", "log");
	place_write(pl, "snapmgr-tracker", "one");
	assert_int_equal(symlinkat("../132", pl->fd, "parent"), 0);
	assert_ok(pl, manifest_scan(m, pl->fd, &pl->failure));
	assert_ok(pl, manifest_write(m, pl->fd, &pl->failure));
	return m;
}

static int place_verify(struct place *pl, const struct manifest *m, enum manifest_level level)
{
	failure_clear(&pl->failure);
	return manifest_verify(m, pl->fd, level, &pl->failure);
}

static void what_was_written_is_read_back_and_holds(void **state)
{
	struct place *pl = *state;
	_cleanup_(manifest_freep) struct manifest *m = place_seal(pl);
	_cleanup_(manifest_freep) struct manifest *back = NULL;
	struct manifest_hash hash;

	assert_ok(pl, manifest_read(pl->fd, &pl->failure, &back, &hash));
	assert_true(back->gen == 133 && back->parent == 132);
	assert_string_equal(back->policy, "solver");
	assert_string_equal(back->parent_hash.hex, m->parent_hash.hex);
	assert_string_equal(manifest_fact(back, "exe"), "/opt/a b/\xc3\xa4%");
	assert_null(manifest_fact(back, "trigger"));
	assert_int_equal(back->n_entries, 4); /* without the log and itself */
	assert_string_equal(back->entries[0].name, "core-1.img");
	assert_string_equal(back->entries[2].link, "../132");
	assert_string_equal(back->entries[3].name, "snapmgr-hashes");
	assert_true(manifest_bytes(back) == 9 + back->entries[3].size);
	assert_int_equal(strlen(hash.hex), MANIFEST_HASH_LEN);
	assert_int_equal(place_verify(pl, back, MANIFEST_FULL), 0);
}

static void the_hash_is_xxh3_128_as_other_tools_print_it(void **state)
{
	struct place *pl = *state;
	_cleanup_(manifest_freep) struct manifest *m = manifest_new(1, "solver");

	/* printf '' | xxhsum -H2 */
	place_write(pl, "pages-1.img", "");
	assert_ok(pl, manifest_scan(m, pl->fd, &pl->failure));
	assert_string_equal(m->entries[0].hash.hex, "99aa06d3014798d86001c324468d497f");
}

static void every_change_of_a_file_is_noticed_and_named(void **state)
{
	struct place *pl = *state;
	_cleanup_(manifest_freep) struct manifest *m = place_seal(pl);

	place_write(pl, "core-1.img", "cor");
	assert_fails(pl, place_verify(pl, m, MANIFEST_QUICK), -EBADMSG, "core-1.img: 3 bytes");
	place_write(pl, "core-1.img", "Core");
	assert_ok(pl, place_verify(pl, m, MANIFEST_QUICK));
	assert_fails(pl, place_verify(pl, m, MANIFEST_FULL), -EBADMSG, "core-1.img: its content");
	assert_int_equal(sys_unlinkat(pl->fd, "core-1.img", 0), 0);
	assert_fails(pl, place_verify(pl, m, MANIFEST_QUICK), -EBADMSG, "core-1.img: is missing");
	assert_int_equal(symlinkat("pages-1.img", pl->fd, "core-1.img"), 0);
	assert_fails(pl, place_verify(pl, m, MANIFEST_QUICK), -EBADMSG, "not a file");
	assert_int_equal(sys_unlinkat(pl->fd, "core-1.img", 0), 0);
	place_write(pl, "core-1.img", "core");
	assert_ok(pl, place_verify(pl, m, MANIFEST_FULL));

	assert_int_equal(sys_unlinkat(pl->fd, "parent", 0), 0);
	assert_int_equal(symlinkat("../131", pl->fd, "parent"), 0);
	assert_fails(pl, place_verify(pl, m, MANIFEST_QUICK), -EBADMSG, "parent: leads");
}

static void a_strange_image_is_noticed_and_a_strange_log_is_not(void **state)
{
	struct place *pl = *state;
	_cleanup_(manifest_freep) struct manifest *m = place_seal(pl);

	place_write(pl, "restore.log", "tried\n");
	place_write(pl, "snapmgr-tracker", "another one");
	place_write(pl, "stats-restore", "x");
	assert_ok(pl, place_verify(pl, m, MANIFEST_FULL));
	place_write(pl, "core-2.img", "core");
	assert_fails(pl, place_verify(pl, m, MANIFEST_QUICK), -EBADMSG, "core-2.img");
}

static void what_no_image_set_has_is_refused_by_its_name(void **state)
{
	struct place *pl = *state;
	_cleanup_(manifest_freep) struct manifest *m = manifest_new(1, "solver");

	assert_int_equal(sys_mkdirat(pl->fd, "sub", 0700), 0);
	assert_fails(pl, manifest_scan(m, pl->fd, &pl->failure), -EOPNOTSUPP, "sub: a directory");
	assert_int_equal(dir_remove(pl->fd, "sub"), 0);

	assert_int_equal(mkfifoat(pl->fd, "fifo", 0600), 0);
	assert_fails(pl, manifest_scan(m, pl->fd, &pl->failure), -EOPNOTSUPP, "fifo: neither");
	assert_int_equal(dir_remove(pl->fd, "fifo"), 0);

	assert_int_equal(symlinkat("/etc/shadow", pl->fd, "core-1.img"), 0);
	assert_fails(pl, manifest_scan(m, pl->fd, &pl->failure), -EOPNOTSUPP, "symbolic link");
	assert_int_equal(dir_remove(pl->fd, "core-1.img"), 0);

	place_write(pl, "a b", "x");
	assert_fails(pl, manifest_scan(m, pl->fd, &pl->failure), -EOPNOTSUPP, "a b");
}

static void what_was_stored_before_the_freeze_is_part_of_it(void **state)
{
	struct place *pl = *state;
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_close_ int below = -EBADF;

	assert_int_equal(sys_mkdirat(pl->fd, "pre-1", 0755), 0);
	place_write(pl, "pre-1/pages-1.img", "pages");
	assert_int_equal(symlinkat("../../132", pl->fd, "pre-1/parent"), 0);
	m = place_seal(pl);
	assert_string_equal(manifest_link(m, "parent"), "../132");
	assert_string_equal(manifest_link(m, "pre-1/parent"), "../../132");
	assert_ok(pl, place_verify(pl, m, MANIFEST_FULL));

	place_write(pl, "pre-1/core-2.img", "core");
	assert_fails(pl, place_verify(pl, m, MANIFEST_QUICK), -EBADMSG, "pre-1/core-2.img");
	assert_int_equal(sys_unlinkat(pl->fd, "pre-1/core-2.img", 0), 0);
	place_write(pl, "pre-1/pages-1.img", "PAGES");
	assert_ok(pl, place_verify(pl, m, MANIFEST_QUICK));
	assert_fails(pl, place_verify(pl, m, MANIFEST_FULL), -EBADMSG, "pre-1/pages-1.img");

	/* Nothing is read by way of a link in place of the directory. */
	assert_int_equal(sys_renameat(pl->fd, "pre-1", pl->fd, "elsewhere"), 0);
	assert_int_equal(symlinkat("elsewhere", pl->fd, "pre-1"), 0);
	assert_fails(pl, place_verify(pl, m, MANIFEST_QUICK), -EBADMSG, "pre-1");
}

/* As a set that was stored when there were no hashes of regions. */
static void a_manifest_without_hashes_of_regions_is_read(void **state)
{
	struct place *pl = *state;
	_cleanup_(manifest_freep) struct manifest *m = place_seal(pl), *back = NULL;

	m->n_entries--;
	assert_int_equal(sys_unlinkat(pl->fd, "manifest", 0), 0);
	assert_ok(pl, manifest_write(m, pl->fd, &pl->failure));
	assert_ok(pl, manifest_read(pl->fd, &pl->failure, &back, NULL));
	assert_fails(pl, place_verify(pl, back, MANIFEST_QUICK), -EBADMSG, "snapmgr-hashes: was not there");
	assert_int_equal(sys_unlinkat(pl->fd, "snapmgr-hashes", 0), 0);
	assert_ok(pl, place_verify(pl, back, MANIFEST_FULL));
	m->n_entries++; /* freed with the others */
}

/* One for every directory, of what lies in it. */
static void the_regions_of_every_file_are_hashed(void **state)
{
	struct place *pl = *state;
	_cleanup_(region_hashes_done) struct region_hashes top = {}, round = {};
	_cleanup_(manifest_freep) struct manifest *m = manifest_new(1, "solver");
	_cleanup_free_ char *big = calloc(1, HASH_REGION_BYTES + 6);
	const struct hashed_file *hf;

	assert_non_null(big);
	memset(big, 'x', HASH_REGION_BYTES + 5);
	place_write(pl, "pages-1.img", big);
	place_write(pl, "dump.log", "log");
	assert_int_equal(sys_mkdirat(pl->fd, "pre-1", 0755), 0);
	place_write(pl, "pre-1/pages-1.img", "pages");
	assert_ok(pl, manifest_scan(m, pl->fd, &pl->failure));

	assert_ok(pl, region_hashes_read(pl->fd, &pl->failure, &top));
	assert_int_equal(top.n, 1); /* no log, no other directory's files, not itself */
	hf = region_hashes_find(&top, "pages-1.img");
	assert_true(hf && hf->size == HASH_REGION_BYTES + 5);
	assert_true(hashed_file_holds(hf, 0, big, HASH_REGION_BYTES));
	assert_true(hashed_file_holds(hf, 1, big, 5));

	pl->fd = close_fd(pl->fd);
	(void)snprintf(big, HASH_REGION_BYTES, "%s/pre-1", pl->path);
	pl->fd = sys_open(big, O_RDONLY | O_DIRECTORY, 0);
	assert_ok(pl, region_hashes_read(pl->fd, &pl->failure, &round));
	hf = region_hashes_find(&round, "pages-1.img");
	assert_true(hf && hashed_file_holds(hf, 0, "pages", 5));
}

static void a_directory_below_a_directory_is_refused(void **state)
{
	struct place *pl = *state;
	_cleanup_(manifest_freep) struct manifest *m = manifest_new(1, "solver");

	assert_int_equal(sys_mkdirat(pl->fd, "pre-1", 0700), 0);
	assert_int_equal(sys_mkdirat(pl->fd, "pre-1/pre-1", 0700), 0);
	assert_fails(pl, manifest_scan(m, pl->fd, &pl->failure), -EOPNOTSUPP, "a directory");
	for (size_t i = 0; i < 5; i++) {
		static const char *const names[] = { "pre-", "pre-0", "pre-01", "pre-x", "pre-99999" };

		assert_false(manifest_dir_is_valid(names[i]));
	}
	assert_true(manifest_dir_is_valid("pre-17"));
}

static void a_manifest_that_is_a_fifo_or_a_link_does_not_hold_us_up(void **state)
{
	struct place *pl = *state;
	struct manifest *m = NULL;

	assert_fails(pl, manifest_read(pl->fd, &pl->failure, &m, NULL), -ENOENT, "manifest");
	assert_int_equal(mkfifoat(pl->fd, "manifest", 0600), 0);
	assert_fails(pl, manifest_read(pl->fd, &pl->failure, &m, NULL), -EBADMSG, "not a file");
	assert_int_equal(dir_remove(pl->fd, "manifest"), 0);
	assert_int_equal(symlinkat("/dev/zero", pl->fd, "manifest"), 0);
	assert_fails(pl, manifest_read(pl->fd, &pl->failure, &m, NULL), -EBADMSG, "link");
}

/* Parses @body with a right last line, so that only the body can be what is refused. */
static int parse_body(struct place *pl, const char *body, size_t n_entries)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_(manifest_freep) struct manifest *hashed = manifest_new(1, "x");
	char text[20000];
	int r, n;

	/* The hash of the body by way of a file of that content. */
	place_write(pl, "body", body);
	failure_clear(&pl->failure);
	assert_ok(pl, manifest_scan(hashed, pl->fd, &pl->failure));
	n = snprintf(text, sizeof(text), "%send %zu %s\n", body, n_entries,
		     hashed->entries[0].hash.hex);
	assert_true(n > 0 && (size_t)n < sizeof(text));
	r = manifest_parse(text, n, &pl->failure, &m);
	return r;
}

#define HEAD "snapmgr-manifest 1\ngeneration 133\npolicy solver\n"
#define HASH "0123456789abcdef0123456789abcdef"

static void only_the_one_form_of_a_manifest_is_taken(void **state)
{
	struct place *pl = *state;
	static const struct {
		const char *body, *word;
		size_t n;
	} bad[] = {
		{ "snapmgr-manifest 2\n", "not a manifest" },
		{ "snapmgr-manifest 1\ngeneration 0\npolicy a\nparent none\n", "count from 1" },
		{ "snapmgr-manifest 1\ngeneration 01\npolicy a\nparent none\n", "zero in front" },
		{ "snapmgr-manifest 1\ngeneration 1000000000000\npolicy a\n", "too large" },
		{ "snapmgr-manifest 1\ngeneration 99999999999999999999\n", "too large" },
		{ "snapmgr-manifest 1\ngeneration 1\npolicy ../x\n", "name for a policy" },
		{ HEAD "parent 133 " HASH "\n", "too large" },
		{ HEAD "parent 0 " HASH "\n", "count from 1" },
		{ HEAD "parent 132\n", "missing" },
		{ HEAD "parent 132 0123\n", "not a hash" },
		{ HEAD "parent none x\n", "not a number" },
		{ HEAD "parent none\nfile " HASH " 4 ../core\n", "not a name", 1 },
		{ HEAD "parent none\nfile " HASH " 4 .core\n", "not a name", 1 },
		{ HEAD "parent none\nfile " HASH " 4 manifest\n", "not a name", 1 },
		{ HEAD "parent none\nfile " HASH " -4 a\n", "not a number", 1 },
		{ HEAD "parent none\nfile " HASH " 9223372036854775808 a\n", "too large", 1 },
		{ HEAD "parent none\nfile " HASH " 4  a\n", "empty field", 1 },
		{ HEAD "parent none\nfile " HASH " 4 a \n", "too many fields", 1 },
		{ HEAD "parent none\nfile " HASH " 4 b\nfile " HASH " 4 a\n", "in order", 2 },
		{ HEAD "parent none\nfile " HASH " 4 a\nfile " HASH " 4 a\n", "in order", 2 },
		{ HEAD "parent none\nlink ../1 core\n", "not 'parent'", 1 },
		{ HEAD "parent none\nfact exe %41\n", "coded that must not" },
		{ HEAD "parent none\nfact exe %00\n", "coded that must not" },
		{ HEAD "parent none\nfact exe %e4\n", "two hex digits" },
		{ HEAD "parent none\nfact exe %E\n", "two hex digits" },
		{ HEAD "parent none\nfact exe a\nfact exe b\n", "twice" },
		{ HEAD "parent none\nfact EXE a\n", "not well formed" },
		{ HEAD "parent none\nfact exe a\tb\n", "does not belong" },
		{ HEAD "parent none\nfile " HASH " 4 a\n", "number of entries", 2 },
		{ HEAD "parent none\nfile " HASH " 4 a\nfact exe a\n", "after the entries", 1 },
		{ HEAD "parent none\nfoo\n", "another line" },
	};

	assert_ok(pl, parse_body(pl, HEAD "parent none\nfact exe %20\nfile " HASH " 4 a\n", 1));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_fails(pl, parse_body(pl, bad[i].body, bad[i].n), -EBADMSG, bad[i].word);
}

static void a_manifest_cut_anywhere_or_with_a_flipped_bit_is_refused(void **state)
{
	struct place *pl = *state;
	_cleanup_(manifest_freep) struct manifest *m = place_seal(pl);
	_cleanup_free_ char *text = NULL, *longer = NULL;
	struct manifest *back = NULL;
	size_t size;

	assert_ok(pl, manifest_format(m, &pl->failure, &text, &size));
	longer = malloc(size + 1);
	assert_non_null(longer);
	memcpy(longer, text, size);
	longer[size] = '\n';
	assert_fails(pl, manifest_parse(longer, size + 1, &pl->failure, &back), -EBADMSG,
		     "behind the end");
	for (size_t cut = 0; cut < size; cut++) {
		assert_int_equal(manifest_parse(text, cut, &pl->failure, &back), -EBADMSG);
		failure_clear(&pl->failure);
	}
	for (size_t bit = 0; bit < size * 8; bit++) {
		text[bit / 8] ^= 1 << bit % 8;
		if (manifest_parse(text, size, &pl->failure, &back) != -EBADMSG)
			fail_msg("bit %zu of byte %zu", bit % 8, bit / 8);
		failure_clear(&pl->failure);
		text[bit / 8] ^= 1 << bit % 8;
	}
	assert_ok(pl, manifest_parse(text, size, &pl->failure, &back));
	manifest_free(back);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, place_setup, place_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_was_written_is_read_back_and_holds),
		TEST(the_hash_is_xxh3_128_as_other_tools_print_it),
		TEST(every_change_of_a_file_is_noticed_and_named),
		TEST(a_strange_image_is_noticed_and_a_strange_log_is_not),
		TEST(what_no_image_set_has_is_refused_by_its_name),
		TEST(what_was_stored_before_the_freeze_is_part_of_it),
		TEST(a_manifest_without_hashes_of_regions_is_read),
		TEST(the_regions_of_every_file_are_hashed),
		TEST(a_directory_below_a_directory_is_refused),
		TEST(a_manifest_that_is_a_fifo_or_a_link_does_not_hold_us_up),
		TEST(only_the_one_form_of_a_manifest_is_taken),
		TEST(a_manifest_cut_anywhere_or_with_a_flipped_bit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
