/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/bus.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/bus-names.h"
#include "basic/sys.h"
#include "daemon/manager.h"

enum { PEERS_MAX = 256 };

struct peer {
	sd_bus *bus;
	sd_bus_slot *disconnected;
	bool subscribed; /* to Progress */
};

struct bus_server {
	struct manager *m;
	int listen_fd;
	sd_event_source *listen_source;
	char *path;
	struct peer peers[PEERS_MAX];
	size_t n_peers;
	sd_bus *system; /* NULL: none */
	sd_bus_track *subscribers; /* names on the system bus */
};

static void drop_peer(struct bus_server *s, size_t i)
{
	bus_manager_forget_peer(s->m, s->peers[i].bus);
	sd_bus_slot_unref(s->peers[i].disconnected);
	sd_bus_close_unref(s->peers[i].bus);
	s->peers[i] = s->peers[--s->n_peers];
	s->peers[s->n_peers] = (struct peer){};
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct bus_server *s = userdata;

	for (size_t i = 0; i < s->n_peers; i++)
		if (s->peers[i].bus == sd_bus_message_get_bus(m)) {
			drop_peer(s, i);
			break;
		}
	return 0;
}

static bool peer_may_enter(int fd)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);

	return SYS_CALL(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size)) == 0 &&
	       (cred.uid == 0 || cred.uid == geteuid());
}

/* @fd: taken over. When it fails, @ret is as it was. */
static int make_peer(struct bus_server *s, int fd, struct peer *ret)
{
	_cleanup_(sd_bus_slot_unrefp) sd_bus_slot *disconnected = NULL;
	_cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
	_cleanup_close_ int ours = fd;
	sd_id128_t id;
	int r;

	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_id128_randomize(&id);
	if (r >= 0)
		r = sd_bus_set_fd(bus, fd, fd);
	if (r < 0)
		return r;
	TAKE_FD(ours); /* the bus's from here on */
	r = sd_bus_set_server(bus, 1, id);
	if (r >= 0)
		r = sd_bus_set_trusted(bus, 1); /* it was looked at when it came in */
	if (r >= 0)
		r = sd_bus_set_close_on_exit(bus, 0);
	if (r >= 0)
		r = sd_bus_add_object_vtable(bus, NULL, BUS_PATH_MANAGER, BUS_INTERFACE_MANAGER,
					     bus_manager_vtable, s->m);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r >= 0)
		r = sd_bus_match_signal_async(bus, &disconnected, "org.freedesktop.DBus.Local",
					      "/org/freedesktop/DBus/Local",
					      "org.freedesktop.DBus.Local", "Disconnected",
					      on_disconnected, NULL, s);
	if (r >= 0)
		r = sd_bus_attach_event(bus, s->m->event, SD_EVENT_PRIORITY_NORMAL);
	if (r < 0)
		return r;
	*ret = (struct peer){ .bus = TAKE_PTR(bus), .disconnected = TAKE_PTR(disconnected) };
	return 0;
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t revents, void *userdata)
{
	struct bus_server *s = userdata;
	int fd, r;

	fd = SYS_CALL(accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
	if (fd < 0)
		return 0;
	if (s->n_peers == PEERS_MAX || !peer_may_enter(fd)) {
		close_fd(fd);
		return 0;
	}
	r = make_peer(s, fd, &s->peers[s->n_peers]);
	if (r < 0)
		manager_log(s->m, LOG_WARNING, "cannot serve a connection: %s", strerror(-r));
	else
		s->n_peers++;
	return 0;
}

/* A socket that nobody answers on was left behind by a daemon that was killed. */
static int bind_socket(int fd, const struct sockaddr_un *address)
{
	_cleanup_close_ int probe = -EBADF;
	int r;

	r = SYS_CALL(bind(fd, (const struct sockaddr *)address, sizeof(*address)));
	if (r != -EADDRINUSE)
		return r;
	probe = SYS_CALL(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (probe < 0)
		return probe;
	r = SYS_CALL(connect(probe, (const struct sockaddr *)address, sizeof(*address)));
	if (r != -ECONNREFUSED)
		return -EADDRINUSE;
	r = sys_unlinkat(AT_FDCWD, address->sun_path, 0);
	if (r < 0)
		return r;
	return SYS_CALL(bind(fd, (const struct sockaddr *)address, sizeof(*address)));
}

static int listen_private(struct bus_server *s, const char *path, struct failure *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char *slash;
	int r;

	if (strlen(path) >= sizeof(address.sun_path))
		return fail(f, -ENAMETOOLONG, "socket %s", path);
	strcpy(address.sun_path, path);
	slash = strrchr(address.sun_path, '/');
	if (slash && slash != address.sun_path) {
		*slash = '\0';
		(void)sys_mkdirat(AT_FDCWD, address.sun_path, 0755); /* or it is there */
		*slash = '/';
	}
	s->listen_fd = SYS_CALL(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (s->listen_fd < 0)
		return fail(f, s->listen_fd, "socket %s", path);
	r = bind_socket(s->listen_fd, &address);
	if (r < 0)
		return fail(f, r, "cannot listen on %s", path);
	s->path = strdup(path);
	if (!s->path)
		return fail(f, -ENOMEM, "socket %s", path);
	r = SYS_CALL(listen(s->listen_fd, SOMAXCONN));
	if (r >= 0)
		r = sd_event_add_io(s->m->event, &s->listen_source, s->listen_fd, EPOLLIN,
				    on_connection, s);
	return r < 0 ? fail(f, r, "cannot listen on %s", path) : 0;
}

/* No system bus is no failure: the private socket serves. */
static void join_system_bus(struct bus_server *s)
{
	_cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
	int r;

	r = sd_bus_open_system(&bus);
	if (r < 0)
		return;
	r = sd_bus_add_object_vtable(bus, NULL, BUS_PATH_MANAGER, BUS_INTERFACE_MANAGER,
				     bus_manager_vtable, s->m);
	if (r >= 0)
		r = sd_bus_track_new(bus, &s->subscribers, NULL, NULL);
	if (r >= 0)
		r = sd_bus_request_name(bus, BUS_NAME, 0);
	if (r >= 0)
		r = sd_bus_attach_event(bus, s->m->event, SD_EVENT_PRIORITY_NORMAL);
	if (r < 0) {
		manager_log(s->m, LOG_NOTICE, "not on the system bus: %s", strerror(-r));
		return;
	}
	(void)sd_bus_set_exit_on_disconnect(bus, 0);
	s->system = TAKE_PTR(bus);
}

int bus_server_new(struct manager *m, struct failure *f, struct bus_server **ret)
{
	struct bus_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return fail(f, -ENOMEM, "cannot serve");
	s->m = m;
	s->listen_fd = -EBADF;
	r = listen_private(s, m->options->socket, f);
	if (r < 0) {
		bus_server_free(s);
		return r;
	}
	if (m->options->system_bus)
		join_system_bus(s);
	*ret = s;
	return 0;
}

struct bus_server *bus_server_free(struct bus_server *s)
{
	if (!s)
		return NULL;
	for (size_t i = 0; i < s->n_peers; i++)
		(void)sd_bus_flush(s->peers[i].bus);
	while (s->n_peers > 0)
		drop_peer(s, s->n_peers - 1);
	sd_bus_track_unref(s->subscribers);
	sd_bus_flush_close_unref(s->system);
	sd_event_source_unref(s->listen_source);
	close_fd(s->listen_fd);
	if (s->path)
		(void)sys_unlinkat(AT_FDCWD, s->path, 0);
	free(s->path);
	free(s);
	return NULL;
}

int bus_server_subscribe(struct bus_server *s, sd_bus_message *call)
{
	sd_bus *bus = sd_bus_message_get_bus(call);

	for (size_t i = 0; i < s->n_peers; i++) {
		if (s->peers[i].bus == bus) {
			s->peers[i].subscribed = true;
			return 0;
		}
	}
	return s->subscribers ? sd_bus_track_add_sender(s->subscribers, call) : -ENOTCONN;
}

/* To one @name on the system bus; NULL: to the other end of a connection. Progress is a nicety: what fails is ignored. */
static void tell(sd_bus *bus, const char *name, const char *policy, const char *phase)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r;

	r = sd_bus_message_new_signal(bus, &m, BUS_PATH_MANAGER, BUS_INTERFACE_MANAGER, "Progress");
	if (r >= 0 && name)
		r = sd_bus_message_set_destination(m, name);
	if (r >= 0)
		r = sd_bus_message_append(m, "ss", policy, phase);
	if (r >= 0)
		(void)sd_bus_send(bus, m, NULL);
}

void bus_server_tell_progress(struct bus_server *s, const char *policy, const char *phase)
{
	for (size_t i = 0; i < s->n_peers; i++)
		if (s->peers[i].subscribed)
			tell(s->peers[i].bus, NULL, policy, phase);
	for (const char *name = sd_bus_track_first(s->subscribers); name;
	     name = sd_bus_track_next(s->subscribers))
		tell(s->system, name, policy, phase);
}
