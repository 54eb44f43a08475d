/* The quick way to pickle what most queues carry: numbers, text and bytes, and small tuples, lists and dicts of them.
 *
 * What comes out is a pickle of protocol 5, without frames and memo: pickle.loads() reads it. pickle.Pickler takes half a
 * microsecond for an int because of what it has to be prepared for; this takes a tenth of that, and says None to all that
 * is not plain: other types and subclasses, integers beyond 64 bits, more than PLAIN_BYTES, or a container that something
 * else than its one place in the object refers to: without a memo, one list in two places would arrive as two lists.
 * Exact types alone, as a Pickler too asks no reducer about them.
 *
 * Opcodes: pickletools of CPython. */
#include "py_core.h"

#define PLAIN_BYTES 1024
#define PLAIN_DEPTH 8

struct plain {
    uint8_t *at, *end;
    uint8_t bytes[PLAIN_BYTES];
};

static bool put(struct plain *plain, const void *bytes, size_t count) {
    if (count > (size_t)(plain->end - plain->at))
        return false;
    memcpy(plain->at, bytes, count);
    plain->at += count;
    return true;
}

static bool put_op(struct plain *plain, char op) {
    return put(plain, &op, 1);
}

/* An opcode and a number of so many bytes, little-endian. */
static bool put_sized(struct plain *plain, char op, uint64_t number, size_t bytes) {
    uint8_t text[9] = {(uint8_t)op};
    for (size_t byte = 0; byte < bytes; byte++)
        text[1 + byte] = (uint8_t)(number >> 8 * byte);
    return put(plain, text, 1 + bytes);
}

static bool put_text(struct plain *plain, char short_op, char long_op, const char *text, Py_ssize_t count) {
    bool head = count < 256 ? put_sized(plain, short_op, (uint64_t)count, 1) : put_sized(plain, long_op, (uint64_t)count, 4);
    return count < PLAIN_BYTES && head && put(plain, text, (size_t)count);
}

static bool put_int(struct plain *plain, PyObject *object) {
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (overflow)
        return false;
    if (number >= 0 && number < 256)
        return put_sized(plain, 'K', (uint64_t)number, 1); /* BININT1 */
    if (number >= 0 && number < 65536)
        return put_sized(plain, 'M', (uint64_t)number, 2); /* BININT2 */
    if (number >= INT32_MIN && number <= INT32_MAX)
        return put_sized(plain, 'J', (uint64_t)number, 4); /* BININT */
    return put_sized(plain, '\x8a', 8, 1) && put_sized(plain, (char)(number & 0xff), (uint64_t)number >> 8, 7); /* LONG1 */
}

static bool put_float(struct plain *plain, double number) {
    uint64_t bits;
    uint8_t text[9] = {'G'}; /* BINFLOAT, big-endian */
    memcpy(&bits, &number, 8);
    for (int byte = 0; byte < 8; byte++)
        text[1 + byte] = (uint8_t)(bits >> (56 - 8 * byte));
    return put(plain, text, sizeof text);
}

static bool put_string(struct plain *plain, PyObject *object) {
    Py_ssize_t count;
    if (PyUnicode_GET_LENGTH(object) > PLAIN_BYTES)
        return false;
    const char *text = PyUnicode_AsUTF8AndSize(object, &count);
    if (!text)
        PyErr_Clear(); /* lone surrogates: pickle has a way */
    return text && put_text(plain, '\x8c', 'X', text, count);
}

static bool put_object(struct plain *plain, PyObject *object, int depth);

static bool put_tuple(struct plain *plain, PyObject *tuple, int depth) {
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    if (count == 0)
        return put_op(plain, ')');
    if (count > 3 && !put_op(plain, '('))
        return false;
    for (Py_ssize_t index = 0; index < count; index++)
        if (!put_object(plain, PyTuple_GET_ITEM(tuple, index), depth))
            return false;
    return put_op(plain, count > 3 ? 't' : (char)('\x84' + count)); /* TUPLE1, TUPLE2, TUPLE3 */
}

static bool put_list(struct plain *plain, PyObject *list, int depth) {
    Py_ssize_t count = PyList_GET_SIZE(list);
    if (!put_op(plain, ']') || (count && !put_op(plain, '(')))
        return false;
    for (Py_ssize_t index = 0; index < count; index++)
        if (!put_object(plain, PyList_GET_ITEM(list, index), depth))
            return false;
    return !count || put_op(plain, 'e');
}

static bool put_dict(struct plain *plain, PyObject *dict, int depth) {
    Py_ssize_t place = 0, count = PyDict_GET_SIZE(dict);
    PyObject *key, *value;
    if (!put_op(plain, '}') || (count && !put_op(plain, '(')))
        return false;
    while (PyDict_Next(dict, &place, &key, &value))
        if (!put_object(plain, key, depth) || !put_object(plain, value, depth))
            return false;
    return !count || put_op(plain, 'u');
}

/* There is one in each interpreter, and nobody can tell. */
static bool is_empty_tuple(PyObject *object) {
    return PyTuple_CheckExact(object) && PyTuple_GET_SIZE(object) == 0;
}

static bool put_container(struct plain *plain, PyObject *object, int depth) {
    if (depth > PLAIN_DEPTH || (depth > 1 && Py_REFCNT(object) != 1 && !is_empty_tuple(object)))
        return false;
    if (PyTuple_CheckExact(object))
        return put_tuple(plain, object, depth);
    if (PyDict_CheckExact(object))
        return put_dict(plain, object, depth);
    return PyList_CheckExact(object) && put_list(plain, object, depth);
}

static bool put_object(struct plain *plain, PyObject *object, int depth) {
    if (PyUnicode_CheckExact(object))
        return put_string(plain, object);
    if (PyLong_CheckExact(object))
        return put_int(plain, object);
    if (PyFloat_CheckExact(object))
        return put_float(plain, PyFloat_AS_DOUBLE(object));
    if (object == Py_None)
        return put_op(plain, 'N');
    if (PyBool_Check(object))
        return put_op(plain, object == Py_True ? '\x88' : '\x89');
    if (PyBytes_CheckExact(object))
        return put_text(plain, 'C', 'B', PyBytes_AS_STRING(object), PyBytes_GET_SIZE(object));
    return put_container(plain, object, depth + 1);
}

PyObject *shmq_py_pickle_plain(PyObject *Py_UNUSED(module), PyObject *object) {
    struct plain plain; /* not zeroed: a kilobyte */
    plain.at = plain.bytes;
    plain.end = plain.bytes + PLAIN_BYTES;
    if (!put_sized(&plain, '\x80', 5, 1) || !put_object(&plain, object, 0) || !put_op(&plain, '.'))
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((char *)plain.bytes, plain.at - plain.bytes);
}
