/* Which segments views of this process keep, how many views each, and how many bytes that may be. Under the GIL.
 *
 * A segment that is mapped twice is kept by each mapping, and counts once. */
#include "py_core.h"

#define BUCKETS 256u

struct shmq_kept {
    struct shmq_mapping *mapping;
    uint64_t views, bytes;
    uint64_t topic_id, incarnation; /* with the partition's number: which segment it is */
    uint32_t number;
    struct shmq_kept *next;
};

static struct shmq_kept *buckets[BUCKETS];
static uint64_t kept_segments, kept_bytes, limit_bytes = UINT64_C(1) << 30;

static struct shmq_kept **bucket_of(uint64_t incarnation) {
    return &buckets[incarnation % BUCKETS];
}

/* Does another mapping of the same segment count already? */
static bool is_counted(const struct shmq_kept *other, const struct shmq_kept *kept) {
    for (; other; other = other->next)
        if (other != kept && other->incarnation == kept->incarnation && other->topic_id == kept->topic_id &&
            other->number == kept->number)
            return true;
    return false;
}

/* NULL without an exception. */
static struct shmq_kept *keep(const struct shmq_partition *partition, const struct shmq_segment *segment) {
    struct shmq_fail ignored; /* what cannot be kept is copied, which tells what is wrong */
    struct shmq_kept **bucket = bucket_of(segment->journal.incarnation);
    struct shmq_kept fresh = {.bytes = segment->mapped_bytes,
                              .topic_id = partition->topic_id,
                              .incarnation = segment->journal.incarnation,
                              .number = partition->number,
                              .next = *bucket};
    bool counted = is_counted(*bucket, &fresh);
    if (!counted && (fresh.bytes > limit_bytes || kept_bytes > limit_bytes - fresh.bytes))
        return NULL;
    struct shmq_kept *kept = PyMem_RawMalloc(sizeof *kept);
    fresh.mapping = kept ? shmq_segment_keep(partition, segment, &ignored) : NULL;
    if (!fresh.mapping) {
        PyMem_RawFree(kept);
        return NULL;
    }
    *kept = fresh;
    *bucket = kept;
    kept_segments += !counted;
    kept_bytes += counted ? 0 : kept->bytes;
    return kept;
}

struct shmq_kept *shmq_kept_take(const struct shmq_partition *partition, const struct shmq_segment *segment) {
    struct shmq_kept *kept = *bucket_of(segment->journal.incarnation);
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
    struct shmq_kept **bucket = bucket_of(kept->incarnation), **link = bucket;
    while (*link != kept)
        link = &(*link)->next;
    *link = kept->next;
    if (!is_counted(*bucket, kept)) {
        kept_segments--;
        kept_bytes -= kept->bytes;
    }
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
