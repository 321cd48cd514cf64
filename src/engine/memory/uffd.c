/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/uffd.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#include "basic/sys.h"

int uffd_make(struct remote *rm, int pidfd, int flags, uint64_t features, int *ret_fd)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	_cleanup_close_ int uffd = -EBADF;
	int64_t number;
	size_t call;
	int r;

	*ret_fd = -EBADF;
	r = remote_run(rm);
	if (r < 0)
		return r;
	call = remote_add(rm, NULL, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags, 0, 0, 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	number = rm->calls[call].ret;
	if (number < 0)
		return 0;
	uffd = sys_pidfd_getfd(pidfd, number);
	remote_add(rm, "cannot close a descriptor", SYS_close, number, 0, 0, 0, 0, 0);
	r = remote_run(rm);
	if (r == 0 && uffd >= 0 && SYS_CALL(ioctl(uffd, UFFDIO_API, &api)) == 0)
		*ret_fd = TAKE_FD(uffd);
	return r;
}
