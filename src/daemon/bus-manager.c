/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The manager object: its methods, and what they have in common. */
#include "daemon/bus-internal.h"

#include <stdarg.h>
#include <string.h>

#include "basic/text.h"

int bus_error(sd_bus_error *error, const char *name, const char *fmt, ...)
{
	char text[TEXT_FORMAT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)text_vformat(text, sizeof(text), fmt, ap);
	va_end(ap);
	return sd_bus_error_set(error, name, text);
}

int bus_reply_error(sd_bus_message *call, const sd_bus_error *error)
{
	(void)sd_bus_reply_method_error(call, error); /* who asked may be gone */
	return 1;
}

int bus_reply(sd_bus_message *call, sd_bus_message *reply, int r)
{
	_cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

	if (r >= 0 && reply)
		r = sd_bus_send(NULL, reply, NULL);
	if (r >= 0)
		return 1;
	(void)bus_error(&error, BUS_ERROR_FAILED, "the answer cannot be made: %s", strerror(-r));
	return bus_reply_error(call, &error);
}

int bus_fail_as(sd_bus_error *error, const char *name, const struct failure *f)
{
	return bus_error(error, name, "%s", f->text[0] ? f->text : strerror(EIO));
}

/* Answers to a person's slip need no errno after the sentence. */
static void cut_errno(struct failure *f)
{
	const char *text = strerror(-f->error);
	size_t whole = strlen(f->text), tail = strlen(text) + 2;

	if (whole > tail && strcmp(f->text + whole - tail + 2, text) == 0)
		f->text[whole - tail] = '\0';
}

int bus_fail(sd_bus_error *error, const struct failure *failure)
{
	const char *name = NULL;
	struct failure copy = *failure, *f = &copy;

	switch (f->error) {
	case -ENOENT:
		name = BUS_ERROR_NO_GENERATION;
		break;
	case -EBUSY:
	case -EEXIST:
		name = BUS_ERROR_LOCKED;
		break;
	case -EINVAL:
		name = BUS_ERROR_USAGE;
		break;
	default:
		break;
	}
	if (name)
		cut_errno(f);
	return bus_fail_as(error, name ? name : BUS_ERROR_FAILED, f);
}

int bus_find_keeper(struct manager *m, const char *policy, sd_bus_error *error, struct keeper **ret)
{
	*ret = manager_find_keeper(m, policy);
	if (*ret)
		return 0;
	return bus_error(error, BUS_ERROR_NO_POLICY, "no policy '%s' is in force", policy);
}

int bus_read_keeper(sd_bus_message *msg, struct manager *m, sd_bus_error *error, struct keeper **ret)
{
	const char *policy;
	int r = sd_bus_message_read(msg, "s", &policy);

	return r < 0 ? r : bus_find_keeper(m, policy, error, ret);
}

void bus_manager_forget_peer(struct manager *m, sd_bus *bus)
{
	for (size_t i = 0; i < m->n_keepers; i++)
		keeper_foreground_end(m->keepers[i], bus, /* status= */ -1);
}

const sd_bus_vtable bus_manager_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Daemon", "", "a{sv}", bus_method_daemon, 0),
	SD_BUS_METHOD("Status", "s", "aa{sv}", bus_method_status, 0),
	/* Progress signals go to those who asked, and to nobody else */
	SD_BUS_METHOD("Subscribe", "", "", bus_method_subscribe, 0),
	/* sentences about trees and generations that no policy in force keeps, and about those that differ from theirs */
	SD_BUS_METHOD("Reload", "", "as", bus_method_reload, 0),
	/* policy that is not in force, policy that is (one of them may be ""); generations, the root's pid or 0 */
	SD_BUS_METHOD("Adopt", "ss", "tu", bus_method_adopt, 0),
	SD_BUS_METHOD("Doctor", "u", "aa{sv}", bus_method_doctor, 0),
	/* policy or "", states or "", tag or "", newest so many (0: all), the deleted ones too */
	SD_BUS_METHOD("Generations", "ssstb", "aa{sv}", bus_method_generations, 0),
	SD_BUS_METHOD("Generation", "s", "a{sv}", bus_method_generation, 0),
	/* generation; pinned or not -> its number */
	SD_BUS_METHOD("Pin", "sb", "t", bus_method_pin, 0),
	/* GEN or policy or "", failed ones only, newest so many (0: all), with an id above */
	SD_BUS_METHOD("Runs", "sbtt", "aa{sv}", bus_method_runs, 0),
	/* GEN or A..B, only say so; one record each: what was removed, or would be */
	SD_BUS_METHOD("Delete", "sb", "aa{sv}", bus_method_delete, 0),
	/* policy or "", keep so many at last instead (0: as the policy says), only say so; one record each */
	SD_BUS_METHOD("Prune", "sub", "aa{sv}", bus_method_prune, 0),
	/* GEN or policy or "", every byte; one record each */
	SD_BUS_METHOD("Verify", "sb", "aa{sv}", bus_method_verify, 0),
	/* policy, tags, comment, stop, no increment; the generation */
	SD_BUS_METHOD("Create", "sassbb", "t", bus_method_create, 0),
	/* GEN, replace, only say so, no undo, as this policy ("": its own); the generation, the root's pid, what was or would be done */
	SD_BUS_METHOD("Restore", "sbbbs", "tus", bus_method_restore, 0),
	/*
	 * policy, below this generation (0: all); generation to resume from (0: start), why a newer one is not, its directory,
	 * backend's engine, tcp, PID namespace of its own, rules for files; command, user, group, directory, are there groups,
	 * groups, environment
	 */
	SD_BUS_METHOD("ForegroundBegin", "st", "tssssbasassssbasas", bus_method_foreground_begin, 0),
	SD_BUS_METHOD("ForegroundStarted", "sut", "", bus_method_foreground_started, 0),
	/* policy, generation that could not be restored, why; the tree is not the caller's to keep any more */
	SD_BUS_METHOD("ForegroundFailed", "sts", "", bus_method_foreground_failed, 0),
	/* policy, wait status */
	SD_BUS_METHOD("ForegroundEnded", "si", "", bus_method_foreground_ended, 0),
	SD_BUS_SIGNAL("Progress", "ss", 0),
	SD_BUS_VTABLE_END,
};
