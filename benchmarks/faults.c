/* Has one call that writes in a folder go wrong, below the program: load it with LD_PRELOAD.

   Counted are write, pwrite, writev, fsync, fdatasync, rename and mkdir, and what these are in other forms, of
   files in the folder. The call of the number that was set fails once, in a way that a disk has. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FAILS, FULL, LOST }; /* an error; half of the bytes, then no space; success, and nothing is written */

static char folder[PATH_MAX];
static long count, wanted, full_until;
static int way;

void faults_set(const char *path, long number, int how) {
    strncpy(folder, path, sizeof folder - 1);
    count = full_until = 0;
    wanted = number;
    way = how;
}

long faults_count(void) { return count; }

static int inside(const char *path) { return *folder && !strncmp(path, folder, strlen(folder)); }

static int of_folder(int file) {
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", file);
    ssize_t length = *folder ? readlink(name, path, sizeof path - 1) : -1;
    if (length < 0) return 0;
    path[length] = 0;
    return inside(path);
}

static int hit(void) { return __sync_add_and_fetch(&count, 1) == wanted; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL(value, code) do { errno = (code); return (value); } while (0)

ssize_t write(int file, const void *content, size_t size) {
    if (of_folder(file)) {
        if (hit()) {
            if (way == FAILS) FAIL(-1, EIO);
            if (way == LOST) {
                lseek(file, (off_t)size, SEEK_CUR);
                return (ssize_t)size;
            }
            full_until = count + 1;
            if (size > 1) return REAL(write)(file, content, size / 2);
            FAIL(-1, ENOSPC);
        }
        if (full_until && count == full_until) FAIL(-1, ENOSPC);
    }
    return REAL(write)(file, content, size);
}

ssize_t pwrite(int file, const void *content, size_t size, off_t place) {
    if (of_folder(file) && hit()) {
        if (way == LOST) return (ssize_t)size;
        FAIL(-1, way == FULL ? ENOSPC : EIO);
    }
    return REAL(pwrite)(file, content, size, place);
}

ssize_t pwrite64(int file, const void *content, size_t size, off64_t place) {
    return pwrite(file, content, size, place);
}

ssize_t writev(int file, const struct iovec *parts, int n) {
    if (of_folder(file) && hit()) FAIL(-1, way == FULL ? ENOSPC : EIO);
    return REAL(writev)(file, parts, n);
}

int fsync(int file) {
    if (of_folder(file) && hit()) FAIL(-1, EIO);
    return REAL(fsync)(file);
}

int fdatasync(int file) {
    if (of_folder(file) && hit()) FAIL(-1, EIO);
    return REAL(fdatasync)(file);
}

int rename(const char *from, const char *to) {
    if (inside(to) && hit()) FAIL(-1, EIO);
    return REAL(rename)(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    if (inside(to) && hit()) FAIL(-1, EIO);
    return REAL(renameat)(from_folder, from, to_folder, to);
}

int mkdir(const char *path, mode_t mode) {
    if (inside(path) && hit()) FAIL(-1, ENOSPC);
    return REAL(mkdir)(path, mode);
}

int mkdirat(int at, const char *path, mode_t mode) {
    if (inside(path) && hit()) FAIL(-1, ENOSPC);
    return REAL(mkdirat)(at, path, mode);
}
