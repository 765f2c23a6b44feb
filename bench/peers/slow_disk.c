/* Loaded before libc, makes each write to a file, and each flush, take SLOW_DISK_MS milliseconds longer, as a disk does
 * that is busy with others. Sockets and pipes are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct timespec pause_;

__attribute__((constructor)) static void begin(void) {
    const char *given = getenv("SLOW_DISK_MS");
    long ms = given ? atol(given) : 0;
    pause_.tv_sec = ms / 1000;
    pause_.tv_nsec = ms % 1000 * 1000000;
}

static void wait_for_disk(int fd) {
    struct stat about;
    if (fstat(fd, &about) == 0 && (S_ISREG(about.st_mode) || S_ISDIR(about.st_mode)))
        nanosleep(&pause_, NULL);
}

#define SLOW(type, name, parameters, arguments)                              \
    type name parameters {                                                   \
        static type(*real) parameters;                                       \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);       \
        wait_for_disk(fd);                                                   \
        return real arguments;                                               \
    }

SLOW(ssize_t, write, (int fd, const void *from, size_t count), (fd, from, count))
SLOW(ssize_t, pwrite, (int fd, const void *from, size_t count, off_t at), (fd, from, count, at))
SLOW(ssize_t, pwrite64, (int fd, const void *from, size_t count, off64_t at), (fd, from, count, at))
SLOW(ssize_t, pwritev, (int fd, const struct iovec *from, int count, off_t at), (fd, from, count, at))
SLOW(ssize_t, pwritev64, (int fd, const struct iovec *from, int count, off64_t at), (fd, from, count, at))
SLOW(ssize_t, pwritev2, (int fd, const struct iovec *from, int count, off_t at, int how), (fd, from, count, at, how))
SLOW(ssize_t, pwritev64v2, (int fd, const struct iovec *from, int count, off64_t at, int how),
     (fd, from, count, at, how))
SLOW(int, fsync, (int fd), (fd))
SLOW(int, fdatasync, (int fd), (fd))
