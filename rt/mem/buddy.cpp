// SPDX-License-Identifier: MIT
// The buddy allocator (Knuth, The Art of Computer Programming, vol. 1, 2.5): a free block of order k merges with its
// buddy, the block whose number differs only in bit k, if the buddy is free and not split.
//
// Layout of the FrameInfos: memory is divided into sections of 128 MiB. A section with RAM gets one array that spans
// its RAM, rounded to chunks of 4 MiB (the largest block); the array is taken from the end of a range. In a chunk that
// is entirely free RAM, only the first FrameInfo is initialised until the chunk is first taken from its list.
#include "rt/mem/buddy.hpp"

#include <bit>

namespace rt::detail {

constinit Buddy buddy;
constinit FrameInfo* section_frames[kSections] = {};
constinit std::atomic<u32> section_ready[kSections] = {};

namespace {

constexpr u64 kChunkFrames = u64{1} << kMaxOrder;
constexpr u64 kSectionFrames = u64{1} << (kSectionShift - lib::kPageShift);
static_assert(kSectionFrames / kChunkFrames == 32, "one bit of section_ready for each chunk");

FrameInfo* info_of(u64 frame) { return section_frames[frame / kSectionFrames] + frame; }
bool ready(u64 frame) {
    u32 bits = section_ready[frame / kSectionFrames].load(std::memory_order_relaxed);
    return bits >> (frame % kSectionFrames / kChunkFrames) & 1;
}
void init_info(FrameInfo* f, u64 frame, FrameState s, unsigned order) {
    f->frame_number = static_cast<u32>(frame);
    f->set_tag(s, order);
}

}  // namespace

void Buddy::add_range(PhysAddr start, u64 bytes, bool used) {
    LockGuard guard(lock_);
    u64 first = (start.value + kPageSize - 1) >> lib::kPageShift;
    u64 last = (start.value + bytes) >> lib::kPageShift;
    if (used) {  // a partly used frame must never be freed as a whole
        first = start.value >> lib::kPageShift;
        last = (start.value + bytes + kPageSize - 1) >> lib::kPageShift;
    }
    if (first == 0) first = 1;
    if (last > kMaxPhysical >> lib::kPageShift) last = kMaxPhysical >> lib::kPageShift;
    if (first >= last || range_count_ == kMaxRanges) return;
    ranges_[range_count_++] = {first, last, used};
    pending_ = true;
}

// ---- Laying out what was added ----

void Buddy::settle() {
    LockGuard guard(lock_);
    if (pending_) build();
}

void Buddy::build() {
    pending_ = false;
    auto count_total = [this](u64 frames) { total_.store(total() + frames, std::memory_order_relaxed); };
    u64 info_before = info();
    for (u32 i = 0; i < range_count_; ++i) {
        u64 last = (ranges_[i].end - 1) / kSectionFrames;
        for (u64 s = ranges_[i].start / kSectionFrames; s <= last; ++s)
            if (!section_frames[s] && !place_infos(s)) return;  // no room even for the array: the rest stays unused
    }
    // Used ranges come first. They may lie in chunks that are otherwise free, which then count as partly free. Ranges
    // are added in descending order, so that the lowest addresses come to the front of the lists.
    for (u32 i = range_count_; i-- > 0;)
        if (ranges_[i].used) count_total(add_used(ranges_[i].start, ranges_[i].end));
    for (u32 i = range_count_; i-- > 0;)
        if (!ranges_[i].used) count_total(add_free(ranges_[i].start, ranges_[i].end));
    count_total(info() - info_before);
    range_count_ = 0;
    u64 keep = total() / 256;
    reserve_.store(keep < 16 ? 16 : keep > 256 ? 256 : keep, std::memory_order_relaxed);
}

// Allocates the array of one section, which covers the first to the last chunk that any range touches.
bool Buddy::place_infos(u64 section) {
    u64 from = section * kSectionFrames, to = from + kSectionFrames;
    u64 low = to, high = from;
    for (u32 i = 0; i < range_count_; ++i) {
        const Range& r = ranges_[i];
        if (r.start >= to || r.end <= from) continue;
        u64 a = r.start > from ? r.start : from, b = r.end < to ? r.end : to;
        low = a < low ? a : low;
        high = b > high ? b : high;
    }
    low &= ~(kChunkFrames - 1);
    high = (high + kChunkFrames - 1) & ~(kChunkFrames - 1);
    if (low >= high) return true;  // touched only by pages that were carved off
    FrameInfo* array = carve((high - low) * sizeof(FrameInfo));
    if (!array) return false;
    // Biased by integer arithmetic, because the pointer itself lies outside the array.
    section_frames[section] = reinterpret_cast<FrameInfo*>(reinterpret_cast<u64>(array) - low * sizeof(FrameInfo));
    for (u64 n = low; n < high; n += kChunkFrames) covered_[section] |= 1u << (n % kSectionFrames / kChunkFrames);
    return true;
}

bool Buddy::covered(u64 frame) const {
    return covered_[frame / kSectionFrames] >> (frame % kSectionFrames / kChunkFrames) & 1;
}

// Takes pages from the end of the largest free range.
FrameInfo* Buddy::carve(u64 bytes) {
    u64 frames = lib::pages_for(bytes);
    Range* best = nullptr;
    for (u32 i = 0; i < range_count_; ++i) {
        Range& r = ranges_[i];
        if (!r.used && r.end - r.start >= frames && (!best || r.end - r.start > best->end - best->start)) best = &r;
    }
    if (!best) return nullptr;
    best->end -= frames;
    info_.store(info() + frames, std::memory_order_relaxed);
    return static_cast<FrameInfo*>(hal::Machine::phys_to_virt(PhysAddr{best->end << lib::kPageShift}));
}

// Initialises the FrameInfos of the chunk that contains `frame`, unless that is done.
void Buddy::make_ready(u64 frame, FrameState state) {
    u64 first = frame & ~(kChunkFrames - 1);
    if (ready(first)) return;
    FrameInfo* f = info_of(first);
    for (u64 i = 0; i < kChunkFrames; ++i) init_info(f + i, first + i, state, 0);
    // Release: pairs with find_frame_info().
    section_ready[first / kSectionFrames].fetch_or(1u << (first % kSectionFrames / kChunkFrames),
                                                   std::memory_order_release);
}

// Both return how many frames were added. A range added late may lie outside its section's array: such frames stay
// unused.
u64 Buddy::add_used(u64 start, u64 end) {
    u64 added = 0;
    for (u64 n = start; n < end; ++n) {
        if (!covered(n)) continue;
        make_ready(n, FrameState::kAbsent);
        info_of(n)->set_tag(FrameState::kUsed, 0);
        ++added;
    }
    return added;
}

u64 Buddy::add_free(u64 start, u64 end) {
    u64 added = 0;
    for (u64 at = end; at > start;) {
        u64 chunk = (at - 1) & ~(kChunkFrames - 1);
        u64 from = chunk > start ? chunk : start;
        if (!covered(chunk)) {
            at = from;
            continue;
        }
        if (at - from == kChunkFrames && !ready(chunk)) {
            FrameInfo* f = info_of(chunk);
            init_info(f, chunk, FrameState::kFree, kMaxOrder);
            push(f, kMaxOrder);
        } else {
            make_ready(chunk, FrameState::kAbsent);
            for (u64 n = from; n < at; ++n) info_of(n)->set_tag(FrameState::kTail, 0);
            for (u64 n = from; n < at;) {  // split into the largest aligned blocks
                unsigned order = static_cast<unsigned>(std::countr_zero(n));
                while (order > kMaxOrder || n + (u64{1} << order) > at) --order;
                merge_and_push(n, order);
                n += u64{1} << order;
            }
        }
        added += at - from;
        at = from;
    }
    count_free(static_cast<i64>(added));
    return added;
}

// ---- The lists ----

void Buddy::push(FrameInfo* f, unsigned order) {
    f->set_tag(FrameState::kFree, order);
    f->prev = nullptr;
    f->next = lists_[order];
    if (f->next) f->next->prev = f;
    lists_[order] = f;
    nonempty_ |= 1u << order;
}

void Buddy::unlink(FrameInfo* f, unsigned order) {
    if (f->prev)
        f->prev->next = f->next;
    else
        lists_[order] = f->next;
    if (f->next) f->next->prev = f->prev;
    if (!lists_[order]) nonempty_ &= ~(1u << order);
}

FrameInfo* Buddy::pop(unsigned order) {
    FrameInfo* f = lists_[order];
    unlink(f, order);
    if (order == kMaxOrder) make_ready(f->frame_number, FrameState::kTail);
    return f;
}

void Buddy::merge_and_push(u64 frame, unsigned order) {
    FrameInfo* f = info_of(frame);
    while (order < kMaxOrder) {
        i64 distance = static_cast<i64>(frame ^ (u64{1} << order)) - static_cast<i64>(frame);
        FrameInfo* other = f + distance;
        if (other->tag.load(std::memory_order_relaxed) != FrameInfo::make_tag(FrameState::kFree, order)) break;
        unlink(other, order);
        (distance < 0 ? f : other)->set_tag(FrameState::kTail, 0);
        if (distance < 0) {
            f = other;
            frame = f->frame_number;
        }
        ++order;
    }
    push(f, order);
}

// Takes a block of order `at_least` or more, and splits it down to at most `at_most`.
u64 Buddy::split_off(unsigned at_least, unsigned at_most, unsigned& order) {
    u32 fitting = nonempty_ >> at_least << at_least;
    if (!fitting) return 0;
    order = static_cast<unsigned>(std::countr_zero(fitting));
    FrameInfo* f = pop(order);
    while (order > at_most) {
        --order;
        push(f + (u64{1} << order), order);
    }
    return f->frame_number;
}

bool Buddy::allowed(u64 frames, Alloc how) const {
    return free() >= frames + (how == Alloc::kMustNotFail ? 0 : reserve());
}

PhysAddr Buddy::take(unsigned order, Alloc how) {
    LockGuard guard(lock_);
    if (pending_) [[unlikely]]
        build();
    u64 frames = u64{1} << order;
    if (!allowed(frames, how)) return PhysAddr{0};
    unsigned got = 0;
    u64 frame = split_off(order, order, got);
    if (frame == 0) return PhysAddr{0};
    info_of(frame)->set_tag(FrameState::kUsed, order);
    count_free(-static_cast<i64>(frames));
    return PhysAddr{frame << lib::kPageShift};
}

u32 Buddy::take_many(u64* out, u32 n, Alloc how) {
    LockGuard guard(lock_);
    if (pending_) [[unlikely]]
        build();
    u32 got = 0;
    while (got < n && !allowed(n - got, how)) --n;
    while (got < n) {
        unsigned order = 0;
        u64 frame = split_off(0, static_cast<unsigned>(std::bit_width(n - got)) - 1, order);
        if (frame == 0) break;
        FrameInfo* f = info_of(frame);
        // Descending, so that popping from the cache yields ascending addresses.
        for (u64 i = u64{1} << order; i-- > 0;) {
            f[i].set_tag(FrameState::kUsed, 0);
            out[got++] = (frame + i) << lib::kPageShift;
        }
    }
    count_free(-static_cast<i64>(got));
    return got;
}

void Buddy::give(PhysAddr at, unsigned order) {
    LockGuard guard(lock_);
    merge_and_push(at.value >> lib::kPageShift, order);
    count_free(i64{1} << order);
}

void Buddy::give_many(const u64* frames, u32 n) {
    LockGuard guard(lock_);
    for (u32 i = 0; i < n; ++i) merge_and_push(frames[i] >> lib::kPageShift, 0);
    count_free(n);
}

// ---- Tests ----

const char* Buddy::check() {
    LockGuard guard(lock_);
    if (pending_) build();
    u64 sum = 0;
    for (unsigned order = 0; order <= kMaxOrder; ++order) {
        if ((nonempty_ >> order & 1) != (lists_[order] != nullptr)) return "the mask disagrees with a list";
        FrameInfo* before = nullptr;
        for (FrameInfo* f = lists_[order]; f; before = f, f = f->next) {
            u64 frame = f->frame_number;
            if (f->prev != before) return "a back link is wrong";
            if (f != info_of(frame)) return "a frame number is wrong";
            if (frame & ((u64{1} << order) - 1)) return "a block is not aligned";
            if (f->state() != FrameState::kFree || f->order() != order) return "a free block has the wrong tag";
            if (order < kMaxOrder && info_of(frame ^ (u64{1} << order))->tag.load(std::memory_order_relaxed) ==
                                         FrameInfo::make_tag(FrameState::kFree, order))
                return "two free buddies were not merged";
            sum += u64{1} << order;
        }
    }
    return sum == free() ? nullptr : "the count of free frames is wrong";
}

void Buddy::reset() {
    LockGuard guard(lock_);
    for (u64 s = 0; s < kSections; ++s) {
        section_frames[s] = nullptr;
        section_ready[s].store(0, std::memory_order_relaxed);
        covered_[s] = 0;
    }
    pending_ = false;
    nonempty_ = 0;
    for (FrameInfo*& list : lists_) list = nullptr;
    range_count_ = 0;
    total_ = info_ = free_ = reserve_ = 0;
}

}  // namespace rt::detail
