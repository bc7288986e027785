// SPDX-License-Identifier: MIT
// What a message carries: words in registers and in the UTCB, labels, badges, capabilities. And what is refused.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

u64 pattern(u64 i) { return 0x0123'4567'89ab'cdef * (i + 3); }

// The words of a message, in registers and UTCB.
void fill(Message& m, u64 label, u64 words, u64 caps = 0) {
    m.tag = make_tag(label, words, caps);
    for (u64 i = 0; i < words; ++i) (i < kRegisterWords ? m.words[i] : utcb().words[i - kRegisterWords]) = pattern(i);
}
bool filled(const Message& m, u64 label, u64 words) {
    if (m.tag != make_tag(label, words)) return false;
    for (u64 i = 0; i < words; ++i)
        if ((i < kRegisterWords ? m.words[i] : utcb().words[i - kRegisterWords]) != pattern(i)) return false;
    return true;
}

// Replies to each call with the words that it sent, and stores the badge.
std::atomic<u64> seen_badge, seen_count;
void echo(u64 e) {
    Message m;
    for (auto r = receive(e, m); r.ok(); r = reply_receive(e, m)) {
        seen_badge = m.badge;
        seen_count = seen_count + 1;
    }
}

constexpr u64 kLengths[] = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 20, 63, 64, 119, 120};

void lengths(u64 cpu, Slot space) {
    Slot e = make(kTypeEndpoint);
    if (space != kSlotSpace) give(space, e);
    Helper& h = start(echo, e, {.cpu = cpu, .space = space});
    KCHECK(until_state(h, kStateReceiving));
    for (u64 n : kLengths) {
        Message m;
        fill(m, n + 7, n);
        KDONE(code(call_soon(e, m)));
        KCHECK(filled(m, n + 7, n));
        // Also without a timeout: the fastpaths do not handle timeouts.
        fill(m, 2, n);
        KDONE(code(call(e, m)));
        KCHECK(filled(m, 2, n));
    }
}

}  // namespace

KTEST_CPUS(call_of_every_length, none) { lengths(cpu, kSlotSpace); }
KTEST_CPUS(call_of_every_length_to_a_space, none) { lengths(cpu, other_space()); }

namespace {
std::atomic<u64> wrong;
void receive_lengths(u64 e) {
    Message m;
    for (u64 n : kLengths)
        if (!receive(e, m).ok() || !filled(m, n, n)) wrong = wrong + 1;
}
void send_lengths(u64 e) {
    Message m;
    for (u64 n : kLengths) {
        fill(m, n, n);
        if (!send(e, m).ok()) wrong = wrong + 1;
    }
}
}  // namespace

KTEST_CPUS(send_of_every_length_receiver_first, none) {
    wrong = 0;
    Slot e = make(kTypeEndpoint);
    Helper& h = start(receive_lengths, e, {.cpu = cpu});
    for (u64 n : kLengths) {
        KCHECK(until_state(h, kStateReceiving));
        Message m;
        fill(m, n, n);
        KDONE(code(send_soon(e, m)));
    }
    KCHECK(until_done(h) && wrong == 0);
}
KTEST_CPUS(send_of_every_length_sender_first, none) {
    wrong = 0;
    Slot e = make(kTypeEndpoint);
    Helper& h = start(send_lengths, e, {.cpu = cpu});
    for (u64 n : kLengths) {
        KCHECK(until_state(h, kStateSending));
        Message m;
        KDONE(code(receive_soon(e, m)));
        KCHECK(filled(m, n, n));
    }
    KCHECK(until_done(h) && wrong == 0);
}
KTEST(labels_of_all_bits, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start(echo, e);
    KCHECK(until_state(h, kStateReceiving));
    for (u64 label : {u64{0}, u64{1}, kKernelLabels, (u64{1} << 52) - 1}) {
        Message m = message(label, 1, 2);
        KDONE(code(call(e, m)));
        KCHECK(m.label() == label && m.size() == 2 && m.words[1] == 2);
    }
}
KTEST(words_behind_the_length_are_nobodys, none) {
    // The registers after a short reply never hold those of the partner.
    Slot e = make(kTypeEndpoint);
    static auto secret = [](u64 endpoint) {
        Message m;
        for (auto r = receive(endpoint, m); r.ok(); r = reply_receive(endpoint, m)) {
            for (u64& w : m.words) w = 0x5ec4e7;
            m.tag = make_tag(0, 1);
        }
    };
    Slot space = other_space();
    give(space, e);
    Helper& h = start(+secret, e, {.space = space});
    KCHECK(until_state(h, kStateReceiving));
    for (int i = 0; i < 4; ++i) {
        Message m = message(1);
        KDONE(code(i & 1 ? call_soon(e, m) : call(e, m)));
        KCHECK(m.words[0] == 0x5ec4e7);
        for (u64 w = 1; w < kRegisterWords; ++w) KCHECK(m.words[w] != 0x5ec4e7);
    }
}

// --- Tags that are refused

namespace {
void refused_tag(u64 tag) {
    Slot e = make(kTypeEndpoint);
    for (u64 call : {kCall, kSend}) KREFUSED(kInval, raw_call(call | kNonBlocking, e, tag));
    // The same in a reply, which is still owed afterwards.
    static auto ask = [](u64 endpoint) {
        Message m = message(1);
        (void)call(endpoint, m);
    };
    Helper& h = start(+ask, e);
    Message m;
    KDONE(code(receive_soon(e, m)));
    KREFUSED(kInval, raw_call(kReply, 0, tag));
    KREFUSED(kInval, raw_call(kReplyReceive | kNonBlocking, e, tag));
    KCHECK(state_of(h.thread) == kStateAwaitingReply);
    KDONE(raw_call(kReply, 0, 0));
    KCHECK(until_done(h));
}
}  // namespace

KTEST(tag_with_reserved_bits, tag_reserved) {
    refused_tag(kTagReserved);
    refused_tag(1u << 10);
    refused_tag(1u << 11);
}
KTEST(tag_with_too_many_words, tag_words) {
    refused_tag(121);
    refused_tag(127);
}
KTEST(tag_with_too_many_capabilities, tag_caps) {
    refused_tag(make_tag(0, 0, 5));
    refused_tag(make_tag(0, 0, 7));
}

// --- Threads without a UTCB

namespace {
std::atomic<i64> results[8];
void without_page(u64 e) {
    results[0] = raw_call(kSend | kNonBlocking, e, make_tag(0, kRegisterWords + 1));
    results[1] = raw_call(kSend | kNonBlocking, e, make_tag(0, 0, 1));
    results[2] = raw_call(kThreadSetRegisters, kSlotThread);
    results[3] = raw_call(kThreadGetRegisters, kSpareSlot);
    results[4] = raw_call(kReceive | kNonBlocking | kTimed, e);
    results[5] = raw_call(kCall | kNonBlocking | kTimed, e);
    results[6] = raw_call(kSend | kNonBlocking, e, make_tag(0, kRegisterWords));
}
void run_without_page() {
    Slot e = make(kTypeEndpoint);
    (void)create(pool(), kTypeThread, kSpareSlot);
    for (auto& r : results) r = 1;
    Helper& h = start(without_page, e, {.with_utcb = false});
    KCHECK(until_done(h));
    (void)remove(kSpareSlot);
}
}  // namespace

KTEST(long_messages_need_a_page, tag_needs_utcb) {
    run_without_page();
    KCHECK(results[0] == -i64(Errno::kInval) && results[1] == -i64(Errno::kInval));
    KCHECK(results[6] == -i64(Errno::kAgain));
}
KTEST(registers_need_a_page, tag_needs_utcb) {
    run_without_page();
    KCHECK(results[2] == -i64(Errno::kInval) && results[3] == -i64(Errno::kInval));
}
KTEST(timeouts_need_a_page, timed_needs_utcb) {
    run_without_page();
    KCHECK(results[4] == -i64(Errno::kInval) && results[5] == -i64(Errno::kInval));
}
KTEST(long_message_to_one_without_a_page_is_cut, none) {
    Slot e = make(kTypeEndpoint);
    static std::atomic<u64> tag;
    static auto take = [](u64 endpoint) {
        Message m;
        if (receive(endpoint, m).ok()) tag = m.tag;
    };
    Helper& h = start(+take, e, {.with_utcb = false});
    KCHECK(until_state(h, kStateReceiving));
    Message m;
    fill(m, 3, 40);
    KDONE(code(send(e, m)));
    KCHECK(until_done(h) && tag == make_tag(3, kRegisterWords));
}

// --- Badges

KTEST_CPUS(badges_come_with_messages, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start(echo, e, {.cpu = cpu});
    KCHECK(until_state(h, kStateReceiving));
    for (u64 badge : {u64{0}, u64{1}, u64{77}, ~u64{0}}) {
        Slot s = derive(derive(e, kAllRights, badge), kSendRight);
        for (u64 flags : {u64{0}, kTimed}) {
            utcb().timeout = kPatience;
            Message m = message(0);
            KDONE(code(call(s, m, flags)));
            KCHECK(seen_badge == badge && m.badge == 0);
        }
    }
}
KTEST_CPUS(badges_of_queued_messages, none) {
    Slot e = make(kTypeEndpoint);
    static auto post = [](u64 s) { (void)send(s, message(0)); };
    for (u64 badge = 1; badge < 5; ++badge) (void)start(+post, derive(e, kSendRight, badge), {.cpu = cpu});
    u64 seen = 0;
    for (u64 i = 1; i < 5; ++i) {
        Message m;
        KDONE(code(receive_soon(e, m)));
        seen |= u64{1} << m.badge;
    }
    KCHECK(seen == 0b11110);
}

// --- Capabilities in messages

namespace {
Slot give_away, take_at;
std::atomic<u64> came, kind_came;
void take_caps(u64 e) {
    Utcb& u = utcb();
    for (u64 i = 0; i < kMaxCaps; ++i) u.receive[i] = take_at ? take_at + i : 0;
    Message m;
    if (!receive(e, m).ok()) return;
    came = m.caps();
    kind_came = kind_of(take_at);
    Message answer = message(0);
    (void)reply(answer);
}
void send_caps(u64 cpu, u64 count, u64 rights, bool to_space) {
    came = ~u64{0};
    Slot e = make(kTypeEndpoint), space = to_space ? other_space() : kSlotSpace;
    if (to_space) give(space, e);
    take_at = slot();
    for (u64 i = 1; i < kMaxCaps; ++i) (void)slot();
    Helper& h = start(take_caps, e, {.cpu = cpu, .space = space});
    KCHECK(until_state(h, kStateReceiving));
    give_away = make(kTypeNotification);
    for (u64 i = 0; i < count; ++i) {
        utcb().caps[i] = give_away;
        utcb().cap_rights[i] = rights;
    }
    Message m;
    m.tag = make_tag(1, 0, count);
    KDONE(code(call_soon(e, m)));
    KCHECK(until_done(h) && came == count);
}
}  // namespace

KTEST_CPUS(message_with_a_capability, none) {
    send_caps(cpu, 1, 0, false);
    KCHECK(kind_came == (u64{kTypeNotification} | u64{kAllRights} << 8));
}
KTEST_CPUS(message_with_a_capability_to_a_space, none) {
    send_caps(cpu, 1, 0, true);
    KCHECK(kind_came == (u64{kTypeNotification} | u64{kAllRights} << 8) && empty(take_at));
}
KTEST(message_with_four_capabilities, none) {
    send_caps(0, kMaxCaps, 0, false);
    for (u64 i = 0; i < kMaxCaps; ++i) KCHECK(!empty(take_at + i));
    // They are derived from the sender's, which can revoke them.
    KDONE(raw_call(kRevoke, give_away));
    for (u64 i = 0; i < kMaxCaps; ++i) KCHECK(empty(take_at + i));
}
KTEST(message_with_a_weaker_capability, none) {
    send_caps(0, 1, kSendRight, false);
    KCHECK(kind_came == (u64{kTypeNotification} | u64{kSendRight} << 8));
}
KTEST(capability_where_something_is_stays_away, none) {
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    take_at = make(kTypeReply);
    came = ~u64{0};
    Helper& h = start(take_caps, e);
    KCHECK(until_state(h, kStateReceiving));
    utcb().caps[0] = n;
    Message m;
    m.tag = make_tag(1, 0, 1);
    KDONE(code(call_soon(e, m)));
    KCHECK(until_done(h) && came == 0 && (kind_of(take_at) & 0xff) == kTypeReply);
}
KTEST(capability_that_is_not_wanted_stays_away, none) {
    Slot e = make(kTypeEndpoint);
    take_at = 0;
    came = ~u64{0};
    Helper& h = start(take_caps, e);
    KCHECK(until_state(h, kStateReceiving));
    utcb().caps[0] = e;
    Message m;
    m.tag = make_tag(1, 0, 1);
    KDONE(code(call_soon(e, m)));
    KCHECK(until_done(h) && came == 0);
}
KTEST(capability_without_grant, caps_need_grant) {
    Slot e = make(kTypeEndpoint), s = derive(e, kSendRight | kReceiveRight);
    utcb().caps[0] = e;
    KREFUSED(kPerm, raw_call(kSend | kNonBlocking, s, make_tag(0, 0, 1)));
    KREFUSED(kPerm, raw_call(kCall | kNonBlocking, s, make_tag(0, 0, 1)));
    KREFUSED(kAgain, raw_call(kSend | kNonBlocking, e, make_tag(0, 0, 1)));
}
KTEST(capability_that_is_not_there, cap_to_send) {
    Slot e = make(kTypeEndpoint);
    for (u64 s : {slot(), Slot{0}, Slot{kFirstSlots}, ~u64{0}}) {
        utcb().caps[0] = e;
        utcb().caps[1] = s;
        KREFUSED(kBadF, raw_call(kSend | kNonBlocking, e, make_tag(0, 0, 2)));
        KREFUSED(kBadF, raw_call(kCall | kNonBlocking, e, make_tag(0, 0, 2)));
    }
}
KTEST_CPUS(answer_with_a_capability, none) {
    Slot e = make(kTypeEndpoint);
    give_away = make(kTypeNotification);
    static auto hand_out = [](u64 endpoint) {
        Message m;
        if (!receive(endpoint, m).ok()) return;
        utcb().caps[0] = give_away;
        utcb().cap_rights[0] = 0;
        m.tag = make_tag(4, 0, 1);
        (void)reply(m);
    };
    Helper& h = start(+hand_out, e, {.cpu = cpu});
    utcb().receive[0] = slot();
    Message m = message(0);
    KDONE(code(call_soon(e, m)));
    KCHECK(m.caps() == 1 && (kind_of(utcb().receive[0]) & 0xff) == kTypeNotification);
    KCHECK(until_done(h));
}
KTEST(capability_to_a_full_pool_stays_away, none) {
    // The receiver's table is charged to a pool that is used up.
    Slot p = make(kTypePool, 128 * kPage), space = slot(), e = make(kTypeEndpoint);
    KDONE(raw_call(kCreate, p, kTypeSpace, space, kSpaceSlots));
    const BootInfo& info = boot_info();
    for (u64 i = 0; i < info.segments; ++i) {
        const Segment& g = info.segment[i];
        KDONE(raw_call(kMap, space, kSlotImage, g.start, g.start - info.image_start, g.end - g.start, g.rights));
    }
    give(space, e);
    take_at = slot();
    came = ~u64{0};
    Helper& h = start(take_caps, e, {.space = space});
    KCHECK(until_state(h, kStateReceiving));
    // Use up the pool.
    u64 left = 128 * kPage - used_of(p);
    while (left > 64 && raw_call(kCreate, p, kTypePool, slot(), left - 1) != 0) left -= 8;
    while (raw_call(kCreate, p, kTypePool, slot(), 1) == 0) {
    }
    while (raw_call(kCopy, e, slot(), kAllRights, 0, space) == 0) {
    }
    utcb().caps[0] = e;
    Message m;
    m.tag = make_tag(1, 0, 1);
    KDONE(code(call_soon(e, m)));
    KCHECK(until_done(h) && came == 0);
}

}  // namespace ktest
