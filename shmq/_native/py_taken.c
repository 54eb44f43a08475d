/* Records that were read from the log and not yet given out: the rest of iteration's batch, what a poll had read when a
 * signal or wakeup() ended it, and what poll(update_offsets=False) showed. They come before anything else is read, since
 * the log may not hold them any more. */
#include <string.h>

#include "py_consumer.h"

static Py_ssize_t count_of(const ConsumerObject *self) {
    return self->taken ? PyList_GET_SIZE(self->taken) : 0;
}

static bool is_of(const RecordObject *record, const ReaderObject *reader) {
    return reader->partition && reader->partition->number == record->partition &&
           (reader->partition->topic == record->topic || PyUnicode_Compare(reader->partition->topic, record->topic) == 0);
}

static ReaderObject *reader_of(const ConsumerObject *self, PyObject *record) {
    for (Py_ssize_t index = 0; index < PyList_GET_SIZE(self->readers); index++) {
        ReaderObject *reader = (ReaderObject *)PyList_GET_ITEM(self->readers, index);
        if (is_of((RecordObject *)record, reader))
            return reader;
    }
    return NULL;
}

static int append_rest(ConsumerObject *self, PyObject *list) {
    for (Py_ssize_t index = self->given_out; index < count_of(self); index++)
        if (PyList_Append(list, PyList_GET_ITEM(self->taken, index)) < 0)
            return -1;
    return 0;
}

static int append_all(PyObject *list, PyObject *result) {
    PyObject *place, *records;
    Py_ssize_t position = 0;
    while (PyDict_Next(result, &position, &place, &records))
        for (Py_ssize_t index = 0; index < PyList_GET_SIZE(records); index++)
            if (PyList_Append(list, PyList_GET_ITEM(records, index)) < 0)
                return -1;
    return 0;
}

static void replace(ConsumerObject *self, PyObject *list) {
    self->given_out = 0;
    Py_XSETREF(self->taken, list);
}

int shmq_taken_add(ConsumerObject *self, PyObject *result, bool in_front) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *list = PyList_New(0);
    int done = list && (in_front ? append_all(list, result) == 0 && append_rest(self, list) == 0
                                 : append_rest(self, list) == 0 && append_all(list, result) == 0);
    if (done)
        replace(self, list);
    else
        Py_XDECREF(list);
    if (type)
        PyErr_Restore(type, value, traceback);
    return done ? 0 : -1;
}

PyObject *shmq_taken_next(ConsumerObject *self) {
    for (Py_ssize_t index = self->given_out; index < count_of(self); index++) {
        PyObject *record = PyList_GET_ITEM(self->taken, index);
        if (self->pausing) {
            ReaderObject *reader = reader_of(self, record);
            if (reader && reader->paused)
                continue;
        }
        if (index == self->given_out) {
            PyList_SET_ITEM(self->taken, index, Py_NewRef(Py_None)); /* the list's reference goes to the caller */
            self->given_out++;
            return record;
        }
        Py_INCREF(record);
        if (PyList_SetSlice(self->taken, index, index + 1, NULL) == 0)
            return record;
        Py_DECREF(record);
        return NULL;
    }
    return NULL;
}

static int put(PyObject *result, PyObject *key, PyObject *record) {
    PyObject *list = PyDict_GetItemWithError(result, key);
    if (!list && !PyErr_Occurred() && (list = PyList_New(0))) {
        int stored = PyDict_SetItem(result, key, list);
        Py_DECREF(list);
        if (stored < 0)
            return -1;
    }
    return list ? PyList_Append(list, record) : -1;
}

PyObject *shmq_taken_poll(ConsumerObject *self, long long most) {
    PyObject *result = PyDict_New(), *rest = PyList_New(0);
    bool good = result && rest;
    for (Py_ssize_t index = self->given_out; good && index < count_of(self); index++) {
        PyObject *record = PyList_GET_ITEM(self->taken, index);
        ReaderObject *reader = reader_of(self, record);
        if (!reader || reader->paused || most <= 0)
            good = PyList_Append(rest, record) == 0;
        else {
            good = put(result, reader->key, record) == 0;
            most--;
        }
    }
    if (!good) {
        Py_XDECREF(rest);
        Py_CLEAR(result);
    } else if (PyList_GET_SIZE(rest) == 0) {
        Py_DECREF(rest);
        replace(self, NULL);
    } else {
        replace(self, rest);
    }
    return result;
}

PyObject *shmq_taken_drop(ConsumerObject *self, PyObject *reader) {
    if (Py_TYPE(reader) != &ReaderType)
        return PyErr_Format(PyExc_TypeError, "_drop(Reader)");
    PyObject *rest = PyList_New(0);
    bool good = rest != NULL;
    for (Py_ssize_t index = self->given_out; good && index < count_of(self); index++) {
        RecordObject *record = (RecordObject *)PyList_GET_ITEM(self->taken, index);
        struct shmq_share *share = ((ReaderObject *)reader)->share;
        if (!is_of(record, (ReaderObject *)reader))
            good = PyList_Append(rest, (PyObject *)record) == 0;
        else if (share && record->delivery_count > 0) /* others may have it: nobody was given it here */
            shmq_share_acknowledge(share, (uint64_t)record->offset, (uint32_t)record->delivery_count, SHMQ_RELEASE, 0);
    }
    if (!good) {
        Py_XDECREF(rest);
        return NULL;
    }
    replace(self, rest);
    Py_RETURN_NONE;
}

PyObject *shmq_taken_first(ConsumerObject *self, PyObject *reader) {
    if (Py_TYPE(reader) != &ReaderType)
        return PyErr_Format(PyExc_TypeError, "_first_taken(Reader)");
    for (Py_ssize_t index = self->given_out; index < count_of(self); index++) {
        RecordObject *record = (RecordObject *)PyList_GET_ITEM(self->taken, index);
        if (is_of(record, (ReaderObject *)reader))
            return PyLong_FromLongLong(record->offset);
    }
    Py_RETURN_NONE;
}

/* How many taken records, from `first` on, are this reader's, follow each other and have values of one size; fills in their
 * bytes. -1 with an exception set. */
static Py_ssize_t measure(ConsumerObject *self, const ReaderObject *reader, Py_ssize_t first, uint32_t most, Py_ssize_t *bytes) {
    Py_ssize_t index = first;
    int64_t offset = ((RecordObject *)PyList_GET_ITEM(self->taken, first))->offset;
    for (; index < count_of(self) && index - first < (Py_ssize_t)most; index++) {
        RecordObject *record = (RecordObject *)PyList_GET_ITEM(self->taken, index);
        Py_buffer buffer;
        if (!is_of(record, reader) || record->offset != offset + (index - first))
            break;
        bool has_bytes = record->value && PyObject_CheckBuffer(record->value);
        if (has_bytes && PyObject_GetBuffer(record->value, &buffer, PyBUF_SIMPLE) < 0)
            return -1;
        Py_ssize_t length = has_bytes ? buffer.len : 0;
        if (has_bytes)
            PyBuffer_Release(&buffer);
        bool fits = length && (!reader->item_bytes || (uint64_t)length == reader->item_bytes);
        if (index == first && !fits)
            return shmq_raise_not_items(reader, (uint64_t)record->offset, (uint64_t)length), -1;
        if (index == first)
            *bytes = length;
        if (!fits || length != *bytes)
            break;
    }
    return index - first;
}

static int fill(ConsumerObject *self, Py_ssize_t first, Py_ssize_t count, PyObject *timestamps, PyObject *keys, uint8_t *to) {
    for (Py_ssize_t index = 0; index < count; index++) {
        RecordObject *record = (RecordObject *)PyList_GET_ITEM(self->taken, first + index);
        Py_buffer buffer;
        if (PyObject_GetBuffer(record->value, &buffer, PyBUF_SIMPLE) < 0)
            return -1;
        memcpy(to, buffer.buf, (size_t)buffer.len);
        to += buffer.len;
        PyBuffer_Release(&buffer);
        memcpy(PyBytes_AS_STRING(timestamps) + 8 * index, &record->timestamp_ms, 8);
        PyList_SET_ITEM(keys, index, Py_NewRef(record->key ? record->key : Py_None));
    }
    return PyList_SetSlice(self->taken, first, first + count, NULL);
}

PyObject *shmq_taken_items(ConsumerObject *self, ReaderObject *reader, uint32_t most) {
    Py_ssize_t first = self->given_out, bytes = 0;
    while (first < count_of(self) && !is_of((RecordObject *)PyList_GET_ITEM(self->taken, first), reader))
        first++;
    if (first >= count_of(self))
        return NULL;
    Py_ssize_t count = measure(self, reader, first, most, &bytes);
    PyObject *timestamps = count > 0 ? PyBytes_FromStringAndSize(NULL, 8 * count) : NULL;
    PyObject *keys = timestamps ? PyList_New(count) : NULL, *items = NULL;
    uint8_t *to;
    if (keys)
        items = shmq_items_of((uint64_t)((RecordObject *)PyList_GET_ITEM(self->taken, first))->offset, (uint32_t)count,
                              (uint32_t)bytes, timestamps, keys, &to);
    if (items && fill(self, first, count, timestamps, keys, to) < 0)
        Py_CLEAR(items);
    Py_XDECREF(timestamps);
    Py_XDECREF(keys);
    return items;
}
