/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * memfd: content, offset, size with holes, seals, one of which only a mapping is left, one opened
 * twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

#define PAGE 4096UL

int main(void)
{
	static unsigned char data[4 * PAGE];
	int plain, sealed, gone, again;
	const char *mapped;
	unsigned char *shared, *private;
	char path[64], text[16] = "";
	struct stat st;

	live_start();
	live_fill(data, sizeof(data), 31);
	plain = memfd_create("live-plain", 0);
	live_need(plain >= 0 && ftruncate(plain, 100 * PAGE + 5) == 0, "memfd");
	live_need(pwrite(plain, data, sizeof(data), 50 * PAGE + 7) == sizeof(data), "pwrite");
	live_need(lseek(plain, 1234, SEEK_SET) == 1234, "lseek");
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", plain);
	again = open(path, O_RDONLY);
	live_need(again >= 0 && lseek(again, 50 * PAGE + 7, SEEK_SET) > 0, "second open");

	sealed = memfd_create("live-sealed", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	live_need(sealed >= 0 && write(sealed, "sealed text", 11) == 11, "memfd");
	live_need(fcntl(sealed, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0,
		  "seals");
	/* For reading it can be mapped since Linux 6.7. */
	mapped = mmap(NULL, 11, PROT_READ, MAP_SHARED, sealed, 0);

	gone = memfd_create("live-mapped", MFD_CLOEXEC);
	live_need(gone >= 0 && write(gone, data, sizeof(data)) == sizeof(data), "memfd");
	shared = mmap(NULL, sizeof(data), PROT_READ | PROT_WRITE, MAP_SHARED, gone, 0);
	private = mmap(NULL, sizeof(data), PROT_READ | PROT_WRITE, MAP_PRIVATE, gone, 0);
	live_need(shared != MAP_FAILED && private != MAP_FAILED, "mmap");
	(void)close(gone);
	live_fill(private + PAGE, PAGE, 32);

	live_wait();

	live_check(fstat(plain, &st) == 0 && st.st_size == 100 * PAGE + 5, "the size is kept");
	live_check(st.st_blocks <= 8 * 8, "holes are kept (%lld blocks)", (long long)st.st_blocks);
	live_same("offset", lseek(plain, 0, SEEK_CUR), 1234);
	memset(data, 0, sizeof(data));
	live_check(read(again, data, sizeof(data)) == sizeof(data),
		   "the second description can read");
	live_check_fill("memfd content by the second description", data, sizeof(data), 31);
	live_check(pwrite(plain, "new", 3, 0) == 3 && pread(again, text, 3, 0) == 3 &&
			   !strcmp(text, "new"),
		   "both descriptions are one memfd");
	live_check(write(again, "x", 1) < 0 && errno == EBADF, "the second is still read-only");

	live_same("seals", fcntl(sealed, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	live_same("seals of the plain one", fcntl(plain, F_GET_SEALS), F_SEAL_SEAL);
	live_check(mapped == MAP_FAILED || memcmp(mapped, "sealed text", 11) == 0, "sealed content, mapped");
	live_check(pread(sealed, text, 11, 0) == 11 && strcmp(text, "sealed text") == 0,
		   "sealed content");
	live_check(pwrite(sealed, "x", 1, 0) < 0 && errno == EPERM,
		   "a sealed memfd cannot be written");
	live_same("close-on-exec of the sealed one", fcntl(sealed, F_GETFD), FD_CLOEXEC);
	live_same("close-on-exec of the plain one", fcntl(plain, F_GETFD), 0);

	live_check_fill("memfd of which only a mapping is left", shared, sizeof(data), 31);
	live_check_fill("its modified private page", private + PAGE, PAGE, 32);
	shared[2 * PAGE] ^= 0xff;
	live_check(private[2 * PAGE] == shared[2 * PAGE], "its two mappings are one memory");
	return live_end();
}
