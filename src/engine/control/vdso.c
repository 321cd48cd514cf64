/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/vdso.h"

#include <elf.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/memory/pages.h"
#include "engine/memory/vma.h"

enum {
	PAGE = 4096,
	MAPS_TEXT_MAX = 16 << 20,
	PARTS_MAX = 8,
	VDSO_BYTES_MAX = 64 * 1024,
	EXTENT_BYTES_MAX = 256 * 1024,
	JUMP_BYTES = 12,
	SYMBOL_NAME_MAX = 128,
};

/* Our own: the same in every task made from us. */
struct vdso_park {
	struct {
		uint64_t start, size;
	} parts[PARTS_MAX]; /* ascending; the last is the code */
	size_t n_parts;
	uint64_t base, size; /* of all together */
	uint64_t code;	     /* offset of the code from base */
	uint64_t code_size;
	const uint8_t *bytes; /* the code, in ourselves */
};

static bool name_is(const struct proc_map *m, const char *name)
{
	return m->path_size == strlen(name) && memcmp(m->path, name, m->path_size) == 0;
}

static int find_own(struct restore *rs, struct vdso_park *v)
{
	_cleanup_free_ char *text = NULL;
	const char *p;
	int r;

	r = sys_read_file_at(AT_FDCWD, "/proc/self/maps", MAPS_TEXT_MAX, &text, NULL);
	if (r < 0)
		return fail(rs->failure, r, "cannot read our own mappings");
	for (p = text; *p;) {
		struct proc_map m;

		r = proc_map_parse(p, &m, &p);
		if (r < 0)
			return fail(rs->failure, r, "cannot parse our own mappings");
		if (!name_is(&m, "[vdso]") && !name_is(&m, "[vvar]") && !name_is(&m, "[vvar_vclock]"))
			continue;
		if (v->n_parts == PARTS_MAX)
			return fail(rs->failure, -EOPNOTSUPP, "this kernel's vdso has too many parts");
		if (v->n_parts == 0)
			v->base = m.start;
		v->parts[v->n_parts].start = m.start;
		v->parts[v->n_parts++].size = m.end - m.start;
		v->size = m.end - v->base;
		if (name_is(&m, "[vdso]")) {
			v->code = m.start - v->base;
			v->code_size = m.end - m.start;
			v->bytes = PTR(m.start);
		}
	}
	if (v->size > REGION_PARK_BYTES)
		return fail(rs->failure, -EOPNOTSUPP, "this kernel's vdso needs %" PRIu64 " bytes", v->size);
	return 0;
}

static int move_parts(struct restore *rs, struct rtask *task, uint64_t from, uint64_t to)
{
	const struct vdso_park *v = rs->vdso;
	int r;

	for (size_t i = 0; i < v->n_parts; i++) {
		uint64_t offset = v->parts[i].start - v->base;

		r = remote_reserve(task->remote, 1, 0);
		if (r < 0)
			return r;
		remote_add(task->remote, "cannot move the vdso", SYS_mremap, from + offset, v->parts[i].size,
			   v->parts[i].size, MREMAP_MAYMOVE | MREMAP_FIXED, to + offset, 0);
	}
	return remote_run(task->remote);
}

int vdso_park(struct restore *rs, struct rtask *task)
{
	int r;

	rs->vdso = arena_new(&rs->arena, struct vdso_park);
	if (!rs->vdso)
		return fail(rs->failure, -ENOMEM, "no memory for the vdso");
	r = find_own(rs, rs->vdso);
	if (r < 0)
		return r;
	return move_parts(rs, task, rs->vdso->base, region_park(rs));
}

/* ---- the image's ---- */

static const VmaEntry *find_vma(const struct rtask *task, uint32_t status)
{
	for (size_t i = 0; i < task->mm->n_vmas; i++) {
		if ((task->mm->vmas[i]->status & (status | VMA_GUARD)) == status)
			return task->mm->vmas[i];
	}
	return NULL;
}

static bool is_free(const struct rtask *task, uint64_t start, uint64_t end)
{
	for (size_t i = 0; i < task->mm->n_vmas; i++) {
		const VmaEntry *v = task->mm->vmas[i];

		if (!(v->status & (VMA_VVAR | VMA_VDSO | VMA_VSYSCALL | VMA_GUARD)) && v->start < end &&
		    start < v->end)
			return false;
	}
	return true;
}

struct old_code {
	struct restore *rs;
	const VmaEntry *vma;
	struct region_reader reader;
	uint8_t *bytes;
	uint64_t found;
};

static int collect_old(void *userdata, uint64_t vaddr, const struct page_file *file, uint64_t offset, uint64_t size)
{
	struct old_code *old = userdata;
	uint64_t from = MAX(vaddr, old->vma->start), to = MIN(vaddr + size, old->vma->end);
	int r;

	if (from >= to)
		return 0;
	r = region_read_full(&old->reader, file, offset + (from - vaddr), to - from, old->bytes + (from - old->vma->start));
	old->found += to - from;
	return r < 0 ? page_file_fail(file, offset, r, old->rs->failure) : 0;
}

/* The old code from the pages image. NULL with 0: the set has none. */
static int read_old(struct restore *rs, struct rtask *task, const VmaEntry *vma, uint8_t **ret)
{
	struct old_code old = { .rs = rs, .vma = vma };
	uint64_t size = vma->end - vma->start;
	int r;

	if (size > VDSO_BYTES_MAX)
		return fail(rs->failure, -EBADMSG, "the image's vdso has %" PRIu64 " bytes", size);
	old.bytes = arena_alloc(&rs->arena, size);
	if (!old.bytes || region_reader_init(&old.reader) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for the vdso");
	r = pages_walk(&rs->set, IMAGE_PAGEMAP, task->entry->pid, rs->failure, collect_old, &old);
	region_reader_done(&old.reader);
	if (r < 0)
		return r;
	*ret = old.found == size ? old.bytes : NULL;
	return 0;
}

/* ---- entry points: the dynamic symbols of the vdso's ELF image ---- */

struct symbols {
	const uint8_t *bytes;
	uint64_t size;
	const Elf64_Sym *table;
	size_t n;
	const char *names;
	uint64_t names_size;
};

static const void *in_image(const struct symbols *s, uint64_t at, uint64_t size)
{
	return at <= s->size && size <= s->size - at ? s->bytes + at : NULL;
}

/* By section headers, which every vdso carries; addresses in it are offsets from its start. */
static bool symbols_find(struct symbols *s)
{
	const Elf64_Ehdr *eh = in_image(s, 0, sizeof(*eh));
	const Elf64_Shdr *sh;

	if (!eh || memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0 || eh->e_shentsize != sizeof(*sh))
		return false;
	sh = in_image(s, eh->e_shoff, (uint64_t)eh->e_shnum * sizeof(*sh));
	for (size_t i = 0; sh && i < eh->e_shnum; i++) {
		if (sh[i].sh_type != SHT_DYNSYM || sh[i].sh_link >= eh->e_shnum)
			continue;
		s->n = sh[i].sh_size / sizeof(Elf64_Sym);
		s->table = in_image(s, sh[i].sh_offset, sh[i].sh_size);
		s->names_size = sh[sh[i].sh_link].sh_size;
		s->names = in_image(s, sh[sh[i].sh_link].sh_offset, s->names_size);
		return s->table && s->names && s->names_size > 0 && s->names[s->names_size - 1] == '\0';
	}
	return false;
}

static const char *symbol_name(const struct symbols *s, size_t i)
{
	return s->table[i].st_name < s->names_size ? s->names + s->table[i].st_name : "";
}

static bool is_entry_point(const struct symbols *s, size_t i)
{
	const Elf64_Sym *sym = &s->table[i];

	return ELF64_ST_TYPE(sym->st_info) == STT_FUNC && sym->st_shndx != SHN_UNDEF &&
	       sym->st_value <= s->size && s->size - sym->st_value >= JUMP_BYTES;
}

static uint64_t symbol_find(const struct symbols *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++) {
		if (is_entry_point(s, i) && strcmp(symbol_name(s, i), name) == 0)
			return s->table[i].st_value;
	}
	return 0;
}

/* mov $to, %rax; jmp *%rax: rax is free at the entry of a function of the System V ABI. */
static void put_jump(uint8_t *at, uint64_t to)
{
	static const uint8_t mov[2] = { 0x48, 0xb8 }, jmp[2] = { 0xff, 0xe0 };

	memcpy(at, mov, 2);
	memcpy(at + 2, &to, 8);
	memcpy(at + 10, jmp, 2);
}

static int redirect(struct restore *rs, uint8_t *old, uint64_t old_size, uint64_t new_code)
{
	struct symbols from = { .bytes = old, .size = old_size };
	struct symbols to = { .bytes = rs->vdso->bytes, .size = rs->vdso->code_size };

	if (!symbols_find(&from) || !symbols_find(&to))
		return fail(rs->failure, -EOPNOTSUPP, "the vdso differs and its entry points cannot be found");
	for (size_t i = 0; i < from.n; i++) {
		uint64_t target;

		if (!is_entry_point(&from, i))
			continue;
		target = symbol_find(&to, symbol_name(&from, i));
		if (!target)
			return fail(rs->failure, -EOPNOTSUPP, "this kernel's vdso has no %.*s", SYMBOL_NAME_MAX,
				    symbol_name(&from, i));
		put_jump(old + from.table[i].st_value, new_code + target);
	}
	return 0;
}

/* A hole for this kernel's vdso, away from everything of the task and from the region. */
static uint64_t find_hole(const struct restore *rs, const struct rtask *task, uint64_t size)
{
	for (uint64_t at = 0x100000000ull; at < 0x7f0000000000ull; at += 0x40000000ull) {
		if (is_free(task, at, at + size) && (at + size <= rs->region || at >= rs->region + REGION_BYTES))
			return at;
	}
	return 0;
}

/* Fresh memory at @at, all zero or filled with @bytes, then made @prot. */
static int map_filled(struct restore *rs, struct rtask *task, uint64_t at, uint64_t size, const uint8_t *bytes, int prot)
{
	int r;

	remote_add(task->remote, "cannot map the old vdso", SYS_mmap, at, size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	r = remote_run(task->remote);
	if (r < 0)
		return r;
	r = bytes ? sys_pwrite_full(task->mem_fd, bytes, size, at) : 0;
	if (r < 0)
		return fail(rs->failure, r, "cannot fill the old vdso");
	remote_add(task->remote, "cannot protect the old vdso", SYS_mprotect, at, size, prot, 0, 0, 0);
	return remote_run(task->remote);
}

/*
 * A thread that was inside of the old code cannot go on there: a jump may have been written over its next instruction. It
 * goes on in a copy that nobody else enters.
 */
static int move_threads(struct restore *rs, struct rtask *task, const VmaEntry *vma, const uint8_t *bytes, uint64_t copy)
{
	uint64_t size = vma->end - vma->start;
	bool any = false;

	for (size_t i = 0; i < task->n_threads; i++) {
		UserX86RegsEntry *regs = task->threads[i].core->thread_info->gpregs;

		if (regs->ip < vma->start || regs->ip >= vma->end)
			continue;
		regs->ip = copy + (regs->ip - vma->start);
		any = true;
	}
	return any ? map_filled(rs, task, copy, size, bytes, PROT_READ | PROT_EXEC) : 0;
}

/*
 * The data of the old code is not in the images. All zero it means a clock that cannot be read without a system call
 * (VDSO_CLOCKMODE_NONE), and a sequence number that has changed: whoever was reading begins again and asks the kernel.
 * The copy finds its data at the same distance.
 */
static int place_old_data(struct restore *rs, struct rtask *task, uint64_t copy_offset)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < task->mm->n_vmas; i++) {
		const VmaEntry *v = task->mm->vmas[i];

		if ((v->status & (VMA_VVAR | VMA_GUARD)) != VMA_VVAR)
			continue;
		r = map_filled(rs, task, v->start, v->end - v->start, NULL, PROT_READ);
		if (r == 0 && copy_offset)
			r = map_filled(rs, task, v->start + copy_offset, v->end - v->start, NULL, PROT_READ);
	}
	return r;
}

/* The extent of the old data and code, which a copy keeps together. False: they are far apart. */
static bool old_extent(const struct rtask *task, uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t start = UINT64_MAX, end = 0;

	for (size_t i = 0; i < task->mm->n_vmas; i++) {
		const VmaEntry *v = task->mm->vmas[i];

		if ((v->status & VMA_GUARD) || !(v->status & (VMA_VVAR | VMA_VDSO)))
			continue;
		start = MIN(start, v->start);
		end = MAX(end, v->end);
	}
	*ret_start = start;
	*ret_end = end;
	return end - start <= EXTENT_BYTES_MAX;
}

static int place_old(struct restore *rs, struct rtask *task, const VmaEntry *vma, uint8_t *bytes)
{
	struct vdso_park *v = rs->vdso;
	uint64_t size = vma->end - vma->start, start, end, at, offset = 0;
	bool together = old_extent(task, &start, &end);
	int r;

	at = find_hole(rs, task, v->size + (together ? end - start : 0));
	if (!at)
		return fail(rs->failure, -ENOMEM, "no place for this kernel's vdso");
	task->vdso_base = at;
	r = move_parts(rs, task, region_park(rs), at);
	if (r == 0 && together) {
		offset = at + v->size - start;
		r = move_threads(rs, task, vma, bytes, vma->start + offset);
	}
	if (r == 0)
		r = place_old_data(rs, task, offset);
	if (r == 0)
		r = redirect(rs, bytes, size, at + v->code);
	return r < 0 ? r : map_filled(rs, task, vma->start, size, bytes, PROT_READ | PROT_EXEC);
}

int vdso_place(struct restore *rs, struct rtask *task)
{
	const VmaEntry *vma = find_vma(task, VMA_VDSO);
	struct vdso_park *v = rs->vdso;
	uint8_t *old = NULL;
	uint64_t at = 0;
	bool same;
	int r;

	if (v->n_parts == 0 || !vma)
		return 0; /* it goes with the region */
	r = read_old(rs, task, vma, &old);
	if (r < 0)
		return r;
	same = vma->end - vma->start == v->code_size &&
	       (!old || memcmp(old, v->bytes, v->code_size) == 0);
	if (same && vma->start > v->code)
		at = vma->start - v->code;
	if (at && is_free(task, at, at + v->size)) {
		task->vdso_base = at;
		return move_parts(rs, task, region_park(rs), at);
	}
	if (!old)
		return fail(rs->failure, -EOPNOTSUPP, "this kernel's vdso cannot stand in for the image's");
	restore_note(rs, "task %u: the kernel's vdso is not the one of the dump: redirected", task->entry->pid);
	return place_old(rs, task, vma, old);
}

static uint64_t find_syscall_in(const uint8_t *bytes, size_t size, uint64_t at)
{
	for (size_t i = 0; i + 1 < size; i++) {
		if (bytes[i] == 0x0f && bytes[i + 1] == 0x05)
			return at + i;
	}
	return 0;
}

/* A program without a vdso makes its system calls itself: the two bytes are somewhere in its code. */
static uint64_t find_syscall_in_code(const struct rtask *task)
{
	for (size_t i = 0; i < task->mm->n_vmas; i++) {
		const VmaEntry *v = task->mm->vmas[i];
		uint8_t page[PAGE];

		if (!(v->prot & PROT_EXEC) || (v->status & VMA_GUARD))
			continue;
		for (uint64_t at = v->start; at < v->end; at += PAGE) {
			uint64_t found = sys_pread_full(task->mem_fd, page, PAGE, at) < 0 ?
						 0 :
						 find_syscall_in(page, PAGE, at);

			if (found)
				return found;
		}
	}
	return 0;
}

uint64_t vdso_syscall_insn(const struct restore *rs, const struct rtask *task)
{
	const struct vdso_park *v = rs->vdso;

	return task->vdso_base ? find_syscall_in(v->bytes, v->code_size, task->vdso_base + v->code) :
				 find_syscall_in_code(task);
}
