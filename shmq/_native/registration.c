/* A reader's place among those that producers wait for (readers.h), from the reader's side. */
#include "doorbell.h"
#include "files.h"
#include "guard.h"
#include "reader.h"

struct call {
    struct shmq_reader *reader;
    uint32_t number;
    uint64_t offset;
    bool wake;
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
};

static uint64_t seq_of(const struct shmq_reader *reader) {
    return reader->segment.header ? reader->segment.seq : 0;
}

static int leave(void *argument) {
    struct call *call = argument;
    call->wake = shmq_readers_leave(call->reader->partition, &call->reader->registration, call->woken);
    return SHMQ_OK;
}

static int settle(void *argument) {
    struct call *call = argument;
    struct shmq_reader *reader = call->reader;
    reader->evicted = shmq_readers_move(reader->partition, &reader->registration, reader->next_offset, seq_of(reader),
                                        &call->wake, call->woken) != SHMQ_OK;
    return SHMQ_OK;
}

/* If the control file is gone, so is the place. */
static void change(struct shmq_reader *reader, int (*how)(void *)) {
    struct call call = {.reader = reader};
    if (reader->registration.entry >= 0 &&
        shmq_guarded(how, &call, &reader->fail, reader->partition->directory) == SHMQ_OK && call.wake)
        shmq_doorbell_ring_all(reader->partition->process, call.woken);
}

void shmq_reader_settle(struct shmq_reader *reader) {
    change(reader, settle);
}

void shmq_reader_leave(struct shmq_reader *reader) {
    change(reader, leave);
    reader->registration.entry = -1;
}

static int join(void *argument) {
    struct call *call = argument;
    struct shmq_reader *reader = call->reader;
    return shmq_readers_register(reader->partition, reader->next_offset, seq_of(reader), &reader->registration,
                                 &call->wake, call->woken);
}

int shmq_reader_register(struct shmq_reader *reader) {
    struct call call = {.reader = reader};
    int result;
    if (reader->registration.entry >= 0)
        return SHMQ_OK;
    while ((result = shmq_guarded(join, &call, &reader->fail, reader->partition->directory)) == SHMQ_LOST)
        if ((result = shmq_process_renew(reader->partition->process, &reader->fail)) != SHMQ_OK)
            break;
    if (result == SHMQ_OK && call.wake)
        shmq_doorbell_ring_all(reader->partition->process, call.woken);
    if (result == SHMQ_OK)
        return result;
    reader->registration.entry = -1;
    reader->fail.limit = SHMQ_READERS;
    return result == SHMQ_E_READERS
               ? shmq_fail(&reader->fail, result, reader->partition->directory, "every reader entry is taken")
               : result;
}

int shmq_reader_register_anew(struct shmq_reader *reader) {
    shmq_reader_leave(reader); /* still ours, if only another's number stands in it: nobody would ever bury it */
    int result = shmq_process_renew(reader->partition->process, &reader->fail);
    if (result == SHMQ_OK)
        result = shmq_reader_register(reader);
    reader->evicted = result != SHMQ_OK;
    return result;
}

/* ---- The hold of a group ---- */

static int find_hold(void *argument) {
    struct call *call = argument;
    struct shmq_reader *reader = call->reader;
    int result = shmq_hold_find(reader->partition, call->number, &reader->hold);
    if (result == SHMQ_OK)
        shmq_hold_attend(reader->partition, &reader->hold);
    return result;
}

int shmq_reader_hold(struct shmq_reader *reader, uint32_t number) {
    struct call call = {.reader = reader, .number = number};
    shmq_reader_leave_hold(reader);
    return shmq_guarded(find_hold, &call, &reader->fail, reader->partition->directory);
}

static int move_hold(void *argument) {
    struct call *call = argument;
    struct shmq_reader *reader = call->reader;
    int result = shmq_hold_move(reader->partition, &reader->hold, call->offset, &call->wake, call->woken);
    if (result == SHMQ_OK && reader->hold.offset < call->offset)
        reader->hold.offset = call->offset;
    return result;
}

int shmq_reader_move_hold(struct shmq_reader *reader, uint64_t offset) {
    struct call call = {.reader = reader, .offset = shmq_reader_settled(reader, offset)};
    if (reader->hold.entry < 0)
        return SHMQ_LOST;
    int result = shmq_guarded(move_hold, &call, &reader->fail, reader->partition->directory);
    if (result == SHMQ_LOST)
        reader->hold.entry = -1;
    if (result == SHMQ_OK && call.wake)
        shmq_doorbell_ring_all(reader->partition->process, call.woken);
    return result;
}

bool shmq_reader_carry_hold(struct shmq_reader *reader, uint64_t *woken) {
    bool wake = false;
    shmq_hold_attend(reader->partition, &reader->hold);
    if (reader->hold.offset < reader->aborted_from || reader->hold.offset >= reader->next_offset)
        return false;
    if (shmq_hold_move(reader->partition, &reader->hold, reader->next_offset, &wake, woken) == SHMQ_OK)
        reader->hold.offset = reader->next_offset;
    else
        reader->hold.entry = -1;
    return wake;
}

static int leave_hold(void *argument) {
    struct call *call = argument;
    shmq_hold_leave(call->reader->partition, &call->reader->hold);
    return SHMQ_OK;
}

void shmq_reader_leave_hold(struct shmq_reader *reader) {
    struct call call = {.reader = reader};
    struct shmq_fail ignored; /* if the control file is gone, so is the hold */
    if (reader->hold.entry >= 0)
        shmq_guarded(leave_hold, &call, &ignored, reader->partition->directory);
    reader->hold.entry = -1;
}
