/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What surrounds one operation, whichever face asked for it.
 *
 * Order of a face: options -> face_open() (image directory, work directory, chdir, log) -> face_dump() or
 * face_restore() (face-run.c) -> face_close(). The first failure goes to the log as one error line; the caller also
 * tells it to whoever asked.
 */
#include <signal.h>
#include <spawn.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/face.h"

extern char **environ;

static int open_directory(const char *path, const char *what, int *fd, struct failure *f)
{
	int r = sys_open(path, O_RDONLY | O_DIRECTORY, 0);

	if (r < 0)
		return fail(f, r, "cannot open the %s directory %s", what, path);
	close_fd(*fd);
	*fd = r;
	return 0;
}

static int open_log(struct face *face, const struct face_options *o, const char *default_log,
		    struct failure *f)
{
	const char *name = o->log_file;

	if (!name && !o->log_to_stderr)
		name = default_log;
	if (!name) {
		log_init(&face->log, STDERR_FILENO, o->verbosity);
		return 0;
	}
	face->log_fd = sys_openat(o->engine.work_dir_fd, name,
				  O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	if (face->log_fd < 0)
		return fail(f, face->log_fd, "cannot create the log file %s", name);
	log_init(&face->log, face->log_fd, o->verbosity);
	return 0;
}

int face_open(struct face *face, struct face_options *o, const char *default_log, struct failure *f)
{
	struct engine_options *e = &o->engine;
	int r;

	face->options = o;
	r = open_directory(o->images_dir ?: ".", "image", &e->images_dir_fd, f);
	if (r < 0)
		return r;
	if (o->work_dir) {
		r = open_directory(o->work_dir, "work", &e->work_dir_fd, f);
	} else {
		close_fd(e->work_dir_fd);
		e->work_dir_fd = r = sys_dup(e->images_dir_fd);
		if (r < 0)
			(void)fail(f, r, "cannot keep the image directory open");
	}
	if (r >= 0 && o->into_dir)
		r = open_directory(o->into_dir, "new", &e->into_dir_fd, f);
	if (r < 0)
		return r;
	r = SYS_CALL(fchdir(e->work_dir_fd));
	if (r < 0)
		return fail(f, r, "cannot change to the work directory");

	r = open_log(face, o, default_log, f);
	if (r < 0)
		return r;
	face->context.log = &face->log;
	for (size_t i = 0; i < o->left_out.n; i++)
		log_warn(&face->log, "%s", o->left_out.items[i]);
	return 0;
}

void face_close(struct face *face)
{
	face->log_fd = close_fd(face->log_fd);
	face->log.fd = -EBADF;
	face->context.log = NULL;
}

/* The environment plus ours; the strings of ours are owned by @own. */
static int script_environment(const struct face *face, const char *hook, pid_t pid,
			      struct strv *own, char ***ret)
{
	char text[128];
	char **env;
	size_t n = 0, used = 0;
	int r;

	(void)snprintf(text, sizeof(text), "CRTOOLS_SCRIPT_ACTION=%s", hook);
	r = strv_push(own, text);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text), "CRTOOLS_IMAGE_DIR=/proc/%d/fd/%d", getpid(),
		       face->options->engine.images_dir_fd);
	r = strv_push(own, text);
	if (r < 0)
		return r;
	if (pid > 0) {
		(void)snprintf(text, sizeof(text), "CRTOOLS_INIT_PID=%d", pid);
		r = strv_push(own, text);
		if (r < 0)
			return r;
	}

	while (environ[n])
		n++;
	env = calloc(n + own->n + 1, sizeof(*env));
	if (!env)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "CRTOOLS_", 8) != 0)
			env[used++] = environ[i];
	for (size_t i = 0; i < own->n; i++)
		env[used++] = own->items[i];
	*ret = env;
	return 0;
}

/* Return: wait status, or -errno. The script is a command line for the shell, as criu takes it. */
static int run_script(const char *script, char **env, int log_fd)
{
	char shell[] = "/bin/sh", flag[] = "-c";
	_cleanup_free_ char *command = strdup(script);
	char *argv[] = { shell, flag, command, NULL };
	posix_spawn_file_actions_t actions;
	int status, r;
	pid_t pid;

	if (!command)
		return -ENOMEM;
	r = -posix_spawn_file_actions_init(&actions);
	if (r < 0)
		return r;
	r = -posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (r == 0 && log_fd >= 0)
		r = -posix_spawn_file_actions_adddup2(&actions, log_fd, STDOUT_FILENO);
	if (r == 0 && log_fd >= 0)
		r = -posix_spawn_file_actions_adddup2(&actions, log_fd, STDERR_FILENO);
	if (r == 0)
		r = sys_fault();
	if (r == 0)
		r = -posix_spawn(&pid, shell, &actions, NULL, argv, env);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (r < 0)
		return r;
	r = SYS_CALL(waitpid(pid, &status, 0));
	return r < 0 ? r : status;
}

int face_run_scripts(const struct face *face, const char *hook, pid_t pid, struct failure *f)
{
	const struct strv *scripts = &face->options->action_scripts;
	_cleanup_(strv_done) struct strv own = {};
	_cleanup_free_ char **env = NULL;
	int r;

	if (scripts->n == 0)
		return 0;
	r = script_environment(face, hook, pid, &own, &env);
	if (r < 0)
		return fail(f, r, "no memory for the environment of scripts");

	for (size_t i = 0; i < scripts->n; i++) {
		log_debug(&face->log, "running script %s at %s", scripts->items[i], hook);
		r = run_script(scripts->items[i], env, face->log_fd);
		if (r < 0)
			return fail(f, r, "cannot run script %s at %s", scripts->items[i], hook);
		if (r != 0)
			return fail(f, -ECANCELED, "script %s at %s ended with %s %d",
				    scripts->items[i], hook, WIFEXITED(r) ? "status" : "signal",
				    WIFEXITED(r) ? WEXITSTATUS(r) : WTERMSIG(r));
	}
	return 0;
}
