/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One SEQPACKET socket pair, one child, one request. Packets are whole protobuf messages without a length.
 *
 * posix_spawn(3) and not fork(2), because a daemon with much memory must not copy its page tables for every
 * snapshot. Descriptors for the child are first moved above every number the child will use, so that the order
 * of the dup2s does not matter.
 *
 * What the engine sends is input from outside: packets are bounded, unpacked by the schema, and copied.
 */
#include "basic/criu-client.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>

#include "basic/fdpass.h"
#include "basic/sys.h"
#include "rpc.pb-c.h"

enum {
	PACKET_MAX = 1 << 20,
	CLEAN_UP_MSEC = 2000, /* an engine that has answered has only that left to do */
	KILL_MSEC = 1000,
	CHILD_SOCKET = 3,
	CHILD_FIRST_INHERITED = 4,
	INHERIT_FDS_MAX = 256,
	MOVED_FDS_FROM = CHILD_FIRST_INHERITED + INHERIT_FDS_MAX,
};

extern char **environ;

struct criu_client {
	int fd;
	pid_t pid;
	CriuReqType type; /* of the request: an answer must be of the same */
	bool answered;	  /* the result is here: the engine is about to end by itself */
};

static const CriuReqType request_types[] = {
	[CRIU_REQUEST_VERSION] = CRIU_REQ_TYPE__VERSION,
	[CRIU_REQUEST_FEATURE_CHECK] = CRIU_REQ_TYPE__FEATURE_CHECK,
	[CRIU_REQUEST_CHECK] = CRIU_REQ_TYPE__CHECK,
	[CRIU_REQUEST_DUMP] = CRIU_REQ_TYPE__DUMP,
	[CRIU_REQUEST_RESTORE] = CRIU_REQ_TYPE__RESTORE,
	[CRIU_REQUEST_MERGE] = CRIU_REQ_TYPE__SNAPMGR_MERGE,
	[CRIU_REQUEST_VERIFY] = CRIU_REQ_TYPE__SNAPMGR_VERIFY,
	[CRIU_REQUEST_PREFLIGHT] = CRIU_REQ_TYPE__SNAPMGR_PREFLIGHT,
};

/* Children of the spawn: descriptors numbered out of each other's way. */
struct child_fds {
	int socket;
	int null;
	int error;
	int inherited[INHERIT_FDS_MAX];
	size_t n_inherited;
};

static void child_fds_done(struct child_fds *fds)
{
	fds->socket = close_fd(fds->socket);
	fds->null = close_fd(fds->null);
	fds->error = close_fd(fds->error);
	for (size_t i = 0; i < fds->n_inherited; i++)
		close_fd(fds->inherited[i]);
	fds->n_inherited = 0;
}

static int move_up(int fd)
{
	return SYS_CALL(fcntl(fd, F_DUPFD_CLOEXEC, MOVED_FDS_FROM));
}

static int child_fds_init(struct child_fds *fds, const struct criu_request *request, int socket_fd,
			  int stderr_fd)
{
	_cleanup_close_ int null = -EBADF;

	*fds = (struct child_fds){ .socket = -EBADF, .null = -EBADF, .error = -EBADF };

	fds->socket = move_up(socket_fd);
	if (fds->socket < 0)
		return fds->socket;
	null = sys_open("/dev/null", O_RDWR, 0);
	if (null < 0)
		return null;
	fds->null = move_up(null);
	if (fds->null < 0)
		return fds->null;
	fds->error = move_up(stderr_fd >= 0 ? stderr_fd : STDERR_FILENO);
	if (fds->error == -EBADF) /* we have none ourselves */
		fds->error = move_up(null);
	if (fds->error < 0)
		return fds->error;
	for (size_t i = 0; i < request->n_inherit_fds; i++) {
		int fd = move_up(request->inherit_fds[i].fd);

		if (fd < 0)
			return fd;
		fds->inherited[fds->n_inherited++] = fd;
	}
	return 0;
}

/* posix_spawn functions return positive errnos. */
static int add_dup2s(posix_spawn_file_actions_t *actions, const struct child_fds *fds)
{
	int r;

	r = posix_spawn_file_actions_adddup2(actions, fds->null, STDIN_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(actions, fds->null, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(actions, fds->error, STDERR_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(actions, fds->socket, CHILD_SOCKET);
	for (size_t i = 0; r == 0 && i < fds->n_inherited; i++)
		r = posix_spawn_file_actions_adddup2(actions, fds->inherited[i],
						     CHILD_FIRST_INHERITED + (int)i);
	return -r;
}

static int set_attributes(posix_spawnattr_t *attr, bool new_session)
{
	short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
	sigset_t all, none;
	int r;

	(void)sigfillset(&all);
	(void)sigemptyset(&none);
	r = posix_spawnattr_setsigdefault(attr, &all);
	if (r == 0)
		r = posix_spawnattr_setsigmask(attr, &none);
	if (r == 0)
		r = posix_spawnattr_setflags(attr, flags | (new_session ? POSIX_SPAWN_SETSID : 0));
	return -r;
}

static int spawn(const char *engine, const struct child_fds *fds, bool new_session, pid_t *ret)
{
	char socket_arg[] = { '0' + CHILD_SOCKET, '\0' };
	char action_arg[] = "swrk";
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	_cleanup_free_ char *name = strdup(engine);
	char *argv[] = { name, action_arg, socket_arg, NULL };
	pid_t pid;
	int r;

	if (!name)
		return -ENOMEM;
	r = -posix_spawn_file_actions_init(&actions);
	if (r < 0)
		return r;
	r = -posix_spawnattr_init(&attr);
	if (r < 0) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return r;
	}
	r = add_dup2s(&actions, fds);
	if (r == 0)
		r = set_attributes(&attr, new_session);
	if (r == 0)
		r = sys_fault();
	if (r == 0)
		r = -posix_spawnp(&pid, engine, &actions, &attr, argv, environ);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (r == 0)
		*ret = pid;
	return r;
}

/* protobuf-c has non-const strings everywhere; packing does not write to them. */
static char *borrow(const char *text)
{
	return (char *)(uintptr_t)text;
}

#define SEND_TRUE(msg, field, value)                                                               \
	do {                                                                                       \
		if (value)                                                                         \
			(msg)->has_##field = (msg)->field = true;                                  \
	} while (0)

static void fill_switches(CriuOpts *o, const struct criu_request *q)
{
	SEND_TRUE(o, notify_scripts, q->notify);
	SEND_TRUE(o, leave_running, q->leave_running);
	SEND_TRUE(o, leave_stopped, q->leave_stopped);
	SEND_TRUE(o, shell_job, q->shell_job);
	SEND_TRUE(o, tcp_established, q->tcp_established);
	SEND_TRUE(o, tcp_close, q->tcp_close);
	SEND_TRUE(o, tcp_skip_in_flight, q->skip_in_flight);
	SEND_TRUE(o, ext_unix_sk, q->ext_unix_sk);
	SEND_TRUE(o, file_locks, q->file_locks);
	SEND_TRUE(o, link_remap, q->link_remap);
	SEND_TRUE(o, evasive_devices, q->evasive_devices);
	SEND_TRUE(o, track_mem, q->track_mem);
	SEND_TRUE(o, rst_sibling, q->restore_sibling);
	SEND_TRUE(o, snapmgr_new_pid_ns, q->new_pid_ns);
	SEND_TRUE(o, snapmgr_files_as_dumped, q->files_as_dumped);
}

static void fill_values(CriuOpts *o, const struct criu_request *q)
{
	o->has_images_dir_fd =
		true; /* a stock criu refuses options without it, whatever the request */
	o->images_dir_fd = q->images_dir_fd >= 0 ? q->images_dir_fd : -1;
	if (q->work_dir_fd >= 0) {
		o->has_work_dir_fd = true;
		o->work_dir_fd = q->work_dir_fd;
	}
	if (q->into_dir_fd >= 0) {
		o->has_snapmgr_into_dir_fd = true;
		o->snapmgr_into_dir_fd = q->into_dir_fd;
	}
	if (q->log_level > 0) {
		o->has_log_level = true;
		o->log_level = q->log_level;
	}
	if (q->pid > 0) {
		o->has_pid = true;
		o->pid = q->pid;
	}
	if (q->timeout_sec > 0) {
		o->has_timeout = true;
		o->timeout = q->timeout_sec;
	}
	if (q->ghost_limit_bytes > 0) {
		o->has_ghost_limit = true;
		o->ghost_limit = q->ghost_limit_bytes;
	}
	if (q->snapshot != CRIU_SNAPSHOT_DEFAULT) {
		o->has_snapmgr_snapshot = o->has_snapmgr_pre_dumps = true;
		o->snapmgr_snapshot = q->snapshot - CRIU_SNAPSHOT_STOP_COPY;
		o->snapmgr_pre_dumps = q->pre_dumps;
	}
	if (q->max_frozen_usec > 0) {
		o->has_snapmgr_max_frozen_usec = true;
		o->snapmgr_max_frozen_usec = q->max_frozen_usec;
	}
	o->n_snapmgr_allow = q->n_allow;
	o->snapmgr_allow = (char **)(uintptr_t)q->allow;
	o->log_file = borrow(q->log_file);
	o->parent_img = borrow(q->parent_image);
	o->root = borrow(q->root);
	o->freeze_cgroup = borrow(q->freeze_cgroup);
	o->n_external = q->n_external;
	o->external = (char **)(uintptr_t)q->external;
	_Static_assert(sizeof(pid_t) == sizeof(int32_t), "pids as the message has them");
	o->n_snapmgr_file_rules = q->n_file_rules;
	o->snapmgr_file_rules = (char **)(uintptr_t)q->file_rules;
	o->n_snapmgr_free_pids = q->n_free_pids;
	o->snapmgr_free_pids = (int32_t *)(uintptr_t)q->free_pids;
}

static int send_message(int fd, const CriuReq *req)
{
	size_t size = criu_req__get_packed_size(req);
	_cleanup_free_ uint8_t *packet = NULL;
	ssize_t n;

	if (size > PACKET_MAX)
		return -EMSGSIZE;
	packet = malloc(size);
	if (!packet)
		return -ENOMEM;
	(void)criu_req__pack(req, packet);
	n = SYS_CALL(send(fd, packet, size, MSG_NOSIGNAL));
	return n < 0 ? n : 0;
}

static bool needs_images(enum criu_request_type type)
{
	return type == CRIU_REQUEST_DUMP || type == CRIU_REQUEST_RESTORE || type == CRIU_REQUEST_MERGE ||
	       type == CRIU_REQUEST_VERIFY || type == CRIU_REQUEST_PREFLIGHT;
}

static int send_request(int fd, const struct criu_request *q)
{
	CriuOpts opts = CRIU_OPTS__INIT;
	CriuReq req = CRIU_REQ__INIT;
	CriuFeatures features = CRIU_FEATURES__INIT;
	_cleanup_free_ InheritFd *inherit = NULL;
	_cleanup_free_ InheritFd **inherit_ptrs = NULL;

	req.type = request_types[q->type];
	if (q->type == CRIU_REQUEST_FEATURE_CHECK) {
		SEND_TRUE(&features, mem_track, q->features.mem_track);
		SEND_TRUE(&features, lazy_pages, q->features.lazy_pages);
		SEND_TRUE(&features, pidfd_store, q->features.pidfd_store);
		req.features = &features;
	}
	if (!needs_images(q->type) && q->pid <= 0)
		return send_message(fd, &req);

	fill_switches(&opts, q);
	fill_values(&opts, q);
	if (q->n_inherit_fds > 0) {
		inherit = calloc(q->n_inherit_fds, sizeof(*inherit));
		inherit_ptrs = calloc(q->n_inherit_fds, sizeof(*inherit_ptrs));
		if (!inherit || !inherit_ptrs)
			return -ENOMEM;
		for (size_t i = 0; i < q->n_inherit_fds; i++) {
			inherit_fd__init(&inherit[i]);
			inherit[i].key = borrow(q->inherit_fds[i].key);
			inherit[i].fd = CHILD_FIRST_INHERITED + (int)i;
			inherit_ptrs[i] = &inherit[i];
		}
		opts.n_inherit_fd = q->n_inherit_fds;
		opts.inherit_fd = inherit_ptrs;
	}
	req.opts = &opts;
	return send_message(fd, &req);
}

int criu_client_start(const char *engine, const struct criu_request *request, int stderr_fd,
		      struct criu_client **ret, struct failure *failure)
{
	_cleanup_(criu_client_freep) struct criu_client *client = NULL;
	_cleanup_(child_fds_done) struct child_fds child = { .socket = -EBADF,
							     .null = -EBADF,
							     .error = -EBADF };
	_cleanup_close_ int theirs = -EBADF;
	int pair[2], r;

	assert(engine);
	assert(request);
	assert(ret);

	if (needs_images(request->type) && request->images_dir_fd < 0)
		return fail(failure, -EINVAL, "no image directory given to '%s'", engine);
	if (request->type == CRIU_REQUEST_MERGE && request->into_dir_fd < 0)
		return fail(failure, -EINVAL, "no directory to merge into given to '%s'", engine);
	if (request->type == CRIU_REQUEST_DUMP && request->pid <= 0)
		return fail(failure, -EINVAL, "no process given to '%s'", engine);
	if (request->n_inherit_fds > INHERIT_FDS_MAX)
		return fail(failure, -E2BIG, "more than %d descriptors to inherit",
			    INHERIT_FDS_MAX);

	client = calloc(1, sizeof(*client));
	if (!client)
		return fail(failure, -ENOMEM, "cannot start '%s'", engine);
	client->fd = -EBADF;
	client->type = request_types[request->type];

	r = sys_socketpair(SOCK_SEQPACKET, pair);
	if (r < 0)
		return fail(failure, r, "cannot make a socket pair for '%s'", engine);
	client->fd = pair[0];
	theirs = pair[1];

	r = child_fds_init(&child, request, theirs, stderr_fd);
	if (r < 0)
		return fail(failure, r, "cannot prepare the descriptors of '%s'", engine);
	r = spawn(engine, &child, request->new_session, &client->pid);
	if (r < 0)
		return fail(failure, r, "cannot start '%s'", engine);

	r = send_request(client->fd, request);
	if (r < 0)
		return fail(failure, r, "cannot send a request to '%s'", engine);

	*ret = TAKE_PTR(client);
	return 0;
}

int criu_client_fd(const struct criu_client *client)
{
	return client->fd;
}

pid_t criu_client_pid(const struct criu_client *client)
{
	return client->pid;
}

void criu_answer_done(struct criu_answer *answer)
{
	free(answer->hook);
	free(answer->text);
	free(answer->damaged_set);
	free(answer->stats.snapshot);
	free(answer->stats.full_reason);
	free(answer->stats.fallback);
	for (size_t i = 0; i < answer->n_obstacles; i++) {
		free(answer->obstacles[i].code);
		free(answer->obstacles[i].object);
		free(answer->obstacles[i].sentence);
	}
	free(answer->obstacles);
	close_fd(answer->fd);
	*answer = (struct criu_answer)CRIU_ANSWER_INIT;
}

static int receive_packet(int fd, uint8_t **ret, size_t *ret_size, int *ret_fd)
{
	_cleanup_free_ uint8_t *packet = NULL;
	_cleanup_close_ int passed = -EBADF;
	ssize_t n;

	n = SYS_CALL(recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT));
	if (n == -ECONNRESET)
		return -EPIPE;
	if (n < 0)
		return n;
	if (n > PACKET_MAX)
		return -EMSGSIZE;

	packet = malloc(n + 1);
	if (!packet)
		return -ENOMEM;
	n = fdpass_receive(fd, packet, n + 1, MSG_DONTWAIT, &passed);
	if (n < 0)
		return n == -ECONNRESET ? -EPIPE : n;
	if (n == 0)
		return -EPIPE;
	*ret_fd = TAKE_FD(passed);
	*ret = TAKE_PTR(packet);
	*ret_size = n;
	return 0;
}

static int copy_text(const char *text, char **ret)
{
	if (!text)
		return 0;
	*ret = strdup(text);
	return *ret ? 0 : -ENOMEM;
}

static int take_stats(const SnapmgrStats *s, struct criu_answer *a)
{
	int r;

	a->has_stats = true;
	a->stats = (struct criu_stats){
		.freezing_usec = s->freezing_usec,
		.frozen_usec = s->frozen_usec,
		.total_usec = s->total_usec,
		.bytes_written = s->bytes_written,
		.pages_written = s->pages_written,
		.n_tasks = s->n_tasks,
		.n_threads = s->n_threads,
		.pages_scanned = s->pages_scanned,
		.pages_skipped_parent = s->pages_skipped_parent,
		.pages_parent = s->pages_parent,
		.pages_own = s->pages_own,
		.forecast_usec = s->forecast_usec,
		.pre_dump_rounds = s->pre_dump_rounds,
		.pre_dump_pages = s->pre_dump_pages,
	};
	r = copy_text(s->snapshot, &a->stats.snapshot);
	if (r == 0)
		r = copy_text(s->full_reason, &a->stats.full_reason);
	return r < 0 ? r : copy_text(s->fallback, &a->stats.fallback);
}

static int take_obstacles(const CriuResp *resp, struct criu_answer *a)
{
	if (resp->n_snapmgr_obstacles == 0)
		return 0;
	a->obstacles = calloc(resp->n_snapmgr_obstacles, sizeof(*a->obstacles));
	if (!a->obstacles)
		return -ENOMEM;
	for (size_t i = 0; i < resp->n_snapmgr_obstacles; i++) {
		const SnapmgrObstacle *from = resp->snapmgr_obstacles[i];
		struct criu_obstacle *to = &a->obstacles[a->n_obstacles++];

		to->code = strdup(from->code);
		to->object = strndup((const char *)from->object.data, from->object.len);
		to->sentence = strndup((const char *)from->sentence.data, from->sentence.len);
		if (!to->code || !to->object || !to->sentence)
			return -ENOMEM;
	}
	a->n_obstacles_left_out = resp->snapmgr_obstacles_left_out;
	return 0;
}

static int take_result(const CriuResp *resp, struct criu_answer *a)
{
	const char *text = NULL;
	int r;

	a->kind = CRIU_ANSWER_RESULT;
	a->success = resp->success;
	if (!resp->success) {
		a->error = resp->has_cr_errno && resp->cr_errno > 0 ? -resp->cr_errno : -EIO;
		if (resp->snapmgr_failure && resp->snapmgr_failure[0])
			text = resp->snapmgr_failure;
		else if (resp->cr_errmsg && resp->cr_errmsg[0])
			text = resp->cr_errmsg;
		else
			text = strerror(-a->error);
		r = copy_text(text, &a->text);
		if (r < 0)
			return r;
		r = copy_text(resp->snapmgr_damaged_set, &a->damaged_set);
		if (r < 0)
			return r;
		/* What a criu copies from its log is a line. */
		a->text[strcspn(a->text, "\n")] = '\0';
	}
	if (resp->restore && resp->restore->pid > 0)
		a->pid = resp->restore->pid;
	if (resp->dump)
		a->restored = resp->dump->restored;
	if (resp->snapmgr_stats) {
		r = take_stats(resp->snapmgr_stats, a);
		if (r < 0)
			return r;
	}
	r = take_obstacles(resp, a);
	if (r < 0)
		return r;
	if (resp->features) {
		a->features.mem_track = resp->features->mem_track;
		a->features.lazy_pages = resp->features->lazy_pages;
		a->features.pidfd_store = resp->features->pidfd_store;
	}
	if (resp->version) {
		a->version[0] = resp->version->major_number;
		a->version[1] = resp->version->minor_number;
		a->version[2] = resp->version->sublevel;
	}
	return 0;
}

static int take_notify(const CriuResp *resp, struct criu_answer *a)
{
	a->kind = CRIU_ANSWER_NOTIFY;
	if (!resp->notify || !resp->notify->script)
		return -EBADMSG;
	if (resp->notify->has_pid && resp->notify->pid > 0)
		a->pid = resp->notify->pid;
	if (resp->snapmgr_stats) {
		int r = take_stats(resp->snapmgr_stats, a);

		if (r < 0)
			return r;
	}
	return copy_text(resp->notify->script, &a->hook);
}

int criu_client_receive(struct criu_client *client, struct criu_answer *ret,
			struct failure *failure)
{
	_cleanup_(criu_answer_done) struct criu_answer answer = CRIU_ANSWER_INIT;
	_cleanup_free_ uint8_t *packet = NULL;
	CriuResp *resp;
	size_t size = 0;
	int r;

	assert(client);
	assert(ret);

	r = receive_packet(client->fd, &packet, &size, &answer.fd);
	if (r == -EAGAIN)
		return r;
	if (r == -EPIPE)
		return fail(failure, r, "the engine ended without an answer");
	if (r < 0)
		return fail(failure, r, "cannot receive from the engine");

	resp = criu_resp__unpack(NULL, size, packet);
	if (!resp)
		return fail(failure, -EBADMSG, "the engine sent no CRIU answer (%zu bytes)", size);
	if (resp->type == CRIU_REQ_TYPE__NOTIFY)
		r = take_notify(resp, &answer);
	else if (resp->type == client->type || !resp->success)
		r = take_result(resp, &answer);
	else
		r = -EBADMSG;
	criu_resp__free_unpacked(resp, NULL);
	if (r < 0)
		return fail(failure, r, "cannot use the engine's answer");
	client->answered = answer.kind == CRIU_ANSWER_RESULT;

	*ret = answer;
	answer = (struct criu_answer)CRIU_ANSWER_INIT;
	return 0;
}

int criu_client_answer_notify(struct criu_client *client, bool success)
{
	CriuReq req = CRIU_REQ__INIT;

	req.type = CRIU_REQ_TYPE__NOTIFY;
	req.has_notify_success = true;
	req.notify_success = success;
	return send_message(client->fd, &req);
}

int criu_client_run(const char *engine, const struct criu_request *request, int stderr_fd,
		    struct criu_answer *ret, struct failure *failure)
{
	_cleanup_(criu_client_freep) struct criu_client *client = NULL;
	int r;

	r = criu_client_start(engine, request, stderr_fd, &client, failure);
	if (r < 0)
		return r;
	for (;;) {
		_cleanup_(criu_answer_done) struct criu_answer answer = CRIU_ANSWER_INIT;
		struct pollfd p = { .fd = client->fd, .events = POLLIN };

		r = SYS_CALL(poll(&p, 1, -1));
		if (r < 0)
			return fail(failure, r, "cannot wait for the engine");
		r = criu_client_receive(client, &answer, failure);
		if (r == -EAGAIN)
			continue;
		if (r < 0)
			return r;
		if (answer.kind == CRIU_ANSWER_RESULT) {
			*ret = answer;
			answer = (struct criu_answer)CRIU_ANSWER_INIT;
			return 0;
		}
		r = criu_client_answer_notify(client, true);
		if (r < 0)
			return fail(failure, r, "cannot answer the engine");
	}
}

void criu_client_hang_up(struct criu_client *client)
{
	client->fd = close_fd(client->fd);
}

struct criu_client *criu_client_leave(struct criu_client *client)
{
	if (!client)
		return NULL;
	criu_client_hang_up(client);
	free(client);
	return NULL;
}

struct criu_client *criu_client_free(struct criu_client *client)
{
	if (!client)
		return NULL;
	criu_client_hang_up(client);
	if (client->pid > 0) {
		if (!client->answered || !sys_child_ends(client->pid, CLEAN_UP_MSEC))
			(void)kill(client->pid, SIGKILL);
		(void)sys_child_ends(client->pid, KILL_MSEC);
		(void)SYS_CALL(waitpid(client->pid, NULL, WNOHANG));
	}
	return criu_client_leave(client);
}
