#include "spare.h"

#include "fault.h"

uint64_t shmq_spare_look(const struct shmq_control *control) {
    return shmq_load_acquire(&control->spare); /* PAIR spare: the CAS in shmq_spare_finish(). S3. */
}

int shmq_spare_begin(struct shmq_control *control, uint64_t found, uint64_t making) {
    return SHMQ_SHARED("spare.begin", shmq_cas(&control->spare, &found, making)) ? SHMQ_OK : SHMQ_LOST;
}

int shmq_spare_finish(struct shmq_control *control, uint64_t making, uint64_t ready) {
    /* PAIR spare: publishes the file's header and its reset journal to the one who takes it. */
    return SHMQ_SHARED("spare.finish", shmq_cas(&control->spare, &making, ready)) ? SHMQ_OK : SHMQ_LOST;
}

int shmq_spare_take(struct shmq_control *control, uint64_t found) {
    return SHMQ_SHARED("spare.take", shmq_cas(&control->spare, &found, 0)) ? SHMQ_OK : SHMQ_LOST;
}
