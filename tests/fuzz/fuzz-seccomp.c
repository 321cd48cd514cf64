/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * seccomp filters: the target chooses them. Whatever they hold, the machine ends, reads nothing but the call, and says the same
 * twice; together they are never milder than each alone.
 */
#include "fuzz.h"

#include <string.h>

#include "engine/control/seccomp-eval.h"

void fuzz_one(const uint8_t *data, size_t size)
{
	struct seccomp_program programs[2];
	struct seccomp_data call = { 0 };
	struct sock_filter *code;
	uint32_t all;
	size_t n;

	if (size < sizeof(call))
		return;
	memcpy(&call, data, sizeof(call));
	n = (size - sizeof(call)) / sizeof(*code);
	code = calloc(n ? n : 1, sizeof(*code));
	HOLD(code);
	memcpy(code, data + sizeof(call), n * sizeof(*code));
	programs[0] = (struct seccomp_program){ code, n / 2 };
	programs[1] = (struct seccomp_program){ code + n / 2, n - n / 2 };
	all = seccomp_eval(programs, 2, &call);
	HOLD(all == seccomp_eval(programs, 2, &call));
	for (size_t i = 0; i < 2; i++) {
		uint32_t one = seccomp_eval_one(&programs[i], &call);

		HOLD((int32_t)(all & SECCOMP_RET_ACTION_FULL) <= (int32_t)(one & SECCOMP_RET_ACTION_FULL));
		HOLD(seccomp_spares(one) || !seccomp_allows(one));
	}
	(void)seccomp_eval_strict(&call);
	free(code);
}
