/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files that another process opened: handed in, of the wrong kind, with an accounting; and domains
 * that share one. These run as root and fork an ordinary user that may open nothing itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "iommufd_abi.h"
#include "tests.h"

static bool is_native(void)
{
	return !strcmp(backend_name, "iommufd");
}

static const char *backend_node(void)
{
	return strcmp(backend_name, "type1") ? "/dev/iommu" : "/dev/vfio/vfio";
}

/* The node by which a device goes to the backend: its own, or its group's. */
static void device_node(const struct pn_dma_device *device, char node[40])
{
	if (is_native())
		snprintf(node, 40, "%s", device->cdev);
	else
		machine_group_node(device, node);
}

static int open_node(const char *node)
{
	int fd = open(node, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		printf("%s: %s\n", node, strerror(errno));
	CHECK(fd >= 0);
	return fd;
}

/* Run a test as the user, with files that root opened; its failures count. */
static void as_user(void (*run)(const int *fds), const int *fds, unsigned int count)
{
	int pair[2], received[8], status = 0;
	pid_t child;

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	fflush(stdout);
	child = fork();
	if (child == 0) {
		close(pair[0]);
		for (unsigned int i = 0; i < count; i++)
			close(fds[i]);
		become_user();
		receive_files(pair[1], received, count);
		failures = 0;
		run(received);
		fflush(stdout);
		_exit(failures ? 1 : 0);
	}
	close(pair[1]);
	send_files(pair[0], fds, count);
	for (unsigned int i = 0; i < count; i++)
		close(fds[i]);
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(pair[0]);
}

/* One life of a domain on files that were handed in. */
static void live_handed_in(int file, const struct pn_dma_device *device, bool close_early)
{
	struct pn_domain_opts opts = {.backend = backend_name, .use_fd = true, .fd = file};
	struct pn_region *region = region_new(32);
	uint64_t iova = PN_IOVA_ANY;
	struct pn_domain_info info;
	struct pn_domain *domain;
	struct counters before;
	int fd = -1;

	CHECK(!pn_domain_create(&domain, &opts));
	before = counters_now();
	info = domain_info(domain);
	CHECK(!info.node[0]);
	/* Too much; then the same file once more, with less. */
	CHECK(!pn_domain_map(domain, region, 0, 17 * PAGE, PN_PROT_RW, &iova));
	CHECK(pn_domain_attach(domain, device, &fd) == -ENOMEM);
	CHECK(counters_grew(&before, &info.charge, false, 0));
	CHECK(!pn_domain_unmap(domain, iova, 17 * PAGE));
	CHECK(!pn_domain_map(domain, region, 0, 16 * PAGE, PN_PROT_RW, &iova));
	CHECK(!pn_domain_attach(domain, device, &fd));
	CHECK(counters_grew(&before, &info.charge, false, 16));
	CHECK(dma_works(fd, region, iova, 16));
	pn_domain_detach(domain, fd);
	CHECK(counters_grew(&before, &info.charge, false, 0));
	CHECK(!pn_domain_attach(domain, device, &fd));
	/* The domain has its own copies. */
	if (close_early) {
		close(file);
		close(device->fd);
	}
	CHECK(dma_works(fd, region, iova, 16));
	pn_domain_detach(domain, fd);
	CHECK(!pn_domain_destroy(domain));
	CHECK(counters_grew(&before, &info.charge, false, 0));
	CHECK(!pn_region_destroy(region));
}

static void run_handed_in(const int *fds)
{
	struct pn_domain_opts opts = {.backend = backend_name, .use_fd = true, .fd = fds[2]};
	struct rlimit limit = {16 * PAGE, 16 * PAGE};
	struct pn_dma_device device = edu_device;
	struct pn_domain *domain;
	char node[40];
	int fd = -1;

	device_node(&device, node);
	CHECK(open(node, O_RDWR) < 0 && errno == EACCES);
	CHECK(!setrlimit(RLIMIT_MEMLOCK, &limit));
	device.use_fd = true;
	device.fd = fds[1];
	device.cdev[0] = '\0';
	live_handed_in(fds[0], &device, false);
	if (is_native()) {
		/* While it is open, a device's own node stays with the first iommufd. */
		CHECK(!pn_domain_create(&domain, &opts));
		CHECK(pn_domain_attach(domain, &device, &fd) == -EINVAL);
		CHECK(strstr(pn_error(), "open its node anew"));
		CHECK(!pn_domain_destroy(domain));
		close(fds[1]);
		device.fd = fds[3];
		live_handed_in(fds[2], &device, true);
	} else {
		live_handed_in(fds[0], &device, true);
	}
}

void test_handed_in(void)
{
	char node[40];
	int fds[4];

	device_node(&edu_device, node);
	fds[0] = open_node(backend_node());
	fds[1] = open_node(node);
	fds[2] = open_node(backend_node());
	fds[3] = open_node(is_native() ? node : "/dev/null");
	as_user(run_handed_in, fds, 4);
}

static int create_with(int fd)
{
	struct pn_domain_opts opts = {.backend = backend_name, .use_fd = true, .fd = fd};
	struct pn_domain *domain;
	int ret = pn_domain_create(&domain, &opts);

	if (!ret)
		CHECK(!pn_domain_destroy(domain));
	printf("# %d: %s\n", ret, ret ? pn_error() : "taken");
	return ret;
}

static int attach_with(struct pn_domain *domain, int fd)
{
	struct pn_dma_device device = edu_device;
	int ret, device_fd;

	device.use_fd = true;
	device.fd = fd;
	ret = pn_domain_attach(domain, &device, &device_fd);
	if (!ret)
		pn_domain_detach(domain, device_fd);
	printf("# %d: %s\n", ret, ret ? pn_error() : "taken");
	return ret;
}

/* What is not the file it should be is refused in words, and the right one is taken afterwards. */
void test_wrong_files(void)
{
	const char *other_node = strcmp(backend_name, "type1") ? "/dev/vfio/vfio" : "/dev/iommu";
	struct pn_domain_opts opts = {.backend = backend_name};
	struct pn_domain *domain;
	char node[40];
	int fd;

	CHECK(create_with(-1) == -EBADF);
	CHECK(create_with(999) == -EBADF);
	for (unsigned int i = 0; i < 3; i++) {
		const char *wrong[] = {"/dev/null", "/etc/hostname", other_node};

		fd = open(wrong[i], i == 1 ? O_RDONLY : O_RDWR);
		/* Where iommufd provides /dev/vfio/vfio it is the right file. */
		if (fd >= 0 && (i < 2 || !access("/sys/module/vfio_iommu_type1", F_OK)))
			CHECK(create_with(fd) == -EINVAL);
		if (fd >= 0)
			close(fd);
	}
	device_node(&edu_device, node);
	fd = open_node(node);
	CHECK(create_with(fd) == -EINVAL);
	close(fd);

	CHECK(!pn_domain_create(&domain, &opts));
	CHECK(attach_with(domain, 999) == -EBADF);
	fd = open_node("/dev/null");
	CHECK(attach_with(domain, fd) == -EINVAL);
	close(fd);
	device_node(&other_device, node);
	fd = open_node(node);
	CHECK(attach_with(domain, fd) == -EINVAL);
	CHECK(strstr(pn_error(), edu_device.address));
	close(fd);
	if (is_native())
		machine_group_node(&edu_device, node);
	else
		snprintf(node, sizeof(node), "%s", edu_device.cdev);
	if (node[0]) {
		fd = open_node(node);
		CHECK(attach_with(domain, fd) == -EINVAL);
		close(fd);
	}
	device_node(&edu_device, node);
	fd = open_node(node);
	CHECK(!attach_with(domain, fd));
	close(fd);
	CHECK(!pn_domain_destroy(domain));
}

/* Map and attach with this accounting; by_process: what the rule and the counters must say. */
static void check_charged(
	const struct pn_domain_opts *opts, const struct pn_dma_device *device, bool by_process)
{
	struct pn_region *region = region_new(8);
	uint64_t iova = PN_IOVA_ANY;
	struct pn_domain_info info;
	struct pn_domain *domain;
	struct counters before;
	int fd = -1;

	CHECK(!pn_domain_create(&domain, opts));
	before = counters_now();
	CHECK(!pn_domain_attach(domain, device, &fd));
	CHECK(!pn_domain_map(domain, region, 0, 8 * PAGE, PN_PROT_RW, &iova));
	info = domain_info(domain);
	CHECK((info.charge.limited == PN_COUNTER_MM_LOCKED) == by_process);
	CHECK(counters_grew(&before, &info.charge, false, 8));
	pn_domain_detach(domain, fd);
	CHECK(!pn_domain_destroy(domain));
	CHECK(!pn_region_destroy(region));
}

static void run_accounting(const int *fds)
{
	struct pn_domain_opts opts = {
		.backend = backend_name, .use_fd = true, .accounting = PN_ACCOUNTING_PROCESS};
	struct pn_dma_device device = edu_device;
	struct pn_domain *domain;

	device.use_fd = true;
	device.fd = fds[2];
	/* One as it is, and one that root has set. */
	opts.fd = fds[0];
	CHECK(pn_domain_create(&domain, &opts) == -EPERM);
	CHECK(strstr(pn_error(), "CAP_SYS_RESOURCE") && strstr(pn_error(), "RLIMIT_MODE to 1"));
	opts.accounting = PN_ACCOUNTING_USER;
	check_charged(&opts, &device, false);
	opts.fd = fds[1];
	CHECK(pn_domain_create(&domain, &opts) == -EPERM);
	opts.accounting = PN_ACCOUNTING_PROCESS;
	if (is_native()) {
		close(device.fd);
		device.fd = fds[3];
	}
	check_charged(&opts, &device, true);
}

static void accounting_type1(void)
{
	struct pn_domain_opts opts = {.backend = "type1", .accounting = PN_ACCOUNTING_USER};
	struct pn_domain *domain;

	CHECK(pn_domain_create(&domain, &opts) == -EOPNOTSUPP);
	CHECK(strstr(pn_error(), "iommufd"));
	opts.accounting = PN_ACCOUNTING_PROCESS;
	check_charged(&opts, &edu_device, true);
}

void test_accounting(void)
{
	struct iommufd_option option = {.size = sizeof(option),
		.option_id = IOMMUFD_OPTION_RLIMIT_MODE,
		.op = IOMMUFD_OPTION_OP_SET,
		.val64 = 1};
	struct pn_domain_opts opts = {.backend = backend_name};
	char node[40];
	int fds[4];

	/* It would be exempt, and is root all the same. */
	drop_capability(CAP_IPC_LOCK);
	if (!strcmp(backend_name, "type1")) {
		accounting_type1();
		return;
	}
	check_charged(&opts, &edu_device, false);
	opts.accounting = PN_ACCOUNTING_PROCESS;
	check_charged(&opts, &edu_device, true);
	opts.accounting = PN_ACCOUNTING_USER;
	check_charged(&opts, &edu_device, false);

	device_node(&edu_device, node);
	fds[0] = open_node("/dev/iommu");
	fds[1] = open_node("/dev/iommu");
	fds[2] = open_node(node);
	fds[3] = open_node(is_native() ? node : "/dev/null");
	CHECK(!ioctl(fds[1], IOMMUFD_OPTION, &option));
	as_user(run_accounting, fds, 4);
}

/* Two address spaces in one iommufd: what both have is pinned and charged once. */
static void beside_native(void)
{
	struct pn_domain_opts opts = {.backend = "iommufd"};
	struct pn_region *shared = region_new(16), *own = region_new(8);
	uint64_t a = PN_IOVA_ANY, b = PN_IOVA_ANY, c = PN_IOVA_ANY;
	struct pn_domain *first, *second, *third;
	struct pn_domain_info info;
	struct counters before;
	int first_fd = -1, second_fd = -1;

	CHECK(!pn_domain_create(&first, &opts));
	CHECK(!pn_domain_attach(first, &other_device, &first_fd));
	before = counters_now();
	CHECK(!pn_domain_map(first, shared, 0, 16 * PAGE, PN_PROT_RW, &a));
	info = domain_info(first);
	opts.beside = first;
	CHECK(!pn_domain_create(&second, &opts));
	CHECK(!pn_domain_attach(second, &edu_device, &second_fd));
	CHECK(!pn_domain_map(second, shared, 0, 16 * PAGE, PN_PROT_RW, &b));
	CHECK(counters_grew(&before, &info.charge, false, 16));
	CHECK(!pn_domain_map(second, own, 0, 8 * PAGE, PN_PROT_RW, &c));
	CHECK(counters_grew(&before, &info.charge, false, 24));
	CHECK(dma_works(second_fd, shared, b, 16));

	/* An iommufd has one accounting, and it is too late to choose. */
	opts.accounting = PN_ACCOUNTING_PROCESS;
	CHECK(pn_domain_create(&third, &opts) < 0);
	CHECK(strstr(pn_error(), "accounts by user"));

	pn_domain_detach(first, first_fd);
	CHECK(!pn_domain_destroy(first));
	CHECK(counters_grew(&before, &info.charge, false, 24));
	CHECK(dma_works(second_fd, shared, b, 16));
	CHECK(!pn_domain_unmap(second, b, 16 * PAGE));
	CHECK(counters_grew(&before, &info.charge, false, 8));
	CHECK(dma_works(second_fd, own, c, 8));
	pn_domain_detach(second, second_fd);
	CHECK(!pn_domain_destroy(second));
	CHECK(counters_grew(&before, &info.charge, false, 0));
	CHECK(!pn_region_destroy(shared) && !pn_region_destroy(own));
}

void test_beside(void)
{
	struct pn_domain_opts opts = {.backend = backend_name};
	struct pn_domain *first, *second;

	if (is_native()) {
		beside_native();
		return;
	}
	CHECK(!pn_domain_create(&first, &opts));
	opts.beside = first;
	CHECK(pn_domain_create(&second, &opts) == -EINVAL);
	CHECK(strstr(pn_error(), "native iommufd"));
	CHECK(!pn_domain_destroy(first));
}
