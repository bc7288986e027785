// SPDX-License-Identifier: MIT
// eventfd(2) and timerfd_create(2): counters as files. Lock of a TimerFile: Rank::poll.
#pragma once
#include "fs/file.hpp"

namespace fs {

class EventFile final : public File {
public:
    EventFile(Ref<Inode> nameless, u32 flags, u64 initial, bool semaphore)
        : File(std::move(nameless), flags | kOpenByElement), count_(initial), semaphore_(semaphore) {
        kind_ = FileKind::kEvent;
    }
    Leaf<size_t> try_read(const UserSpans& to, u64 offset) override;
    Leaf<size_t> try_write(const UserSpans& from, u64 offset) override;
    u32 poll() override;
    void queues(u32 events, QueueSet& out) override { out.add(changed_); }
    bool pollable() const override { return true; }
    std::string_view label(std::span<char>) override { return "anon_inode:[eventfd]"; }
    Leaf<u64> seek(i64, u32) override { return u64{0}; }
    u64 copy_granule() const override { return sizeof(u64); }
    void buffer_failed(void* caller, bool write, u64 size) override;
    bool by_element(bool write) const override { return write; }
    bool show_info(lib::StringBuilder& out, u64& at) override;

private:
    Leaf<size_t> read_loop(const UserSpans& to);
    Leaf<size_t> write_loop(const UserSpans& from);
    // Changed by compare-exchange only; what pairs is the queue's business.
    std::atomic<u64> count_;
    const bool semaphore_;
    rt::WaitQueue changed_;
};

// A TimerFile has no running timer: how often it has expired follows from the clock, and a waiter waits with a
// deadline (wake_time).
class TimerFile final : public File {
public:
    // `clock`: what it is called; all but the real-time clock are the monotonic one.
    TimerFile(Ref<Inode> nameless, u32 flags, bool realtime, u32 clock = 1)
        : File(std::move(nameless), flags | kOpenByElement), realtime_(realtime), clock_(clock) {
        kind_ = FileKind::kTimer;
    }
    struct Setting {
        u64 interval = 0, value = 0;  // nanoseconds; value 0: disarmed
    };
    Setting get();
    // Returns what was set before. `absolute`: value is a time of the file's clock.
    Setting set(Setting to, bool absolute);

    Leaf<size_t> try_read(const UserSpans& to, u64 offset) override;
    u32 poll() override;
    void queues(u32 events, QueueSet& out) override { out.add(changed_); }
    Nanoseconds wake_time(Nanoseconds after) override;
    bool pollable() const override { return true; }
    std::string_view label(std::span<char>) override { return "anon_inode:[timerfd]"; }
    Leaf<u64> seek(i64, u32) override { return u64{0}; }
    u64 copy_granule() const override { return sizeof(u64); }
    void buffer_failed(void* caller, bool write, u64 size) override;
    bool by_element(bool) const override { return true; }
    bool show_info(lib::StringBuilder& out, u64& at) override;

private:
    void take(u64 count) RT_REQUIRES(lock_) {
        next_ = interval_ == 0 ? 0 : next_ + (count - due_) * interval_;
        due_ = 0;
    }
    u64 expirations(u64 now) const RT_REQUIRES(lock_);
    Setting remaining(u64 now) const RT_REQUIRES(lock_);

    rt::SpinLock<rt::Rank::poll> lock_;
    u64 next_ RT_GUARDED_BY(lock_) = 0;  // monotonic time of the first expiry not yet read; 0: disarmed
    u64 due_ RT_GUARDED_BY(lock_) = 0;  // expirations before next_ that were not read: it was set to a time in the past
    u64 interval_ RT_GUARDED_BY(lock_) = 0;
    bool absolute_ RT_GUARDED_BY(lock_) = false;  // as it was set
    const bool realtime_;
    const u32 clock_;
    rt::WaitQueue changed_;  // the setting
};

}  // namespace fs
