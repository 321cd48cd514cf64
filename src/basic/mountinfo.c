/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/mountinfo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "basic/parse.h"

enum {
	LOOP_MAJOR = 7, /* its file may be on any file system */
	NBD_MAJOR = 43, /* a process or another machine serves it */
};

/* Sorted by strcmp(). Overlay is not among them: see settle_overlays(). */
static const char *const near_types[] = {
	"bcachefs", "bdev",     "binfmt_misc", "bpf",	  "btrfs",    "cgroup",	  "cgroup2",
	"configfs",    "cpuset",   "debugfs",  "devpts",      "devtmpfs", "efivarfs", "erofs",	  "exfat",
	"ext2",	       "ext3",	   "ext4",     "f2fs",	      "fusectl",  "hugetlbfs", "iso9660", "jfs",
	"minix",       "mqueue",   "nilfs2",   "nsfs",	      "ntfs3",	  "proc",     "pstore",	  "ramfs",
	"reiserfs",    "resctrl",  "rootfs",   "securityfs",  "selinuxfs", "smackfs", "squashfs", "sysfs",
	"tmpfs",       "tracefs",  "udf",      "vfat",	      "xfs",	  "zfs",
};

static int by_text(const void *key, const void *item)
{
	return strcmp(key, *(const char *const *)item);
}

/* The next field, which ends at a blank. Return: whether there is one on this line. */
static bool next_field(const char **p, const char **ret, size_t *ret_size)
{
	size_t n;

	*p += strspn(*p, " ");
	n = strcspn(*p, " \n");
	*ret = *p;
	*ret_size = n;
	*p += n;
	return n > 0;
}

static bool is_field(const char *field, size_t size, const char *text)
{
	return size == strlen(text) && memcmp(field, text, size) == 0;
}

int mount_line_parse(const char *text, struct mount_line *ret, const char **ret_next)
{
	const char *p = text, *field;
	uint64_t id, parent, dev_major, dev_minor;
	size_t size;

	if (parse_u64_prefix(&p, 10, &id) < 0 || id > INT32_MAX || *p++ != ' ' ||
	    parse_u64_prefix(&p, 10, &parent) < 0 || *p++ != ' ' || parse_u64_prefix(&p, 10, &dev_major) < 0 ||
	    *p++ != ':' || parse_u64_prefix(&p, 10, &dev_minor) < 0 || *p != ' ' || dev_major > UINT32_MAX ||
	    dev_minor > UINT32_MAX)
		return -EBADMSG;
	ret->id = (int)id;
	ret->dev = makedev(dev_major, dev_minor);
	if (!next_field(&p, &field, &size) || !next_field(&p, &ret->point, &ret->point_size))
		return -EBADMSG;
	/* Options, then any number of tagged fields up to the hyphen. */
	do {
		if (!next_field(&p, &field, &size))
			return -EBADMSG;
	} while (!is_field(field, size, "-"));
	if (!next_field(&p, &ret->type, &ret->type_size))
		return -EBADMSG;
	(void)next_field(&p, &ret->source, &ret->source_size); /* may be empty */
	p += strcspn(p, "\n");
	*ret_next = *p ? p + 1 : p;
	return 0;
}

bool mount_is_near(const struct mount_line *line)
{
	static const char user_block[] = "/dev/ublkb";
	char type[MOUNT_TYPE_MAX];

	if (major(line->dev) == LOOP_MAJOR || major(line->dev) == NBD_MAJOR)
		return false;
	if (line->source_size >= sizeof(user_block) - 1 && memcmp(line->source, user_block, sizeof(user_block) - 1) == 0)
		return false;
	if (line->type_size >= sizeof(type))
		return false;
	memcpy(type, line->type, line->type_size);
	type[line->type_size] = '\0';
	return bsearch(type, near_types, ARRAY_SIZE(near_types), sizeof(near_types[0]), by_text);
}

void mounts_done(struct mounts *m)
{
	free(m->items);
	*m = (struct mounts){};
}

int mounts_add(struct mounts *m, struct mount mount)
{
	if (m->n == m->room) {
		size_t room = m->room ? 2 * m->room : 64;
		struct mount *items = reallocarray(m->items, room, sizeof(*items));

		if (!items)
			return -ENOMEM;
		m->items = items;
		m->room = room;
	}
	m->items[m->n++] = mount;
	return 0;
}

/* An overlay waits for no more than its layers do, and these are on mounts of the same machine as a rule. */
static void settle_overlays(struct mounts *m)
{
	bool all_near = true;

	for (size_t i = 0; i < m->n; i++)
		all_near &= m->items[i].near || strcmp(m->items[i].type, "overlay") == 0;
	for (size_t i = 0; i < m->n; i++) {
		if (strcmp(m->items[i].type, "overlay") == 0)
			m->items[i].near = all_near;
	}
}

int mounts_add_text(struct mounts *m, const char *text)
{
	for (const char *p = text; *p;) {
		struct mount_line line;
		struct mount mount = {};
		int r = mount_line_parse(p, &line, &p);

		if (r < 0)
			return r;
		mount.id = line.id;
		mount.dev = line.dev;
		mount.near = mount_is_near(&line);
		memcpy(mount.type, line.type, MIN(line.type_size, sizeof(mount.type) - 1));
		r = mounts_add(m, mount);
		if (r < 0)
			return r;
	}
	settle_overlays(m);
	return 0;
}

const struct mount *mounts_find(const struct mounts *m, int id)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->items[i].id == id)
			return &m->items[i];
	}
	return NULL;
}

const struct mount *mounts_find_device(const struct mounts *m, dev_t dev)
{
	for (size_t i = 0; i < m->n; i++) {
		if (m->items[i].dev == dev)
			return &m->items[i];
	}
	return NULL;
}
