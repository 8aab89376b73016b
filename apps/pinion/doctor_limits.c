/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Limits of the process against what is going to be mapped, as the plan for it says: RLIMIT_MEMLOCK
 * on the backend that will be taken, sizes of files and of the address space, mappings of type1.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "doctor.h"
#include "pn_plan.h"

/* The way of the plan that a domain on this backend gets. */
static uint32_t plan_backend(const struct pn_backend_info *backend)
{
	if (strcmp(backend->name, "type1") == 0)
		return PN_PLAN_TYPE1;
	if (strcmp(backend->name, "iommufd") == 0)
		return PN_PLAN_IOMMUFD;
	if (strcmp(backend->name, "iommufd-compat") == 0)
		return strcmp(backend->node, "/dev/vfio/vfio") == 0 ? PN_PLAN_IOMMUFD_AS_VFIO
								    : PN_PLAN_IOMMUFD_COMPAT;
	return 0;
}

struct need {
	uint64_t pages; /* of 4 KiB, with what others of the user have */
	bool by_user;
};

/* 0 or a negative errno. */
static int plan(const struct doctor *d, uint64_t others, struct need *need)
{
	struct pn_plan_input input = {.mem = d->ask.mem,
		.page_size = d->page_size,
		.devices = d->wanted_count ? d->wanted_count : 1,
		.other_locked = others << 12,
		.backends = plan_backend(d->chosen)};
	struct pn_plan *made;
	int ret = -ENOENT;

	if (!input.backends)
		return -ENOENT;
	if (pn_plan_create(&made, &input))
		return -EINVAL;
	for (size_t i = 0; i < made->way_count && ret; i++) {
		if (!made->ways[i].is_default)
			continue;
		need->pages = made->ways[i].need;
		need->by_user = made->ways[i].limited == PN_COUNTER_USER_LOCKED;
		ret = 0;
	}
	pn_plan_free(made);
	return ret;
}

static const char *limit_text(char text[32], rlim_t limit)
{
	return doctor_size(text, limit == RLIM_INFINITY ? UINT64_MAX : limit);
}

static void numbers(struct doctor_finding *finding, const struct doctor *d, const struct need *need)
{
	doctor_number(finding, "soft_bytes", d->machine.memlock.rlim_cur);
	doctor_number(finding, "hard_bytes", d->machine.memlock.rlim_max);
	doctor_number(finding, "needed_bytes", need->pages << 12);
	doctor_number(finding, "user_locked_pages", d->machine.user_locked);
}

static void mend_memlock(struct doctor *d, struct doctor_finding *finding, uint64_t bytes)
{
	enum doctor_container in = d->container;

	if (d->machine.memlock.rlim_max >= bytes) {
		doctor_mend(
			d, finding, DOCTOR_AS_USER, "ulimit -S -l %" PRIu64, (bytes + 1023) >> 10);
		return;
	}
	if (in == DOCTOR_IN_PODMAN || in == DOCTOR_IN_SOME)
		doctor_mend(d, finding, DOCTOR_PODMAN, "--ulimit memlock=%" PRIu64 ":%" PRIu64,
			bytes, bytes);
	if (in == DOCTOR_IN_DOCKER || in == DOCTOR_IN_SOME)
		doctor_mend(d, finding, DOCTOR_DOCKER, "--ulimit memlock=%" PRIu64 ":%" PRIu64,
			bytes, bytes);
	if (in == DOCTOR_IN_NSPAWN)
		doctor_mend(d, finding, DOCTOR_NSPAWN, "--rlimit=RLIMIT_MEMLOCK=%" PRIu64, bytes);
	if (in == DOCTOR_IN_KUBE || in == DOCTOR_IN_SOME)
		doctor_mend(d, finding, DOCTOR_KUBE,
			"a pod has no field for it: of the node's runtime, LimitMEMLOCK=%" PRIu64
			" ('pinion plan' has the files)",
			bytes);
	if (in == DOCTOR_IN_SOME)
		doctor_mend(d, finding, DOCTOR_OCI,
			"process.rlimits: {\"type\": \"RLIMIT_MEMLOCK\", \"hard\": %" PRIu64
			", \"soft\": %" PRIu64 "}",
			bytes, bytes);
	if (in == DOCTOR_IN_BWRAP)
		doctor_mend(d, finding, DOCTOR_ON_HOST,
			"prlimit --pid $$ --memlock=%" PRIu64 ":%" PRIu64, bytes, bytes);
	if (in)
		return;
	/* With a grant, or what a grant wrote before would count. */
	if (d->machine.as_user && d->wanted_count)
		doctor_mend(d, finding, DOCTOR_AS_ROOT,
			"pinion grant %s --user %s --memlock %" PRIu64, d->wanted[0]->address,
			d->machine.user, bytes);
	else if (d->machine.as_user)
		doctor_mend(d, finding, DOCTOR_AS_ROOT,
			"echo '%s - memlock %" PRIu64 "' >> /etc/security/limits.d/90-pinion.conf",
			d->machine.user, (bytes + 1023) >> 10);
	else
		doctor_mend_root(d, finding, "prlimit --pid $$ --memlock=%" PRIu64 ":%" PRIu64,
			bytes, bytes);
	doctor_mend(
		d, finding, DOCTOR_SETTING, "of a systemd service: LimitMEMLOCK=%" PRIu64, bytes);
}

/* What others of the user have; 0 where it is not known or does not count. */
static uint64_t others_locked(const struct doctor *d)
{
	return !d->machine.user_locked_err || d->machine.user_locked_err == -ERANGE
		       ? d->machine.user_locked
		       : 0;
}

static void say_others(struct doctor *d)
{
	if (!d->machine.user_locked_err)
		return;
	doctor_add(d, "limits.user_locked", "", DOCTOR_UNSEEN,
		d->machine.user_locked_err == -ERANGE
			? "how much the user's other processes have in user->locked_vm: at least "
			  "%" PRIu64 " pages, which is the hard limit"
			: "how much the user's other processes have in user->locked_vm (%" PRIu64
			  " assumed): it cannot be measured here",
		d->machine.user_locked);
}

static void compare(struct doctor *d, const struct need *need)
{
	const uint64_t bytes = need->pages << 12;
	bool enough = d->machine.memlock.rlim_cur >> 12 >= need->pages;
	char soft[32], hard[32], needed[32], mem[32], others[96] = "";
	struct doctor_finding *finding;

	if (d->machine.memlock.rlim_cur == RLIM_INFINITY)
		enough = true;
	if (need->by_user && d->machine.user_locked)
		snprintf(others, sizeof(others),
			", %" PRIu64 " pages of it for what the user has locked already",
			d->machine.user_locked);
	finding = doctor_add(d, "limits.memlock", "", enough ? DOCTOR_OK : DOCTOR_BLOCKS,
		"soft %s, hard %s%s%s%s; %s on %s takes %s, counted by %s%s",
		limit_text(soft, d->machine.memlock.rlim_cur),
		limit_text(hard, d->machine.memlock.rlim_max), *d->machine.limits_from ? " (" : "",
		d->machine.limits_from, *d->machine.limits_from ? ")" : "",
		doctor_size(mem, d->ask.mem), d->chosen->name, doctor_size(needed, bytes),
		need->by_user ? "user" : "process", others);
	numbers(finding, d, need);
	if (!enough)
		mend_memlock(d, finding, bytes);
}

/* Nobody said how much memory: what there is, and whether it is anything. */
static void say_limit(struct doctor *d)
{
	const rlim_t limit = d->machine.memlock.rlim_cur;
	char soft[32], hard[32], page[32];
	struct doctor_finding *finding;
	enum doctor_state state = DOCTOR_OK;

	if (limit < PN_PAGE_4K)
		state = DOCTOR_BLOCKS;
	else if (limit < d->page_size)
		state = DOCTOR_HURTS;
	finding = doctor_add(d, "limits.memlock", "", state, "soft %s, hard %s%s%s%s%s%s",
		limit_text(soft, limit), limit_text(hard, d->machine.memlock.rlim_max),
		*d->machine.limits_from ? " (" : "", d->machine.limits_from,
		*d->machine.limits_from ? ")" : "",
		state == DOCTOR_BLOCKS  ? ": nothing can be mapped"
		: state == DOCTOR_HURTS ? ": not even one hugepage of "
					: "; --mem SIZE says whether that is enough",
		state == DOCTOR_HURTS ? doctor_size(page, d->page_size) : "");
	numbers(finding, d, &(struct need){0});
	if (state != DOCTOR_OK)
		mend_memlock(d, finding, PN_PAGE_2M * 4);
}

static void check_memlock(struct doctor *d)
{
	struct need need = {0};
	char soft[32], hard[32];

	if (d->exempt || d->no_iommu_wanted) {
		doctor_add(d, "limits.memlock", "", DOCTOR_OK, "soft %s, hard %s: %s",
			limit_text(soft, d->machine.memlock.rlim_cur),
			limit_text(hard, d->machine.memlock.rlim_max),
			d->exempt ? "no limit applies, by CAP_IPC_LOCK"
				  : "nothing is pinned by what was asked for");
		return;
	}
	if (!d->ask.mem || !d->chosen) {
		say_limit(d);
		return;
	}
	if (plan(d, 0, &need)) {
		doctor_add(d, "limits.memlock", "", DOCTOR_UNSEEN,
			"what limit is needed: there is no plan for %s", d->chosen->name);
		return;
	}
	if (need.by_user) {
		say_others(d);
		if (others_locked(d) && plan(d, others_locked(d), &need))
			return;
	}
	compare(d, &need);
}

/* A region is a file to the kernel, and a mapping. */
static void check_size(struct doctor *d, const char *id, const struct rlimit *limit,
	const char *name, const char *option, uint64_t need)
{
	char text[32], needed[32];
	struct doctor_finding *finding;

	if (limit->rlim_cur == RLIM_INFINITY)
		return;
	finding = doctor_add(d, id, "", limit->rlim_cur < need ? DOCTOR_BLOCKS : DOCTOR_OK,
		"%s is %s; memory for devices takes %s of it", name,
		limit_text(text, limit->rlim_cur), need ? doctor_size(needed, need) : "a part");
	doctor_number(finding, "soft_bytes", limit->rlim_cur);
	if (limit->rlim_cur < need)
		doctor_mend(d, finding, DOCTOR_AS_USER, "ulimit -S -%s unlimited", option);
}

/* Each mapping is an entry; a program that maps a region as one needs few. */
static void check_entries(struct doctor *d)
{
	struct doctor_finding *finding;
	uint64_t entries;

	if (!d->chosen || strcmp(d->chosen->name, "type1") != 0)
		return;
	if (doctor_read_number(
		    d, &entries, "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit")) {
		doctor_add(d, "limits.dma_entries", "", DOCTOR_UNSEEN,
			"how many mappings type1 allows a container (dma_entry_limit)");
		return;
	}
	finding = doctor_add(d, "limits.dma_entries", "",
		!entries       ? DOCTOR_BLOCKS
		: entries < 64 ? DOCTOR_HURTS
			       : DOCTOR_OK,
		"type1 allows %" PRIu64 " mappings in a domain (dma_entry_limit)", entries);
	doctor_number(finding, "entries", entries);
	if (entries < 64)
		doctor_mend_root(d, finding,
			"echo 65535 > /sys/module/vfio_iommu_type1/parameters/dma_entry_limit");
}

/* What a program of this kind has mapped besides: the doctor is one. */
static uint64_t own_size(struct doctor *d)
{
	char status[16384];
	uint64_t kib = 0;

	if (doctor_read(d, status, sizeof(status), "/proc/self/status") > 0)
		doctor_field(status, "VmSize:", 10, &kib);
	return kib < UINT64_C(1) << 40 ? kib << 10 : 0;
}

void doctor_check_limits(struct doctor *d)
{
	check_memlock(d);
	check_size(d, "limits.fsize", &d->machine.fsize, "RLIMIT_FSIZE", "f", d->ask.mem);
	check_size(d, "limits.as", &d->machine.as, "RLIMIT_AS", "v", d->ask.mem + own_size(d));
	check_entries(d);
}
