/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Before a mapping is made: what it meets. Which counters, which limit, what is left under it now.
 */
#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base_priv.h"
#include "pins_priv.h"

const char *pn_fits_name(enum pn_fits fits)
{
	switch (fits) {
	case PN_FITS_YES:
		return "yes";
	case PN_FITS_NO:
		return "no";
	default:
		return "unknown";
	}
}

static void take_used(struct pn_preflight *out, uint64_t used, enum pn_observer observer)
{
	out->left = used < out->limit ? out->limit - used : 0;
	out->left_at_most = out->left;
	out->observer = observer;
}

/* Some microseconds slower than to ask the kernel's comparison. */
static bool look_in_proc(struct pn_preflight *out)
{
	struct pn_proc_state state;

	if (out->limited != PN_COUNTER_MM_LOCKED || pn_proc_read(getpid(), &state) ||
		!state.counters_known)
		return false;
	take_used(out, state.locked, PN_OBSERVER_PROC);
	return true;
}

/* To the page, and of any size, which the kernel's comparison does not tell of this counter. */
static bool ask_module(struct pn_preflight *out, struct pn_trial *trial)
{
	uint64_t used;
	int ret;

	if (out->limited != PN_COUNTER_USER_LOCKED || trial->no_module)
		return false;
	ret = pn_module_user_locked(0, getuid(), &used);
	trial->no_module = ret == -ENODEV || ret == -EACCES;
	if (ret)
		return false;
	take_used(out, used, PN_OBSERVER_MODULE);
	return true;
}

static void look_at_left(struct pn_preflight *out, struct pn_trial *trial)
{
	if (ask_module(out, trial))
		return;
	if (!pn_trial_left(trial, out->limited, out->limit, &out->left, &out->left_at_most)) {
		out->observer = PN_OBSERVER_TRIAL;
		return;
	}
	if (look_in_proc(out))
		return;
	out->left = 0;
	out->left_at_most = out->limit;
}

static enum pn_fits fits(const struct pn_preflight *out)
{
	uint64_t pages = out->charged + out->queued;

	if (pages < out->queued)
		return PN_FITS_NO;
	if (pages <= out->left)
		return PN_FITS_YES;
	return pages > out->left_at_most ? PN_FITS_NO : PN_FITS_UNKNOWN;
}

void pn_preflight_look(
	struct pn_preflight *out, const struct pn_charge_rule *rule, struct pn_trial *trial)
{
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	out->exempt = pn_exempt_now();
	out->counters = out->exempt ? rule->exempt_counters : rule->counters;
	out->limited = out->exempt ? PN_COUNTER_MAX : rule->limited;
	out->limit = out->left = out->left_at_most = PN_PAGES_UNLIMITED;
	out->observer = PN_OBSERVER_NONE;
	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (out->limited != PN_COUNTER_MAX && limit.rlim_cur != RLIM_INFINITY) {
		out->limit = limit.rlim_cur >> 12;
		look_at_left(out, trial);
	}
	out->fits = fits(out);
}
