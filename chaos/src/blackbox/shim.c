/* Stands between a node and some of its system calls, so that a run can make syncs fail or slow, and the wall clock
 * wrong, while the node runs. Compiled by the run itself; loaded with LD_PRELOAD; told what to do through a file that
 * both map. Without that file it does nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* The same order as in shim.rs; each number has eight bytes. */
struct control {
    int64_t attached;  /* grows with each process that mapped it */
    int64_t fail;      /* not 0: syncs of the log fail */
    int64_t slow_ms;   /* every sync of the log takes this much longer */
    int64_t failed;    /* syncs that were made to fail */
    int64_t slowed;    /* syncs that were made to take longer */
    int64_t clock_ms;  /* the wall clock is wrong by this much */
};

static struct control *control;

static int64_t told(const int64_t *member) {
    return __atomic_load_n(member, __ATOMIC_RELAXED);
}

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("JARVIS_CHAOS_CONTROL");
    if (path == NULL) {
        return;
    }
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    void *mapped = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED) {
        return;
    }
    control = mapped;
    __atomic_fetch_add(&control->attached, 1, __ATOMIC_RELAXED);
}

/* Only the write-ahead log: a failing sync of anything else is another fault. */
static int is_of_log(int fd) {
    char link[64];
    char path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) {
        return 0;
    }
    path[length] = '\0';
    return strstr(path, "/wal/") != NULL;
}

/* 0: go on; otherwise what errno shall be. */
static int before_sync(int fd) {
    if (control == NULL) {
        return 0;
    }
    int fails = told(&control->fail) != 0;
    int64_t slow_ms = told(&control->slow_ms);
    if ((!fails && slow_ms <= 0) || !is_of_log(fd)) {
        return 0;
    }
    if (slow_ms > 0) {
        struct timespec pause = {slow_ms / 1000, (slow_ms % 1000) * 1000000};
        nanosleep(&pause, NULL);
        __atomic_fetch_add(&control->slowed, 1, __ATOMIC_RELAXED);
    }
    if (fails) {
        __atomic_fetch_add(&control->failed, 1, __ATOMIC_RELAXED);
        return EIO;
    }
    return 0;
}

int fdatasync(int fd) {
    static int (*next)(int);
    int failure = before_sync(fd);
    if (failure != 0) {
        errno = failure;
        return -1;
    }
    if (next == NULL) {
        next = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    }
    return next(fd);
}

int fsync(int fd) {
    static int (*next)(int);
    int failure = before_sync(fd);
    if (failure != 0) {
        errno = failure;
        return -1;
    }
    if (next == NULL) {
        next = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    }
    return next(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (next == NULL) {
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int result = next(clock, now);
    if (result == 0 && control != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t wrong_ms = told(&control->clock_ms);
        int64_t nanoseconds = now->tv_nsec + (wrong_ms % 1000) * 1000000;
        now->tv_sec += wrong_ms / 1000;
        if (nanoseconds >= 1000000000) {
            now->tv_sec += 1;
            nanoseconds -= 1000000000;
        } else if (nanoseconds < 0) {
            now->tv_sec -= 1;
            nanoseconds += 1000000000;
        }
        now->tv_nsec = nanoseconds;
    }
    return result;
}
