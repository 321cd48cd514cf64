/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "basic/failure.h"
#include "basic/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#undef fail

#define assert_escapes(bytes, expected)                                                            \
	do {                                                                                       \
		char buf_[256];                                                                    \
		size_t n_ = text_escape(bytes, sizeof(bytes) - 1, buf_, sizeof(buf_));             \
                                                                                                   \
		assert_string_equal(buf_, expected);                                               \
		assert_int_equal(n_, strlen(expected));                                            \
		assert_true(text_is_safe(buf_));                                                   \
	} while (0)

static void keeps_characters_that_only_show_themselves(void **state)
{
	(void)state;
	assert_escapes("", "");
	assert_escapes("task 4711: fd 12 'a\\b\"'", "task 4711: fd 12 'a\\b\"'");
	assert_escapes("größe \xd0\xb6 \xe6\x97\xa5 \xf0\x9f\x90\xa7",
		       "größe \xd0\xb6 \xe6\x97\xa5 \xf0\x9f\x90\xa7");
	assert_escapes("\xe2\x80\x8d", "\xe2\x80\x8d"); /* a joiner */
}

static void escapes_control_characters(void **state)
{
	(void)state;
	assert_escapes("a\033]0;OWNED\007b\nsnapmgrd: forged\tx\x7f",
		       "a\\x1b]0;OWNED\\x07b\\x0asnapmgrd: forged\\x09x\\x7f");
	assert_escapes("a\0b", "a\\x00b");
	assert_escapes("\xc2\x9b", "\\xc2\\x9b"); /* C1: a terminal's escape in one character */
	assert_escapes("\xe2\x80\xae", "\\xe2\\x80\\xae");   /* right to left */
	assert_escapes("\xe2\x81\xa7x", "\\xe2\\x81\\xa7x"); /* an isolate */
	assert_escapes("\xd8\x9c", "\\xd8\\x9c");	     /* the mark of Arabic letters */
	assert_escapes("\xe2\x80\xa8\xe2\x80\xa9",
		       "\\xe2\\x80\\xa8\\xe2\\x80\\xa9");  /* separators */
	assert_escapes("\xef\xbb\xbf", "\\xef\\xbb\\xbf"); /* shows nothing */
}

static void escapes_bytes_that_are_no_characters(void **state)
{
	(void)state;
	assert_escapes("pr\xff", "pr\\xff");
	assert_escapes("\x80\xbf", "\\x80\\xbf");
	assert_escapes("\xc0\xaf", "\\xc0\\xaf");		    /* "/" in too long a form */
	assert_escapes("\xe0\x80\x8a", "\\xe0\\x80\\x8a");	    /* newline, the same */
	assert_escapes("\xed\xa0\x80", "\\xed\\xa0\\x80");	    /* a surrogate */
	assert_escapes("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* beyond the last */
	assert_escapes("\xe6\x97", "\\xe6\\x97");		    /* cut off */
	assert_escapes("\xe6\x97z\xc3", "\\xe6\\x97z\\xc3");
	assert_escapes("\xef\xbf\xbf", "\\xef\\xbf\\xbf"); /* a noncharacter */
}

static void cuts_before_a_character_that_does_not_fit(void **state)
{
	char buf[6];

	(void)state;
	assert_int_equal(text_escape("abcdef", 6, buf, sizeof(buf)), 5);
	assert_string_equal(buf, "abcde");
	assert_int_equal(text_escape("abcd\xc3\xa4", 6, buf, sizeof(buf)), 4);
	assert_string_equal(buf, "abcd");
	assert_int_equal(text_escape("ab\n", 3, buf, sizeof(buf)), 2);
	assert_string_equal(buf, "ab");
	assert_int_equal(text_escape("\xc2\x9b", 2, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
	assert_int_equal(text_escape("x", 1, buf, 1), 0);
	assert_string_equal(buf, "");
}

static void counts_whole_characters(void **state)
{
	(void)state;
	assert_int_equal(text_whole_characters("", 0), 0);
	assert_int_equal(text_whole_characters("ab", 2), 2);
	assert_int_equal(text_whole_characters("a\xc3\xa4", 3), 3);
	assert_int_equal(text_whole_characters("a\xc3", 2), 1);
	assert_int_equal(text_whole_characters("a\xf0\x9f\x90", 4), 1);
	assert_int_equal(text_whole_characters("\xf0\x9f\x90\xa7", 4), 4);
	assert_int_equal(text_whole_characters("\x80\x80\x80\x80", 4), 4);
}

static void a_print_that_is_cut_ends_in_a_whole_character(void **state)
{
	char long_text[TEXT_FORMAT_MAX + 8], buf[2 * TEXT_FORMAT_MAX];
	size_t n;

	(void)state;
	memset(long_text, 'x', sizeof(long_text));
	memcpy(long_text + TEXT_FORMAT_MAX - 2, "\xe6\x97\xa5", 4);
	n = text_format(buf, sizeof(buf), "%s", long_text);
	assert_int_equal(n, TEXT_FORMAT_MAX - 2);
	assert_int_equal(buf[n - 1], 'x');
}

static void the_copy_is_as_long_as_it_needs_to_be(void **state)
{
	_cleanup_free_ char *plain = text_escape_dup("a b", 3),
			    *odd = text_escape_dup("\xff\n", 100);
	_cleanup_free_ char *cut = text_escape_dup("\xff\n", 7);

	(void)state;
	assert_string_equal(plain, "a b");
	assert_string_equal(odd, "\\xff\\x0a");
	assert_string_equal(cut, "\\xff");
	assert_false(text_is_safe("\xff"));
	assert_false(text_is_safe("a\n"));
}

static void a_failure_holds_no_control_characters_of_its_arguments(void **state)
{
	struct failure f = {};

	(void)state;
	{
		FAILURE_SCOPE(&f, "task 1 (%s)", "\033[2J\xff");

		assert_int_equal(fail(&f, -ENOENT, "fd 3: '%s'", "a\nsnapmgrd: forged"), -ENOENT);
	}
	assert_string_equal(f.text, "task 1 (\\x1b[2J\\xff): fd 3: 'a\\x0asnapmgrd: forged': "
				    "No such file or directory");
}

static void a_failure_of_somebody_else_is_made_safe_too(void **state)
{
	struct failure f = {};

	(void)state;
	assert_int_equal(failure_take(&f, -EIO, "an engine says\nsnapmgrd: \xff"), -EIO);
	assert_string_equal(f.text, "an engine says\\x0asnapmgrd: \\xff");
}

static void a_long_failure_keeps_its_last_word(void **state)
{
	char name[3000];
	struct failure f = {};

	(void)state;
	memset(name, '\n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	{
		FAILURE_SCOPE(&f, "%s", name);

		assert_int_equal(fail(&f, -ENOSPC, "%s", name), -ENOSPC);
	}
	assert_true(text_is_safe(f.text));
	assert_non_null(strstr(f.text, ": No space left on device"));
}

/* Two ends of one connection, so that there is a bus to make messages for. */
static sd_bus *make_bus(int fds[2])
{
	sd_bus *bus = NULL;
	sd_id128_t id;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_true(sd_bus_new(&bus) >= 0 && sd_id128_randomize(&id) >= 0);
	assert_true(sd_bus_set_fd(bus, fds[0], fds[0]) >= 0);
	assert_true(sd_bus_set_server(bus, 1, id) >= 0 && sd_bus_start(bus) >= 0);
	return bus;
}

static size_t encode(uint32_t c, char *buf)
{
	if (c < 0x80) {
		buf[0] = c;
		return 1;
	}
	if (c < 0x800) {
		buf[0] = 0xc0 | c >> 6;
		buf[1] = 0x80 | (c & 0x3f);
		return 2;
	}
	if (c < 0x10000) {
		buf[0] = 0xe0 | c >> 12;
		buf[1] = 0x80 | (c >> 6 & 0x3f);
		buf[2] = 0x80 | (c & 0x3f);
		return 3;
	}
	buf[0] = 0xf0 | c >> 18;
	buf[1] = 0x80 | (c >> 12 & 0x3f);
	buf[2] = 0x80 | (c >> 6 & 0x3f);
	buf[3] = 0x80 | (c & 0x3f);
	return 4;
}

static void the_bus_takes_every_character_that_is_safe(void **state)
{
	enum { PIECE = 0x400, LAST = 0x10ffff };
	_cleanup_free_ char *bytes = malloc(4 * PIECE), *text = malloc(16 * PIECE + 1);
	sd_bus_message *m = NULL;
	int fds[2];
	sd_bus *bus = make_bus(fds);

	(void)state;
	for (uint32_t first = 0; first <= LAST; first += PIECE) {
		size_t n = 0;

		for (uint32_t c = first; c < first + PIECE; c++)
			n += encode(c, bytes + n);
		(void)text_escape(bytes, n, text, 16 * PIECE + 1);
		assert_true(sd_bus_message_new_signal(bus, &m, "/a", "a.b", "c") >= 0);
		assert_true(sd_bus_message_append(m, "s", text) >= 0);
		m = sd_bus_message_unref(m);
	}
	sd_bus_close_unref(bus);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_characters_that_only_show_themselves),
		cmocka_unit_test(escapes_control_characters),
		cmocka_unit_test(escapes_bytes_that_are_no_characters),
		cmocka_unit_test(cuts_before_a_character_that_does_not_fit),
		cmocka_unit_test(counts_whole_characters),
		cmocka_unit_test(a_print_that_is_cut_ends_in_a_whole_character),
		cmocka_unit_test(the_copy_is_as_long_as_it_needs_to_be),
		cmocka_unit_test(a_failure_holds_no_control_characters_of_its_arguments),
		cmocka_unit_test(a_failure_of_somebody_else_is_made_safe_too),
		cmocka_unit_test(a_long_failure_keeps_its_last_word),
		cmocka_unit_test(the_bus_takes_every_character_that_is_safe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
