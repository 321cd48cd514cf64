/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config files of the engine. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "engine/face.h"

/* They act at once on descriptors of this process, which are not the parser's. */
static bool acts(const char *text)
{
	return strcasestr(text, "clo") || strcasestr(text, "inh") || strcasestr(text, "debug");
}

void fuzz_one(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = strndup((const char *)data, size);
	struct failure failure = {};
	struct face_options o;
	int r;

	if (!text || acts(text))
		return;
	face_options_init(&o);
	r = face_options_parse_config(&o, text, "fuzz", &failure);

	/* Refused with a reason, or taken; never both. */
	if ((r < 0) != (failure.error < 0) || r > 0 || (r < 0 && !failure.text[0]))
		abort();
	if (r == 0) {
		r = face_options_check(&o, ACTION_DUMP, &failure);
		if ((r < 0) != (failure.error < 0) || o.verbosity < 0 || o.engine.pid < 0)
			abort();
	}
	face_options_done(&o);
}
