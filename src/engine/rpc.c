/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The RPC face: "swrk FD", CRIU's protocol on an inherited SEQPACKET socket. One protobuf message per packet; the
 * client sends criu_req, we send criu_resp. One request per connection, unless keep_open asks for more where that
 * is allowed; and a PRE_DUMP is followed by another or by the DUMP that ends it, or the client goes.
 *
 *	request -> options: default config files, fields, config_file
 *	        -> face_open() -> the operation, with a NOTIFY exchange at its hooks -> response
 *
 * Descriptors in a request are the client's and opened through /proc/CLIENT/fd, except those of inherit_fd, which are
 * ours. What is wrong with the options is answered with EBADRQC, as clients expect.
 *
 * Exit status: 0 done, 1 the operation failed, 255 no request that could be answered.
 */
#include <string.h>

#include "basic/sys.h"
#include "engine/cpuinfo.h"
#include "engine/face.h"
#include "engine/rpc-options.h"
#include "rpc.pb-c.h"

enum {
	REQUEST_BYTES_MAX = 1 << 20,
	EXIT_NO_REQUEST = 255,
};

/* One request being served, and the parts of its response. */
struct rpc {
	int fd;
	pid_t peer;
	const CriuReq *req;
	struct face_options options;
	struct face face;
	struct failure failure;
	bool options_wrong; /* the failure is one of the options */

	CriuResp resp;
	CriuVersion version;
	CriuFeatures features;
	CriuDumpResp dump;
	CriuRestoreResp restore;
	SnapmgrStats stats;
	char damaged_set[ENGINE_SET_PATH_MAX];
	struct obstacles obstacles;
	const struct engine_stats *counted; /* of the dump under way; NULL: none */
};

struct request_row {
	CriuReqType type;
	const char *name;
	bool may_keep_open;
	/* 0 or -errno, with fail(). NULL: not ours yet. */
	int (*serve)(struct rpc *rpc);
};

/* Return: 0, -EPIPE when the client has gone, -EBADMSG, or another -errno. */
static int receive_request(int fd, CriuReq **ret)
{
	_cleanup_free_ uint8_t *packet = NULL;
	CriuReq *req;
	ssize_t n;

	n = SYS_CALL(recv(fd, NULL, 0, MSG_PEEK | MSG_TRUNC));
	if (n < 0)
		return n;
	if (n > REQUEST_BYTES_MAX)
		return -EMSGSIZE;
	packet = malloc(n + 1);
	if (!packet)
		return -ENOMEM;
	n = SYS_CALL(recv(fd, packet, n + 1, 0));
	if (n < 0)
		return n;
	if (n == 0)
		return -EPIPE;
	req = criu_req__unpack(NULL, n, packet);
	if (!req)
		return -EBADMSG;
	*ret = req;
	return 0;
}

static int send_response(int fd, const CriuResp *resp)
{
	size_t size = criu_resp__get_packed_size(resp);
	_cleanup_free_ uint8_t *packet = malloc(size);
	ssize_t n;

	if (!packet)
		return -ENOMEM;
	(void)criu_resp__pack(resp, packet);
	n = SYS_CALL(send(fd, packet, size, MSG_NOSIGNAL));
	return n < 0 ? n : 0;
}

static void fill_stats(SnapmgrStats *to, const struct engine_stats *s)
{
	*to = (SnapmgrStats)SNAPMGR_STATS__INIT;
#define PUT(name, from) to->has_##name = true, to->name = s->from
	PUT(freezing_usec, freezing_usec);
	PUT(frozen_usec, frozen_usec);
	PUT(total_usec, total_usec);
	PUT(bytes_written, bytes_written);
	PUT(pages_written, pages_written);
	PUT(n_tasks, n_tasks);
	PUT(n_threads, n_threads);
	PUT(pages_scanned, pages_scanned);
	PUT(pages_skipped_parent, pages_skipped_parent);
	PUT(pages_parent, pages_parent);
	PUT(pages_own, pages_own);
	PUT(shpages_scanned, shpages_scanned);
	PUT(shpages_skipped_parent, shpages_skipped_parent);
	PUT(shpages_written, shpages_written);
	PUT(forecast_usec, forecast_usec);
	PUT(pre_dump_rounds, pre_dump_rounds);
	PUT(pre_dump_pages, pre_dump_pages);
	PUT(pages_untracked, pages_untracked);
#undef PUT
	to->snapshot = (char *)(uintptr_t)s->snapshot;
	to->full_reason = (char *)(uintptr_t)s->full_reason;
	to->untracked_reason = (char *)(uintptr_t)s->untracked_reason;
	to->fallback = (char *)(uintptr_t)s->fallback;
}

static int send_notify(const struct rpc *rpc, const char *hook, pid_t pid)
{
	SnapmgrStats stats;
	_cleanup_free_ char *script = strdup(hook);
	CriuNotify notify = CRIU_NOTIFY__INIT;
	CriuResp resp = CRIU_RESP__INIT;

	if (!script)
		return -ENOMEM;
	notify.script = script;
	/* The others have none in CRIU's protocol. */
	notify.has_pid = pid > 0 && (strcmp(hook, "post-restore") == 0 ||
				     strcmp(hook, "setup-namespaces") == 0);
	notify.pid = pid;
	resp.type = CRIU_REQ_TYPE__NOTIFY;
	resp.success = true;
	resp.notify = &notify;
	/* A client that seals the set before it lets the tree end wants to know how it was made. */
	if (rpc->counted && strcmp(hook, "post-dump") == 0) {
		fill_stats(&stats, rpc->counted);
		resp.snapmgr_stats = &stats;
	}
	return send_response(rpc->fd, &resp);
}

/* The client's word on a hook; it may name more external resources. */
static int receive_notify_answer(const struct rpc *rpc, struct strv *answer)
{
	CriuReq *req;
	int r;

	r = receive_request(rpc->fd, &req);
	if (r < 0)
		return r;
	if (req->type != CRIU_REQ_TYPE__NOTIFY)
		r = -EBADMSG;
	else if (!req->has_notify_success || !req->notify_success)
		r = -ECANCELED;
	if (r == 0 && answer && req->opts)
		for (size_t i = 0; i < req->opts->n_external && r == 0; i++)
			r = strv_push(answer, req->opts->external[i]);
	criu_req__free_unpacked(req, NULL);
	return r;
}

static int notify_client(void *userdata, const char *hook, pid_t pid, struct strv *answer)
{
	struct rpc *rpc = userdata;
	struct failure aside = {};
	int r;

	if (rpc->req->opts->notify_scripts) {
		r = send_notify(rpc, hook, pid);
		if (r == 0)
			r = receive_notify_answer(rpc, answer);
		if (r < 0) {
			log_warn(&rpc->face.log, "the client did not agree to %s: %s", hook,
				 strerror(-r));
			return r;
		}
	}
	r = face_run_scripts(&rpc->face, hook, pid > 0 ? pid : rpc->options.engine.pid, &aside);
	if (r < 0)
		log_warn(&rpc->face.log, "%s", aside.text);
	return r;
}

/* Options of the request, directories, log. */
/* Has it no log but one that it is given? */
static bool is_silent(const struct rpc *rpc, enum face_action action)
{
	return (action & ACTIONS_ON_SETS) || (action == ACTION_CHECK && !rpc->req->opts->log_file);
}

static int open_face(struct rpc *rpc, enum face_action action)
{
	int r;

	if (!rpc->req->opts)
		r = fail(&rpc->failure, -EINVAL, "the request has no options");
	else
		r = face_options_read_default_configs(&rpc->options, /* served= */ true,
						      &rpc->failure);
	if (r == 0)
		r = rpc_options_fill(&rpc->options, rpc->req->opts, action, rpc->peer,
				     &rpc->failure);
	if (r == 0)
		r = face_open(&rpc->face, &rpc->options, is_silent(rpc, action) ? NULL : "criu.log", &rpc->failure);
	if (r < 0) {
		rpc->options_wrong = true;
		return r;
	}
	rpc->face.context.notify = notify_client;
	rpc->face.context.userdata = rpc;
	return 0;
}

static int serve_version(struct rpc *rpc)
{
	/* No gitid: clients count a minor more for builds between releases. */
	rpc->version = (CriuVersion)CRIU_VERSION__INIT;
	rpc->version.major_number = ENGINE_CRIU_MAJOR;
	rpc->version.minor_number = ENGINE_CRIU_MINOR;
	rpc->resp.version = &rpc->version;
	return 0;
}

/* What the engine can together with this kernel. Who asks for lazy pages wants to dump with them: that is not ours. */
static int serve_feature_check(struct rpc *rpc)
{
	const CriuFeatures *asked = rpc->req->features;
	CriuFeatures *f = &rpc->features;

	if (!asked)
		return fail(&rpc->failure, -EINVAL, "the request asks for no features");
	*f = (CriuFeatures)CRIU_FEATURES__INIT;
	f->has_mem_track = f->has_lazy_pages = f->has_pidfd_store = true;
	f->mem_track = asked->mem_track && engine_check_feature("mem_dirty_track") == 1;
	f->pidfd_store = asked->pidfd_store && engine_check_feature("pidfd_store") == 1;
	rpc->resp.features = f;
	return 0;
}

/* Only a log file, or a tree to be looked at, makes a check look at directories. */
static int serve_check(struct rpc *rpc)
{
	const CriuOpts *o = rpc->req->opts;
	int r;

	if (o && ((o->log_file && !o->log_to_stderr) || o->has_pid)) {
		r = open_face(rpc, ACTION_CHECK);
		if (r < 0)
			return r;
	}
	r = engine_check(&rpc->face.context, &rpc->failure);
	/* Ours: CRIU takes no notice of a pid here. */
	if (r == 0 && o && o->has_pid)
		r = engine_check_tree(&rpc->options.engine, &rpc->face.context, &rpc->failure);
	return r;
}

static int serve_cpuinfo_dump(struct rpc *rpc)
{
	int r = open_face(rpc, ACTION_CPUINFO_DUMP);

	return r < 0 ? r : cpuinfo_dump(rpc->options.engine.images_dir_fd, &rpc->failure);
}

static int serve_cpuinfo_check(struct rpc *rpc)
{
	int r = open_face(rpc, ACTION_CPUINFO_CHECK);

	return r < 0 ? r
		     : cpuinfo_check(rpc->options.engine.images_dir_fd, rpc->options.cpu_cap,
				     &rpc->failure);
}

static void put_stats(struct rpc *rpc, const struct engine_stats *s)
{
	fill_stats(&rpc->stats, s);
	rpc->resp.snapmgr_stats = &rpc->stats;
}

/* Return: @r. */
static int put_damage(struct rpc *rpc, const struct engine_stats *s, int r)
{
	if (r < 0 && s->damaged_set[0]) {
		memcpy(rpc->damaged_set, s->damaged_set, sizeof(rpc->damaged_set));
		rpc->resp.snapmgr_damaged_set = rpc->damaged_set;
	}
	return r;
}

static int serve_dump(struct rpc *rpc)
{
	struct engine_stats stats = {};
	int r;

	rpc->dump = (CriuDumpResp)CRIU_DUMP_RESP__INIT;
	rpc->dump.has_restored = true;
	rpc->resp.dump = &rpc->dump;
	r = open_face(rpc, ACTION_DUMP);
	if (r < 0)
		return r;
	rpc->counted = &stats;
	r = face_dump(&rpc->face, &stats, &rpc->failure);
	rpc->counted = NULL;
	if (r == 0 || stats.forecast_usec > 0) /* a forecast is the answer where nothing was dumped for it */
		put_stats(rpc, &stats);
	return r;
}

static int serve_pre_dump(struct rpc *rpc)
{
	struct engine_stats stats = {};
	int r;

	r = open_face(rpc, ACTION_PRE_DUMP);
	if (r == 0)
		r = face_pre_dump(&rpc->face, &stats, &rpc->failure);
	if (r == 0)
		put_stats(rpc, &stats);
	return r;
}

static int serve_restore(struct rpc *rpc)
{
	struct engine_stats stats = {};
	pid_t pid;
	int r;

	rpc->restore = (CriuRestoreResp)CRIU_RESTORE_RESP__INIT;
	rpc->restore.pid = -1;
	rpc->resp.restore = &rpc->restore;
	r = open_face(rpc, ACTION_RESTORE);
	if (r < 0)
		return r;
	r = face_restore(&rpc->face, &pid, &stats, &rpc->failure);
	if (r < 0)
		return put_damage(rpc, &stats, r);
	rpc->restore.pid = pid;
	put_stats(rpc, &stats);
	return 0;
}

static int serve_merge(struct rpc *rpc)
{
	struct engine_stats stats = {};
	int r = open_face(rpc, ACTION_MERGE);

	rpc->options.engine.confine = true;
	if (r == 0)
		r = engine_merge(&rpc->options.engine, &rpc->face.context, &stats, &rpc->failure);
	if (r == 0)
		put_stats(rpc, &stats);
	return put_damage(rpc, &stats, r);
}

static int serve_verify(struct rpc *rpc)
{
	struct engine_stats stats = {};
	int r = open_face(rpc, ACTION_VERIFY);

	rpc->options.engine.confine = true;
	if (r == 0)
		r = engine_verify(&rpc->options.engine, &rpc->face.context, &stats, &rpc->failure);
	if (r == 0)
		put_stats(rpc, &stats);
	return put_damage(rpc, &stats, r);
}

/* The response borrows what rpc->obstacles owns. */
static int put_obstacles(struct rpc *rpc)
{
	const struct obstacles *from = &rpc->obstacles;
	CriuResp *resp = &rpc->resp;

	resp->snapmgr_obstacles = calloc(from->n + 1, sizeof(*resp->snapmgr_obstacles));
	if (!resp->snapmgr_obstacles)
		return fail(&rpc->failure, -ENOMEM, "no memory for an answer");
	for (size_t i = 0; i < from->n; i++) {
		const struct obstacle *o = &from->items[i];
		SnapmgrObstacle *to = malloc(sizeof(*to));

		if (!to)
			return fail(&rpc->failure, -ENOMEM, "no memory for an answer");
		snapmgr_obstacle__init(to);
		to->code = (char *)(uintptr_t)obstacle_code_to_string(o->code);
		to->object = (ProtobufCBinaryData){ strlen(o->object), (uint8_t *)o->object };
		to->sentence = (ProtobufCBinaryData){ strlen(o->sentence), (uint8_t *)o->sentence };
		resp->snapmgr_obstacles[resp->n_snapmgr_obstacles++] = to;
	}
	resp->has_snapmgr_obstacles_left_out = from->n_left_out > 0;
	resp->snapmgr_obstacles_left_out = from->n_left_out;
	return 0;
}

static void free_obstacles(struct rpc *rpc)
{
	for (size_t i = 0; i < rpc->resp.n_snapmgr_obstacles; i++)
		free(rpc->resp.snapmgr_obstacles[i]);
	free(rpc->resp.snapmgr_obstacles);
	obstacles_done(&rpc->obstacles);
}

static int serve_preflight(struct rpc *rpc)
{
	int r = open_face(rpc, ACTION_PREFLIGHT);

	if (r == 0)
		r = engine_preflight(&rpc->options.engine, &rpc->face.context, &rpc->obstacles, &rpc->failure);
	return r < 0 ? r : put_obstacles(rpc);
}

static int serve_out_of_order(struct rpc *rpc)
{
	return fail(&rpc->failure, -EINVAL, "a pre-dump is followed by PRE_DUMP or DUMP only");
}

/* What a request gets that may not follow a PRE_DUMP. */
static const struct request_row out_of_order = { CRIU_REQ_TYPE__EMPTY, "EMPTY", false, serve_out_of_order };

static const struct request_row rows[] = {
	{ CRIU_REQ_TYPE__EMPTY, "EMPTY", false, NULL },
	{ CRIU_REQ_TYPE__DUMP, "DUMP", false, serve_dump },
	{ CRIU_REQ_TYPE__RESTORE, "RESTORE", false, serve_restore },
	{ CRIU_REQ_TYPE__CHECK, "CHECK", false, serve_check },
	{ CRIU_REQ_TYPE__PRE_DUMP, "PRE_DUMP", false, serve_pre_dump },
	{ CRIU_REQ_TYPE__SINGLE_PRE_DUMP, "SINGLE_PRE_DUMP", false, serve_pre_dump },
	{ CRIU_REQ_TYPE__PAGE_SERVER, "PAGE_SERVER", true, NULL },
	{ CRIU_REQ_TYPE__PAGE_SERVER_CHLD, "PAGE_SERVER_CHLD", true, NULL },
	{ CRIU_REQ_TYPE__NOTIFY, "NOTIFY", false, NULL },
	{ CRIU_REQ_TYPE__CPUINFO_DUMP, "CPUINFO_DUMP", true, serve_cpuinfo_dump },
	{ CRIU_REQ_TYPE__CPUINFO_CHECK, "CPUINFO_CHECK", true, serve_cpuinfo_check },
	{ CRIU_REQ_TYPE__FEATURE_CHECK, "FEATURE_CHECK", true, serve_feature_check },
	{ CRIU_REQ_TYPE__VERSION, "VERSION", true, serve_version },
	{ CRIU_REQ_TYPE__WAIT_PID, "WAIT_PID", false, NULL },
	{ CRIU_REQ_TYPE__SNAPMGR_VERIFY, "SNAPMGR_VERIFY", false, serve_verify },
	{ CRIU_REQ_TYPE__SNAPMGR_PREFLIGHT, "SNAPMGR_PREFLIGHT", false, serve_preflight },
	{ CRIU_REQ_TYPE__SNAPMGR_MERGE, "SNAPMGR_MERGE", false, serve_merge },
};

static const struct request_row *find_row(CriuReqType type)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].type == type)
			return &rows[i];
	return &rows[0];
}

static void put_failure(struct rpc *rpc)
{
	CriuResp *resp = &rpc->resp;

	log_error(&rpc->face.log, "%s", rpc->failure.text);
	resp->success = false;
	resp->has_cr_errno = true;
	resp->cr_errno = rpc->options_wrong ? EBADRQC : -rpc->failure.error;
	resp->cr_errmsg = resp->snapmgr_failure = rpc->failure.text;
}

/* exec_cmd: the client's command takes our place, as the parent of what was restored. */
static int exec_command(struct rpc *rpc)
{
	const struct strv *cmd = &rpc->options.engine.exec_cmd;
	_cleanup_free_ char **argv = calloc(cmd->n + 1, sizeof(*argv));

	if (!argv)
		return -ENOMEM;
	memcpy(argv, cmd->items, cmd->n * sizeof(*argv));
	if (rpc->face.log_fd >= 0) {
		(void)SYS_CALL(dup2(rpc->face.log_fd, STDOUT_FILENO));
		(void)SYS_CALL(dup2(rpc->face.log_fd, STDERR_FILENO));
	}
	return SYS_CALL(execvp(argv[0], argv));
}

/* Return: exit status. */
static int serve_request(int fd, pid_t peer, const CriuReq *req, const struct request_row *row)
{
	struct rpc rpc = { .fd = fd, .peer = peer, .req = req, .face = FACE_INIT };
	int r;

	rpc.resp = (CriuResp)CRIU_RESP__INIT;
	rpc.resp.type = row->type;
	rpc.resp.success = true;
	face_options_init(&rpc.options);

	if (row->serve)
		r = row->serve(&rpc);
	else
		r = fail(&rpc.failure, -EOPNOTSUPP, "request %s is not supported by this engine",
			 row->name);
	if (r < 0)
		put_failure(&rpc);
	(void)send_response(fd, &rpc.resp); /* a client that has gone knows why */
	if (r == 0 && row->type == CRIU_REQ_TYPE__RESTORE && rpc.options.engine.exec_cmd.n > 0)
		r = exec_command(&rpc);

	free_obstacles(&rpc);
	face_close(&rpc.face);
	face_options_done(&rpc.options);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Return: exit status. *@ret_again: what the connection brings next is served too. @pre_dumped: was the last a PRE_DUMP? */
static int serve_next(int fd, pid_t peer, const CriuReq *req, bool *pre_dumped, bool *ret_again)
{
	const struct request_row *row = find_row(req->type);
	bool keep = req->has_keep_open && req->keep_open;
	int status;

	*ret_again = false;
	if (keep && !row->may_keep_open)
		return EXIT_NO_REQUEST;
	if (*pre_dumped && row->type != CRIU_REQ_TYPE__PRE_DUMP && row->type != CRIU_REQ_TYPE__DUMP)
		row = &out_of_order;
	status = serve_request(fd, peer, req, row);
	*pre_dumped = row->type == CRIU_REQ_TYPE__PRE_DUMP && status == EXIT_SUCCESS;
	*ret_again = *pre_dumped || (keep && row->may_keep_open);
	return status;
}

int engine_rpc_main(int socket_fd)
{
	_cleanup_close_ int cwd = sys_open(".", O_PATH | O_DIRECTORY, 0);
	struct ucred peer;
	socklen_t size = sizeof(peer);
	int status = EXIT_NO_REQUEST;
	bool pre_dumped = false;

	if (SYS_CALL(getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &peer, &size)) < 0)
		return EXIT_NO_REQUEST;
	/* Ours alone, not the restored tree's. */
	(void)SYS_CALL(fcntl(socket_fd, F_SETFD, FD_CLOEXEC));

	for (bool again = true; again;) {
		CriuReq *req;
		int r;

		r = receive_request(socket_fd, &req);
		if (r == -EPIPE)
			return status;
		if (r < 0)
			return EXIT_NO_REQUEST;
		status = serve_next(socket_fd, peer.pid, req, &pre_dumped, &again);
		criu_req__free_unpacked(req, NULL);
		/* One request's work directory is not where the next one's relative paths begin. */
		if (again && (cwd < 0 || SYS_CALL(fchdir(cwd)) < 0))
			return EXIT_NO_REQUEST;
	}
	return status;
}
