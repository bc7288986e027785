// SPDX-License-Identifier: MIT
#include "port/kernel/call_trace.hpp"

namespace port {

namespace {

using abi::trace::number_in;
using hal::Machine;

struct alignas(64) Sent {
    u64 start = 0, number = 0;
    u32 thread = 0, to = 0;
};
constinit Sent sent[lib::kMaxCpus];

u8 this_cpu() { return u8(Machine::this_cpu().value); }

u64 error_of(i64 result) { return result < 0 && result >= -4095 ? u64(-result) : 0; }

// Before `now`, so many nanoseconds after `then`: in cycles.
u64 cycles_at(Nanoseconds then) {
    u64 ago = (Machine::now() - then).value;
    constexpr u64 kMost = 1'000'000'000'000;  // no product overflows
    return Machine::cycles() - (ago < kMost ? ago : kMost) * (Machine::tsc_hz() / 1000) / 1'000'000;
}

bool is_call(u64 detail) { return number_in(detail) < abi::trace::kKick; }

}  // namespace

void CallTrace::write(u64 end, Reason reason, u64 error) {
    u64 cycles = end > start_ ? end - start_ : 0;
    sum_ += cycles;
    bool has_sum = path_ == Path::kLeafAgain || path_ == Path::kTask;
    if (!core::trace::on.load(std::memory_order_relaxed)) return;
    core::trace::add({.start = start_,
                      .cycles = cycles < ~u32{0} ? u32(cycles) : ~u32{0},
                      .path = path_,
                      .test = core::trace::Test::kNone,
                      .cpu = cpu_,
                      .reason = reason,
                      .thread = thread_,
                      .partner = !has_sum         ? partner_
                                 : sum_ < ~u32{0} ? u32(sum_)
                                                  : ~u32{0},
                      .detail = detail_ | error << 32});
}

void CallTrace::begin(Path path, u32 thread, u64 detail, const Context& context, u32 partner) {
    path_ = path;
    thread_ = thread;
    partner_ = partner;
    detail_ = detail;
    pc_ = context.pc().value;
    sum_ = paused_ = 0;
    cpu_ = this_cpu();
    open_ = true;
    start_ = Machine::cycles();
}

void CallTrace::go_on(Reason why, Path next) {
    u64 now = Machine::cycles();
    write(now, why);
    path_ = next;
    detail_ = number_in(detail_);  // the queue, the address: reported once
    cpu_ = this_cpu();
    start_ = now;
}

void CallTrace::resume(Path next) {
    if (!open_ || paused_ == 0) return;
    write(paused_, Reason::kWaits);
    paused_ = 0;
    path_ = next;
    detail_ = number_in(detail_);
    cpu_ = this_cpu();
    start_ = Machine::cycles();
}

void CallTrace::finish_at(const Context& context, u64 end) {
    if (!open_) return;
    open_ = false;
    if (context.pc().value != pc_) return write(end, Reason::kElsewhere);
    u64 error = is_call(detail_) ? error_of(context.syscall_result()) : 0;
    write(end, error != 0 ? Reason::kError : Reason::kDone, error);
}

void CallTrace::finish_late(const Context& context, Nanoseconds then) {
    if (open_) finish_at(context, cycles_at(then));
}

void CallTrace::finish_served(i64 result) {
    open_ = false;
    u64 error = is_call(detail_) ? error_of(result) : 0;
    write(Machine::cycles(), error != 0 ? Reason::kError : Reason::kDone, error);
}

void CallTrace::finish_ended() {
    if (open_) write(Machine::cycles(), Reason::kEnded);
    open_ = false;
}

void CallTrace::send(u32 thread, u64 number, u32 to) {
    sent[this_cpu()] = {.start = Machine::cycles(), .number = number, .thread = thread, .to = to};
}

namespace {
void write_sent(core::trace::Reason reason, u64 error) {
    const Sent& s = sent[this_cpu()];
    if (!core::trace::on.load(std::memory_order_relaxed)) return;
    core::trace::add({.start = s.start,
                      .cycles = u32(Machine::cycles() - s.start),
                      .path = core::trace::Path::kSent,
                      .test = core::trace::Test::kNone,
                      .cpu = this_cpu(),
                      .reason = reason,
                      .thread = s.thread,
                      .partner = s.to,
                      .detail = abi::trace::detail(s.number, 0, error)});
}
}  // namespace

void CallTrace::answered(i64 result) {
    u64 error = is_call(sent[this_cpu()].number) ? error_of(result) : 0;
    write_sent(error != 0 ? Reason::kError : Reason::kDone, error);
}
void CallTrace::left() { write_sent(Reason::kSent, 0); }

}  // namespace port
