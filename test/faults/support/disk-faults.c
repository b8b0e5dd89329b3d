/*
 * Stands between a program and the system calls that change files under one folder, loaded with LD_PRELOAD.
 *
 *   DISK_FAULTS_FOLDER  the folder; files elsewhere, sockets and pipes are left alone
 *   DISK_FAULTS_PLAN    "<call> <fault> <at> <times>": the at-th (from 1) such call, and those after it up to
 *                       so many, fail. Calls: write fdatasync fsync rename open unlink; faults: EIO ENOSPC
 *                       EDQUOT short delay (2 s)
 *   DISK_FAULTS_SUFFIX  only calls on paths that end so are counted
 *   DISK_FAULTS_FIRED   a line is appended for each fault: "<monotonic ns> <call> <path>"
 *   DISK_FAULTS_TRACE   every change in the order in which it happened; see below
 *
 * LevelDB writes through stdio, and the C library's stdio calls write inside itself, where nothing can stand
 * between: so files opened for writing with fopen become cookie streams on our own functions.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 4096
#define STREAMS_MAX 1024

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length;
static char plan_call[16], plan_fault[16];
static long plan_at, plan_times, plan_seen;
static const char *plan_suffix = "";
static int trace = -1, fired = -1;
static char *paths[FDS_MAX]; /* of files under the folder that are open */
static struct { FILE *stream; int fd; } streams[STREAMS_MAX];

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void start(void) {
  const char *at = getenv("DISK_FAULTS_FOLDER");
  if (at == NULL) return;
  snprintf(folder, sizeof folder, "%s", at);
  folder_length = strlen(folder);
  const char *plan = getenv("DISK_FAULTS_PLAN");
  if (plan != NULL) sscanf(plan, "%15s %15s %ld %ld", plan_call, plan_fault, &plan_at, &plan_times);
  if (getenv("DISK_FAULTS_SUFFIX") != NULL) plan_suffix = getenv("DISK_FAULTS_SUFFIX");
  const char *path = getenv("DISK_FAULTS_TRACE");
  if (path != NULL) trace = REAL(open)(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  path = getenv("DISK_FAULTS_FIRED");
  if (path != NULL) fired = REAL(open)(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
}

static int is_ours(const char *path) {
  return folder_length > 0 && path != NULL && strncmp(path, folder, folder_length) == 0 &&
         (path[folder_length] == '/' || path[folder_length] == 0);
}

static char *path_of(int fd) { return fd >= 0 && fd < FDS_MAX ? paths[fd] : NULL; }

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What the call is to do: 0 go on, -1 fail with errno set, 1 do half of it. */
static int planned(const char *call, const char *path) {
  if (plan_at == 0 || strcmp(call, plan_call) != 0) return 0;
  size_t length_of_path = strlen(path), length_of_suffix = strlen(plan_suffix);
  if (length_of_path < length_of_suffix) return 0;
  if (strcmp(path + length_of_path - length_of_suffix, plan_suffix) != 0) return 0;
  pthread_mutex_lock(&lock);
  long seen = ++plan_seen;
  pthread_mutex_unlock(&lock);
  if (seen < plan_at || seen >= plan_at + plan_times) return 0;
  char line[PATH_MAX + 64];
  int length = snprintf(line, sizeof line, "%llu %s %s\n", (unsigned long long)now(), call, path);
  if (fired >= 0 && REAL(write)(fired, line, (size_t)length) < 0) abort();
  if (strcmp(plan_fault, "short") == 0) return 1;
  if (strcmp(plan_fault, "delay") == 0) {
    struct timespec two = {2, 0};
    nanosleep(&two, NULL);
    return 0;
  }
  errno = strcmp(plan_fault, "ENOSPC") == 0 ? ENOSPC : strcmp(plan_fault, "EDQUOT") == 0 ? EDQUOT : EIO;
  return -1;
}

/*
 * One entry, little-endian: u64 start ns, u64 end ns, u8 kind, u64 number, u32 length of a, u32 length of b,
 * a, b. Written after the call has succeeded and before its caller knows.
 */
static void note(uint64_t began, char kind, uint64_t number, const char *a, const void *b, size_t b_length) {
  if (trace < 0) return;
  uint8_t head[33];
  uint64_t ended = now();
  uint32_t lengths[2] = {(uint32_t)strlen(a), (uint32_t)b_length};
  memcpy(head, &began, 8);
  memcpy(head + 8, &ended, 8);
  head[16] = (uint8_t)kind;
  memcpy(head + 17, &number, 8);
  memcpy(head + 25, lengths, 8);
  struct iovec parts[3] = {{head, 33}, {(void *)a, lengths[0]}, {(void *)b, b_length}};
  size_t whole = 33 + lengths[0] + b_length;
  if (REAL(writev)(trace, parts, 3) != (ssize_t)whole) abort();
}

/* Two calls that overlap must stand in the trace as they happened: with a trace there is one at a time. */
static void enter(void) { if (trace >= 0) pthread_mutex_lock(&lock); }
static void leave(void) { int kept = errno; if (trace >= 0) pthread_mutex_unlock(&lock); errno = kept; }

static void opened(int fd, const char *path, int flags, uint64_t began) {
  if (fd < 0 || fd >= FDS_MAX) return;
  free(paths[fd]);
  paths[fd] = strdup(path);
  if (flags & (O_CREAT | O_TRUNC)) note(began, 'o', (uint64_t)(flags & O_TRUNC ? 1 : 0), path, "", 0);
}

static int open_ours(const char *path, int flags, mode_t mode) {
  if (planned("open", path) < 0) return -1;
  enter();
  uint64_t began = now();
  int fd = REAL(open64)(path, flags, mode);
  opened(fd, path, flags, began);
  leave();
  return fd;
}

static mode_t mode_in(int flags, va_list arguments) {
  return flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

int open64(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = mode_in(flags, arguments);
  va_end(arguments);
  return is_ours(path) ? open_ours(path, flags, mode) : REAL(open64)(path, flags, mode);
}

int open(const char *path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = mode_in(flags, arguments);
  va_end(arguments);
  return is_ours(path) ? open_ours(path, flags, mode) : REAL(open)(path, flags, mode);
}

int close(int fd) {
  if (path_of(fd) != NULL) {
    free(paths[fd]);
    paths[fd] = NULL;
  }
  return REAL(close)(fd);
}

static ssize_t write_ours(int fd, const void *data, size_t length, off64_t at) {
  int plan = planned("write", path_of(fd));
  if (plan < 0) return -1;
  if (plan > 0) length = (length + 1) / 2;
  enter();
  uint64_t began = now();
  if (at < 0) {
    at = REAL(lseek64)(fd, 0, SEEK_CUR);
    struct stat64 facts;
    if (REAL(fcntl)(fd, F_GETFL) & O_APPEND && fstat64(fd, &facts) == 0) at = facts.st_size;
    length = (size_t)REAL(write)(fd, data, length);
  } else
    length = (size_t)REAL(pwrite64)(fd, data, length, at);
  if ((ssize_t)length > 0) note(began, 'w', (uint64_t)at, path_of(fd), data, length);
  leave();
  return (ssize_t)length;
}

ssize_t write(int fd, const void *data, size_t length) {
  return path_of(fd) != NULL ? write_ours(fd, data, length, -1) : REAL(write)(fd, data, length);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
  return path_of(fd) != NULL ? write_ours(fd, data, length, at) : REAL(pwrite64)(fd, data, length, at);
}

/* A part of a vectored write is a short write: callers must go on anyway. */
ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (path_of(fd) == NULL) return REAL(writev)(fd, parts, count);
  size_t length = 0;
  for (int i = 0; i < count; i++) length += parts[i].iov_len;
  char *whole = malloc(length + 1);
  size_t filled = 0;
  for (int i = 0; i < count; i++) {
    memcpy(whole + filled, parts[i].iov_base, parts[i].iov_len);
    filled += parts[i].iov_len;
  }
  ssize_t written = write_ours(fd, whole, length, -1);
  free(whole);
  return written;
}

static int sync_ours(int fd, const char *call, char kind, int (*sync)(int)) {
  if (planned(call, path_of(fd)) < 0) return -1;
  enter();
  uint64_t began = now();
  int result = sync(fd);
  if (result == 0) note(began, kind, 0, path_of(fd), "", 0);
  leave();
  return result;
}

int fsync(int fd) { return path_of(fd) ? sync_ours(fd, "fsync", 's', REAL(fsync)) : REAL(fsync)(fd); }
int fdatasync(int fd) {
  return path_of(fd) ? sync_ours(fd, "fdatasync", 's', REAL(fdatasync)) : REAL(fdatasync)(fd);
}

int ftruncate64(int fd, off64_t length) {
  if (path_of(fd) == NULL) return REAL(ftruncate64)(fd, length);
  enter();
  uint64_t began = now();
  int result = REAL(ftruncate64)(fd, length);
  if (result == 0) note(began, 't', (uint64_t)length, path_of(fd), "", 0);
  leave();
  return result;
}

static int name_ours(const char *call, char kind, const char *a, const char *b, int (*change)(const char *, const char *)) {
  if (call != NULL && planned(call, a) < 0) return -1;
  enter();
  uint64_t began = now();
  int result = change(a, b);
  if (result == 0) note(began, kind, 0, a, b, strlen(b));
  leave();
  return result;
}

static int do_rename(const char *a, const char *b) { return REAL(rename)(a, b); }
static int do_link(const char *a, const char *b) { return REAL(link)(a, b); }
static int do_unlink(const char *a, const char *b) { (void)b; return REAL(unlink)(a); }
static int do_rmdir(const char *a, const char *b) { (void)b; return REAL(rmdir)(a); }

int rename(const char *a, const char *b) { return is_ours(a) ? name_ours("rename", 'r', a, b, do_rename) : do_rename(a, b); }
int link(const char *a, const char *b) { return is_ours(a) ? name_ours(NULL, 'l', a, b, do_link) : do_link(a, b); }
int unlink(const char *a) { return is_ours(a) ? name_ours("unlink", 'u', a, "", do_unlink) : do_unlink(a, ""); }
int rmdir(const char *a) { return is_ours(a) ? name_ours(NULL, 'u', a, "", do_rmdir) : do_rmdir(a, ""); }

int mkdir(const char *path, mode_t mode) {
  if (!is_ours(path)) return REAL(mkdir)(path, mode);
  enter();
  uint64_t began = now();
  int result = REAL(mkdir)(path, mode);
  if (result == 0) note(began, 'd', 0, path, "", 0);
  leave();
  return result;
}

/* As the C library does it for a file: it goes on after a short write, and gives up at an error. */
static ssize_t cookie_write(void *cookie, const char *data, size_t length) {
  size_t done = 0;
  while (done < length) {
    ssize_t written = write((int)(intptr_t)cookie, data + done, length - done);
    if (written < 0) break;
    done += (size_t)written;
  }
  return (ssize_t)done;
}

static int cookie_close(void *cookie) { return close((int)(intptr_t)cookie); }

FILE *fopen64(const char *path, const char *mode) {
  if (!is_ours(path) || strchr(mode, 'r') != NULL) return REAL(fopen64)(path, mode);
  int flags = O_WRONLY | O_CREAT | (mode[0] == 'w' ? O_TRUNC : O_APPEND);
  int fd = open_ours(path, flags, 0666);
  if (fd < 0) return NULL;
  cookie_io_functions_t functions = {NULL, cookie_write, NULL, cookie_close};
  FILE *stream = fopencookie((void *)(intptr_t)fd, "w", functions);
  pthread_mutex_lock(&lock);
  for (int i = 0; i < STREAMS_MAX; i++)
    if (streams[i].stream == NULL) {
      streams[i].stream = stream;
      streams[i].fd = fd;
      break;
    }
  pthread_mutex_unlock(&lock);
  return stream;
}

FILE *fopen(const char *path, const char *mode) { return fopen64(path, mode); }

static int fd_of(FILE *stream, int is_forgotten) {
  int fd = -1;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < STREAMS_MAX; i++)
    if (streams[i].stream == stream) {
      fd = streams[i].fd;
      if (is_forgotten) streams[i].stream = NULL;
      break;
    }
  pthread_mutex_unlock(&lock);
  return fd;
}

int fileno(FILE *stream) {
  int fd = fd_of(stream, 0);
  return fd >= 0 ? fd : REAL(fileno)(stream);
}

int fclose(FILE *stream) {
  fd_of(stream, 1);
  return REAL(fclose)(stream);
}
