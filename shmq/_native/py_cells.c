/* Words and bytes in mapped files whose state is kept by Python code (shmq/blobs.py): load, store, compare-and-swap, and
 * copies that let the GIL go. All under guard: a page that cannot be had is a StorageError. */
#include "fault.h"
#include "guard.h"
#include "py_core.h"

struct cell {
    shmq_a64 *word;
    uint64_t value, expected;
    bool swapped;
};

static int load(void *argument) {
    struct cell *cell = argument;
    cell->value = shmq_load_acquire(cell->word); /* PAIR cell: with the store below */
    return SHMQ_OK;
}

static int store(void *argument) {
    struct cell *cell = argument;
    SHMQ_SHARED("cell.store", shmq_store_release(cell->word, cell->value)); /* PAIR cell: with the load above */
    return SHMQ_OK;
}

static int swap(void *argument) {
    struct cell *cell = argument;
    cell->swapped = SHMQ_SHARED("cell.cas", shmq_cas(cell->word, &cell->expected, cell->value));
    return SHMQ_OK;
}

struct copy {
    void *target;
    const void *source;
    size_t bytes;
};

static int copy(void *argument) {
    struct copy *job = argument;
    memcpy(job->target, job->source, job->bytes);
    return SHMQ_OK;
}

static PyObject *raise_unmapped(int result, const struct shmq_fail *fail) {
    return shmq_raise(result, fail, NULL, 0);
}

/* Call a function under guard; -1 with an exception set. */
static int guarded(int (*function)(void *), void *argument) {
    struct shmq_fail fail = {0};
    int result = shmq_guarded(function, argument, &fail, "a mapped file");
    return result == SHMQ_OK ? 0 : (raise_unmapped(result, &fail), -1);
}

/* `bytes` from `pos` on in a buffer; NULL with an exception set. To be released unless NULL. */
static void *place_in(PyObject *object, PyObject *pos, size_t bytes, size_t aligned, Py_buffer *buffer) {
    size_t at = PyLong_AsSize_t(pos);
    if (at == (size_t)-1 && PyErr_Occurred())
        return NULL;
    if (PyObject_GetBuffer(object, buffer, PyBUF_WRITABLE) < 0)
        return NULL;
    if (at <= (size_t)buffer->len && bytes <= (size_t)buffer->len - at && ((uintptr_t)buffer->buf + at) % aligned == 0)
        return (char *)buffer->buf + at;
    PyErr_Format(PyExc_ValueError, "%zu bytes at %zu, but the buffer has %zd (or they are not aligned)", bytes, at,
                 buffer->len);
    PyBuffer_Release(buffer);
    return NULL;
}

static bool counted(const char *name, Py_ssize_t count, Py_ssize_t wanted) {
    if (count != wanted)
        PyErr_Format(PyExc_TypeError, "%s() takes %zd arguments, not %zd", name, wanted, count);
    return count == wanted;
}

static bool number_of(PyObject *object, uint64_t *number) {
    *number = PyLong_AsUnsignedLongLong(object);
    return !PyErr_Occurred();
}

PyObject *shmq_py_cell_load(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    Py_buffer buffer;
    struct cell cell = {0};
    if (!counted("cell_load", count, 2) || !(cell.word = place_in(args[0], args[1], 8, 8, &buffer)))
        return NULL;
    int result = guarded(load, &cell);
    PyBuffer_Release(&buffer);
    return result < 0 ? NULL : PyLong_FromUnsignedLongLong(cell.value);
}

PyObject *shmq_py_cell_store(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    Py_buffer buffer;
    struct cell cell = {0};
    if (!counted("cell_store", count, 3) || !number_of(args[2], &cell.value) ||
        !(cell.word = place_in(args[0], args[1], 8, 8, &buffer)))
        return NULL;
    int result = guarded(store, &cell);
    PyBuffer_Release(&buffer);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *shmq_py_cell_cas(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    Py_buffer buffer;
    struct cell cell = {0};
    if (!counted("cell_cas", count, 4) || !number_of(args[2], &cell.expected) || !number_of(args[3], &cell.value) ||
        !(cell.word = place_in(args[0], args[1], 8, 8, &buffer)))
        return NULL;
    int result = guarded(swap, &cell);
    PyBuffer_Release(&buffer);
    return result < 0 ? NULL : PyBool_FromLong(cell.swapped);
}

/* Copy, without the GIL if that takes long. The caller holds both buffers. */
static int copy_guarded(struct copy *job) {
    struct shmq_fail fail = {0};
    int result;
    if (job->bytes < SHMQ_LONG_COPY_BYTES)
        return guarded(copy, job);
    Py_BEGIN_ALLOW_THREADS;
    result = shmq_guarded(copy, job, &fail, "a mapped file");
    Py_END_ALLOW_THREADS;
    return result == SHMQ_OK ? 0 : (raise_unmapped(result, &fail), -1);
}

PyObject *shmq_py_copy_in(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    Py_buffer buffer, data;
    if (!counted("copy_in", count, 3) || PyObject_GetBuffer(args[2], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    struct copy job = {.source = data.buf, .bytes = (size_t)data.len};
    int result = -1;
    if ((job.target = place_in(args[0], args[1], job.bytes, 1, &buffer))) {
        result = copy_guarded(&job);
        PyBuffer_Release(&buffer);
    }
    PyBuffer_Release(&data);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

PyObject *shmq_py_cells_out(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    Py_buffer buffer;
    struct copy job = {0};
    if (!counted("copy_out", count, 3) || !number_of(args[2], &job.bytes) ||
        !(job.source = place_in(args[0], args[1], job.bytes, 1, &buffer)))
        return NULL;
    PyObject *data = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)job.bytes);
    if (data) {
        job.target = PyByteArray_AS_STRING(data);
        if (copy_guarded(&job) < 0)
            Py_CLEAR(data);
    }
    PyBuffer_Release(&buffer);
    return data;
}

/* Not zeroed: whoever asks for it fills it. */
PyObject *shmq_py_blank(PyObject *Py_UNUSED(module), PyObject *bytes) {
    Py_ssize_t size = PyLong_AsSsize_t(bytes);
    if (size == -1 && PyErr_Occurred())
        return NULL;
    if (size < 0)
        return PyErr_Format(PyExc_ValueError, "%zd bytes", size);
    return PyByteArray_FromStringAndSize(NULL, size);
}

struct question {
    const struct shmq_process *process;
    uint32_t slot;
    uint64_t epoch;
    enum shmq_life life;
};

static int ask(void *argument) {
    struct question *question = argument;
    question->life = shmq_tenant_life(question->process, question->slot, question->epoch);
    return SHMQ_OK;
}

/* Method of Process. */
PyObject *shmq_py_lives(ProcessObject *self, PyObject *const *args, Py_ssize_t count) {
    uint64_t slot, epoch;
    struct shmq_fail fail = {0};
    if (!counted("lives", count, 2) || !number_of(args[0], &slot) || !number_of(args[1], &epoch))
        return NULL;
    if (!self->process)
        return shmq_raise_closed("process");
    struct question question = {.process = self->process, .slot = (uint32_t)slot, .epoch = epoch};
    if (slot >= SHMQ_MAX_SLOTS)
        Py_RETURN_FALSE;
    int result = shmq_guarded(ask, &question, &fail, self->process->directory);
    return result == SHMQ_OK ? PyBool_FromLong(question.life == SHMQ_LIFE_ALIVE) : raise_unmapped(result, &fail);
}
