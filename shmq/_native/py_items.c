/* Items: records of one size at equal distances, as a read-only buffer: in place, in a segment that it keeps, or a copy.
 * A view of one value in place is an Items of one. */
#include <stdlib.h>
#include <string.h>

#include "guard.h"
#include "py_core.h"

#include <structmember.h>

#define ALIGNMENT 64u

typedef struct {
    PyObject_HEAD
    struct shmq_kept *kept; /* in place; NULL: `bytes` are ours to free */
    uint8_t *bytes;
    uint64_t base_offset;
    uint32_t count, item_bytes;
    Py_ssize_t stride;
    PyObject *timestamps, *keys;
} ItemsObject;

uint32_t shmq_items_count(PyObject *items) {
    return ((ItemsObject *)items)->count;
}

uint64_t shmq_items_base(PyObject *items) {
    return ((ItemsObject *)items)->base_offset;
}

uint64_t shmq_items_bytes_of(PyObject *items) {
    return (uint64_t)((ItemsObject *)items)->count * ((ItemsObject *)items)->item_bytes;
}

static ItemsObject *new_items(uint64_t base_offset, uint32_t count, uint32_t item_bytes, uint64_t stride) {
    ItemsObject *self = PyObject_New(ItemsObject, &ItemsType);
    if (!self)
        return NULL;
    self->kept = NULL;
    self->bytes = NULL;
    self->base_offset = base_offset;
    self->count = count;
    self->item_bytes = item_bytes;
    self->stride = (Py_ssize_t)stride;
    self->timestamps = self->keys = NULL;
    return self;
}

static void items_dealloc(ItemsObject *self) {
    if (self->kept)
        shmq_kept_drop(self->kept);
    else
        free(self->bytes);
    Py_XDECREF(self->timestamps);
    Py_XDECREF(self->keys);
    PyObject_Free(self);
}

/* Memory for a copy, aligned as items in place are. */
static int make_copy(ItemsObject *self) {
    void *memory;
    if (posix_memalign(&memory, ALIGNMENT, (size_t)self->count * self->item_bytes))
        return PyErr_NoMemory(), -1;
    self->bytes = memory;
    self->stride = self->item_bytes;
    return 0;
}

PyObject *shmq_items_of(uint64_t base_offset, uint32_t count, uint32_t item_bytes, PyObject *timestamps, PyObject *keys,
                        uint8_t **bytes) {
    ItemsObject *self = new_items(base_offset, count, item_bytes, item_bytes);
    if (self) {
        self->timestamps = Py_XNewRef(timestamps);
        self->keys = Py_XNewRef(keys);
    }
    if (!self || make_copy(self) < 0) {
        Py_XDECREF((PyObject *)self);
        return NULL;
    }
    *bytes = self->bytes;
    return (PyObject *)self;
}

static bool holds(const struct shmq_segment *segment, const uint8_t *bytes) {
    return segment->header && bytes >= segment->data && bytes < (const uint8_t *)segment->header + segment->mapped_bytes;
}

/* Which of a reader's segments the bytes lie in: what comes again through a window is read by a reader of its own. */
static const struct shmq_segment *segment_of(const ReaderObject *reader, const uint8_t *bytes) {
    if (holds(&reader->reader.segment, bytes))
        return &reader->reader.segment;
    return reader->share && holds(&reader->share->back.segment, bytes) ? &reader->share->back.segment : NULL;
}

PyObject *shmq_view_in_place(ReaderObject *reader, const uint8_t *bytes, uint32_t length) {
    const struct shmq_segment *segment = segment_of(reader, bytes);
    struct shmq_kept *kept = segment ? shmq_kept_take(reader->partition->partition, segment) : NULL;
    ItemsObject *self = kept ? new_items(0, 1, length, length) : NULL;
    if (!self) {
        shmq_kept_drop(kept);
        return NULL;
    }
    self->kept = kept;
    self->bytes = (uint8_t *)bytes;
    PyObject *view = PyMemoryView_FromObject((PyObject *)self);
    Py_DECREF((PyObject *)self);
    return view;
}

/* ---- A run ---- */

struct copy {
    const struct shmq_run *run;
    uint8_t *to;
};

static int copy_items(void *argument) {
    struct copy *copy = argument;
    uint8_t *to = copy->to;
    for (uint32_t index = 0; index < copy->run->pieces; index++) {
        const struct shmq_piece *piece = &copy->run->piece[index];
        size_t bytes = (size_t)piece->count * piece->item_bytes;
        memcpy(to, piece->items, bytes);
        to += bytes;
    }
    return SHMQ_OK;
}

/* Of each piece that has keys: their lengths, then they themselves. */
static int copy_keys(void *argument) {
    struct copy *copy = argument;
    uint8_t *to = copy->to;
    for (uint32_t index = 0; index < copy->run->pieces; index++) {
        const struct shmq_piece *piece = &copy->run->piece[index];
        if (!piece->key_lengths)
            continue;
        memcpy(to, piece->key_lengths, 4 * (size_t)piece->count);
        to += 4 * (size_t)piece->count;
        memcpy(to, piece->keys, piece->keys_bytes);
        to += piece->keys_bytes;
    }
    return SHMQ_OK;
}

/* Put the keys of a piece, copied to `*at`, into the list. The lengths may have changed since they were checked. */
static int list_keys(PyObject *list, Py_ssize_t first, const struct shmq_piece *piece, const uint8_t **at) {
    const uint8_t *lengths = *at, *keys = *at + 4 * (size_t)piece->count, *end = keys + piece->keys_bytes;
    for (uint32_t index = 0; index < piece->count; index++) {
        int32_t length;
        memcpy(&length, lengths + 4 * (size_t)index, sizeof length);
        PyObject *key = length < 0 || length > end - keys ? Py_NewRef(Py_None)
                                                          : PyBytes_FromStringAndSize((const char *)keys, length);
        if (!key)
            return -1;
        PyList_SET_ITEM(list, first + index, key);
        keys += PyBytes_Check(key) ? length : 0;
    }
    *at = end;
    return 0;
}

static PyObject *keys_from(const struct shmq_run *run, const uint8_t *at) {
    PyObject *list = PyList_New(run->count);
    Py_ssize_t first = 0;
    for (uint32_t index = 0; list && index < run->pieces; index++) {
        const struct shmq_piece *piece = &run->piece[index];
        if (piece->key_lengths && list_keys(list, first, piece, &at) < 0)
            Py_CLEAR(list);
        for (uint32_t item = 0; !piece->key_lengths && item < piece->count; item++)
            PyList_SET_ITEM(list, first + item, Py_NewRef(Py_None));
        first += piece->count;
    }
    return list;
}

/* None or a list. NULL with a negative result, or with an exception set. */
static PyObject *make_keys(ReaderObject *reader, const struct shmq_run *run, int *result) {
    size_t bytes = 0;
    for (uint32_t index = 0; index < run->pieces; index++)
        if (run->piece[index].key_lengths)
            bytes += 4 * (size_t)run->piece[index].count + run->piece[index].keys_bytes;
    if (!bytes)
        return Py_NewRef(Py_None);
    uint8_t *memory = PyMem_Malloc(bytes);
    if (!memory)
        return PyErr_NoMemory();
    struct copy copy = {run, memory};
    *result = shmq_guarded(copy_keys, &copy, &reader->reader.fail, reader->partition->partition->directory);
    PyObject *keys = *result == SHMQ_OK ? keys_from(run, memory) : NULL;
    PyMem_Free(memory);
    return keys;
}

/* One number for all, or int64 for each. */
static PyObject *make_timestamps(const struct shmq_run *run) {
    if (run->pieces == 1)
        return PyLong_FromLongLong(run->piece[0].timestamp_ms);
    PyObject *bytes = PyBytes_FromStringAndSize(NULL, 8 * (Py_ssize_t)run->pieces);
    for (uint32_t index = 0; bytes && index < run->pieces; index++)
        memcpy(PyBytes_AS_STRING(bytes) + 8 * index, &run->piece[index].timestamp_ms, 8);
    return bytes;
}

static int copy_out(ReaderObject *reader, ItemsObject *self, const struct shmq_run *run) {
    const char *where = reader->partition->partition->directory;
    struct copy copy = {run, self->bytes};
    int result;
    if ((uint64_t)self->count * self->item_bytes <= SHMQ_LONG_COPY_BYTES)
        return shmq_guarded(copy_items, &copy, &reader->reader.fail, where);
    Py_BEGIN_ALLOW_THREADS;
    result = shmq_guarded(copy_items, &copy, &reader->reader.fail, where);
    Py_END_ALLOW_THREADS;
    return result;
}

PyObject *shmq_items_new(ReaderObject *reader, const struct shmq_run *run, bool in_place, int *result) {
    const struct shmq_piece *first = &run->piece[0];
    ItemsObject *self = new_items(first->offset, run->count, first->item_bytes, run->stride);
    *result = SHMQ_OK;
    if (!self)
        return NULL;
    self->timestamps = make_timestamps(run);
    self->keys = self->timestamps ? make_keys(reader, run, result) : NULL;
    if (self->keys && in_place)
        self->kept = shmq_kept_take(reader->partition->partition, &reader->reader.segment);
    if (self->kept)
        self->bytes = (uint8_t *)first->items;
    else if (self->keys && make_copy(self) == 0)
        *result = copy_out(reader, self, run);
    if (self->bytes && *result == SHMQ_OK)
        return (PyObject *)self;
    Py_DECREF((PyObject *)self);
    return NULL;
}

/* ---- The object ---- */

static int items_getbuffer(PyObject *object, Py_buffer *view, int flags) {
    ItemsObject *self = (ItemsObject *)object;
    Py_ssize_t length = (Py_ssize_t)(self->count - 1) * self->stride + self->item_bytes;
    return PyBuffer_FillInfo(view, object, self->bytes, length, 1, flags);
}

static PyObject *items_get_in_place(ItemsObject *self, void *Py_UNUSED(closure)) {
    return PyBool_FromLong(self->kept != NULL);
}

static PyBufferProcs items_buffer = {items_getbuffer, NULL};

static PyMemberDef items_members[] = {
    {"count", T_UINT, offsetof(ItemsObject, count), READONLY, "Items."},
    {"item_bytes", T_UINT, offsetof(ItemsObject, item_bytes), READONLY, "Bytes of each."},
    {"stride", T_PYSSIZET, offsetof(ItemsObject, stride), READONLY, "Bytes from one to the next."},
    {"base_offset", T_ULONGLONG, offsetof(ItemsObject, base_offset), READONLY, "Offset of the first; the others follow it."},
    {"timestamps", T_OBJECT, offsetof(ItemsObject, timestamps), READONLY, "One int for all, or int64 of each as bytes."},
    {"keys", T_OBJECT, offsetof(ItemsObject, keys), READONLY, "A list of bytes and None, or None if no item has a key."},
    {NULL, 0, 0, 0, NULL}};

static PyGetSetDef items_getset[] = {
    {"in_place", (getter)items_get_in_place, NULL, "Is it the log's own memory?", NULL}, {NULL, NULL, NULL, NULL, NULL}};

PyTypeObject ItemsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.Items",
    .tp_basicsize = sizeof(ItemsObject),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_doc = "Records of one size: a read-only buffer, valid as long as it lives. Made by ConsumerCore._poll_items().",
    .tp_dealloc = (destructor)items_dealloc,
    .tp_as_buffer = &items_buffer,
    .tp_members = items_members,
    .tp_getset = items_getset,
};
