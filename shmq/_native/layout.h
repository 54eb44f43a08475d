/* THE FORMAT: every byte that shmq keeps in files and shared memory.
 *
 * All numbers are little-endian. A place in a file is `pos`, in bytes; `offset` is a record's number in its partition;
 * a `unit` is 64 bytes of a segment's data area. Words of type shmq_a64 change while others look; everything else is
 * written by one process before anybody else can see the file.
 *
 *
 * PROCS FILE, one per broker: `procs` beside the empty lock file `procs.lock`
 *
 *   pos  size  field         meaning
 *     0     8  magic         "SHMQPRC1"
 *     8     4  version       SHMQ_LAYOUT_VERSION; a reader refuses any other
 *    12     4  incompat      feature bits; an unknown one: refuse
 *    16     4  slots         number of process slots, 1 to 1024
 *    20     4  header_crc    CRC32C of the bytes before it and of instance
 *    24     8  instance      random number of this broker; it is part of every doorbell's name
 *  4096   128  slot 0        then one slot every 128 bytes
 *
 *   Slot: the process that holds byte n of procs.lock with a POSIX record lock owns slot n and alone writes it.
 *     0     8  tenancy       epoch << 1 | live; the epoch rises by one with each tenant and is never 0 when live
 *     8     8  pid           in the tenant's pid namespace
 *    16     8  start_time    field 22 of /proc/PID/stat
 *    24     8  pid_namespace inode of /proc/self/ns/pid
 *    32    96  reserved      0 (heartbeat and last-poll stamps of groups)
 *
 *   A tenant (slot, epoch) is alive if and only if: (1) tenancy == epoch << 1 | 1, and (2) byte n of procs.lock is
 *   locked. Nothing in the log's safety depends on the answer.
 *
 *
 * CONTROL FILE, one per partition: `control`
 *
 *   pos  size  field            meaning
 *     0     8  magic            "SHMQCTL1"
 *     8     4  version          SHMQ_LAYOUT_VERSION
 *    12     4  incompat         feature bits; an unknown one: refuse
 *    16     4  partition        number of this partition
 *    20     4  ring_slots       entries of the ring, 4 to 65536
 *    24     8  topic_id         random number of the topic
 *    32     4  header_crc       CRC32C of bytes 0 to 31
 *    64    96  configuration    one word each, changed by `alter_configs` while the log runs:
 *                               segment_bytes, retention_bytes, retention_ms, retention (0 delete, 1 consumed),
 *                               max_message_bytes, crc (0, 1), timestamp_type (0 create, 1 log append),
 *                               claim_timeout_ms, deleted (0, 1), start_offset (records below it are deleted; it only
 *                               rises, and never beyond the end of the log), reuse (0, 1: segments are made with
 *                               flag bit 1), item_bytes (no batch has a smaller payload; 0: not known)
 *   192     8  next_incarnation number for the next segment file; rises by one with each
 *   256     8  head_seq         hint: a segment at or before the newest one
 *   320     8  tail_seq         hint: a segment at or before the oldest one
 *   384     8  preparer         advice: who prepares which segment (seq << 15 | owner as in a journal word)
 *   448     8  spare            0, or the spare segment
 *   512   128  readers waiting  one bit per process slot
 *   640   128  producers waiting one bit per process slot (retention "consumed")
 *  1024 16384  readers          256 entries of 64 bytes, a reader or a group each
 * 20480     8  ring[0]          then 8 bytes per ring slot: state:2 | lap:24 | incarnation:38
 *
 *   Entry of a reader, which belongs to a process; or of a group, which belongs to nobody and holds back what the group has
 *   not committed, whether it has members or not:
 *     0     8  owner         0: free; else joining << 63 | ticket << 51 | epoch << 10 | slot. A reader's ticket is a number
 *                            of this registration within its process. A group's epoch is 0, which no tenant has, and
 *                            ticket << 10 | slot is its number, 1 to 2^22 - 1; it is never joining
 *     8     8  offset        reader: next offset, for display
 *    16     8  seq           reader: first segment still needed, seq << 15 | owner as in a journal word; another
 *                            owner's: everything is needed
 *    24     8  thread        reader: thread that reads
 *    32     8  hold          group: tag << 47 | offset: every record before the offset is done. The tag changes each time
 *                            that a group gets the entry or the offset is set anew
 *    40     8  mover         group: tag << 47 | thread << 15 | owner as in a journal word, of the member that reads; 0 or
 *                            another tag: nobody
 *    48    16  reserved      0
 *
 *   An entry is valid if and only if: (1) owner is 0; or its epoch is not 0 and its slot is one of the procs file; or it
 *   is a group's number and not joining; (2) the reserved bytes are 0. Nothing else in it matters to others than its owner.
 *
 *   Segment seq s has ring slot s % ring_slots and lap s / ring_slots. A ring word goes FREE(lap) -> LIVE(lap,
 *   incarnation) -> FREE(lap + 1) -> ... and never back. The log is the segments LIVE from the oldest to the newest
 *   seq, without a gap. The first offset is that of the oldest one, or start_offset if that is more.
 *
 *   Spare: a segment file made ahead, for whoever needs the next one.
 *
 *     MAKING     incarnation:38 | 0:8 | owner:15 | 0:1   | 1:2     one process alone makes it
 *     READY      incarnation:38 | data_units:23  | CRC:1 | 2:2     whoever swaps the word away has it
 *
 *   0 -> MAKING -> READY -> 0, and MAKING -> 0 | MAKING, READY -> MAKING where what is made or there is of no use any
 *   more. The file of a READY one is `spare-<incarnation, 10 hex digits>.segment`: a segment file with seq 2^64 - 1,
 *   base_offset 0 and only EMPTY words. It gets its name, seq, base_offset and created_ms before it is published.
 *
 *
 * SEGMENT FILE: `<seq, 20 digits>-<incarnation, 10 hex digits>.segment`
 *
 *   pos  size  field         meaning
 *     0     8  magic         "SHMQSEG1"
 *     8     4  version       SHMQ_LAYOUT_VERSION
 *    12     4  incompat      feature bits; an unknown one: refuse
 *    16     4  partition
 *    20     4  flags         bit 0: batches carry a CRC; bit 1: once retired, the file may be a new segment
 *    24     8  topic_id
 *    32     8  incarnation   this life of the file; never used twice in a partition
 *    40     8  seq           place in the log
 *    48     8  base_offset   offset of the first record; never changes
 *    56     8  created_ms    since the epoch
 *    64     4  journal_words J
 *    68     4  data_units    U
 *    72     8  data_pos      4096 + 8 J, rounded up to a page
 *    80     4  header_crc    CRC32C of bytes 0 to 79
 *   128     8  max_timestamp_ms + 1; 0 while unknown; only written once every claim is settled, always the same value
 *   960     8  tainted       0, or 1: this file is never used again (pins.h); only with flag bit 1
 *  1024  2048  pins          256 entries: 0, or epoch << 10 | slot of a tenant that has it in use; only with flag bit 1
 *  4096   8 J  journal
 *    data_pos  64 U data     the file ends behind it
 *
 *   A journal word is one append (a batch of 1 or more records):
 *
 *     EMPTY      incarnation:61                                              | 1:3
 *     CLAIMED    end_count:22 | end_pos:24 | owner epoch:5 | owner slot:10   | 2:3
 *     COMMITTED  as CLAIMED                                                  | 3:3
 *     ABORTED    as CLAIMED                                                  | 4:3
 *     SEALED     end_count and end_pos of the word before, owner 0           | 5:3
 *     RESERVED   as CLAIMED, but end_count is that of the word before        | 6:3
 *
 *   EMPTY -> CLAIMED -> COMMITTED | ABORTED, EMPTY -> SEALED, EMPTY -> RESERVED, and never back. end_pos counts units of
 *   the data area, end_count records of the segment; both include the batch itself. It begins where the word before ends.
 *   RESERVED is space without records: its owner may fill it, and later append a batch that says that its items lie there.
 *
 *   A journal is valid if and only if: (1) every word has one of the six states; (2) EMPTY words are a suffix and
 *   carry the file's incarnation; (3) among the others but SEALED end_pos rises strictly, and end_pos <= U; end_count rises
 *   strictly, but stays with RESERVED; (4) SEALED is the last word before the EMPTY ones, or the very last; it alone may be
 *   the very last.
 *
 *   BATCH, at the start of its units:
 *     0     4  crc           CRC32C of what follows, seeded with the CRC of incarnation and base_offset xor the number
 *                            of records before it in the segment; 0 if unused
 *     4     4  payload_bytes
 *     8     8  timestamp_ms  of the first record
 *    16     4  count         records
 *    20     1  kind          1 value: the payload is one record's value, without key and headers; 2 rows; 3 items; 4 reference
 *    21     1  attributes    bit 0: timestamps are log append time
 *    22     1  attempt       how often this append was aborted before; a healer gives it more time
 *    23     1  reserved      0
 *    24        payload
 *
 *   Rows: per record key_bytes i32 (-1: none), value_bytes i32 (-1: none), headers_bytes u32, reserved u32,
 *   timestamp_ms i64, then key, value, headers. Headers: count u32, then per header key_bytes u32, value_bytes i32
 *   (-1: none), key (UTF-8), value.
 *
 *   Items and reference: records of one size and one time, without headers. The payload begins with
 *    24     4  item_bytes    of each item, 1 to 2^31 - 1
 *    28     4  keys_bytes    of the key section; 0: no item has a key
 *    32     4  items_unit    reference: the unit of this segment at which the items begin; items: 0
 *    36     4  items_crc     reference, where the segment has CRCs: CRC32C of the items, seeded as the batch's, but with
 *                            items_unit in place of the number of records; else 0
 *    40    24  reserved      0
 *    64        items         count * item_bytes bytes, one item after the other; of a reference they lie in RESERVED units
 *              key section   behind them, of a reference at 64: per item key_bytes i32 (-1: none), then the keys
 *
 *   So items begin at a multiple of 64 bytes in memory.
 *
 *   A COMMITTED batch is valid if and only if: (1) 24 + payload_bytes fits its units, and would not fit one unit
 *   less; (2) count is the difference of the end_counts; (3) the kind is known and its rows, or its items and keys, fill the
 *   payload exactly; (4) the CRC matches where the segment has CRCs; (5) the items of a reference end before the batch
 *   begins, within the range of one RESERVED word, and match items_crc where the segment has CRCs. What lies in an ABORTED
 *   batch is never looked at, nor are RESERVED units that no COMMITTED reference names.
 *
 *
 * OFFSETS FILE, one for each topic that a group has read: `groups/NAME/TOPIC-ID.offsets`
 *
 *   pos  size  field         meaning
 *     0     8  magic         "SHMQOFS1"
 *     8     4  version       SHMQ_LAYOUT_VERSION
 *    12     4  incompat      feature bits; an unknown one: refuse
 *    16     8  topic_id      random number of the topic
 *    24     4  header_crc    CRC32C of bytes 0 to 23
 *  4096    64  partition 0   then one slot every 64 bytes; the file ends with a whole page
 *
 *   Slot:
 *     0     8  word          epoch:16 | has_note:1 | committed offset + 1:47, or 0 if nothing was committed
 *     8     8  commit_ms     when, since 1970; for display
 *    16    48  reserved      0
 *
 *   A word is valid whatever it is: any epoch, any offset. The epoch is the right to commit (offsets.h, O1).
 *
 *
 * WINDOW FILE, one for each partition that a share group, or a queue, takes records from: `groups/NAME/TOPIC-ID.NUMBER.window`
 *
 *   pos  size  field         meaning
 *     0     8  magic         "SHMQWIN1"
 *     8     4  version       SHMQ_LAYOUT_VERSION
 *    12     4  incompat      feature bits; an unknown one: refuse
 *    16     8  topic_id      random number of the topic
 *    24     4  partition     number of the partition
 *    28     4  kind          0 records: each is settled on its own; 1 cursor: a record that is taken is settled
 *    32     8  first         offset at which the group began
 *    40     8  max_items     most records that producers leave untaken; 0: no limit
 *    48     4  words         W, a power of two, 4096 to 1048576
 *    52     4  header_crc    CRC32C of bytes 0 to 51
 *    64     8  start         every record before this offset is settled; it only rises
 *   128     8  fresh         hint: every record before this offset was taken at least once, or is settled
 *   192     8  rejected      how many rejected records lie before start: offset:30 | count:34
 *   256     8  skipped       the same for offsets without a record, and for records that were deleted
 *   320     8  returned      rises each time that a record was given back
 *   384     8  watched       when somebody last looked for what must be taken from its holder, in ms of the monotonic clock
 *  4096   8 W  words         of the record at offset o: word o % W
 *         8 W  deadlines     and deadline o % W
 *
 *   Word: lap:35 | owner slot:10 | owner epoch:9 | deliveries:7 | state:3
 *
 *     The lap is o / W. A word of an earlier lap says: the record at o is fresh, nobody has taken it. So does READY without
 *     deliveries, which is what an empty file holds.
 *
 *     READY -> ACQUIRED -> READY | DELAYED | ACCEPTED | REJECTED, DELAYED -> READY; fresh -> SKIPPED. The owner of a word
 *     that is not ACQUIRED is who had it last.
 *
 *   Deadline: tag:24 | time:40. The tag is deliveries:7 of the word that it is for and lap:17; with another tag it says
 *   nothing. The time is in ms of the monotonic clock: when an ACQUIRED record may be taken from its holder, or a DELAYED
 *   one is READY. */
#ifndef SHMQ_LAYOUT_H
#define SHMQ_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "atomic.h"

#define SHMQ_LAYOUT_VERSION 2u
#define SHMQ_PAGE_BYTES 4096u
#define SHMQ_UNIT_BYTES 64u

#define SHMQ_PROCS_MAGIC "SHMQPRC1"
#define SHMQ_CONTROL_MAGIC "SHMQCTL1"
#define SHMQ_SEGMENT_MAGIC "SHMQSEG1"
#define SHMQ_OFFSETS_MAGIC "SHMQOFS1"
#define SHMQ_WINDOW_MAGIC "SHMQWIN1"

/* Process slots. */
#define SHMQ_SLOT_BITS 10
#define SHMQ_MAX_SLOTS (1u << SHMQ_SLOT_BITS)
#define SHMQ_TENANT_EPOCH_BITS 41 /* of a whole epoch */

struct shmq_procs_header {
    char magic[8];
    uint32_t version;
    uint32_t incompat;
    uint32_t slots;
    uint32_t header_crc;
    uint64_t instance;
};

struct shmq_slot {
    shmq_a64 tenancy;
    shmq_a64 pid;
    shmq_a64 start_time;
    shmq_a64 pid_namespace;
    uint64_t reserved[12];
};

_Static_assert(sizeof(struct shmq_slot) == 128, "file format");
_Static_assert(offsetof(struct shmq_procs_header, instance) == 24, "file format");

/* Control file. */
#define SHMQ_READERS 256u
#define SHMQ_MIN_RING_SLOTS 4u
#define SHMQ_MAX_RING_SLOTS 65536u

enum shmq_retention { SHMQ_RETENTION_DELETE = 0, SHMQ_RETENTION_CONSUMED = 1 };

struct shmq_control_header {
    char magic[8];
    uint32_t version;
    uint32_t incompat;
    uint32_t partition;
    uint32_t ring_slots;
    uint64_t topic_id;
    uint32_t header_crc;
    uint32_t reserved[7];
};

struct shmq_configuration {
    shmq_a64 segment_bytes;
    shmq_a64 retention_bytes;
    shmq_a64 retention_ms;
    shmq_a64 retention;
    shmq_a64 max_message_bytes;
    shmq_a64 crc;
    shmq_a64 timestamp_type;
    shmq_a64 claim_timeout_ms;
    shmq_a64 deleted;
    shmq_a64 start_offset;
    shmq_a64 reuse;
    shmq_a64 item_bytes;
};

struct shmq_bitmap {
    shmq_a64 words[SHMQ_MAX_SLOTS / 64];
};

struct shmq_reader_entry {
    shmq_a64 owner;
    shmq_a64 offset;
    shmq_a64 seq;
    shmq_a64 thread;
    shmq_a64 hold;
    shmq_a64 mover;
    uint64_t reserved[2];
};

/* Owner words of reader entries. A ticket tells a registration from a later one in the same place. */
#define SHMQ_JOINING (UINT64_C(1) << 63)
#define SHMQ_TICKET_POS 51
#define SHMQ_TICKET_MASK (UINT64_C(0xfff) << SHMQ_TICKET_POS)
#define SHMQ_MAX_GROUP ((UINT32_C(1) << 22) - 1)

_Static_assert(SHMQ_SLOT_BITS + SHMQ_TENANT_EPOCH_BITS <= SHMQ_TICKET_POS, "an owner word holds a whole epoch");

static inline uint64_t shmq_entry_epoch(uint64_t owner) {
    return (owner & ~(SHMQ_JOINING | SHMQ_TICKET_MASK)) >> SHMQ_SLOT_BITS;
}

static inline uint32_t shmq_entry_slot(uint64_t owner) {
    return (uint32_t)(owner & (SHMQ_MAX_SLOTS - 1));
}

static inline uint64_t shmq_group_owner(uint32_t number) {
    return (uint64_t)(number >> SHMQ_SLOT_BITS) << SHMQ_TICKET_POS | (number & (SHMQ_MAX_SLOTS - 1));
}

static inline bool shmq_is_group(uint64_t owner) {
    return owner && !(owner & SHMQ_JOINING) && shmq_entry_epoch(owner) == 0;
}

static inline uint32_t shmq_group_number(uint64_t owner) {
    return (uint32_t)(owner >> SHMQ_TICKET_POS) << SHMQ_SLOT_BITS | shmq_entry_slot(owner);
}

/* Holds of groups. */
#define SHMQ_HOLD_BITS 47
#define SHMQ_MAX_HOLD ((UINT64_C(1) << SHMQ_HOLD_BITS) - 1)

static inline uint64_t shmq_hold_word(uint64_t tag, uint64_t offset) {
    return tag << SHMQ_HOLD_BITS | offset;
}

static inline uint64_t shmq_hold_tag(uint64_t word) {
    return word >> SHMQ_HOLD_BITS;
}

static inline uint64_t shmq_hold_offset(uint64_t word) {
    return word & SHMQ_MAX_HOLD;
}

struct shmq_control {
    struct shmq_control_header header;
    struct shmq_configuration configuration;
    uint64_t reserved0[4];
    shmq_a64 next_incarnation;
    uint64_t reserved1[7];
    shmq_a64 head_seq;
    uint64_t reserved2[7];
    shmq_a64 tail_seq;
    uint64_t reserved3[7];
    shmq_a64 preparer;
    uint64_t reserved4[7];
    shmq_a64 spare;
    uint64_t reserved5[7];
    struct shmq_bitmap readers_waiting;
    struct shmq_bitmap producers_waiting;
    uint64_t reserved6[32];
    struct shmq_reader_entry readers[SHMQ_READERS];
    uint64_t reserved7[384];
    shmq_a64 ring[];
};

_Static_assert(sizeof(struct shmq_reader_entry) == 64, "file format");
_Static_assert(offsetof(struct shmq_reader_entry, hold) == 32, "file format");
_Static_assert(offsetof(struct shmq_control, configuration) == 64, "file format");
_Static_assert(offsetof(struct shmq_control, next_incarnation) == 192, "file format");
_Static_assert(offsetof(struct shmq_control, head_seq) == 256, "file format");
_Static_assert(offsetof(struct shmq_control, tail_seq) == 320, "file format");
_Static_assert(offsetof(struct shmq_configuration, start_offset) == 72, "file format");
_Static_assert(offsetof(struct shmq_control, preparer) == 384, "file format");
_Static_assert(offsetof(struct shmq_control, spare) == 448, "file format");
_Static_assert(offsetof(struct shmq_control, readers_waiting) == 512, "file format");
_Static_assert(offsetof(struct shmq_control, producers_waiting) == 640, "file format");
_Static_assert(offsetof(struct shmq_control, readers) == 1024, "file format");
_Static_assert(offsetof(struct shmq_control, ring) == 20480, "file format");

static inline uint64_t shmq_control_bytes(uint32_t ring_slots) {
    return sizeof(struct shmq_control) + 8 * (uint64_t)ring_slots;
}

/* Ring words. */
enum shmq_ring_state { SHMQ_RING_FREE = 1, SHMQ_RING_LIVE = 2 };
#define SHMQ_LAP_BITS 24
#define SHMQ_INCARNATION_BITS 38
#define SHMQ_MAX_INCARNATION ((UINT64_C(1) << SHMQ_INCARNATION_BITS) - 1)

static inline uint64_t shmq_ring_word(enum shmq_ring_state state, uint64_t lap, uint64_t incarnation) {
    return (uint64_t)state | (lap & ((1u << SHMQ_LAP_BITS) - 1)) << 2 | incarnation << (2 + SHMQ_LAP_BITS);
}

static inline uint32_t shmq_ring_state(uint64_t word) {
    return (uint32_t)(word & 3);
}

static inline uint64_t shmq_ring_lap(uint64_t word) {
    return word >> 2 & ((1u << SHMQ_LAP_BITS) - 1);
}

static inline uint64_t shmq_ring_incarnation(uint64_t word) {
    return word >> (2 + SHMQ_LAP_BITS);
}

/* Spare words. */
enum shmq_spare_state { SHMQ_SPARE_NONE = 0, SHMQ_SPARE_MAKING = 1, SHMQ_SPARE_READY = 2 };
#define SHMQ_SPARE_UNIT_BITS 23
#define SHMQ_SPARE_SEQ UINT64_MAX /* stands in its header, where the seq will be */

/* Segment file. */
#define SHMQ_FLAG_CRC 1u
#define SHMQ_FLAG_REUSE 2u
#ifndef SHMQ_MODEL
#define SHMQ_PINS 256u
#else
#define SHMQ_PINS 2u /* so that the model can fill the table */
#endif
#define SHMQ_MIN_SEGMENT_BYTES (UINT64_C(64) << 10)
#define SHMQ_MAX_SEGMENT_BYTES (UINT64_C(512) << 20)

struct shmq_pins {
    shmq_a64 tainted;
    uint64_t reserved[7];
    shmq_a64 holders[SHMQ_PINS];
};

struct shmq_segment_header {
    char magic[8];
    uint32_t version;
    uint32_t incompat;
    uint32_t partition;
    uint32_t flags;
    uint64_t topic_id;
    uint64_t incarnation;
    uint64_t seq;
    uint64_t base_offset;
    uint64_t created_ms;
    uint32_t journal_words;
    uint32_t data_units;
    uint64_t data_pos;
    uint32_t header_crc;
    uint32_t reserved0[11];
    shmq_a64 max_timestamp;
    uint64_t reserved1[103];
    struct shmq_pins pins;
};

/* The one field of it that others look at while it changes: mapping.h. */
static inline shmq_a64 *shmq_incarnation_of(struct shmq_segment_header *header) {
    return (shmq_a64 *)&header->incarnation;
}

_Static_assert(offsetof(struct shmq_segment_header, base_offset) == 48, "file format");
_Static_assert(offsetof(struct shmq_segment_header, header_crc) == 80, "file format");
_Static_assert(offsetof(struct shmq_segment_header, max_timestamp) == 128, "file format");
_Static_assert(offsetof(struct shmq_segment_header, pins.tainted) == 960, "file format");
_Static_assert(offsetof(struct shmq_segment_header, pins.holders) == 1024, "file format");
_Static_assert(sizeof(struct shmq_segment_header) <= SHMQ_PAGE_BYTES, "the journal begins on the second page");

/* Journal words. */
enum shmq_state {
    SHMQ_EMPTY = 1,
    SHMQ_CLAIMED = 2,
    SHMQ_COMMITTED = 3,
    SHMQ_ABORTED = 4,
    SHMQ_SEAL = 5,
    SHMQ_RESERVED = 6,
};

#define SHMQ_EPOCH_BITS 5
#define SHMQ_OWNER_BITS (SHMQ_SLOT_BITS + SHMQ_EPOCH_BITS)
#define SHMQ_POS_BITS 24
#define SHMQ_COUNT_BITS 22
#define SHMQ_MAX_UNITS ((1u << SHMQ_POS_BITS) - 1)
#define SHMQ_MAX_COUNT ((1u << SHMQ_COUNT_BITS) - 1)

_Static_assert(3 + SHMQ_OWNER_BITS + SHMQ_POS_BITS + SHMQ_COUNT_BITS == 64, "a journal word is full");
_Static_assert(SHMQ_MAX_SEGMENT_BYTES / SHMQ_UNIT_BYTES <= SHMQ_MAX_UNITS, "every position has a number");
_Static_assert(2 + 1 + SHMQ_SPARE_UNIT_BITS + SHMQ_INCARNATION_BITS == 64 && SHMQ_OWNER_BITS <= SHMQ_SPARE_UNIT_BITS,
               "a spare word is full");
_Static_assert(SHMQ_MAX_SEGMENT_BYTES / (SHMQ_UNIT_BYTES + 8) >> SHMQ_SPARE_UNIT_BITS == 0, "every size has a number");

static inline uint64_t shmq_spare_making(uint64_t incarnation, uint32_t owner) {
    return (uint64_t)SHMQ_SPARE_MAKING | (uint64_t)owner << 3 | incarnation << (3 + SHMQ_SPARE_UNIT_BITS);
}

static inline uint64_t shmq_spare_ready(uint64_t incarnation, uint32_t data_units, bool crc) {
    return (uint64_t)SHMQ_SPARE_READY | (uint64_t)crc << 2 | (uint64_t)data_units << 3 |
           incarnation << (3 + SHMQ_SPARE_UNIT_BITS);
}

static inline uint32_t shmq_spare_state(uint64_t word) {
    return (uint32_t)(word & 3);
}

static inline uint32_t shmq_spare_owner(uint64_t word) {
    return (uint32_t)(word >> 3) & ((1u << SHMQ_OWNER_BITS) - 1);
}

static inline bool shmq_spare_crc(uint64_t word) {
    return word >> 2 & 1;
}

static inline uint32_t shmq_spare_units(uint64_t word) {
    return (uint32_t)(word >> 3) & ((1u << SHMQ_SPARE_UNIT_BITS) - 1);
}

static inline uint64_t shmq_spare_incarnation(uint64_t word) {
    return word >> (3 + SHMQ_SPARE_UNIT_BITS);
}

/* Who claims: slot and the epoch's low bits, as they stand in a journal word. */
static inline uint32_t shmq_owner(uint32_t slot, uint64_t epoch) {
    return slot | (uint32_t)(epoch & ((1u << SHMQ_EPOCH_BITS) - 1)) << SHMQ_SLOT_BITS;
}

static inline uint64_t shmq_word(enum shmq_state state, uint32_t owner, uint32_t end_pos, uint32_t end_count) {
    return (uint64_t)state | (uint64_t)owner << 3 | (uint64_t)end_pos << (3 + SHMQ_OWNER_BITS) |
           (uint64_t)end_count << (3 + SHMQ_OWNER_BITS + SHMQ_POS_BITS);
}

static inline uint64_t shmq_empty_word(uint64_t incarnation) {
    return (uint64_t)SHMQ_EMPTY | incarnation << 3;
}

static inline enum shmq_state shmq_word_state(uint64_t word) {
    return (enum shmq_state)(word & 7);
}

static inline uint64_t shmq_word_with_state(uint64_t word, enum shmq_state state) {
    return (word & ~UINT64_C(7)) | (uint64_t)state;
}

static inline uint32_t shmq_word_owner(uint64_t word) {
    return (uint32_t)(word >> 3) & ((1u << SHMQ_OWNER_BITS) - 1);
}

static inline uint32_t shmq_word_pos(uint64_t word) {
    return (uint32_t)(word >> (3 + SHMQ_OWNER_BITS)) & SHMQ_MAX_UNITS;
}

static inline uint32_t shmq_word_count(uint64_t word) {
    return (uint32_t)(word >> (3 + SHMQ_OWNER_BITS + SHMQ_POS_BITS));
}

/* Batches. */
enum shmq_kind { SHMQ_KIND_VALUE = 1, SHMQ_KIND_ROWS = 2, SHMQ_KIND_ITEMS = 3, SHMQ_KIND_REFERENCE = 4 };
#define SHMQ_ATTRIBUTE_LOG_APPEND_TIME 1u

struct shmq_batch {
    uint32_t crc;
    uint32_t payload_bytes;
    uint64_t timestamp_ms;
    uint32_t count;
    uint8_t kind;
    uint8_t attributes;
    uint8_t attempt;
    uint8_t reserved;
};

struct shmq_row_header {
    int32_t key_bytes;
    int32_t value_bytes;
    uint32_t headers_bytes;
    uint32_t reserved;
    int64_t timestamp_ms;
};

struct shmq_items_header {
    uint32_t item_bytes;
    uint32_t keys_bytes;
    uint32_t items_unit;
    uint32_t items_crc;
    uint64_t reserved[3];
};

_Static_assert(sizeof(struct shmq_batch) == 24, "file format");
_Static_assert(sizeof(struct shmq_batch) + sizeof(struct shmq_items_header) == SHMQ_UNIT_BYTES, "items are aligned");
_Static_assert(sizeof(struct shmq_row_header) == 24, "file format");

/* Offsets file. */
#define SHMQ_COMMITTED_BITS 47
#define SHMQ_COMMITTED_MASK ((UINT64_C(1) << SHMQ_COMMITTED_BITS) - 1)
#define SHMQ_MAX_OFFSET_EPOCH 0xffffu

struct shmq_offsets_header {
    char magic[8];
    uint32_t version;
    uint32_t incompat;
    uint64_t topic_id;
    uint32_t header_crc;
    uint32_t reserved;
};

struct shmq_offset_slot {
    shmq_a64 word;
    shmq_a64 commit_ms;
    uint64_t reserved[6];
};

_Static_assert(offsetof(struct shmq_offsets_header, header_crc) == 24, "file format");
_Static_assert(sizeof(struct shmq_offset_slot) == 64, "file format");

/* Window file. */
enum shmq_window_kind { SHMQ_WINDOW_RECORDS = 0, SHMQ_WINDOW_CURSOR = 1 };
#define SHMQ_MIN_WINDOW_WORDS 4096u
#define SHMQ_MAX_WINDOW_WORDS (1u << 20)
#define SHMQ_TALLY_OFFSET_BITS 30
enum shmq_tally { SHMQ_TALLY_REJECTED, SHMQ_TALLY_SKIPPED, SHMQ_TALLIES };

struct shmq_line {
    shmq_a64 word;
    uint64_t reserved[7];
};

struct shmq_window_header {
    char magic[8];
    uint32_t version;
    uint32_t incompat;
    uint64_t topic_id;
    uint32_t partition;
    uint32_t kind;
    uint64_t first;
    uint64_t max_items;
    uint32_t words;
    uint32_t header_crc;
    uint64_t reserved;
    struct shmq_line start;
    struct shmq_line fresh;
    struct shmq_line tallies[SHMQ_TALLIES];
    struct shmq_line returned;
    struct shmq_line watched;
};

_Static_assert(offsetof(struct shmq_window_header, header_crc) == 52, "file format");
_Static_assert(offsetof(struct shmq_window_header, start) == 64, "file format");
_Static_assert(offsetof(struct shmq_window_header, tallies) == 192, "file format");
_Static_assert(offsetof(struct shmq_window_header, watched) == 384, "file format");
_Static_assert(sizeof(struct shmq_window_header) <= SHMQ_PAGE_BYTES, "the words begin on the second page");

/* States of a record in a window. The settled ones come last. */
enum shmq_record_state {
    SHMQ_READY = 0,
    SHMQ_ACQUIRED = 1,
    SHMQ_DELAYED = 2,
    SHMQ_ACCEPTED = 3,
    SHMQ_REJECTED = 4,
    SHMQ_SKIPPED = 5,
};

#define SHMQ_STATE_BITS 3
#define SHMQ_DELIVERY_BITS 7
#define SHMQ_HOLDER_EPOCH_BITS 9
#define SHMQ_HOLDER_BITS (SHMQ_SLOT_BITS + SHMQ_HOLDER_EPOCH_BITS)
#define SHMQ_WINDOW_LAP_BITS 35
#define SHMQ_MAX_DELIVERIES ((1u << SHMQ_DELIVERY_BITS) - 1)
#define SHMQ_DEADLINE_BITS 40
#define SHMQ_DEADLINE_LAP_BITS 17

_Static_assert(SHMQ_STATE_BITS + SHMQ_DELIVERY_BITS + SHMQ_HOLDER_BITS + SHMQ_WINDOW_LAP_BITS == 64, "a word is full");
_Static_assert(SHMQ_DEADLINE_BITS + SHMQ_DEADLINE_LAP_BITS + SHMQ_DELIVERY_BITS == 64, "a deadline is full");
_Static_assert(SHMQ_MAX_HOLD / SHMQ_MIN_WINDOW_WORDS < UINT64_C(1) << SHMQ_WINDOW_LAP_BITS, "every lap has a number");

static inline uint64_t shmq_taken_word(enum shmq_record_state state, uint32_t deliveries, uint32_t holder, uint64_t lap) {
    return (uint64_t)state | (uint64_t)deliveries << SHMQ_STATE_BITS |
           (uint64_t)holder << (SHMQ_STATE_BITS + SHMQ_DELIVERY_BITS) |
           lap << (SHMQ_STATE_BITS + SHMQ_DELIVERY_BITS + SHMQ_HOLDER_BITS);
}

static inline enum shmq_record_state shmq_taken_state(uint64_t word) {
    return (enum shmq_record_state)(word & ((1u << SHMQ_STATE_BITS) - 1));
}

static inline uint32_t shmq_taken_deliveries(uint64_t word) {
    return (uint32_t)(word >> SHMQ_STATE_BITS) & SHMQ_MAX_DELIVERIES;
}

/* Slot and low bits of the epoch of who holds it. */
static inline uint32_t shmq_taken_holder(uint64_t word) {
    return (uint32_t)(word >> (SHMQ_STATE_BITS + SHMQ_DELIVERY_BITS)) & ((1u << SHMQ_HOLDER_BITS) - 1);
}

static inline uint64_t shmq_taken_lap(uint64_t word) {
    return word >> (SHMQ_STATE_BITS + SHMQ_DELIVERY_BITS + SHMQ_HOLDER_BITS);
}

static inline uint32_t shmq_holder(uint32_t slot, uint64_t epoch) {
    return slot | (uint32_t)(epoch & ((1u << SHMQ_HOLDER_EPOCH_BITS) - 1)) << SHMQ_SLOT_BITS;
}

#endif
