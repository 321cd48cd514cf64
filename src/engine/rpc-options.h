/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * rpc-options - criu_opts to struct face_options; private to rpc.c and its tests
 */

#include "engine/face.h"
#include "rpc.pb-c.h"

/*
 * rpc_options_fill() - what a request asks for
 * @o:		initialised; the default config files are in it already
 * @msg:	from the client: every field is checked
 * @peer:	the client, whose descriptors the request names
 *
 * The config file of the request comes last and wins. A field that would change the result and cannot be honoured is
 * refused by name, as on the command line.
 *
 * Return: 0 or -errno, with fail().
 */
int rpc_options_fill(struct face_options *o, const CriuOpts *msg, enum face_action action,
		     pid_t peer, struct failure *f) _must_check_;
