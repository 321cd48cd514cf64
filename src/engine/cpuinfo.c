/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The image has 19 words of capability bits, numbered as Linux numbers its cpufeature words, with the registers of
 * CPUID in most of them and three that the kernel makes up (3, 7, 8; see KERNEL_WORD). For the question "has every
 * instruction" only bits count that a program in user mode can depend on: the table keeps those, so that a
 * microcode update or another hypervisor does not stand in the way.
 */
#include "engine/cpuinfo.h"

#include <cpuid.h>
#include <string.h>

#include "cpuinfo.pb-c.h"
#include "engine/face.h"
#include "engine/image/image.h"

enum {
	N_WORDS = 19,
	CAPABILITY_VERSION = 2,
	MODEL_ID_LEAF = 0x80000002,
	MODEL_ID_BYTES = 48,
	/* x87, AVX, AVX-512 (3), protection keys; SSE is left out of the mask in CRIU's images. */
	XFEATURES_SAVED = 0x2e5,
	/* rep_good, nopl, cpuid: what the kernel finds on every 64-bit processor; others of its bits are not stored. */
	KERNEL_WORD = 3,
	KERNEL_WORD_VALUE = 0x02110000,
};

enum reg { EAX, EBX, ECX, EDX };

struct word {
	uint32_t leaf;
	uint32_t subleaf;
	enum reg reg;
	uint32_t user_bits; /* what programs can depend on */
};

static const struct word words[N_WORDS] = {
	[0] = { 0x1, 0, EDX, 0x07888911 }, /* fpu tsc cx8 sep cmov clflush mmx fxsr sse sse2 */
	[1] = { 0x80000001, 0, EDX, 0xe8400800 }, /* syscall mmxext rdtscp lm 3dnow */
	[2] = { 0x80860001, 0, EDX, 0 },
	/* sse3 pclmul ssse3 fma cx16 sse4 movbe popcnt aes xsave avx f16c rdrand */
	[4] = { 0x1, 0, ECX, 0x76d83203 },
	[5] = { 0xc0000001, 0, EDX, 0 },
	/* lahf abm sse4a misalign prefetch xop fma4 tbm */
	[6] = { 0x80000001, 0, ECX, 0x002109e1 },
	/* fsgsbase bmi avx2 bmi2 erms rtm avx512* rdseed adx clflushopt clwb sha */
	[9] = { 0x7, 0, EBX, 0xfdaf0b29 },
	[10] = { 0xd, 1, EAX, 0x00000007 }, /* xsaveopt xsavec xgetbv1 */
	/* prefetchwt1 vbmi pku waitpkg vbmi2 gfni vaes vnni bitalg popcntdq rdpid cldemote movdiri enqcmd */
	[11] = { 0x7, 0, ECX, 0x3a405f6b },
	[13] = { 0x80000008, 0, EBX, 0x00000001 }, /* clzero */
	[14] = { 0x6, 0, EAX, 0 },
	[15] = { 0x8000000a, 0, EDX, 0 },
	[17] = { 0x80000007, 0, EBX, 0 },
	/* 4vnniw 4fmaps fsrm vp2intersect serialize tsxldtrk amx avx512fp16 */
	[18] = { 0x7, 0, EDX, 0x03c1411c },
};

static uint32_t read_word(const struct word *w)
{
	uint32_t regs[4];

	if (!w->leaf || w->leaf > __get_cpuid_max(w->leaf & 0xffff0000, NULL))
		return 0;
	__cpuid_count(w->leaf, w->subleaf, regs[EAX], regs[EBX], regs[ECX], regs[EDX]);
	return regs[w->reg];
}

/* This machine's entry. Owns nothing: the arrays are inside. */
struct this_cpu {
	CpuinfoX86Entry entry;
	uint32_t words[N_WORDS];
	char model_id[MODEL_ID_BYTES + 1];
};

static void read_model_id(char *text)
{
	uint32_t regs[4];
	size_t lead;

	text[0] = '\0';
	if (__get_cpuid_max(0x80000000, NULL) < MODEL_ID_LEAF + 2)
		return;
	for (uint32_t i = 0; i < 3; i++) {
		__cpuid(MODEL_ID_LEAF + i, regs[EAX], regs[EBX], regs[ECX], regs[EDX]);
		memcpy(text + i * sizeof(regs), regs, sizeof(regs));
	}
	text[MODEL_ID_BYTES] = '\0';
	lead = strspn(text, " ");
	memmove(text, text + lead, strlen(text + lead) + 1);
}

static void read_identity(CpuinfoX86Entry *e)
{
	uint32_t a, b, c, d;
	char vendor[13] = {};

	__cpuid(0, a, b, c, d);
	memcpy(vendor, &b, 4);
	memcpy(vendor + 4, &d, 4);
	memcpy(vendor + 8, &c, 4);
	e->vendor_id = CPUINFO_X86_ENTRY__VENDOR__UNKNOWN;
	if (strcmp(vendor, "GenuineIntel") == 0)
		e->vendor_id = CPUINFO_X86_ENTRY__VENDOR__INTEL;
	else if (strcmp(vendor, "AuthenticAMD") == 0)
		e->vendor_id = CPUINFO_X86_ENTRY__VENDOR__AMD;

	__cpuid(1, a, b, c, d);
	e->cpu_family = a >> 8 & 0xf;
	if (e->cpu_family == 0xf)
		e->cpu_family += a >> 20 & 0xff;
	e->model = a >> 4 & 0xf;
	if (e->cpu_family >= 6)
		e->model |= a >> 12 & 0xf0;
	e->stepping = a & 0xf;
}

static void this_cpu_init(struct this_cpu *cpu)
{
	CpuinfoX86Entry *e = &cpu->entry;
	uint32_t a, b, c, d;

	cpuinfo_x86_entry__init(e);
	read_identity(e);
	e->capability_ver = CAPABILITY_VERSION;
	for (size_t i = 0; i < N_WORDS; i++)
		cpu->words[i] = read_word(&words[i]);
	cpu->words[KERNEL_WORD] = KERNEL_WORD_VALUE;
	e->n_capability = N_WORDS;
	e->capability = cpu->words;
	read_model_id(cpu->model_id);
	e->model_id = cpu->model_id;

	if (!(cpu->words[4] & bit_OSXSAVE))
		return;
	__cpuid_count(0xd, 0, a, b, c, d);
	e->has_xfeatures_mask = e->has_xsave_size = e->has_xsave_size_max = true;
	e->xfeatures_mask = (a | (uint64_t)d << 32) & XFEATURES_SAVED;
	e->xsave_size = b;
	e->xsave_size_max = c;
}

int cpuinfo_dump(int images_dir_fd, struct failure *f)
{
	CpuinfoEntry msg = CPUINFO_ENTRY__INIT;
	CpuinfoX86Entry *entries[1];
	struct this_cpu cpu;

	this_cpu_init(&cpu);
	entries[0] = &cpu.entry;
	msg.n_x86_entry = ARRAY_SIZE(entries);
	msg.x86_entry = entries;
	return image_write_one(images_dir_fd, IMAGE_CPUINFO, /* key= */ 0, &msg.base, f);
}

static int compare_fpu(const CpuinfoX86Entry *then, const CpuinfoX86Entry *now, struct failure *f)
{
	uint64_t missing = then->xfeatures_mask & XFEATURES_SAVED & ~now->xfeatures_mask;

	if (missing)
		return fail(f, -EOPNOTSUPP,
			    "this processor lacks register state 0x%jx of the image's",
			    (uintmax_t)missing);
	return 0;
}

static int compare_instructions(const CpuinfoX86Entry *then, const CpuinfoX86Entry *now,
				struct failure *f)
{
	if (then->vendor_id != now->vendor_id)
		return fail(f, -EOPNOTSUPP,
			    "this processor is of another vendor than the image's '%s'",
			    then->model_id ?: "?");
	for (size_t i = 0; i < N_WORDS; i++) {
		uint32_t missing = then->capability[i] & words[i].user_bits & ~now->capability[i];

		if (missing)
			return fail(f, -EOPNOTSUPP,
				    "this processor lacks instructions of the image's '%s' "
				    "(CPUID 0x%x:%u bits 0x%x)",
				    then->model_id ?: "?", words[i].leaf, words[i].subleaf,
				    missing);
	}
	return 0;
}

static int compare_processor(const CpuinfoX86Entry *then, const CpuinfoX86Entry *now,
			     struct failure *f)
{
	if (then->vendor_id != now->vendor_id || then->cpu_family != now->cpu_family ||
	    then->model != now->model)
		return fail(f, -EOPNOTSUPP,
			    "this processor (family %u, model %u) is not the image's '%s' (%u, %u)",
			    now->cpu_family, now->model, then->model_id ?: "?", then->cpu_family,
			    then->model);
	for (size_t i = 0; i < N_WORDS; i++) {
		uint32_t other = (then->capability[i] ^ now->capability[i]) & words[i].user_bits;

		if (other)
			return fail(f, -EOPNOTSUPP,
				    "this processor differs from the image's '%s' "
				    "(CPUID 0x%x:%u bits 0x%x)",
				    then->model_id ?: "?", words[i].leaf, words[i].subleaf, other);
	}
	return 0;
}

static int compare(const CpuinfoEntry *msg, uint32_t caps, struct failure *f)
{
	const CpuinfoX86Entry *then;
	struct this_cpu cpu;
	int r = 0;

	if (msg->n_x86_entry != 1)
		return fail(f, msg->n_x86_entry ? -EBADMSG : -EOPNOTSUPP,
			    "cpuinfo.img describes %zu x86 processors, not one", msg->n_x86_entry);
	then = msg->x86_entry[0];
	if (then->capability_ver != CAPABILITY_VERSION || then->n_capability != N_WORDS)
		return fail(f, -EOPNOTSUPP, "cpuinfo.img has capabilities in version %u, not %d",
			    then->capability_ver, CAPABILITY_VERSION);

	this_cpu_init(&cpu);
	if (caps & CPU_CAP_FPU)
		r = compare_fpu(then, &cpu.entry, f);
	if (r == 0 && caps & CPU_CAP_INS)
		r = compare_instructions(then, &cpu.entry, f);
	if (r == 0 && caps & CPU_CAP_CPU)
		r = compare_processor(then, &cpu.entry, f);
	return r;
}

int cpuinfo_check(int images_dir_fd, uint32_t caps, struct failure *f)
{
	const struct image_set set = IMAGE_SET_UNCHECKED(images_dir_fd);
	ProtobufCMessage *msg;
	int r;

	r = image_read_one(&set, IMAGE_CPUINFO, /* key= */ 0, &cpuinfo_entry__descriptor,
			   f, &msg);
	if (r == -ENOENT)
		return fail(f, r, "there is no cpuinfo.img");
	if (r < 0)
		return r;
	r = compare((const CpuinfoEntry *)msg, caps, f);
	protobuf_c_message_free_unpacked(msg, NULL);
	return r;
}
