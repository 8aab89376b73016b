/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * libFuzzer's entry to the reader of ledgers: any bytes as the file. The magic number and the owner
 * are put in when the first byte of the input asks for it, so that what is behind them is reached.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ledger_format.h"
#include "ledger_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void repair(struct ledger_header *header)
{
	header->magic = LEDGER_MAGIC;
	header->version = LEDGER_VERSION;
	header->header_size = LEDGER_HEADER_SIZE;
	header->slot_size = LEDGER_SLOT_SIZE;
	header->slots = LEDGER_SEGMENT;
	header->uid = getuid();
	header->seq &= ~UINT64_C(1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static union {
		struct ledger_header header;
		uint8_t bytes[LEDGER_HEADER_SIZE + LEDGER_SEGMENT_BYTES];
	} file;
	struct ledger_content content;
	static int fd = -1;
	char why[128];

	if (fd < 0)
		fd = memfd_create("ledger", MFD_CLOEXEC);
	if (fd < 0)
		abort();
	if (!size)
		return 0;
	memset(&content, 0, sizeof(content));
	memset(&file, 0, sizeof(file));
	if (data[0] & 1) {
		size_t head = size - 1 < sizeof(file.header) ? size - 1 : sizeof(file.header);
		size_t rest = size - 1 - head;

		/* The rest becomes the first slots. */
		if (rest > LEDGER_SEGMENT_BYTES)
			rest = LEDGER_SEGMENT_BYTES;
		memcpy(&file.header, data + 1, head);
		memcpy(file.bytes + LEDGER_HEADER_SIZE, data + 1 + head, rest);
		if (data[0] & 2)
			repair(&file.header);
		size = sizeof(file);
	} else {
		size = size - 1 < sizeof(file) ? size - 1 : sizeof(file);
		memcpy(&file, data + 1, size);
	}
	if (ftruncate(fd, 0) || pwrite(fd, &file, size, 0) != (ssize_t)size)
		abort();
	if (!pn_ledger_read(fd, &content, why, sizeof(why))) {
		for (size_t i = 0; i < content.domain.pin_count; i++)
			if (strnlen(content.domain.pins[i].name,
				    sizeof(content.domain.pins[i].name)) ==
					sizeof(content.domain.pins[i].name) ||
				!content.domain.pins[i].len || content.domain.pins[i].prot > 3)
				abort();
		if (content.domain.limited >= PN_COUNTER_MAX || content.pid <= 0)
			abort();
		free(content.domain.pins);
	}
	return 0;
}
