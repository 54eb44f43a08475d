/* Process, Partition: a broker's process slot and one partition's control file, for the store and for tools. */
#include <string.h>

#include "fault.h"
#include "files.h"
#include "guard.h"
#include "py_core.h"
#include "readers.h"
#include "retention.h"
#include "verify.h"

/* ---- Process ---- */

static int call_with_name(PyObject *hook, const struct shmq_process *process, uint64_t epoch) {
    char name[SHMQ_DOORBELL_NAME_BYTES];
    if (!hook)
        return 0;
    shmq_doorbell_name(name, process->instance, process->slot, epoch);
    PyObject *result = PyObject_CallFunction(hook, "s", name);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static PyObject *process_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"directory", "instance", NULL};
    PyObject *path;
    unsigned long long instance;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&K:Process", names, PyUnicode_FSConverter, &path, &instance))
        return NULL;
    ProcessObject *self = (ProcessObject *)type->tp_alloc(type, 0);
    struct shmq_fail fail = {0};
    shmq_guard_install();
    int result = self ? shmq_process_open(PyBytes_AS_STRING(path), instance, &self->process, &fail) : SHMQ_OK;
    Py_DECREF(path);
    if (self && result != SHMQ_OK) {
        Py_DECREF(self);
        return shmq_raise(result, &fail, NULL, 0);
    }
    /* The slot's last tenant may have been killed and have left its doorbell. */
    if (self && self->process->users == 1 && self->process->epoch > 1 &&
        call_with_name(shmq_unlink_doorbell, self->process, self->process->epoch - 1) < 0)
        Py_CLEAR(self);
    return (PyObject *)self;
}

/* Keeps the exception that is set. */
static void unlink_doorbell(const struct shmq_process *process) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (call_with_name(shmq_unlink_doorbell, process, process->epoch) < 0)
        PyErr_WriteUnraisable(shmq_unlink_doorbell);
    PyErr_Restore(type, value, traceback);
}

/* Give one use of a registration up; the last one takes the doorbell with it. Keeps the exception that is set. */
void shmq_py_release_process(struct shmq_process *process) {
    if (!process || process->fork_count != shmq_fork_count())
        return;
    if (process->users == 1 && process->doorbell)
        unlink_doorbell(process);
    shmq_process_close(process);
}

static void process_release(ProcessObject *self) {
    struct shmq_process *process = self->process;
    self->process = NULL;
    shmq_py_release_process(process);
}

static void process_dealloc(ProcessObject *self) {
    process_release(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *process_close(ProcessObject *self, PyObject *Py_UNUSED(ignored)) {
    process_release(self);
    Py_RETURN_NONE;
}

int shmq_py_ensure_doorbell(ProcessObject *self) {
    struct shmq_fail fail = {0};
    if (!self->process)
        return shmq_raise_closed("process"), -1;
    if (self->process->doorbell)
        return 0;
    if (call_with_name(shmq_create_doorbell, self->process, self->process->epoch) == 0) {
        int result = shmq_doorbell_open(self->process, &fail);
        if (result == SHMQ_OK)
            return 0;
        shmq_raise(result, &fail, NULL, 0);
    }
    unlink_doorbell(self->process); /* Ctrl-C may have come just after it was created */
    return -1;
}

struct slot_look {
    const struct shmq_process *process;
    uint32_t slot;
    uint64_t tenancy, pid;
    enum shmq_life life;
};

static int look_at_slot(void *argument) {
    struct slot_look *look = argument;
    look->tenancy = shmq_slot_tenancy(look->process, look->slot);
    if (look->tenancy & 1)
        look->life = shmq_tenant_life(look->process, look->slot, look->tenancy >> 1);
    look->pid = shmq_load_relaxed(&look->process->table[look->slot].pid); /* PAIR tenancy */
    return SHMQ_OK;
}

static PyObject *process_slots(ProcessObject *self, PyObject *Py_UNUSED(ignored)) {
    if (!self->process)
        return shmq_raise_closed("process");
    PyObject *list = PyList_New(0);
    for (uint32_t slot = 0; list && slot < self->process->slots; slot++) {
        struct slot_look look = {.process = self->process, .slot = slot};
        struct shmq_fail fail = {0};
        int result = shmq_guarded(look_at_slot, &look, &fail, self->process->directory);
        if (result != SHMQ_OK) {
            Py_DECREF(list);
            return shmq_raise(result, &fail, NULL, 0);
        }
        if (look.tenancy == 0)
            continue;
        const char *state = !(look.tenancy & 1) ? "free" : look.life == SHMQ_LIFE_DEAD ? "dead" : "live";
        PyObject *row = Py_BuildValue("(IKKs)", slot, (unsigned long long)(look.tenancy >> 1),
                                      (unsigned long long)look.pid, state);
        if (!row || PyList_Append(list, row) < 0)
            Py_CLEAR(list);
        Py_XDECREF(row);
    }
    return list;
}

static PyObject *process_get_slot(ProcessObject *self, void *Py_UNUSED(closure)) {
    return self->process ? PyLong_FromUnsignedLong(self->process->slot) : shmq_raise_closed("process");
}

static PyObject *process_get_epoch(ProcessObject *self, void *Py_UNUSED(closure)) {
    return self->process ? PyLong_FromUnsignedLongLong(self->process->epoch) : shmq_raise_closed("process");
}

static PyMethodDef process_methods[] = {
    {"close", (PyCFunction)process_close, METH_NOARGS, "Give the registration up; the last one frees the slot."},
    {"slots", (PyCFunction)process_slots, METH_NOARGS,
     "[(slot, epoch, pid, 'live' | 'dead' | 'free')] of all slots that were ever let."},
    {"lives", (PyCFunction)(void (*)(void))shmq_py_lives, METH_FASTCALL,
     "lives(slot, epoch) -> bool: may that tenant still do something? False for one that is dying, too."},
    {NULL, NULL, 0, NULL}};

static PyGetSetDef process_getset[] = {
    {"slot", (getter)process_get_slot, NULL, "This process's slot.", NULL},
    {"epoch", (getter)process_get_epoch, NULL, "How often the slot was let.", NULL},
    {NULL, NULL, NULL, NULL, NULL}};

PyTypeObject ProcessType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.Process",
    .tp_basicsize = sizeof(ProcessObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Process(directory, instance): this process's slot in a broker; shared by all that open it.",
    .tp_new = process_new,
    .tp_dealloc = (destructor)process_dealloc,
    .tp_methods = process_methods,
    .tp_getset = process_getset,
};

/* ---- Partition ---- */

int shmq_parse_options(PyObject *kwargs, struct shmq_options *options) {
    static char *names[] = {"segment_bytes", "retention_bytes",   "retention_ms", "retention",        "max_message_bytes",
                            "crc",           "timestamp_type", "claim_timeout_ms", "reuse", "item_bytes", NULL};
    unsigned long long words[10] = {0};
    long long retention_ms;
    PyObject *empty = PyTuple_New(0);
    int parsed = empty && PyArg_ParseTupleAndKeywords(empty, kwargs, "|$KKLKKKKKKK:options", names, &words[0], &words[1],
                                                      &retention_ms, &words[3], &words[4], &words[5], &words[6],
                                                      &words[7], &words[8], &words[9]);
    Py_XDECREF(empty);
    if (!parsed)
        return -1;
    *options = (struct shmq_options){words[0], words[1], retention_ms < 0 ? UINT64_MAX : (uint64_t)retention_ms, words[3],
                                     words[4], words[5], words[6], words[7], words[8], words[9]};
    return 0;
}

static PyObject *partition_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"process", "directory", "topic", "partition", "topic_id", NULL};
    ProcessObject *process;
    PyObject *path, *topic;
    int number;
    unsigned long long topic_id;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O&UiK:Partition", names, &ProcessType, &process,
                                     PyUnicode_FSConverter, &path, &topic, &number, &topic_id))
        return NULL;
    PartitionObject *self = (PartitionObject *)type->tp_alloc(type, 0);
    struct shmq_fail fail = {0};
    int result = SHMQ_OK;
    if (self && !process->process)
        shmq_raise_closed("process");
    else if (self)
        result = shmq_partition_open(process->process, PyBytes_AS_STRING(path), topic_id, (uint32_t)number,
                                     &self->partition, &fail);
    Py_DECREF(path);
    if (!self || !self->partition) {
        Py_XDECREF(self);
        return result == SHMQ_OK ? NULL : shmq_raise(result, &fail, topic, number);
    }
    shmq_process_hold(process->process); /* so that it outlives Process.close() */
    self->process = (ProcessObject *)Py_NewRef((PyObject *)process);
    self->topic = Py_NewRef(topic);
    self->number = number;
    return (PyObject *)self;
}

static void partition_dealloc(PartitionObject *self) {
    if (self->partition) {
        struct shmq_process *process = self->partition->process;
        shmq_segment_unmap(&self->newest);
        shmq_partition_close(self->partition);
        shmq_py_release_process(process);
    }
    Py_XDECREF(self->topic);
    Py_XDECREF((PyObject *)self->process);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *raise_here(PartitionObject *self, int result, const struct shmq_fail *fail) {
    return shmq_raise(result, fail, self->topic, self->number);
}

static PyObject *partition_configure(PartitionObject *self, PyObject *args, PyObject *kwargs) {
    struct shmq_options options;
    struct shmq_fail fail = {0};
    if (!PyArg_ParseTuple(args, ":configure") || shmq_parse_options(kwargs, &options) < 0)
        return NULL;
    int result = shmq_partition_configure(self->partition, &options, &fail);
    if (result != SHMQ_OK)
        return raise_here(self, result, &fail);
    Py_RETURN_NONE;
}

static PyObject *partition_mark_deleted(PartitionObject *self, PyObject *Py_UNUSED(ignored)) {
    struct shmq_fail fail = {0};
    int result = shmq_partition_mark_deleted(self->partition, &fail);
    if (result != SHMQ_OK)
        return raise_here(self, result, &fail);
    Py_RETURN_NONE;
}

static PyObject *partition_offsets(PartitionObject *self, PyObject *Py_UNUSED(ignored)) {
    struct shmq_reader reader;
    uint64_t begin, end;
    shmq_reader_init(&reader, self->partition, false);
    int result = shmq_reader_bounds(&reader, &begin, &end);
    shmq_reader_close(&reader);
    if (result != SHMQ_OK)
        return raise_here(self, result, &reader.fail);
    return Py_BuildValue("(KK)", (unsigned long long)begin, (unsigned long long)end);
}

static PyObject *partition_verify(PartitionObject *self, PyObject *Py_UNUSED(ignored)) {
    struct shmq_census census;
    struct shmq_fail fail = {0};
    int result;
    Py_BEGIN_ALLOW_THREADS;
    result = shmq_partition_verify(self->partition, &census, &fail);
    Py_END_ALLOW_THREADS;
    if (result == SHMQ_E_CORRUPT)
        return Py_BuildValue("(ssK)", fail.path, fail.what, (unsigned long long)fail.pos);
    if (result != SHMQ_OK)
        return raise_here(self, result, &fail);
    Py_RETURN_NONE;
}

static PyObject *partition_census(PartitionObject *self, PyObject *Py_UNUSED(ignored)) {
    struct shmq_census census;
    struct shmq_fail fail = {0};
    int result;
    Py_BEGIN_ALLOW_THREADS;
    result = shmq_partition_verify(self->partition, &census, &fail);
    Py_END_ALLOW_THREADS;
    if (result != SHMQ_OK)
        return raise_here(self, result, &fail);
    return Py_BuildValue("{s:K,s:K,s:K,s:K,s:K,s:K,s:K,s:K}", "segments", (unsigned long long)census.segments, "bytes",
                         (unsigned long long)census.bytes, "batches", (unsigned long long)census.batches, "records",
                         (unsigned long long)census.records, "claimed", (unsigned long long)census.claimed, "aborted",
                         (unsigned long long)census.aborted, "reserved",
                         (unsigned long long)census.reserved, "spares", (unsigned long long)census.spares);
}

static PyObject *partition_stats(PartitionObject *self, PyObject *Py_UNUSED(ignored)) {
    struct shmq_fail fail = {0};
    struct shmq_reader reader;
    uint64_t begin, end, segments, bytes;
    shmq_reader_init(&reader, self->partition, false);
    int result = shmq_reader_bounds(&reader, &begin, &end);
    shmq_reader_close(&reader);
    if (result != SHMQ_OK)
        return raise_here(self, result, &reader.fail);
    result = shmq_partition_usage(self->partition, &segments, &bytes, &fail);
    if (result != SHMQ_OK)
        return raise_here(self, result, &fail);
    return Py_BuildValue("{s:K,s:K,s:K,s:K}", "segments", (unsigned long long)segments, "bytes",
                         (unsigned long long)bytes, "begin", (unsigned long long)begin, "end", (unsigned long long)end);
}

static PyObject *partition_clean(PartitionObject *self, PyObject *Py_UNUSED(ignored)) {
    struct shmq_fail fail = {0};
    int removed = shmq_partition_clean(self->partition, &fail);
    return removed < 0 ? raise_here(self, removed, &fail) : PyLong_FromLong(removed);
}

static PyMethodDef partition_methods[] = {
    {"configure", (PyCFunction)(void (*)(void))partition_configure, METH_VARARGS | METH_KEYWORDS,
     "Change the options of the running log; the arguments are those of create_control."},
    {"mark_deleted", (PyCFunction)partition_mark_deleted, METH_NOARGS,
     "Tell all who have the partition open that it is gone, and wake them."},
    {"offsets", (PyCFunction)partition_offsets, METH_NOARGS, "(first offset, offset after the last)"},
    {"verify", (PyCFunction)partition_verify, METH_NOARGS,
     "None, or (path, broken invariant, pos) of the first thing that is wrong."},
    {"stats", (PyCFunction)partition_stats, METH_NOARGS, "Segment files, their bytes, first and end offset."},
    {"census", (PyCFunction)partition_census, METH_NOARGS,
     "Counts over the whole partition: segments, bytes, batches, records, claimed, aborted, reserved, spares. Reads everything."},
    {"hold", (PyCFunction)shmq_py_hold, METH_VARARGS,
     "hold(group number, offset): keep every record from there on for this group; sets an offset anew, also to a lower one."},
    {"move_hold", (PyCFunction)shmq_py_move_hold, METH_VARARGS,
     "move_hold(group number, offset) -> bool: it is done with all before; never goes back. False: it has none here."},
    {"release", (PyCFunction)shmq_py_release, METH_VARARGS, "release(group number): keep nothing for it any more."},
    {"holds", (PyCFunction)shmq_py_holds, METH_NOARGS, "{group number: offset}"},
    {"clean", (PyCFunction)partition_clean, METH_NOARGS, "Remove files that dead processes left; how many."},
    {"prepare_spare", (PyCFunction)shmq_py_prepare_spare, METH_NOARGS,
     "Make a segment file ahead if the newest one is half full and there is no spare; whether it did."},
    {"apply_retention", (PyCFunction)shmq_py_apply_retention, METH_NOARGS,
     "Retire segments that are deleted, expired or too many, also when nobody appends; how many."},
    {"delete_records", (PyCFunction)shmq_py_delete_records, METH_O,
     "delete_records(before_offset), -1 for all -> the first offset now; OffsetOutOfRangeError beyond the end."},
    {NULL, NULL, 0, NULL}};

PyTypeObject PartitionType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "shmq._native.Partition",
    .tp_basicsize = sizeof(PartitionObject),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Partition(process, directory, topic, partition, topic_id): one partition's control file, mapped.",
    .tp_new = partition_new,
    .tp_dealloc = (destructor)partition_dealloc,
    .tp_methods = partition_methods,
};
