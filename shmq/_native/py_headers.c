/* Record headers: [(str, bytes or None)] in Python, bytes in a batch (layout.h). */
#include <string.h>

#include "py_core.h"

static int put_header(PyObject *item, char **at, char *end, Py_ssize_t *bytes) {
    PyObject *key, *value;
    Py_ssize_t key_bytes;
    if (!PyTuple_Check(item) || PyTuple_GET_SIZE(item) != 2 || !PyUnicode_Check(key = PyTuple_GET_ITEM(item, 0)) ||
        ((value = PyTuple_GET_ITEM(item, 1)) != Py_None && !PyBytes_Check(value))) {
        PyErr_Format(PyExc_TypeError, "headers are a list of (str, bytes) tuples, not %R", item);
        return -1;
    }
    const char *name = PyUnicode_AsUTF8AndSize(key, &key_bytes);
    if (!name)
        return -1;
    Py_ssize_t value_bytes = value == Py_None ? 0 : PyBytes_GET_SIZE(value);
    *bytes += 8 + key_bytes + value_bytes;
    if (*bytes > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "headers of more than 2 GiB");
        return -1;
    }
    if (!end)
        return 0;
    uint32_t first = (uint32_t)key_bytes;
    int32_t second = value == Py_None ? -1 : (int32_t)value_bytes;
    memcpy(*at, &first, 4);
    memcpy(*at + 4, &second, 4);
    memcpy(*at + 8, name, (size_t)key_bytes);
    if (value_bytes)
        memcpy(*at + 8 + key_bytes, PyBytes_AS_STRING(value), (size_t)value_bytes);
    *at += 8 + key_bytes + value_bytes;
    return 0;
}

PyObject *shmq_headers_encode(PyObject *headers) {
    PyObject *items = PySequence_Fast(headers, "headers are a list of (str, bytes) tuples");
    if (!items)
        return NULL;
    uint32_t count = (uint32_t)PySequence_Fast_GET_SIZE(items);
    Py_ssize_t bytes = 4, ignored = 0;
    PyObject *encoded = NULL;
    for (uint32_t index = 0; index < count; index++)
        if (put_header(PySequence_Fast_GET_ITEM(items, index), NULL, NULL, &bytes) < 0)
            goto done;
    encoded = PyBytes_FromStringAndSize(NULL, bytes);
    if (!encoded)
        goto done;
    char *at = PyBytes_AS_STRING(encoded), *end = at + bytes;
    memcpy(at, &count, 4);
    at += 4;
    for (uint32_t index = 0; index < count; index++)
        put_header(PySequence_Fast_GET_ITEM(items, index), &at, end, &ignored);
done:
    Py_DECREF(items);
    return encoded;
}

static PyObject *get_header(const uint8_t **at, const uint8_t *end) {
    uint32_t key_bytes;
    int32_t value_bytes;
    if (end - *at < 8)
        return NULL;
    memcpy(&key_bytes, *at, 4);
    memcpy(&value_bytes, *at + 4, 4);
    *at += 8;
    uint64_t present = value_bytes < 0 ? 0 : (uint64_t)value_bytes;
    if (key_bytes + present > (uint64_t)(end - *at))
        return NULL;
    const char *key = (const char *)*at, *value = key + key_bytes;
    *at += key_bytes + present;
    return value_bytes < 0 ? Py_BuildValue("(s#O)", key, (Py_ssize_t)key_bytes, Py_None)
                           : Py_BuildValue("(s#y#)", key, (Py_ssize_t)key_bytes, value, (Py_ssize_t)value_bytes);
}

PyObject *shmq_headers_decode(const uint8_t *bytes, uint32_t length) {
    const uint8_t *at = bytes, *end = bytes + length;
    uint32_t count = 0;
    PyObject *list = PyList_New(0);
    if (length >= 4) {
        memcpy(&count, at, 4);
        at += 4;
    }
    for (uint32_t index = 0; list && index < count; index++) {
        PyObject *header = get_header(&at, end);
        if (!header && (!PyErr_Occurred() || PyErr_ExceptionMatches(PyExc_UnicodeDecodeError))) {
            PyErr_Clear();
            shmq_raise_code("corrupt", "{s:s,s:s,s:K}", "path", "", "what",
                            "a header passes the end of its record, or its key is no UTF-8", "pos",
                            (unsigned long long)(at - bytes));
        }
        if (!header || PyList_Append(list, header) < 0)
            Py_CLEAR(list);
        Py_XDECREF(header);
    }
    return list;
}

int shmq_headers_size(const void *encoded, uint32_t length) {
    uint32_t count;
    if (length < 4)
        return -1;
    memcpy(&count, encoded, 4);
    return count <= (length - 4) / 8 ? (int)(length - 4 - 8 * count) : -1;
}
