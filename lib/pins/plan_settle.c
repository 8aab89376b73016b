/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The settings of a plan, ready to paste: how RLIMIT_MEMLOCK is set in each place where a program
 * can be started from, and how hugepages are reserved.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "plan_priv.h"

static void PN_PRINTF(2, 3) append(struct pn_plan_snippet *snippet, const char *fmt, ...)
{
	size_t used = strlen(snippet->text);
	va_list args;

	va_start(args, fmt);
	vsnprintf(snippet->text + used, sizeof(snippet->text) - used, fmt, args);
	va_end(args);
}

static struct pn_plan_snippet *add(
	struct pn_plan_settings *settings, const char *kind, const char *where, const char *why)
{
	struct pn_plan_snippet *snippet = &settings->snippets[settings->snippet_count++];

	*snippet = (struct pn_plan_snippet){.kind = kind, .where = where, .why = why};
	return snippet;
}

static void settle_host(
	const struct pn_plan *plan, struct pn_plan_settings *settings, uint64_t bytes)
{
	struct pn_plan_snippet *snippet;

	snippet = add(settings, "systemd", "systemctl edit UNIT",
		"sets the soft and the hard limit of a service, in bytes; other units and logins "
		"keep theirs");
	append(snippet, "[Service]\nLimitMEMLOCK=%" PRIu64, bytes);
	snippet = add(settings, "limits.d", "/etc/security/limits.d/90-pinion.conf",
		"sets both limits of a user's logins through PAM, in KiB, from the next login on; "
		"services of systemd do not read it");
	append(snippet, "%s - memlock %" PRIu64, plan->input.user ? plan->input.user : "USER",
		bytes >> 10);
	snippet = add(settings, "prlimit", "as a command in the shell that starts the program",
		"raises both limits of the running shell, in bytes, until it ends; raising the "
		"hard one takes CAP_SYS_RESOURCE, hence sudo");
	append(snippet, "sudo prlimit --pid $$ --memlock=%" PRIu64 ":%" PRIu64, bytes, bytes);
}

static void settle_containers(struct pn_plan_settings *settings, uint64_t bytes)
{
	struct pn_plan_snippet *snippet;

	snippet = add(settings, "docker", "an option of docker run",
		"sets soft:hard of the container's processes, in bytes");
	append(snippet, "--ulimit memlock=%" PRIu64 ":%" PRIu64, bytes, bytes);
	snippet = add(settings, "podman", "an option of podman run",
		"the same; a podman without root cannot go above the hard limit of its user, so "
		"raise that first");
	append(snippet, "--ulimit memlock=%" PRIu64 ":%" PRIu64, bytes, bytes);
	snippet = add(settings, "oci", "config.json of the bundle, in \"process\"",
		"what runc and crun set before they start the process, in bytes");
	append(snippet,
		"\"rlimits\": [\n  {\"type\": \"RLIMIT_MEMLOCK\", \"hard\": %" PRIu64
		", \"soft\": %" PRIu64 "}\n]",
		bytes, bytes);
}

static const char *hugepage_resource(const struct pn_plan *plan)
{
	return plan->input.page_size == PN_PAGE_1G ? "hugepages-1Gi" : "hugepages-2Mi";
}

/* Kubernetes wants memory or cpu beside hugepages; 4 KiB pages are memory. */
static void settle_pod(const struct pn_plan *plan, struct pn_plan_settings *settings)
{
	uint64_t mebibytes = (plan->memory + (1 << 20) - 1) >> 20;
	struct pn_plan_snippet *snippet;

	if (plan->input.page_size == PN_PAGE_4K) {
		snippet = add(settings, "kubernetes-pod", "in each container of the pod",
			"memory for DMA counts in the container's memory: this is it alone, add "
			"what the program takes besides");
		append(snippet,
			"resources:\n  requests:\n    memory: %" PRIu64 "Mi\n  limits:\n    "
			"memory: %" PRIu64 "Mi",
			mebibytes, mebibytes);
		return;
	}
	snippet = add(settings, "kubernetes-pod", "in each container of the pod, one process each",
		"hugepages are a resource of their own, and request and limit must be equal; "
		"memory, which must be asked for as well, is what the program takes besides: "
		"adapt it");
	append(snippet,
		"resources:\n  requests:\n    %s: %" PRIu64 "Mi\n    memory: 256Mi\n  limits:\n    "
		"%s: %" PRIu64 "Mi\n    memory: 256Mi",
		hugepage_resource(plan), mebibytes, hugepage_resource(plan), mebibytes);
}

static void settle_kubernetes(
	const struct pn_plan *plan, struct pn_plan_settings *settings, uint64_t bytes)
{
	struct pn_plan_snippet *snippet;

	settle_pod(plan, settings);
	snippet = add(settings, "kubernetes-containerd",
		"/etc/systemd/system/containerd.service.d/90-memlock.conf on each node, then "
		"systemctl daemon-reload and systemctl restart containerd",
		"a pod has no field for ulimits: its containers inherit the limit of containerd. "
		"It is that of all new containers of the node");
	append(snippet, "[Service]\nLimitMEMLOCK=%" PRIu64, bytes);
	snippet = add(settings, "kubernetes-crio",
		"/etc/crio/crio.conf.d/90-memlock.conf on each node, then systemctl restart crio",
		"the same with CRI-O, which has an option for it, in bytes, soft:hard");
	append(snippet, "[crio.runtime]\ndefault_ulimits = [\"memlock=%" PRIu64 ":%" PRIu64 "\"]",
		bytes, bytes);
}

static void settle_libvirt(struct pn_plan_settings *settings, uint64_t bytes)
{
	struct pn_plan_snippet *snippet = add(settings, "libvirt", "virsh edit DOMAIN, in <domain>",
		"for devices assigned to QEMU, in KiB: libvirt sets QEMU's limit to it, "
		"and memory.max of its control group too, so it must hold all that QEMU "
		"takes besides");

	append(snippet, "<memtune>\n  <hard_limit unit='KiB'>%" PRIu64 "</hard_limit>\n</memtune>",
		bytes >> 10);
}

static void settle_capability(const struct pn_plan *plan, struct pn_plan_settings *settings)
{
	struct pn_plan_snippet *snippet;

	snippet = add(settings, "systemd", "systemctl edit UNIT",
		"gives the service the capability that the plan counts on, also as an ordinary "
		"user; its limit does not matter then");
	append(snippet, "[Service]\nAmbientCapabilities=CAP_IPC_LOCK");
	snippet = add(settings, "docker", "an option of docker run",
		"it counts only for root in the container, and without a user namespace of the "
		"container's own");
	append(snippet, "--cap-add IPC_LOCK");
	snippet = add(settings, "podman", "an option of podman run, as root",
		"the same; without root podman has a user namespace, and the kernel looks for the "
		"capability outside of it");
	append(snippet, "--cap-add IPC_LOCK");
	settle_pod(plan, settings);
	snippet = add(settings, "kubernetes-capability", "in each container of the pod",
		"the same in a pod, with hostUsers not set to false");
	append(snippet, "securityContext:\n  capabilities:\n    add: [\"IPC_LOCK\"]");
}

/* Ways that need the same get the same settings. */
static void settle_limits(struct pn_plan *plan)
{
	struct pn_plan_settings *settings;
	size_t at;

	for (size_t i = 0; i < plan->way_count; i++) {
		uint64_t limit = plan->ways[i].set;

		for (at = 0; at < plan->settings_count; at++)
			if (plan->settings[at].limit == limit)
				break;
		settings = &plan->settings[at];
		settings->ways |= 1u << i;
		if (at < plan->settings_count)
			continue;
		plan->settings_count++;
		settings->limit = limit;
		if (!limit) {
			settle_capability(plan, settings);
			continue;
		}
		settle_host(plan, settings, limit << 12);
		settle_containers(settings, limit << 12);
		settle_kubernetes(plan, settings, limit << 12);
		settle_libvirt(settings, limit << 12);
	}
}

static void settle_hugepages(struct pn_plan *plan)
{
	const struct pn_plan_input *in = &plan->input;
	struct pn_plan_snippet *now = &plan->hugepage_snippets[0],
			       *boot = &plan->hugepage_snippets[1];

	plan->hugepage_snippet_count = 2;
	*now = (struct pn_plan_snippet){.kind = "hugepages-now",
		.where = "as commands, as root",
		.why = "sets how many pages each node has, those that others use included: add "
		       "these. Until the next boot; long after it there may be no room left in "
		       "one piece"};
	*boot = (struct pn_plan_snippet){.kind = "hugepages-boot",
		.where = "on the kernel's command line",
		.why = "reserves them at boot, while memory is in one piece; pages by node take "
		       "Linux 5.16"};
	for (uint32_t node = 0; node < in->numa_nodes; node++)
		append(now,
			"%secho %" PRIu64 " > /sys/devices/system/node/node%u/hugepages/"
			"hugepages-%" PRIu64 "kB/nr_hugepages",
			node ? "\n" : "", plan->hugepages, node, in->page_size >> 10);
	append(boot, "hugepagesz=%s hugepages=", in->page_size == PN_PAGE_1G ? "1G" : "2M");
	for (uint32_t node = 0; node < in->numa_nodes; node++)
		append(boot, "%s%u:%" PRIu64, node ? "," : "", node, plan->hugepages);
}

void plan_settle(struct pn_plan *plan)
{
	settle_limits(plan);
	if (plan->hugepages)
		settle_hugepages(plan);
}
