// SPDX-License-Identifier: MIT
// A server in its own space, and clients that it distinguishes by the badges of their capabilities. One revocation
// removes all of a client's capabilities.
//     ./farcall run --native examples/echo
#include "sysapi/program.hpp"

namespace {

using namespace native;

constexpr u64 kEcho = 1, kBadges = 16;
// The server's only capability, in its own table.
constexpr Slot kServerEndpoint = 1;

// A text of up to 40 bytes in the words of a message; the first word is its length.
constexpr u64 kTextWords = 5;
void put_text(Message& m, std::string_view text) {
    m = {};
    m.tag = make_tag(kEcho, 1 + kTextWords);
    m.words[0] = text.size();
    for (u64 i = 0; i < text.size(); ++i) m.words[1 + i / 8] |= u64(u8(text[i])) << i % 8 * 8;
}
char letter(const Message& m, u64 i) { return char(m.words[1 + i / 8] >> i % 8 * 8); }

u64 calls[kBadges];

// Replies with the text reversed and the number of calls of this client.
void serve(u64 endpoint) {
    Message m;
    if (!receive(endpoint, m).ok()) return;
    for (;;) {
        Message answer;
        char text[kTextWords * 8];
        u64 n = m.words[0] < sizeof text ? m.words[0] : sizeof text;
        for (u64 i = 0; i < n; ++i) text[i] = letter(m, n - 1 - i);
        put_text(answer, {text, n});
        answer.words[1 + kTextWords] = m.badge < kBadges ? ++calls[m.badge] : 0;
        answer.tag = make_tag(kEcho, 2 + kTextWords);
        m = answer;
        if (!reply_receive(endpoint, m).ok()) return;
    }
}

Result<void> say(u64 client, Slot to, std::string_view text) {
    Message m;
    put_text(m, text);
    TRY(call(to, m));
    char heard[kTextWords * 8];
    u64 n = m.words[0] < sizeof heard ? m.words[0] : sizeof heard;
    for (u64 i = 0; i < n; ++i) heard[i] = letter(m, i);
    print("echo: client {} says '{}' and hears '{}' at its call {}\n", client, text, std::string_view{heard, n},
          m.words[1 + kTextWords]);
    return lib::kOk;
}

Result<void> play() {
    Slot endpoint = TRY(make(kTypeEndpoint));
    // The server's table holds only the receiving end: the server can do nothing else.
    Slot space = TRY(make_space());
    TRY(copy(endpoint, kServerEndpoint, kReceiveRight, 0, space));
    (void)TRY(make_thread(serve, kServerEndpoint, {.priority = kDefaultPriority + 1, .space = space}));

    // Clients may only send, and cannot choose their badge. Their capabilities are derived from `clients`.
    Slot clients = new_slot(), seven = new_slot(), nine = new_slot();
    TRY(copy(endpoint, clients, kSendRight));
    TRY(copy(clients, seven, kSendRight, 7));
    TRY(copy(clients, nine, kSendRight, 9));
    TRY(say(7, seven, "hello"));
    TRY(say(9, nine, "fastpath"));
    TRY(say(7, seven, "a server of another space"));
    if (copy(seven, new_slot(), kSendRight, 9).error() != Errno::kPerm) return Errno::kInval;
    print("echo: client 7 cannot pass for client 9\n");

    TRY(revoke(clients));
    Message m = message(kEcho);
    if (call(seven, m).error() != Errno::kBadF || call(nine, m).error() != Errno::kBadF) return Errno::kInval;
    print("echo: the clients have lost their capabilities\n");
    return lib::kOk;
}

}  // namespace

int native_main() {
    auto result = play();
    if (!result.ok()) print("echo: error {}\n", i32(result.error()));
    return result.ok() ? 0 : 1;
}
