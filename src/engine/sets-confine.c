/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/sets-confine.h"

int sets_confine(const struct engine_options *options, const struct set_chain *sc,
		 enum confine_rights set, enum confine_rights parents, const struct log *log,
		 struct failure *f)
{
	_cleanup_free_ struct confine_directory *directories = NULL;
	size_t n = 0;
	char text[128];
	int r;

	if (!options->confine)
		return 0;
	directories = calloc(sc->n + 2, sizeof(*directories));
	if (!directories)
		return fail(f, -ENOMEM, "no memory for a chain of sets");
	directories[n++] = (struct confine_directory){ options->images_dir_fd, set };
	for (size_t i = 0; i < sc->n; i++)
		directories[n++] =
			(struct confine_directory){ sc->levels[i].dir_fd, i == 0 ? set : parents };
	/* Which of them is damaged is to be told later, without /proc. */
	for (size_t i = 0; sc->checks && i < sc->n; i++) {
		r = set_checks_note_name(sc->checks, sc->levels[i].dir_fd, f);
		if (r < 0)
			return r;
	}
	if (options->into_dir_fd >= 0)
		directories[n++] =
			(struct confine_directory){ options->into_dir_fd, CONFINE_WRITE };
	r = confine_to(directories, n, CONFINE_ALL, f);
	if (r < 0)
		return r;
	log_debug(log, "confined to the sets by %s",
		  confine_layers_to_string((unsigned)r, text, sizeof(text)));
	return 0;
}
