/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * waits-keeper - the process that keeps the notes of waits.h between two commands
 *
 * It is this program, executed anew (`waits-keeper`, for nobody else), so that it holds no memory of a dump. When the time of a call is over
 * that was put back, it stops that one thread for a moment and ends the call. It goes when the next command takes the notes over, when the
 * tree ends, or when nothing is left to wait for. Killed, it harms nobody: calls that were put back last their whole time.
 */
#include "engine/waits.h"

/* What is known of the tree of @root, if a keeper of it is there; that one ends. */
void waits_keeper_take(pid_t root, uint64_t start_time, struct waits *ret);
/* Starts one. Nothing is started where nothing is to be kept. */
int waits_keeper_start(pid_t root, uint64_t start_time, const struct waits *waits) _must_check_;

#define WAITS_KEEPER_NAME "snapmgr-waits" /* its comm: whoever freezes the tree waits for it */

/* Its main function. @argv: "waits-keeper" ROOT; standard input is its socket, standard output a file of the notes. */
int waits_keeper_main(int argc, char *argv[]);
