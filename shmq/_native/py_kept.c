/* Which segments views of this process keep, how many views each, and how many bytes that may be. Under the GIL. */
#include "py_core.h"

#define BUCKETS 256u

struct shmq_kept {
    struct shmq_mapping *mapping;
    uint64_t views, bytes;
    struct shmq_kept *next;
};

static struct shmq_kept *buckets[BUCKETS];
static uint64_t kept_segments, kept_bytes, limit_bytes = UINT64_C(1) << 30;

static struct shmq_kept **bucket_of(const struct shmq_mapping *mapping) {
    return &buckets[((uintptr_t)mapping >> 6) % BUCKETS];
}

/* NULL without an exception. */
static struct shmq_kept *keep(const struct shmq_partition *partition, const struct shmq_segment *segment) {
    struct shmq_fail ignored; /* what cannot be kept is copied, which tells what is wrong */
    if (segment->mapped_bytes > limit_bytes || kept_bytes > limit_bytes - segment->mapped_bytes)
        return NULL;
    struct shmq_kept *kept = PyMem_RawMalloc(sizeof *kept);
    struct shmq_mapping *mapping = kept ? shmq_segment_keep(partition, segment, &ignored) : NULL;
    if (!mapping) {
        PyMem_RawFree(kept);
        return NULL;
    }
    struct shmq_kept **bucket = bucket_of(mapping);
    *kept = (struct shmq_kept){mapping, 0, segment->mapped_bytes, *bucket};
    *bucket = kept;
    kept_segments++;
    kept_bytes += kept->bytes;
    return kept;
}

struct shmq_kept *shmq_kept_take(const struct shmq_partition *partition, const struct shmq_segment *segment) {
    struct shmq_kept *kept = *bucket_of(segment->mapping);
    while (kept && kept->mapping != segment->mapping)
        kept = kept->next;
    if (!kept)
        kept = keep(partition, segment);
    if (kept)
        kept->views++;
    return kept;
}

void shmq_kept_drop(struct shmq_kept *kept) {
    if (!kept || --kept->views)
        return;
    struct shmq_kept **link = bucket_of(kept->mapping);
    while (*link != kept)
        link = &(*link)->next;
    *link = kept->next;
    kept_segments--;
    kept_bytes -= kept->bytes;
    shmq_mapping_let_go(kept->mapping);
    PyMem_RawFree(kept);
}

PyObject *shmq_py_set_kept_limit(PyObject *Py_UNUSED(module), PyObject *bytes) {
    unsigned long long limit = PyLong_AsUnsignedLongLong(bytes);
    if (limit == (unsigned long long)-1 && PyErr_Occurred())
        return NULL;
    limit_bytes = limit;
    Py_RETURN_NONE;
}

PyObject *shmq_py_kept(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    return Py_BuildValue("(KK)", (unsigned long long)kept_segments, (unsigned long long)kept_bytes);
}
