/* Partition: what whoever looks after it asks for, such as the coordinator; none of it holds the GIL while it works. */
#include "prepare.h"
#include "py_core.h"
#include "retention.h"

PyObject *shmq_py_prepare_spare(PartitionObject *self, PyObject *Py_UNUSED(ignored)) {
    struct shmq_fail fail = {0};
    int result = shmq_prepare_is_due(self->partition, &self->newest, &fail);
    if (result == SHMQ_OK) {
        Py_BEGIN_ALLOW_THREADS;
        result = shmq_prepare_spare(self->partition, &fail);
        Py_END_ALLOW_THREADS;
    }
    return result < 0 ? shmq_raise(result, &fail, self->topic, self->number) : PyBool_FromLong(result == SHMQ_OK);
}

PyObject *shmq_py_apply_retention(PartitionObject *self, PyObject *Py_UNUSED(ignored)) {
    struct shmq_fail fail = {0};
    uint64_t retired;
    int result;
    Py_BEGIN_ALLOW_THREADS;
    result = shmq_retention_apply(self->partition, &retired, &fail);
    Py_END_ALLOW_THREADS;
    return result < 0 ? shmq_raise(result, &fail, self->topic, self->number) : PyLong_FromUnsignedLongLong(retired);
}

PyObject *shmq_py_delete_records(PartitionObject *self, PyObject *offset) {
    struct shmq_fail fail = {0};
    long long before_offset = PyLong_AsLongLong(offset);
    uint64_t begin;
    int result;
    if (before_offset == -1 && PyErr_Occurred())
        return NULL;
    if (before_offset < -1)
        return PyErr_Format(PyExc_ValueError, "an offset is 0 or more, or -1 for the end, not %lld", before_offset);
    Py_BEGIN_ALLOW_THREADS;
    result = shmq_retention_delete(self->partition, before_offset < 0 ? SHMQ_TO_THE_END : (uint64_t)before_offset, &begin,
                                   &fail);
    Py_END_ALLOW_THREADS;
    return result < 0 ? shmq_raise(result, &fail, self->topic, self->number) : PyLong_FromUnsignedLongLong(begin);
}
