#ifndef SHMQ_PY_READER_H
#define SHMQ_PY_READER_H

#include "py_core.h"

#include <stdbool.h>
#include <structmember.h>

#include "guard.h"

/* Python 3.12 gave these names a prefix; 3.11 has only the old ones. */
#define Py_T_BOOL_COMPAT T_BOOL
#define Py_T_OBJECT_COMPAT T_OBJECT

/* Records made from one look at the log: few enough that their bytes are still in the cache when they are copied. */
#define SHMQ_CHUNK 64u
#define SHMQ_CHUNK_BYTES (UINT64_C(256) << 10)

/* Up to `most` records (at most SHMQ_CHUNK): how many, 0 with the reason in `*result`, or -1 with an exception set. */
Py_ssize_t shmq_py_read(ReaderObject *self, RecordObject **records, uint32_t most, uint64_t most_bytes, int *result);

/* Bytes objects whose bytes are still to be copied, all at once under guard; long copies let the GIL go. */
struct shmq_copy_job {
    void *to;
    const uint8_t *from;
    size_t bytes;
};
PyObject *shmq_py_bytes(const uint8_t *from, int64_t bytes, struct shmq_copy_job *jobs, size_t *count);
int shmq_py_copy_out(ReaderObject *self, const struct shmq_copy_job *jobs, size_t count);

PyObject *shmq_py_reader_raise(ReaderObject *self, int result);

#endif
