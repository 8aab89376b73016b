/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the model share. None of its memory is from malloc(), which tests make fail.
 * Functions return 0 or a negative errno unless they say otherwise, with the model's lock held.
 */
#ifndef VFIO_MODEL_PRIV_H
#define VFIO_MODEL_PRIV_H

#include <sys/stat.h>

#include "vfio_model.h"

#define DEVICES 16
#define GROUPS  8
#define OBJECTS 64

/* What was given to one map: the kernel's iopt_pages, or what a vfio_dma has of it. Charges are
 * its own; copies share it. */
struct pages {
	bool live;
	unsigned int refs;
	enum account { ACCOUNT_TYPE1, ACCOUNT_USER, ACCOUNT_MM, ACCOUNT_NONE } account;
	bool exempt; /* of the mapper */
	bool writable, file, uncharged, counted;
	unsigned int mm; /* of the mapper */
	uint64_t charged;
};

struct map {
	uint64_t iova, vaddr, len;
	uint32_t flags;
	bool filled, invalid;
	struct pages *pages;
	uint64_t start; /* byte in pages */
	/* Of a map of a file's: which, and its byte; vaddr is where that was mapped then, if
	 * anywhere. */
	dev_t device;
	ino_t inode;
	uint64_t offset;
};

/* One address space: an IOAS, or a type1 container with its driver. */
struct space {
	bool live, type1;
	unsigned int number;
	unsigned int domains; /* page tables that are to be kept filled */
	bool huge_pages_off;
	bool tracking; /* type1's dirty tracking */
	size_t count;
	struct map maps[MODEL_MAPS]; /* sorted */
};

struct object {
	enum object_type { OBJECT_NONE, OBJECT_IOAS, OBJECT_HWPT, OBJECT_DEVICE } type;
	unsigned int users; /* besides the table of objects */
	struct space *space;
	struct object *ioas;  /* of a HWPT */
	bool dirty, tracking; /* of a HWPT */
	bool automatic;       /* nobody asked for it by itself */
};

/* An open /dev/iommu, or /dev/vfio/vfio that is iommufd's. */
struct iommufd {
	bool live, vfio_node, mm, no_iommu_mode;
	unsigned int refs; /* its file, groups, devices */
	struct object objects[OBJECTS];
	struct object *vfio_ioas;
};

/* An open /dev/vfio/vfio of VFIO's. */
struct container {
	bool live, noiommu, iommu_set;
	unsigned int refs, groups;
	struct space *space;
};

struct group {
	int id;
	bool viable, noiommu;
	int open_err;
	bool opened;
	unsigned int refs;  /* its file and the devices' files */
	unsigned int cdevs; /* devices bound by their own nodes */
	struct container *container;
	struct iommufd *iommufd;
};

/* A device is opened with this token, or with NULL: 0, -EACCES or -EINVAL. */
int model_check_token(const char *token);

struct device {
	char address[16];
	struct group *group;
	int cdev, open_err;
	unsigned int opens;
	struct iommufd *iommufd; /* bound to */
	struct object *object, *hwpt;
	struct vfio_iova_range ranges[MODEL_RANGES];
	unsigned int range_count; /* 0: the model's */
};

enum kind {
	KIND_NONE,
	KIND_CONTAINER,
	KIND_IOMMUFD,
	KIND_GROUP,
	KIND_DEVICE,
	KIND_CDEV,
	KIND_DMABUF
};

/* An open file; several fds may stand for it. */
struct file {
	enum kind kind;
	unsigned int refs;
	struct container *container;
	struct iommufd *iommufd;
	struct group *group;
	struct device *device;
	bool bound; /* a cdev's */
};

extern struct device model_devices[DEVICES];
extern unsigned int model_device_count;
extern struct group model_groups[GROUPS];
extern unsigned int model_group_count;

/* vfio_model.c */
void model_lock(void);
void model_unlock(void);
/* A call has come: 0, or the negative errno with which it is to fail. */
int model_inject(unsigned long request);
struct file *model_file(int fd);
/* An fd for a new file; the model's limits are a bug of the test. */
int model_new_fd(const struct file *file);
int model_real_open(const char *path, int flags);
int model_real_close(int fd);
void model_release(struct file *file);
void model_fds_forget(void);
unsigned int model_count_files(enum kind kind);

/* vfio_model_files.c */
/* A small file of /sys or /proc that is the model's: an fd, a negative errno, -ENXIO: it is not. */
int model_open_small(const char *path);
int model_real_fstat(int fd, struct stat *stat);
void model_files_forget(void);

/* vfio_model_space.c */
struct space *space_new(bool type1);
void space_free(struct space *space);
/* The IOVAs that every device in it takes; how many ranges. */
unsigned int space_ranges(const struct space *space, struct vfio_iova_range *ranges);
/* Would everything mapped still be valid with this device? */
bool space_fits(const struct space *space, const struct device *device);
struct map *space_find(struct space *space, uint64_t iova);
/* Position of the first map that ends at or behind iova. */
size_t space_at(const struct space *space, uint64_t iova);
bool space_overlaps(const struct space *space, uint64_t iova, uint64_t len);
bool space_valid(const struct space *space, uint64_t iova, uint64_t len);
/* Put a map in, with its reference to pages; it is filled if there is a domain. */
int space_add(struct space *space, const struct map *map);
void space_remove(struct space *space, struct map *map);
/* A page table more, filled with everything; or one less. */
int space_add_domain(struct space *space);
void space_remove_domain(struct space *space);
/* iommufd's rule: stops at a map that is cut; what came before it is gone. */
int space_unmap_iommufd(struct space *space, uint64_t first, uint64_t last, uint64_t *bytes);
struct pages *pages_new(enum account account, bool writable);
void pages_put(struct pages *pages);
/* Move the charge to the calling process; check: against the limit. */
int pages_change_owner(struct pages *pages, bool check);
void spaces_forget(void);
bool memory_is_device(uint64_t vaddr, uint64_t len);
/* What a map of a file is of; and where this process has that mapped. */
void memory_of_file(struct map *map, int fd, uint64_t offset);
/* Does this process have what is mapped there? */
bool memory_is_at(const struct map *map, uint64_t vaddr);
void dirty_clear(const struct space *space, uint64_t iova, uint64_t len);
bool dirty_is(const struct space *space, uint64_t iova);

/* vfio_model_type1.c */
struct container *container_new(void);
void container_put(struct container *container);
int container_add_group(struct container *container, struct group *group);
void container_remove_group(struct container *container);
int container_ioctl(struct container *container, unsigned long request, void *arg);
/* GET_INFO's tail, as both kinds of container have it. */
int model_get_info(struct space *space, struct vfio_iommu_type1_info *info);
void containers_forget(void);

/* vfio_model_iommufd.c */
struct iommufd *iommufd_new(bool vfio_node);
void iommufd_put(struct iommufd *iommufd);
int iommufd_ioctl(struct iommufd *iommufd, unsigned long request, void *arg);
struct object *object_new(struct iommufd *iommufd, enum object_type type);
uint32_t object_id(const struct iommufd *iommufd, const struct object *object);
/* NULL: there is none of that type (OBJECT_NONE: of any). */
struct object *object_get(struct iommufd *iommufd, uint32_t id, enum object_type type);
int object_destroy(struct iommufd *iommufd, struct object *object);
struct object *ioas_new(struct iommufd *iommufd);
int ioas_map(struct iommufd *iommufd, struct space *space, const struct map *map, int fd);
/* A page table for a device, filled. */
int hwpt_new(struct iommufd *iommufd, struct object *ioas, bool dirty, struct object **out);
unsigned int iommufds_objects(void);
void iommufds_forget(void);

/* vfio_model_compat.c */
int compat_add_group(struct iommufd *iommufd, struct group *group);
int compat_ioctl(struct iommufd *iommufd, unsigned long request, void *arg);

/* vfio_model_device.c */
int device_bind(struct device *device, struct iommufd *iommufd);
void device_unbind(struct device *device);
/* pt: in an IOAS or a HWPT, out the HWPT. */
int device_attach(struct device *device, struct object **pt);
void device_detach(struct device *device);
int device_ioctl(unsigned long request, void *arg);
int cdev_ioctl(struct file *file, unsigned long request, void *arg);
void cdev_close(struct file *file);

/* vfio_model_group.c */
int group_open(struct group *group);
int group_ioctl(struct group *group, unsigned long request, void *arg);
void group_put(struct group *group);
void group_close_device(struct device *device);

#endif
