/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests of the RPC, from packet to options. */
#include "fuzz.h"

#include <stdlib.h>

#include "engine/rpc-options.h"

void fuzz_one(const uint8_t *data, size_t size)
{
	struct failure failure = {};
	struct face_options o;
	CriuReq *req;
	int r;

	req = criu_req__unpack(NULL, size, data);
	if (!req)
		return;
	if (req->opts) {
		free(req->opts->config_file); /* no file of this machine */
		req->opts->config_file = NULL;
		face_options_init(&o);
		r = rpc_options_fill(&o, req->opts, ACTION_RESTORE, 4711, &failure);
		if ((r < 0) != (failure.error < 0) || r > 0 || (r < 0 && !failure.text[0]))
			abort();
		if (r == 0 && !o.images_dir)
			abort();
		face_options_done(&o);
	}
	criu_req__free_unpacked(req, NULL);
}
