/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Findings as JSON, schema "pinion.doctor/1": doc/doctor.md.
 */
#include <sys/resource.h>

#include "doctor.h"
#include "output.h"

static json_t *numbers_json(const struct doctor_finding *finding)
{
	json_t *numbers = json_object();

	for (unsigned int i = 0; i < finding->number_count; i++)
		json_object_set_new(
			numbers, finding->numbers[i].name, json_count(finding->numbers[i].value));
	return numbers;
}

static json_t *mends_json(const struct doctor_finding *finding)
{
	json_t *mends = json_array();

	for (unsigned int i = 0; i < finding->mend_count; i++)
		json_array_append_new(mends,
			json_pack("{s:s, s:s}", "where", doctor_where_name(finding->mends[i].where),
				"text", finding->mends[i].text));
	return mends;
}

static json_t *finding_json(const struct doctor_finding *finding)
{
	return json_pack("{s:s, s:o, s:s, s:s, s:o, s:o}", "id", finding->id, "object",
		json_text(finding->object), "state", doctor_state_name(finding->state), "text",
		finding->text, "numbers", numbers_json(finding), "mends", mends_json(finding));
}

static json_t *looked_at_json(const struct doctor *d)
{
	static const char *const containers[] = {[DOCTOR_NO_CONTAINER] = "",
		[DOCTOR_IN_PODMAN] = "podman",
		[DOCTOR_IN_DOCKER] = "docker",
		[DOCTOR_IN_KUBE] = "kubernetes",
		[DOCTOR_IN_BWRAP] = "bwrap",
		[DOCTOR_IN_NSPAWN] = "systemd-nspawn",
		[DOCTOR_IN_SOME] = "unknown"};
	json_t *devices = json_array();

	for (unsigned int i = 0; i < d->wanted_count; i++)
		json_array_append_new(devices, json_string(d->wanted[i]->address));
	return json_pack("{s:s, s:I, s:b, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "user",
		d->machine.user, "uid", (json_int_t)d->machine.uid, "as_user",
		(int)d->machine.as_user, "container", json_text(containers[d->container]), "asked",
		d->ask.backend, "backend", json_text(d->chosen ? d->chosen->name : NULL), "devices",
		devices, "mem_bytes", d->ask.mem ? json_count(d->ask.mem) : json_null(),
		"page_bytes", json_count(d->page_size), "numa_node", json_number(d->node));
}

json_t *doctor_json(const struct doctor *d)
{
	json_t *findings = json_array(), *counts = json_object();
	enum doctor_state worst = DOCTOR_OK;

	for (size_t i = 0; i < d->finding_count; i++) {
		json_array_append_new(findings, finding_json(&d->findings[i]));
		if (d->findings[i].state > worst)
			worst = d->findings[i].state;
	}
	for (enum doctor_state state = DOCTOR_OK; state < DOCTOR_STATES; state++)
		json_object_set_new(counts, doctor_state_name(state),
			json_integer((json_int_t)doctor_count(d, state)));
	return json_pack("{s:s, s:s, s:o, s:o, s:o}", "schema", "pinion.doctor/1", "verdict",
		doctor_state_name(worst), "looked_at", looked_at_json(d), "counts", counts,
		"findings", findings);
}
