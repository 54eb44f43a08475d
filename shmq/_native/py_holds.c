/* Partition's methods about the groups that producers keep records for. */
#include "files.h"
#include "guard.h"
#include "holds.h"
#include "py_core.h"

struct call {
    struct shmq_partition *partition;
    uint32_t number;
    uint64_t offset;
    bool wake;
    uint64_t woken[SHMQ_MAX_SLOTS / 64];
};

static int parse(PyObject *args, const char *format, struct call *call) {
    unsigned long long number, offset = 0;
    if (!PyArg_ParseTuple(args, format, &number, &offset))
        return -1;
    if (number == 0 || number > SHMQ_MAX_GROUP)
        return PyErr_Format(PyExc_OverflowError, "a group's number is 1 to %u, not %llu", SHMQ_MAX_GROUP, number), -1;
    if (offset > SHMQ_MAX_HOLD)
        return PyErr_Format(PyExc_OverflowError, "an offset is at most %llu, not %llu",
                            (unsigned long long)SHMQ_MAX_HOLD, offset),
               -1;
    call->number = (uint32_t)number;
    call->offset = offset;
    return 0;
}

/* Do it under guard, and ring who waited for it. Positive results are the caller's; negative ones raise: -1. */
static int perform(PartitionObject *self, int (*how)(void *), struct call *call) {
    struct shmq_fail fail = {0};
    int result;
    call->partition = self->partition;
    while ((result = shmq_guarded(how, call, &fail, self->partition->directory)) == SHMQ_LOST)
        if ((result = shmq_process_renew(self->partition->process, &fail)) != SHMQ_OK)
            break; /* LOST: we were taken for dead */
    if (result >= 0 && call->wake)
        shmq_doorbell_ring_all(self->partition->process, call->woken);
    fail.limit = result == SHMQ_E_READERS ? SHMQ_READERS : fail.limit;
    return result >= 0 ? result : (shmq_raise(result, &fail, self->topic, self->number), -1);
}

static int set(void *argument) {
    struct call *call = argument;
    return shmq_hold_set(call->partition, call->number, call->offset, &call->wake, call->woken);
}

PyObject *shmq_py_hold(PartitionObject *self, PyObject *args) {
    struct call call = {.wake = false};
    if (parse(args, "KK:hold", &call) < 0 || perform(self, set, &call) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* LOST: it was released or set anew between the two steps; look for it again. */
static int move(void *argument) {
    struct call *call = argument;
    struct shmq_hold hold;
    int result;
    do {
        result = shmq_hold_find(call->partition, call->number, &hold);
        if (result == SHMQ_OK)
            result = shmq_hold_move(call->partition, &hold, call->offset, &call->wake, call->woken);
    } while (result == SHMQ_LOST);
    return result;
}

PyObject *shmq_py_move_hold(PartitionObject *self, PyObject *args) {
    struct call call = {.wake = false};
    int result = parse(args, "KK:move_hold", &call) < 0 ? -1 : perform(self, move, &call);
    return result < 0 ? NULL : PyBool_FromLong(result == SHMQ_OK);
}

static int release(void *argument) {
    struct call *call = argument;
    call->wake = shmq_hold_release(call->partition, call->number, call->woken);
    return SHMQ_OK;
}

PyObject *shmq_py_release(PartitionObject *self, PyObject *args) {
    struct call call = {.wake = false};
    if (parse(args, "K:release", &call) < 0 || perform(self, release, &call) < 0)
        return NULL;
    Py_RETURN_NONE;
}

struct listing {
    struct shmq_partition *partition;
    uint32_t count;
    struct {
        uint32_t number;
        uint64_t offset;
    } holds[SHMQ_READERS];
};

static int list_all(void *argument) {
    struct listing *list = argument;
    for (uint32_t index = 0; index < SHMQ_READERS; index++) {
        struct shmq_hold hold;
        if (!shmq_hold_look(list->partition, index, &hold))
            continue;
        list->holds[list->count].number = shmq_group_number(hold.owner);
        list->holds[list->count++].offset = hold.offset;
    }
    return SHMQ_OK;
}

PyObject *shmq_py_holds(PartitionObject *self, PyObject *Py_UNUSED(ignored)) {
    struct listing list = {.partition = self->partition};
    struct shmq_fail fail = {0};
    int result = shmq_guarded(list_all, &list, &fail, self->partition->directory);
    if (result != SHMQ_OK)
        return shmq_raise(result, &fail, self->topic, self->number);
    PyObject *holds = PyDict_New();
    for (uint32_t index = 0; holds && index < list.count; index++) {
        PyObject *number = PyLong_FromUnsignedLong(list.holds[index].number);
        PyObject *offset = PyLong_FromUnsignedLongLong(list.holds[index].offset);
        if (!number || !offset || PyDict_SetItem(holds, number, offset) < 0)
            Py_CLEAR(holds);
        Py_XDECREF(number);
        Py_XDECREF(offset);
    }
    return holds;
}
