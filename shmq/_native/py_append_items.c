/* Appending items, from a buffer or out of a reservation. */
#include <string.h>

#include "py_core.h"

/* Fills keys, keys_bytes and largest_key from a list of bytes and None that nobody else changes meanwhile. */
static int encode(PyObject *list, struct shmq_items *items) {
    uint64_t bytes = 4 * (uint64_t)items->count, any = 0;
    for (Py_ssize_t index = 0; index < (Py_ssize_t)items->count; index++) {
        PyObject *key = PyList_GET_ITEM(list, index);
        if (key == Py_None)
            continue;
        if (!PyBytes_Check(key))
            return PyErr_Format(PyExc_TypeError, "a key is bytes or None, not %s", Py_TYPE(key)->tp_name), -1;
        uint64_t length = (uint64_t)PyBytes_GET_SIZE(key);
        any = 1;
        bytes += length;
        if (bytes > INT32_MAX)
            return PyErr_SetString(PyExc_ValueError, "keys of more than 2 GiB"), -1;
        items->largest_key = length > items->largest_key ? (uint32_t)length : items->largest_key;
    }
    if (!any)
        return 0;
    uint8_t *section = PyMem_Malloc(bytes), *at = section + 4 * (size_t)items->count;
    if (!section)
        return PyErr_NoMemory(), -1;
    for (Py_ssize_t index = 0; index < (Py_ssize_t)items->count; index++) {
        PyObject *key = PyList_GET_ITEM(list, index);
        int32_t length = key == Py_None ? -1 : (int32_t)PyBytes_GET_SIZE(key);
        memcpy(section + 4 * index, &length, sizeof length);
        if (length > 0)
            memcpy(at, PyBytes_AS_STRING(key), (size_t)length);
        at += length > 0 ? length : 0;
    }
    items->keys = section;
    items->keys_bytes = (uint32_t)bytes;
    return 0;
}

int shmq_py_encode_keys(PyObject *keys, struct shmq_items *items) {
    items->keys = NULL;
    items->keys_bytes = items->largest_key = 0;
    if (keys == Py_None)
        return 0;
    if (!PyList_Check(keys) || PyList_GET_SIZE(keys) != (Py_ssize_t)items->count)
        return PyErr_Format(PyExc_ValueError, "keys is a list with one key, or None, for each of %u items", items->count), -1;
    return encode(keys, items);
}

PyObject *shmq_py_append_checked(AppenderObject *self, struct shmq_items *items, PyObject *keys, uint64_t max_block_ms) {
    const struct shmq_window *window = self->appender.window;
    if (window && items->count > window->max_items)
        return PyErr_Format(PyExc_ValueError, "a batch of %u items, where at most %llu may lie untaken", items->count,
                            (unsigned long long)window->max_items);
    if (shmq_py_encode_keys(keys, items) < 0)
        return NULL;
    struct shmq_work work = {
        .items = items, .count = items->count, .bytes = (uint64_t)items->count * items->item_bytes + items->keys_bytes};
    struct shmq_appended appended;
    int result = shmq_py_append(self, &work, max_block_ms, &appended);
    PyMem_Free((void *)items->keys);
    if (result < 0)
        return NULL;
    return Py_BuildValue("(KL)", (unsigned long long)appended.base_offset, (long long)appended.timestamp_ms);
}

/* The size of each of `count` items that have so many bytes; 0 with an exception set. */
static uint32_t item_bytes(Py_ssize_t bytes, Py_ssize_t count) {
    if (count < 1 || count > (Py_ssize_t)SHMQ_MAX_COUNT)
        PyErr_Format(PyExc_ValueError, "a batch holds 1 to %u items, not %zd", SHMQ_MAX_COUNT, count);
    else if (bytes < count || bytes % count)
        PyErr_Format(PyExc_ValueError, "%zd bytes are not %zd items of equal size", bytes, count);
    else if (bytes / count > INT32_MAX)
        PyErr_Format(PyExc_ValueError, "an item of %zd bytes: at most 2 GiB", bytes / count);
    else
        return (uint32_t)(bytes / count);
    return 0;
}

PyObject *shmq_py_append_items(AppenderObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"buffer", "count", "max_block_ms", "keys", "timestamp_ms", NULL};
    Py_buffer buffer;
    Py_ssize_t count;
    unsigned long long max_block_ms;
    PyObject *keys = Py_None, *result = NULL;
    long long timestamp_ms = -1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "y*nK|OL:append_items", names, &buffer, &count, &max_block_ms, &keys,
                                     &timestamp_ms))
        return NULL;
    struct shmq_items items = {.items = buffer.buf, .count = (uint32_t)count, .timestamp_ms = timestamp_ms};
    items.item_bytes = item_bytes(buffer.len, count);
    if (items.item_bytes)
        result = shmq_py_append_checked(self, &items, keys, max_block_ms);
    PyBuffer_Release(&buffer);
    return result;
}

PyObject *shmq_py_reserve(AppenderObject *self, PyObject *args) {
    Py_ssize_t bytes, count;
    unsigned long long max_block_ms;
    if (!PyArg_ParseTuple(args, "nnK:reserve", &bytes, &count, &max_block_ms))
        return NULL;
    uint32_t each = item_bytes(bytes, count);
    if (!each)
        return NULL;
    struct shmq_reservation reservation;
    struct shmq_work work = {.reservation = &reservation, .count = (uint32_t)count, .item_bytes = each};
    if (shmq_py_append(self, &work, max_block_ms, NULL) < 0)
        return NULL;
    return shmq_reservation_new(self, &reservation, (uint32_t)count, each);
}
