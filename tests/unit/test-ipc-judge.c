/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/ipc-judge.h"

enum { USER = 1000, OTHER = 1001, GROUP = 50 };

static struct ipc_facts a_segment(void)
{
	return (struct ipc_facts){ .key = 7,
				   .uid = USER,
				   .gid = GROUP,
				   .cuid = USER,
				   .cgid = GROUP,
				   .mode = 0640,
				   .size = 4096,
				   .has_birth = true,
				   .ctime = 100,
				   .cpid = 42 };
}

#define CASE(expected, same_boot, of_tree, ...)                                                    \
	do {                                                                                       \
		struct ipc_facts then = a_segment(), now = a_segment();                            \
		__VA_ARGS__;                                                                       \
		assert_int_equal(ipc_judge(&then, &now, same_boot, of_tree), expected);            \
	} while (0)

static void only_in_the_same_boot_an_id_is_proof(void **state)
{
	(void)state;
	CASE(IPC_THE_SAME, true, false, (void)now);
	CASE(IPC_ANOTHERS, false, false, then.key = now.key = 0);
	CASE(IPC_REMADE, false, true, then.key = now.key = 0);
	CASE(IPC_REMADE, false, false, (void)now); /* it has a key */
	CASE(IPC_REMADE, true, false, now.ctime++);
	CASE(IPC_REMADE, true, false, now.cpid++);
	CASE(IPC_REMADE, true, false, then.has_birth = false);
	CASE(IPC_THE_SAME, true, false,
	     now.mode |= 01000); /* SHM_DEST: removed since, still attached */
}

static void another_creator_owner_key_size_or_mode_is_another_object(void **state)
{
	(void)state;
	CASE(IPC_ANOTHERS, true, true, now.cuid = 0);
	CASE(IPC_ANOTHERS, true, true, now.cgid = 0);
	CASE(IPC_ANOTHERS, true, true, now.uid = 0);
	CASE(IPC_ANOTHERS, true, true, now.gid = 0);
	CASE(IPC_ANOTHERS, true, true, now.key++);
	CASE(IPC_ANOTHERS, true, true, now.size++);
	CASE(IPC_ANOTHERS, true, true, now.mode = 0644);
}

#define GRANTS(expected, want, ...)                                                                \
	do {                                                                                       \
		struct ipc_facts object = a_segment();                                             \
		struct ipc_user user = { .euid = OTHER, .fsgid = 1 };                              \
		__VA_ARGS__;                                                                       \
		assert_int_equal(ipc_grants(&object, &user, want), expected);                      \
	} while (0)

static void access_is_as_the_kernel_has_it(void **state)
{
	static const uint32_t groups[] = { 2, GROUP };

	(void)state;
	GRANTS(true, IPC_READ | IPC_WRITE, user.euid = USER);
	GRANTS(true, IPC_READ | IPC_WRITE, user.euid = 5, object.cuid = 5);
	GRANTS(false, IPC_READ, (void)user);
	GRANTS(true, IPC_READ, user.fsgid = GROUP);
	GRANTS(true, IPC_READ, user.groups = groups, user.n_groups = 2);
	GRANTS(false, IPC_READ | IPC_WRITE, user.fsgid = GROUP);
	GRANTS(true, IPC_READ | IPC_WRITE, user.ipc_owner = true);
	GRANTS(true, IPC_WRITE, object.mode = 0602);
	/* The owner is no "other", root without the capability is nobody. */
	GRANTS(false, IPC_WRITE, user.euid = USER, object.mode = 0066);
	GRANTS(false, IPC_READ, user.euid = 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_in_the_same_boot_an_id_is_proof),
		cmocka_unit_test(another_creator_owner_key_size_or_mode_is_another_object),
		cmocka_unit_test(access_is_as_the_kernel_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
