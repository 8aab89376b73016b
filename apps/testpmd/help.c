/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The text of pinion-testpmd --help.
 */
#include <stdio.h>

#include "options.h"

static const char help_head[] =
	"Usage: pinion-testpmd {-a ADDRESS | --port SPEC}... [OPTION]...\n"
	"\n"
	"Drive PCI network cards from user space: receive, change, generate and send packets, and\n"
	"show what memory was pinned for it and how the kernel charged it.\n"
	"\n"
	"Devices and DMA:\n"
	"  -a, --allow ADDRESS      a card to use: 0000:00:03.0, 00:03.0, or vendor:device such "
	"as\n"
	"                           8086:10d3 if there is only one; again, or with commas, for\n"
	"                           more: the first is port 0\n"
	"      --port SPEC          a software port: null or null:size=BYTES (packets from nowhere "
	"to\n"
	"                           nowhere), ring or ring:size=PACKETS (what it sends it "
	"receives);\n"
	"                           pcap:rx=FILE,tx=FILE,loop=1 (capture files; any part of it);\n"
	"                           again for more, numbered with the cards in the order given\n"
	"      --dma BACKEND[:NODE] how memory is mapped for the cards: auto (default), iommufd,\n"
	"                           iommufd-compat or type1; noiommu and none are used only when\n"
	"                           named. Several with commas mean the first that is available.\n"
	"                           With NODE, through that file, for example\n"
	"                           iommufd-compat:/dev/vfio/vfio\n"
	"\n"
	"Memory:\n"
	"      --mem SIZE           all memory for DMA, in bytes or with K, M or G: exactly this\n"
	"                           much is pinned (default: what rings and pool need)\n"
	"      --page-size SIZE     4K, 2M, 1G, or auto (default): the largest that is free and\n"
	"                           fits, 4K if there are no hugepages\n"
	"      --hugetlbfs DIR      take hugepages from the hugetlbfs mounted there\n"
	"      --pool N             packet buffers (default: what rings and bursts need)\n"
	"\n"
	"Forwarding (port 0 with 1, 2 with 3, ...; one without a partner sends back to its own "
	"link):\n"
	"      --forward MODE       default io\n";

static const char help_tail[] =
	"      --burst N            packets at a time, 1 to 512 (default 32)\n"
	"      --rxd N, --txd N     descriptors of each receive and transmit ring (default 256)\n"
	"      --mtu N              set this MTU on every port\n"
	"      --no-promiscuous     receive only what is addressed to the port (--promiscuous, "
	"the\n"
	"                           default: receive everything)\n"
	"      --tx-first[=N]       first send N bursts (default 1) of generated frames\n"
	"      --frame-size N       bytes of a generated frame without FCS, 60 to 1514 (default "
	"60)\n"
	"      --eth-peer [PORT,]MAC\n"
	"                           destination of generated frames, of one port or of all\n"
	"                           (default 02:00:00:00:00:PORT)\n"
	"\n"
	"How long (until SIGINT or SIGTERM, if none of them is given):\n"
	"      --duration S         end after S seconds, such as 10 or 0.5 (0: no end)\n"
	"      --count N            end after N packets have been received (txonly: sent)\n"
	"      --warmup S           leave the first S seconds out of the mean rates\n"
	"\n"
	"Output:\n"
	"      --stats-period S     print the rates of each port every S seconds\n"
	"      --json               print one JSON document on stdout at the end; what is for "
	"people\n"
	"                           goes to stderr\n"
	"  -v, --verbose            show what the library does\n"
	"      --version            print the version and exit\n"
	"  -h, --help               print this and exit\n"
	"\n"
	"Exit status: 0 if all went well, also when a signal ended it; 2 if the command line makes "
	"no\n"
	"sense; 1 for any other failure.\n"
	"\n"
	"Examples:\n"
	"  A wire between the links of two cards, for as long as it is wanted:\n"
	"      pinion-testpmd -a 00:03.0 -a 00:04.0 --forward bridge --stats-period 1\n"
	"  What one card can send in ten seconds, for a script:\n"
	"      pinion-testpmd -a 8086:10d3 --forward txonly --duration 10 --json > result.json\n"
	"  Exactly 4 MiB pinned, through iommufd:\n"
	"      pinion-testpmd -a 00:03.0,00:04.0 --dma iommufd-compat --mem 4M\n"
	"\n"
	"'pinion devices' shows which cards can be used now, and what is missing for the others;\n"
	"'pinion backends' the same of the ways to map memory.\n";

void print_help(void)
{
	const struct forward_mode *mode;

	fputs(help_head, stdout);
	for (unsigned int i = 0; (mode = forward_mode_get(i)); i++)
		printf("                           %-8s %s\n", mode->name, mode->summary);
	fputs(help_tail, stdout);
}
