/* Result codes of the core: 0 is success, positive is an expected state of the log, negative is an error.
 *
 * Functions that fail with a negative code also fill a `struct shmq_fail`: what, where, and the two numbers that the
 * message shows. The glue turns both into an exception; see shmq/errors.py. */
#ifndef SHMQ_RESULT_H
#define SHMQ_RESULT_H

#include <stdint.h>

enum shmq_result {
    SHMQ_OK = 0,

    /* Expected: the caller goes on, waits or tries again. */
    SHMQ_NOTHING = 1, /* no record to read yet */
    SHMQ_PENDING = 2, /* the next record is claimed and not yet committed */
    SHMQ_SEALED = 3,  /* this segment is finished */
    SHMQ_NO_FIT = 4,  /* the batch does not fit the rest of this segment */
    SHMQ_LOST = 5,    /* another process was faster; look again */
    SHMQ_ROLL = 6,    /* a new segment is needed first: shmq_appender_roll() */
    SHMQ_FULL = 7,    /* the ring is full and retention keeps every record in it */
    SHMQ_TIMEOUT = 8,
    SHMQ_SIGNAL = 9, /* a signal handler ran */

    /* Errors. */
    SHMQ_E_TOO_LARGE = -1,
    SHMQ_E_STORAGE_FULL = -2,
    SHMQ_E_STORAGE = -3,
    SHMQ_E_CORRUPT = -4,
    SHMQ_E_OUT_OF_RANGE = -5,
    SHMQ_E_DELETED = -6,
    SHMQ_E_ABORTED = -7,
    SHMQ_E_VERSION = -8,
    SHMQ_E_SLOTS = -9,
    SHMQ_E_READERS = -10,
    SHMQ_E_INTERNAL = -11,
};

#define SHMQ_PATH_BYTES 4096

/* Details of the last negative result; each code says which fields it fills. */
struct shmq_fail {
    char what[192];             /* the broken invariant, or the system call that failed */
    char path[SHMQ_PATH_BYTES]; /* the file */
    int error_number;           /* errno, or 0 */
    uint64_t wanted;            /* bytes wanted, offset asked for, version supported */
    uint64_t limit;             /* bytes free, first offset, version found */
    uint64_t limit2;            /* end offset */
    uint64_t pos;               /* where in the file, in bytes */
};

#endif
